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
mod awake;
pub mod bursts;
pub mod change_log;
pub mod check;
pub mod children;
pub mod cli;
pub mod client;
mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod disk;
pub mod drivers;
pub mod fd_limits;
pub mod files;
pub mod hooks;
pub mod http;
pub mod load;
pub mod log_throttle;
pub mod logging;
pub mod model;
mod outgoing;
pub mod poller;
pub mod retry;
pub mod services_file;
pub mod signals;
pub mod sources;
pub mod state_file;
pub mod stay_requests;
pub mod stdout;
pub mod supervision;
pub mod systemd;
pub mod threads;
