//! The handlers of each listener, and how requests reach them.

pub(crate) mod admin;
pub(crate) mod node;
pub(crate) mod probes;
pub(crate) mod read;
