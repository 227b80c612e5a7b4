//! `leave`, which runs on a node.

use std::ffi::OsString;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use clap::Args;

use super::super::values::duration;

/// Arguments of [`ClientCommand::Leave`](super::ClientCommand::Leave).
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Leave {
    /// Load balancers, by the `node_listen` addresses of their pollbals
    #[arg(value_name = "URL", required = true)]
    pub urls: Vec<String>,
    /// Report that the node is back when COMMAND has succeeded, so that it returns at its next successful polls
    ///
    /// A restart that takes less than the time between two polls is not noticed: without this option the node would
    /// stay out for `leave_timeout`, and keep others from leaving. If COMMAND fails, nothing is reported, and the node
    /// stays out. Signals are passed on to COMMAND. The exit code is that of COMMAND, or 1 if a load balancer could not
    /// be reached within a minute, or the time of --skip-dead.
    #[arg(long, requires = "command")]
    pub back: bool,
    /// Maximum total time to wait, such as 30s or 10m; then exits 1 [default: unlimited while the node waits for its
    /// turn, then 10m, the default of `leave_timeout`]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Skip a load balancer that has not responded for this long [default if no time is given: 60s, more than a restart
    /// of pollbal takes]; one that responds that it is busy is waited for
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "60s",
        value_parser = duration
    )]
    pub skip_dead: Option<Duration>,
    /// The node's address, if this machine has several
    #[arg(long, value_name = "IP")]
    pub from: Option<IpAddr>,
    /// The node's port, if several nodes share this machine's address
    #[arg(long, value_name = "PORT")]
    pub port: Option<NonZeroU16>,
    /// Command to run when the node is gone from all load balancers
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<OsString>,
}
