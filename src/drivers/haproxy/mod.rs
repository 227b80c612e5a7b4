//! Keeps one `HAProxy` in sync, by the commands of its stats socket (the Runtime API).
//!
//! ```text
//!   snapshot ─► desired ──┐
//!                         ├─► plan ─► steps ─► session ─► stats socket
//!   show … ─► tables ─► state
//! ```
//!
//! A pool is the backend of its name, a version pool the backend `<pool>.<version>`. Backends cannot be created at run
//! time, and neither can servers that survive a reload; so a node takes a *slot*, a server of a `server-template`, which
//! is given the node's address and made ready. Where a backend has no slots, servers are added. Which node a slot has is
//! only in `HAProxy`: there is nothing to remember, and another run of pollbal adopts what is there.
//!
//! [`plan`] is pure, and so are the parsers ([`tables`], [`answers`]) and the effect of a step on the state ([`state`]).
//! [`session`] does the I/O; the loop is that of [`sync`](super::sync). The connection is kept while its process serves:
//! reads and commands reach the same process by construction, removals need no connection of their own, and after a
//! reload the process that ends can still be asked which of its requests are in progress, as long as there are any.

mod answers;
mod backend;
mod connection;
mod desired;
mod former;
#[cfg(test)]
mod fuzz;
mod name;
mod plan;
mod session;
pub mod settings;
mod socket;
mod state;
mod state_file;
mod statistics;
mod step;
mod tables;
