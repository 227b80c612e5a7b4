//! The command line.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

/// Command lines, and what each shows or does.
pub const EXAMPLES: [(&str, &str); 4] = [
    ("pollbal check", "what is configured, or every error"),
    ("pollbal --dry-run --once", "what pollbal would change now"),
    (
        "pollbal --dry-run | nc 127.0.0.1 16000",
        "the same, done by Perlbal itself",
    ),
    ("pollbal", "the daemon; SIGHUP reloads, SIGTERM ends"),
];

/// Exit codes, and what each means.
pub const EXIT_CODES: [(&str, &str); 4] = [
    ("0", "ended as asked; with --once, all is in sync"),
    ("1", "failed; with --once, something is not in sync"),
    ("64", "the command line is wrong"),
    (
        "78",
        "the configuration or the services file is wrong, or a door cannot be opened",
    ),
];

/// Keeps the pools of an HTTP load balancer true: polls nodes and drives Perlbal
///
/// pollbal asks every node of the services file `GET /pool`. The node answers with the name of the pool that it wants to
/// serve, or that it is leaving. pollbal writes that down in pool files and says it to Perlbal's management socket, so that
/// a change holds at once, also for connections that Perlbal keeps alive, and stays true whatever restarts, fails or is
/// changed by hand.
///
/// Start, reload and end never empty a pool: nothing changes before each node has answered or failed once.
#[derive(Debug, Parser)]
#[command(version, after_help = after_help(), args_conflicts_with_subcommands = false)]
pub struct Cli {
    /// What to do; `run` if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags.
    #[command(flatten)]
    pub flags: Flags,
}

/// The width of the command lines in the help.
const COLUMN: usize = 36;

/// Examples and exit codes, as `--help` shows them.
fn after_help() -> String {
    let mut text = String::from("Examples:\n");
    for (line, does) in EXAMPLES {
        _ = if line.len() < COLUMN {
            writeln!(text, "  {line:COLUMN$}{does}")
        } else {
            writeln!(text, "  {line}\n  {:COLUMN$}{does}", "")
        };
    }
    text += "\nExit codes:\n";
    for (code, means) in EXIT_CODES {
        _ = writeln!(text, "  {code:4}{means}");
    }
    text
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
