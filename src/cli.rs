//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

const EXAMPLES: &str = "\
Examples:
  pollbal check                       what is configured, or every error
  pollbal --dry-run --once            what pollbal would change now
  pollbal --dry-run | nc 127.0.0.1 16000
                                      the same, done by Perlbal itself
  pollbal                             the daemon; SIGHUP reloads, SIGTERM ends

Exit codes:
  0   ended as asked; with --once, all is in sync
  1   failed; with --once, something is not in sync
  64  the command line is wrong
  78  the configuration or the services file is wrong";

/// Keeps the pools of an HTTP load balancer true: polls every node and drives Perlbal.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXAMPLES, args_conflicts_with_subcommands = false)]
pub struct Cli {
    /// What to do; `run` if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags.
    #[command(flatten)]
    pub flags: Flags,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Poll the nodes and keep the pools true (the default)
    Run,
    /// Read configuration and services file, and say what they mean or what is wrong
    Check,
}

/// How to do it.
#[derive(Debug, Args)]
pub struct Flags {
    /// The configuration file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "POLLBAL_CONFIG",
        default_value = "/etc/pollbal.json"
    )]
    pub config: PathBuf,
    /// Poll for real, change nothing, and print what would be said to Perlbal, and as comments
    /// what would be written
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// End after the first full round and its sync
    #[arg(long, global = true)]
    pub once: bool,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Log less: warnings and errors; twice for errors only
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "verbose")]
    pub quiet: u8,
}

impl Flags {
    /// How much is logged.
    #[must_use]
    pub fn level(&self) -> LevelFilter {
        match (self.verbose, self.quiet) {
            (0, 0) => LevelFilter::INFO,
            (1, _) => LevelFilter::DEBUG,
            (2.., _) => LevelFilter::TRACE,
            (0, 1) => LevelFilter::WARN,
            (0, 2..) => LevelFilter::ERROR,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_behind_the_command() {
        for words in [
            ["pollbal", "--dry-run", "run"],
            ["pollbal", "run", "--dry-run"],
        ] {
            let cli = Cli::try_parse_from(words).unwrap();
            assert!(cli.flags.dry_run && cli.command == Some(Command::Run));
        }
    }
}
