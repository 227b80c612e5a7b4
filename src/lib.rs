//! pollbal keeps an HTTP load balancer's pools in sync with what its nodes announce: it polls every node with `GET
//! /pool` and updates the load balancer's pools accordingly.
//!
//! ```text
//! services file ─► pollers (a task per node) ─► observations ─► Membership (pure) ─► snapshot ─► drivers
//!                   GET /pool, every interval     mpsc            decides              watch       each compares actual
//!                                                                                                  with desired state
//!                                                                                                  and reconciles it
//! ```
//!
//! [`model`] is pure: no I/O, no clock. [`drivers`] apply the desired pools to a directory of pool files and to load
//! balancers; each consists of a pure plan and an executor that decides nothing. [`daemon`] connects all modules.

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
pub mod overrides_store;
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
