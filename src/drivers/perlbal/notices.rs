//! The log's lines about a Perlbal, as values: the connection's state machine does no I/O, and its tests read them.
//! Pure but for [`Notice::log`].

use std::time::Duration;

use tracing::{error, info, warn};

use super::plan::PoolChange;
use super::protocol::{Command, Endpoint};
use crate::drivers::change_list::signed;
use crate::drivers::perlbal::name::PerlbalName;
use crate::log_throttle::suppression_notice;
use crate::model::node::NodeAddr;
use crate::model::text::printable;

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Perlbal cannot be reached, or the connection ended.
    Unreachable(String),
    /// Everything was read over a new connection.
    Connected { version: String, restarted: bool },
    /// Perlbal has acknowledged a change.
    PoolChanged {
        pool: PerlbalName,
        change: PoolChange,
        took: Duration,
    },
    /// A pool is not as it was left.
    ChangedElsewhere {
        pool: PerlbalName,
        added: Vec<Endpoint>,
        removed: Vec<Endpoint>,
    },
    /// Perlbal answered a change with an error.
    Rejected { command: Command, error: String },
    /// A member that pollbal removed has no busy connection left.
    Drained {
        pool: PerlbalName,
        node: NodeAddr,
        after: Duration,
    },
    /// Someone gave a service another pool while pollbal sealed the one before.
    ServiceSwitched {
        service: PerlbalName,
        before: Option<PerlbalName>,
        pool: PerlbalName,
    },
    /// A pool got spare entries.
    SparesNeeded { pool: PerlbalName, count: usize },
    /// Something that cannot be corrected.
    Problem(String),
    /// Such a problem is over.
    ProblemOver(String),
    /// Something that a person should know.
    Remark(String),
    /// Further lines of this kind about a pool are suppressed for a while.
    PoolSuppressed {
        pool: PerlbalName,
        does: &'static str,
    },
    /// Further lines about the connection are suppressed for a while.
    ConnectionSuppressed,
}

impl Notice {
    /// Logs it as a line about the Perlbal at this address.
    pub(super) fn log(&self, perlbal: &str) {
        match self {
            Self::Unreachable(cause) => error!(
                %perlbal,
                "cannot reach Perlbal: {cause}; its pools are unchanged, retrying"
            ),
            Self::Connected { version, restarted } => {
                let how = if *restarted {
                    ", which was restarted"
                } else {
                    ""
                };
                info!(%perlbal, "connected to Perlbal {version}{how}");
            }
            Self::PoolChanged { pool, change, took } => {
                let micros = took.as_micros();
                info!(
                    %perlbal, %pool,
                    "pool {pool} changed:{}{} in {}.{:01} ms",
                    signed("+", change.added.iter()), signed("-", change.removed.iter()),
                    micros / 1000, micros % 1000 / 100
                );
            }
            Self::ChangedElsewhere {
                pool,
                added,
                removed,
            } => warn!(
                %perlbal, %pool,
                "pool {pool} changed outside pollbal (manually or by its nodefile):{}{}; reverting",
                signed("+", added.iter()), signed("-", removed.iter())
            ),
            Self::Rejected { command, error } => {
                error!(%perlbal, "Perlbal answered \"{command}\" with an error: {error}");
            }
            Self::Drained { pool, node, after } => {
                let after = after.as_millis();
                info!(%perlbal, %pool, %node, "{node} drained {after} ms after its removal from pool {pool}");
            }
            Self::ServiceSwitched {
                service,
                before,
                pool,
            } => {
                let before = before.as_ref().map_or("none", PerlbalName::as_str);
                warn!(
                    %perlbal, %pool,
                    "service {service} was switched from pool {before} to pool {pool} outside pollbal while members were \
                     being removed from pool {before}; it was briefly set back, and uses pool {pool} again"
                );
            }
            Self::SparesNeeded { pool, count } => info!(
                %perlbal, %pool,
                "Perlbal is still trying to connect to nodes that were removed from pool {pool}, which limits its \
                 connections to members; until it gives up, {count} of the members are in the pool twice so that \
                 requests need not wait"
            ),
            Self::Problem(text) => error!(%perlbal, "{}", printable(text)),
            Self::ProblemOver(text) => info!(%perlbal, "resolved: {}", printable(text)),
            Self::Remark(text) => warn!(%perlbal, "{text}"),
            Self::PoolSuppressed { pool, does } => {
                warn!(%pool, "{}", suppression_notice(&format!("pool {pool} {does}")));
            }
            Self::ConnectionSuppressed => warn!(
                %perlbal,
                "{}", suppression_notice("the connection to Perlbal comes and goes")
            ),
        }
    }
}
