//! Version 1 of what the listeners serve and the commands print with `--json`: its types.
//!
//! Fields are only ever added. Times of day are RFC 3339 in UTC with milliseconds; durations are milliseconds, their
//! names end in `_ms`. A node is identified as `ip:port`. What is unknown is omitted or `null`. A response in JSON is
//! one line.
//!
//! `docs/api.md` describes the requests, their responses, status codes, and what each command prints; a new field needs
//! a row there.

mod commands;
pub(crate) mod event;
pub mod hooks;
mod load_balancer;
mod node;
mod requests;
mod responses;
#[cfg(test)]
mod schema;
mod state;
mod status;

pub use commands::{LeaveAnswer, LeaveStep, RollStep, Step};
pub use event::{Event, Events};
pub use load_balancer::{Away, Draining, LoadBalancer, LoadBalancerPool, NodeOnLoadBalancer};
pub use node::{Answer, Explanation, Grant, Member, Members, Node, Ramp, Reason};
pub use requests::{CancelLeave, Disable, Enable, Freeze, Nudge, Reload, Until, Weigh};
pub use responses::{NodeProgress, Ordered, Problem, Progress, Reloaded};
pub use state::State;
pub use status::{
    Counts, Files, GivenWeight, GoneOrders, HealthProblem, Pool, Status, VersionCount,
};

use crate::model::time::Timestamp;

/// The header that every request to the node listener must have, with any value. No browser sends it by
/// itself, nor does a webhook of which only the address can be configured.
pub const NODE_HEADER: &str = "Pollbal-Request";

/// A time of day as in all of version 1.
#[must_use]
pub fn time(at: Timestamp) -> String {
    at.rfc3339_millis()
}
