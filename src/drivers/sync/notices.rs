//! What the log says of a load balancer, as values: the core does no I/O, and its tests read them.

use std::fmt;
use std::time::Duration;

use tracing::{error, info, warn};

use super::Member;
use crate::drivers::change_list::signed;
use crate::log_throttle::suppression_notice;
use crate::model::driver_status::DriverId;
use crate::model::node::NodeAddr;
use crate::model::text::printable;

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// It cannot be reached, or the connection ended.
    Unreachable(String),
    /// Another process has taken its place, which is about to be read.
    Replaced(String),
    /// Changes are pending during an outage.
    Pending(String),
    /// Everything was read over a new connection.
    Connected(String),
    /// It has acknowledged a change of a pool's members.
    PoolChanged {
        pool: String,
        added: Vec<NodeAddr>,
        removed: Vec<NodeAddr>,
        took: Duration,
    },
    /// It is not as it was left; the steps that correct it.
    ChangedElsewhere(Vec<String>),
    /// It rejected a step.
    Rejected { step: String, error: String },
    /// A member that pollbal removed has no busy connection left.
    Drained { member: Member, after: Duration },
    /// Something that cannot be corrected.
    Problem(String),
    /// Such a problem is over.
    ProblemOver(String),
    /// Further lines of this kind are suppressed for a while.
    Suppressed(String),
}

impl Notice {
    /// Logs it as a line about this load balancer.
    pub(super) fn log(&self, id: &DriverId) {
        let (driver, name) = (id.kind.key, id.kind.name);
        let address = &*id.address;
        match self {
            Self::Unreachable(cause) => error!(
                driver,
                address,
                "cannot reach {name}: {}; its pools are unchanged, retrying",
                printable(cause)
            ),
            Self::Replaced(cause) => info!(
                driver,
                address,
                "{name} was restarted or reloaded: {}; reading it again",
                printable(cause)
            ),
            Self::Pending(text) => error!(driver, address, "{name} is {}", printable(text)),
            Self::Connected(what) => info!(driver, address, "connected to {}", printable(what)),
            Self::PoolChanged {
                pool,
                added,
                removed,
                took,
            } => info!(
                driver,
                address,
                pool,
                "pool {pool} changed:{}{} in {:.1} ms",
                signed("+", added.iter()),
                signed("-", removed.iter()),
                took.as_secs_f64() * 1_000.0
            ),
            Self::ChangedElsewhere(steps) => warn!(
                driver,
                address,
                "{name} was changed outside pollbal; reverting:{}",
                printable(&signed("", steps.iter()))
            ),
            Self::Rejected { step, error } => error!(
                driver,
                address,
                "{name} rejected \"{}\": {}",
                printable(step),
                printable(error)
            ),
            Self::Drained {
                member: (pool, node),
                after,
            } => info!(
                driver, address, %pool, %node,
                "{node} drained {} ms after its removal from pool {pool}", after.as_millis()
            ),
            Self::Problem(text) => error!(driver, address, "{}", printable(text)),
            Self::ProblemOver(text) => info!(driver, address, "resolved: {}", printable(text)),
            Self::Suppressed(what) => warn!(driver, address, "{}", suppression_notice(what)),
        }
    }
}

/// What a line is about, for its limit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The connection.
    Connection,
    /// A pool's members.
    Pool(String),
    /// Corrections of what was changed outside pollbal.
    Corrections,
    /// Rejected steps.
    Rejections,
    /// Problems.
    Problems,
}

/// For a line that says that further ones are suppressed.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => f.write_str("the connection comes and goes"),
            Self::Pool(pool) => write!(f, "pool {pool} changes"),
            Self::Corrections => f.write_str("the load balancer is changed outside pollbal"),
            Self::Rejections => f.write_str("steps are rejected"),
            Self::Problems => f.write_str("problems come and go"),
        }
    }
}
