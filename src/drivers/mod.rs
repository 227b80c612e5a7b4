//! Drivers: what makes a directory or a load balancer show the wanted pools.
//!
//! Each gets the whole wanted state, always the latest, by a `watch` channel; reads what is really
//! there; makes a plan, a plain value, by a pure function; and executes it. They do not know each
//! other: the daemon connects the pool files' output to the Perlbals' input, so that a file is
//! written before a socket is told.

pub mod perlbal;
pub mod pool_files;
