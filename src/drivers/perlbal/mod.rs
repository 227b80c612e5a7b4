//! The Perlbal manager.

pub mod plan;
pub mod wanted;
pub mod wire;
