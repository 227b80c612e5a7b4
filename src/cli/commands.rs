//! The commands that talk to the running daemon, and `leave`, which talks to load balancers.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use humantime::parse_duration;

use crate::api;
use crate::model::health::Health;
use crate::model::names::PoolName;
use crate::model::overrides::ReasonName;

/// Nobody waits longer than a year; above, `Instant` arithmetic could overflow.
const MAX_TIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// A NODE of the help texts.
const NODE: &str = "NODE";

/// A command for the running daemon.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum ClientCommand {
    /// Show how all stands, with a verdict; exit code 0 for OK, 1 for DEGRADED, 2 for CRITICAL
    ///
    /// Pools come first, then the nodes that are not simply serving and why, then each Perlbal, then each problem, and in the
    /// last line the verdict.
    ///
    /// CRITICAL: a pool without members, or with a sorry server alone, or below its `min_members`; a Perlbal that is not
    /// connected or not in sync; pool files that cannot be written. DEGRADED: nodes that failed or are refused (those out by order are not
    /// down), members kept in though they fail, a freeze, a services file, state file or reload that was refused, orders that
    /// a restart would lose; and until each node was heard once.
    ///
    /// With names, the verdict is of those: a node is judged by itself, a pool with all that concerns it. That of all is told
    /// too where it is worse.
    Status(Status),
    /// Tell why a node is in or out, and what would bring it back
    Explain(Explain),
    /// Take nodes out for a reason
    ///
    /// A node may be out for several reasons by several people and scripts; it comes back when the last one is taken away by
    /// `pollbal enable`. Given again by the same person, a reason is renewed; one that somebody else gave is refused. An order that would take a
    /// pool below its `min_members`, or the last member that serves, is refused as a whole unless --force is given. With --wait it
    /// returns when no Perlbal has a request under way at any of the nodes any more.
    Disable(Disable),
    /// Take a reason away; a node whose last one it was comes back at its next good answer
    ///
    /// The node is polled at once. With --wait it returns when all of the nodes serve and every Perlbal was told so; a node
    /// that is out for other reasons too does not come back before these are taken away.
    Enable(Enable),
    /// Wait until nodes are at rest, or serve
    Wait(Wait),
    /// Poll nodes now
    Nudge(Nudge),
    /// Print the members of a pool, a line each
    ///
    /// A line is `ip:port`, the name and the version (`-` if it told none), with a tab between them, and behind another tab
    /// `sorry` for a sorry server.
    Members(Members),
    /// Print what happened of late
    Events(Events),
    /// Read configuration and services file anew; tells what is wrong with them
    ///
    /// What is wrong is refused as a whole, and the old stays in force.
    Reload(Reload),
    /// Let failures put nobody out until all is thawed
    ///
    /// For the hour in which polls cannot be trusted. A node that says that it is leaving goes all the same.
    Freeze(Freeze),
    /// Take a freeze back
    Thaw(Thaw),
    /// Run a command for each node of a pool while it is out: a rolling deploy
    ///
    /// Node after node, in the order of the services file: disable it, wait until it is at rest, run COMMAND, enable it, wait
    /// until it serves. The pool is never taken below its `min_members`, nor without a serving member: a node has to wait until
    /// others serve again. A pool that cannot do without any of its members is refused before it begins.
    ///
    /// COMMAND runs here, not on the node, with `POLLBAL_NODE` (ip:port), `POLLBAL_NODE_NAME`, `POLLBAL_NODE_IP`, `POLLBAL_NODE_PORT`,
    /// `POLLBAL_POOL` and `POLLBAL_VERSION` (empty if it told none) in its environment. It has no terminal: a program that asks
    /// there would be stopped, and is a failure. Let it ask nothing (ssh -o BatchMode=yes, sudo -n).
    ///
    /// The first failure ends it: that node stays disabled, nodes under way are finished, no other is begun. So does Ctrl-C,
    /// but that no node stays disabled; a second Ctrl-C stops at once: COMMAND is ended, and killed if it does not want to.
    ///
    /// Nodes that are out already when it begins are told and left alone; they do not change the exit code. One that others take out meanwhile is passed over,
    /// and the roll goes on; but since that node was not rolled, the exit code is 1. One that another roll has out is a
    /// failure, as is one that does not come to serve, whoever else keeps it out.
    Roll(Roll),
    /// On a node: leave all pools, wait until at rest, then run a command
    ///
    /// Asks every load balancer at its `node_listen`, each node in the same order, so that no two nodes wait for each other for
    /// ever: a rolling deploy that is started on all nodes at once goes one by one by itself. When the node is gone from all of
    /// them, and no request is under way at it, COMMAND takes the place of this program, or with --back runs as its child.
    ///
    /// If that cannot be, or is interrupted, it takes back what it was granted. Else the leave ends when load balancers saw
    /// the node away and back, or serve another version or pool, or hear that it is back (--back), or by itself
    /// (`leave_timeout`).
    ///
    /// With --json it prints a line for each answer that differs from the one before; with --back, what COMMAND prints then
    /// goes to standard error.
    Leave(Leave),
}

/// How the daemon is reached, and how its answer is printed. These flags stand before or behind the
/// command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Door {
    /// The daemon's admin socket [default: `admin_socket` of the configuration file, else
    /// /run/pollbal/admin.sock]
    #[arg(long, global = true, value_name = "PATH", env = "POLLBAL_ADMIN_SOCKET")]
    pub socket: Option<PathBuf>,
    /// Print JSON: the daemon's answer as it is; where more than one thing is told, a line each
    #[arg(long, global = true)]
    pub json: bool,
}

/// What [`ClientCommand::Status`] is told.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Status {
    /// Only these pools, with all their nodes, and these nodes (a name, `ip:port` or `ip`)
    #[arg(value_name = "POOL|NODE")]
    pub of: Vec<String>,
    /// Show it again whenever it changes, until Ctrl-C; then exit as the last view says
    #[arg(long)]
    pub watch: bool,
    /// Exit code 0 also at this level: of a probe that must not fail before
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub exit_zero_on: Option<ExitZeroOn>,
}

/// Up to which level `status` exits with 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExitZeroOn {
    /// Nodes are down, a file was refused, and the like; not where clients may not be served
    Degraded,
    /// Whatever is wrong, as long as pollbal answers
    Critical,
}

impl ExitZeroOn {
    /// The level.
    #[must_use]
    pub fn health(self) -> Health {
        match self {
            Self::Degraded => Health::Degraded,
            Self::Critical => Health::Critical,
        }
    }
}

/// What [`ClientCommand::Explain`] is told.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Explain {
    /// Which: a name, `ip:port`, or `ip`
    #[arg(value_name = NODE)]
    pub node: String,
}

/// How long to wait.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Waiting {
    /// Return only when it is so in every Perlbal
    #[arg(long)]
    pub wait: bool,
    /// How long to wait, such as 30s or 10m; then exit code 1
    #[arg(long, value_name = "TIME", requires = "wait", default_value = "5m", allow_hyphen_values = true, value_parser = time)]
    pub timeout: Duration,
}

/// What [`ClientCommand::Disable`] is told.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Disable {
    /// Which: names, `ip:port`, or `ip`
    #[arg(value_name = NODE, required = true)]
    pub nodes: Vec<String>,
    /// The name of the reason, a word of A-Z a-z 0-9 . _ + -; who gives it takes it back by it
    #[arg(long, value_name = "WORD", allow_hyphen_values = true, value_parser = reason)]
    pub reason: ReasonName,
    /// What others should know of it
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Take it back after this time by itself, such as 2h
    #[arg(long = "for", value_name = "TIME", allow_hyphen_values = true, value_parser = lasting)]
    pub lasts: Option<Duration>,
    /// Also when that takes a pool below its `min_members`, or its last member
    #[arg(long)]
    pub force: bool,
    /// Whether it returns at once.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// What [`ClientCommand::Enable`] is told.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Enable {
    /// Which: names, `ip:port`, or `ip`
    #[arg(value_name = NODE, required = true)]
    pub nodes: Vec<String>,
    /// The name of the reason, as it was given to `pollbal disable`
    #[arg(long, value_name = "WORD", allow_hyphen_values = true, value_parser = reason, required_unless_present = "leave")]
    pub reason: Option<ReasonName>,
    /// Take back the leave that the node was granted, instead of a reason: the node cannot do so itself any more
    #[arg(long, conflicts_with = "reason")]
    pub leave: bool,
    /// Whether it returns at once.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// Out, and no request under way at it
    Rest,
    /// A member that serves, and every Perlbal was told so
    Serving,
}

impl From<Until> for api::Until {
    fn from(until: Until) -> Self {
        match until {
            Until::Rest => Self::Rest,
            Until::Serving => Self::Serving,
        }
    }
}

/// What [`ClientCommand::Wait`] is told.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Wait {
    /// Which: names, `ip:port`, or `ip`
    #[arg(value_name = NODE, required = true)]
    pub nodes: Vec<String>,
    /// What to wait for
    #[arg(long, value_enum)]
    pub until: Until,
    /// How long to wait, such as 30s or 10m; then exit code 1
    #[arg(long, value_name = "TIME", default_value = "5m", allow_hyphen_values = true, value_parser = time)]
    pub timeout: Duration,
}

/// What [`ClientCommand::Nudge`] is told.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Nudge {
    /// Which: names, `ip:port`, or `ip`; all if none is named
    #[arg(value_name = NODE)]
    pub nodes: Vec<String>,
}

/// What [`ClientCommand::Members`] is told.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Members {
    /// Which
    #[arg(value_name = "POOL")]
    pub pool: PoolName,
}

/// What [`ClientCommand::Events`] is told.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Events {
    /// Go on with what happens, until Ctrl-C, also over a restart of pollbal; with --json an event a line
    #[arg(long, short)]
    pub follow: bool,
    /// How many of the last ones
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    pub limit: usize,
}

/// What [`ClientCommand::Reload`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct Reload {
    /// Remove the nodes that the services file does not name any more, however many they are
    ///
    /// Without it a list is not obeyed in its removals that takes more nodes than `max_removed` at once, the last member of a
    /// pool, or a pool below its `min_members`: the file may have been cut off. A configuration whose pools would refuse that
    /// many members is refused as a whole.
    #[arg(long)]
    pub accept_removals: bool,
}

/// What [`ClientCommand::Freeze`] is told.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Freeze {
    /// The name of the reason, a word of A-Z a-z 0-9 . _ + -; who gives it takes it back by it
    #[arg(long, value_name = "WORD", allow_hyphen_values = true, value_parser = reason)]
    pub reason: ReasonName,
    /// What others should know of it
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
}

/// What [`ClientCommand::Thaw`] is told.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Thaw {
    /// The name of the reason, as it was given to `pollbal freeze`
    #[arg(long, value_name = "WORD", allow_hyphen_values = true, value_parser = reason)]
    pub reason: ReasonName,
}

/// What [`ClientCommand::Roll`] is told.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Roll {
    /// The pool; its members at the start are rolled
    #[arg(value_name = "POOL")]
    pub pool: PoolName,
    /// How many nodes at a time
    #[arg(long, value_name = "N", default_value = "1", value_parser = one_or_more)]
    pub parallel: NonZeroUsize,
    /// How long to wait after a node before the next
    #[arg(long, value_name = "TIME", default_value = "0s", allow_hyphen_values = true, value_parser = time)]
    pub pause: Duration,
    /// How long each step may take but COMMAND: until the node may go (while no other of this roll is out), is at rest,
    /// serves again
    #[arg(long, value_name = "TIME", default_value = "5m", allow_hyphen_values = true, value_parser = some_time)]
    pub timeout: Duration,
    /// The name of the reason for which nodes are disabled
    #[arg(long, value_name = "WORD", default_value = "roll", allow_hyphen_values = true, value_parser = reason)]
    pub reason: ReasonName,
    /// What is run for each node
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub command: Vec<OsString>,
}

/// What [`ClientCommand::Leave`] is told.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Leave {
    /// The load balancers: where their pollbals listen for nodes
    #[arg(value_name = "URL", required = true)]
    pub urls: Vec<String>,
    /// Say that the node is back when COMMAND has ended well, so that its next good answers bring it in
    ///
    /// A restart that takes less than a poll goes unseen: without this the node would stay out for `leave_timeout`, and keep
    /// others from leaving. When COMMAND fails, nothing is said, and the node stays out. Signals are passed on to COMMAND,
    /// and its exit code is that of this program; but 1 if a load balancer could not be told within a minute, or the time
    /// of --skip-dead.
    #[arg(long, requires = "command")]
    pub back: bool,
    /// How long to wait in all, such as 30s or 10m; then exit code 1 [default: none while the node waits for its turn, then
    /// 10m, as long as `leave_timeout`]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time)]
    pub timeout: Option<Duration>,
    /// Pass over a load balancer that does not answer for so long [default when no time is given: 60s, more than a restart of
    /// pollbal takes]; one that answers that it is busy is waited for
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "60s",
        value_parser = time
    )]
    pub skip_dead: Option<Duration>,
    /// The node's address, where this machine has several
    #[arg(long, value_name = "IP")]
    pub from: Option<Ipv4Addr>,
    /// The node's port, where several nodes share this machine's address
    #[arg(long, value_name = "PORT")]
    pub port: Option<NonZeroU16>,
    /// What is run when the node is gone from all load balancers
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<OsString>,
}

/// The name of a reason. What begins with two dashes is the next flag, and the word is missing.
fn reason(text: &str) -> Result<ReasonName, String> {
    if text.starts_with("--") {
        return Err("the word is missing".to_owned());
    }
    text.parse::<ReasonName>()
        .map_err(|error| error.to_string())
}

/// A time such as `30s`, a year at most.
fn time(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(time) if time <= MAX_TIME => Ok(time),
        Ok(_) => Err("longer than a year".to_owned()),
        Err(error) => Err(format!("{error}; a time is such as 30s, 5m or 2h")),
    }
}

/// How long an order lasts. What is shorter is a slip: `0s` is out and in again, and nobody sees it.
fn lasting(text: &str) -> Result<Duration, String> {
    match time(text)? {
        time if time < Duration::from_secs(1) => Err("shorter than a second".to_owned()),
        time => Ok(time),
    }
}

/// A time for something that cannot be done in none.
fn some_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("expected more than no time".to_owned()),
        time => Ok(time),
    }
}

fn one_or_more(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "expected 1 or more".to_owned())
}

#[cfg(test)]
mod tests;
