//! The commands that talk to the running daemon, and `leave`, which talks to load balancers.

mod leave;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

pub use leave::Leave;

use super::values::{at_least_one, duration, expiry, positive_duration, ramp, reason};
use crate::api;
use crate::model::health::Health;
use crate::model::names::PoolName;
use crate::model::overrides::ReasonName;

/// The value name of a node in the help.
const NODE: &str = "NODE";

/// A command that talks to the daemon, or to load balancers.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum ClientCommand {
    /// Show overall state; exits 0 if OK, 1 if DEGRADED, 2 if CRITICAL
    ///
    /// Prints the pools, the nodes that are not in service and why, the load balancers, the problems, and in the last
    /// line the verdict.
    ///
    /// CRITICAL: a pool has no members, only a sorry server, or fewer than `min_members`; a load balancer is not
    /// connected or not in sync; pool files cannot be written. DEGRADED: nodes are down, refused or skipped (nodes that
    /// are out on purpose are not down), failing members are kept in, a freeze is active, a services file, state file
    /// or reload was rejected, a host name cannot be resolved, orders would be lost on restart; and until every node
    /// has been polled once.
    ///
    /// If pools or nodes are named, the verdict covers only those, and the overall verdict is printed, too, if it is
    /// worse.
    Status(Status),
    /// Explain why a node is in or out of its pool, and what would bring it back
    Explain(Explain),
    /// Take nodes out of their pools and record why
    ///
    /// A node may be out for several reasons, given by several people and scripts; it returns when `pollbal enable` has
    /// removed the last one. The same person may give a reason again, which renews it; nobody else can. If a pool would
    /// drop below `min_members` or lose its last serving member, the command is rejected as a whole, unless --force is
    /// given. With --wait it returns once all of the nodes are drained: no load balancer has requests in progress
    /// there.
    Disable(Disable),
    /// Remove a reason; a node with none left returns at its next successful poll
    ///
    /// The node is polled immediately. With --wait the command returns once all of the nodes serve, in every load
    /// balancer. A node that is out for other reasons, too, does not return before they are removed.
    Enable(Enable),
    /// Give nodes another share of their pools' requests, from 1 to 256, or end that with --reset
    ///
    /// This takes precedence over the weight that the node announces, that of the services file and that of its pool.
    /// A node that is out has it when it returns. Only load balancers that know weights distribute requests by them:
    /// `pollbal check` prints which do not.
    Weight(Weight),
    /// Wait until nodes are drained, or serve
    Wait(Wait),
    /// Poll nodes now
    #[command(visible_alias = "poll")]
    Nudge(Nudge),
    /// List a pool's members, one per line
    ///
    /// Prints `ip:port`, the name and the version (`-` if there is none), separated by tabs, and for a sorry server
    /// another tab and `sorry`.
    Members(Members),
    /// Show recent events
    Events(Events),
    /// Reload the configuration and services file; reports any errors
    ///
    /// If there are errors, nothing changes: the previous configuration and list of nodes stay active.
    Reload(Reload),
    /// Stop removing failed nodes until every freeze is lifted
    ///
    /// For times when polls cannot be trusted. A node that announces that it is leaving is still removed.
    Freeze(Freeze),
    /// Lift a freeze
    Thaw(Thaw),
    /// Run a command for each node of a pool while it is out: a rolling deploy
    ///
    /// For each node, in the order of the services file: disable it, wait until it is drained, run COMMAND, enable it,
    /// wait until it serves. The pool never drops below `min_members` and always has a serving member: a node waits
    /// until others serve again. If the pool cannot spare any member, nothing is started.
    ///
    /// COMMAND runs here, not on the node, with `POLLBAL_NODE` (ip:port), `POLLBAL_NODE_NAME`, `POLLBAL_NODE_IP`,
    /// `POLLBAL_NODE_PORT`, `POLLBAL_POOL` and `POLLBAL_VERSION` (empty if there is none) in its environment. It has no
    /// terminal: a program that reads from one is stopped, which counts as a failure. Use options that prevent
    /// questions (ssh -o BatchMode=yes, sudo -n).
    ///
    /// The first failure ends the roll: that node stays disabled, nodes in progress are finished, no other is started.
    /// Ctrl-C does the same, but no node stays disabled; a second Ctrl-C stops immediately and ends COMMAND.
    ///
    /// Nodes that are out from the start are listed and left alone, without effect on the exit code. A node that
    /// somebody else takes out during the roll is skipped; the roll goes on, but its exit code is 1. A node that
    /// another roll has disabled is a failure, and so is one that does not serve again.
    Roll(Roll),
    /// On a node: leave all pools, wait until drained, then run a command
    ///
    /// Asks every load balancer at its `node_listen`, on each node in the same order, so that no two nodes wait for
    /// each other forever: a rolling deploy can be started on all nodes at once, and they go one by one. When the node
    /// is gone from all of them and has no requests in progress, COMMAND replaces this process, or with --back runs as
    /// its child.
    ///
    /// If that fails or is interrupted, all granted leaves are cancelled. Otherwise the leave ends when the node has
    /// gone away and serves again, serves another version or pool, reports that it is back (--back), or after
    /// `leave_timeout`.
    ///
    /// With --json, prints a line for each response that differs from the previous one; with --back, COMMAND's standard
    /// output then goes to standard error.
    Leave(Leave),
}

/// How to reach the daemon, and how to print its response. These flags may come before or after the command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct SocketArgs {
    /// Admin socket of the daemon [default: `admin_socket` of the configuration file, else
    /// /run/pollbal/admin.sock]
    #[arg(long, global = true, value_name = "PATH", env = "POLLBAL_ADMIN_SOCKET")]
    pub socket: Option<PathBuf>,
    /// Print the daemon's response as JSON; several values one per line
    #[arg(long, global = true)]
    pub json: bool,
}

/// Arguments of [`ClientCommand::Status`].
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Status {
    /// Only these pools, with all their nodes, and these nodes (by name, `ip:port` or `ip`)
    #[arg(value_name = "POOL|NODE")]
    pub of: Vec<String>,
    /// Show it again whenever it changes, until Ctrl-C; exits with the code of the last one
    #[arg(long)]
    pub watch: bool,
    /// Exit 0 at this level, too: for a probe that must not fail earlier
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub exit_zero_on: Option<ExitZeroOn>,
}

/// The worst health at which `status` exits with 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExitZeroOn {
    /// Also if nodes are down, a file was rejected, and the like
    Degraded,
    /// Always, as long as pollbal responds
    Critical,
}

impl ExitZeroOn {
    /// The health of the same name.
    #[must_use]
    pub fn health(self) -> Health {
        match self {
            Self::Degraded => Health::Degraded,
            Self::Critical => Health::Critical,
        }
    }
}

/// Arguments of [`ClientCommand::Explain`].
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Explain {
    /// Node, by name, `ip:port` or `ip`
    #[arg(value_name = NODE)]
    pub node: String,
}

/// Whether to wait, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Waiting {
    /// Wait until it has taken effect in every load balancer
    #[arg(long)]
    pub wait: bool,
    /// Maximum time to wait, such as 30s or 10m; then exits 1
    #[arg(long, value_name = "TIME", requires = "wait", default_value = "5m", allow_hyphen_values = true, value_parser = duration)]
    pub timeout: Duration,
}

/// Arguments of [`ClientCommand::Disable`].
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Disable {
    /// Nodes, by name, `ip:port` or `ip`
    #[arg(value_name = NODE, required = true)]
    pub nodes: Vec<String>,
    /// Short tag for the reason (A-Z a-z 0-9 . _ + -); use the same tag to undo this
    #[arg(long, value_name = "TAG", allow_hyphen_values = true, value_parser = reason)]
    pub reason: ReasonName,
    /// Free text shown to others
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Expires by itself after this time, such as 2h
    #[arg(long = "for", value_name = "TIME", allow_hyphen_values = true, value_parser = expiry)]
    pub lasts: Option<Duration>,
    /// Even if a pool drops below `min_members` or loses its last serving member
    #[arg(long)]
    pub force: bool,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Arguments of [`ClientCommand::Enable`].
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Enable {
    /// Nodes, by name, `ip:port` or `ip`
    #[arg(value_name = NODE, required = true)]
    pub nodes: Vec<String>,
    /// Tag of the reason, as given to `pollbal disable`
    #[arg(long, value_name = "TAG", allow_hyphen_values = true, value_parser = reason, required_unless_present = "leave")]
    pub reason: Option<ReasonName>,
    /// Instead of a reason, cancel the node's leave, if it can no longer do so itself
    #[arg(long, conflicts_with = "reason")]
    pub leave: bool,
    /// On its return, raise the node's weight over this time, such as 30s (0s: at once), instead of what `ramp` and
    /// `ramp_after` say
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = ramp, conflicts_with = "leave")]
    pub ramp: Option<Duration>,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// Arguments of [`ClientCommand::Weight`].
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(
    override_usage = "pollbal weight <NODE>... <N> --reason <TAG> [OPTIONS]\n       \
                            pollbal weight <NODE>... --reset"
)]
pub struct Weight {
    /// Nodes, by name, `ip:port` or `ip`; without --reset, the weight behind them
    #[arg(value_name = NODE, required = true)]
    pub words: Vec<String>,
    /// End the weight that an operator gave
    #[arg(long, conflicts_with_all = ["reason", "note", "lasts"])]
    pub reset: bool,
    /// Short tag for the reason (A-Z a-z 0-9 . _ + -)
    #[arg(long, value_name = "TAG", allow_hyphen_values = true, value_parser = reason, required_unless_present = "reset")]
    pub reason: Option<ReasonName>,
    /// Free text shown to others
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Expires by itself after this time, such as 2h
    #[arg(long = "for", value_name = "TIME", allow_hyphen_values = true, value_parser = expiry)]
    pub lasts: Option<Duration>,
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// Out of its pools, and no requests in progress
    Drained,
    /// A member that serves, in every load balancer
    Serving,
    /// The same, and its weight has risen to its full weight
    FullWeight,
}

impl From<Until> for api::Until {
    fn from(until: Until) -> Self {
        match until {
            Until::Drained => Self::Drained,
            Until::Serving => Self::Serving,
            Until::FullWeight => Self::FullWeight,
        }
    }
}

/// Arguments of [`ClientCommand::Wait`].
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Wait {
    /// Nodes, by name, `ip:port` or `ip`
    #[arg(value_name = NODE, required = true)]
    pub nodes: Vec<String>,
    /// What to wait for
    #[arg(long, value_enum)]
    pub until: Until,
    /// Maximum time to wait, such as 30s or 10m; then exits 1
    #[arg(long, value_name = "TIME", default_value = "5m", allow_hyphen_values = true, value_parser = duration)]
    pub timeout: Duration,
}

/// Arguments of [`ClientCommand::Nudge`].
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Nudge {
    /// Nodes, by name, `ip:port` or `ip`; all if none is named
    #[arg(value_name = NODE)]
    pub nodes: Vec<String>,
}

/// Arguments of [`ClientCommand::Members`].
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Members {
    /// Name of the pool
    #[arg(value_name = "POOL")]
    pub pool: PoolName,
}

/// Arguments of [`ClientCommand::Events`].
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Events {
    /// Print new events as they happen, until Ctrl-C, even across a restart of pollbal; with --json one per line
    #[arg(long, short)]
    pub follow: bool,
    /// Maximum number of recent events
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    pub limit: usize,
}

/// Arguments of [`ClientCommand::Reload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Reload {
    /// Remove nodes that are no longer listed, however many they are
    ///
    /// By default, no node is removed if a list drops more nodes than `max_removed` at once, the last member of a pool,
    /// or enough to put a pool below its `min_members`: the file may have been truncated. A configuration whose pools
    /// would refuse that many members is rejected as a whole.
    #[arg(long)]
    pub accept_removals: bool,
}

/// Arguments of [`ClientCommand::Freeze`].
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Freeze {
    /// Short tag for the reason (A-Z a-z 0-9 . _ + -); use the same tag to undo this
    #[arg(long, value_name = "TAG", allow_hyphen_values = true, value_parser = reason)]
    pub reason: ReasonName,
    /// Free text shown to others
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
}

/// Arguments of [`ClientCommand::Thaw`].
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Thaw {
    /// Tag of the reason, as given to `pollbal freeze`
    #[arg(long, value_name = "TAG", allow_hyphen_values = true, value_parser = reason)]
    pub reason: ReasonName,
}

/// Arguments of [`ClientCommand::Roll`].
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Roll {
    /// Pool whose members are rolled, as they are at the start
    #[arg(value_name = "POOL")]
    pub pool: PoolName,
    /// Number of nodes at a time
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one)]
    pub parallel: NonZeroUsize,
    /// Delay between a node and the next
    #[arg(long, value_name = "TIME", default_value = "0s", allow_hyphen_values = true, value_parser = duration)]
    pub pause: Duration,
    /// Time limit for each step except COMMAND: until the node may be taken out (while no other of this roll is out),
    /// is drained, and serves again
    #[arg(long, value_name = "TIME", default_value = "5m", allow_hyphen_values = true, value_parser = positive_duration)]
    pub timeout: Duration,
    /// On its return, raise each node's weight over this time, such as 30s (0s: at once), instead of what `ramp` and
    /// `ramp_after` say; the node is done when it has its full weight
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = ramp)]
    pub ramp: Option<Duration>,
    /// Tag of the reason for which nodes are disabled
    #[arg(long, value_name = "TAG", default_value = "roll", allow_hyphen_values = true, value_parser = reason)]
    pub reason: ReasonName,
    /// Command to run for each node
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub command: Vec<OsString>,
}

#[cfg(test)]
mod tests;
