//! pollbal.

pub mod config;
pub mod drivers;
pub mod model;
