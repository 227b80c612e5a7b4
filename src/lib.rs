//! pollbal.

pub mod model;
