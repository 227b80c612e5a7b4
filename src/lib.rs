//! pollbal keeps the pools of an HTTP load balancer true: it asks every node `GET /pool` and makes
//! the load balancer's pools say what the nodes say.
//!
//! ```text
//! services file ─► pollers (a task per node) ─► observations ─► Membership (pure) ─► snapshot ─► drivers
//!                   GET /pool, every interval     mpsc            decides              watch       each compares with
//!                                                                                                  what is there and
//!                                                                                                  mends it
//! ```
//!
//! [`model`] is pure: no I/O, no clock. [`drivers`] make a directory of pool files and Perlbals show
//! the wanted pools, each by a pure plan and an executor that decides nothing. [`daemon`] wires all
//! together and is the only one that knows everybody.

pub mod alerts;
pub mod api;
pub mod asks;
pub mod change_log;
pub mod check;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod doors;
pub mod drivers;
pub mod hooks;
pub mod lifecycle;
pub mod load;
pub mod logging;
pub mod model;
pub mod pleas;
pub mod poller;
pub mod quota;
pub mod retry;
pub mod service_manager;
pub mod services_watch;
pub mod state_file;
