//! The command line.
//!
//! `run` is the default command, so its flags may come before or after it; the flags of every other command come after
//! its name.

mod commands;
mod values;

use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

pub use commands::{
    ClientCommand, Disable, Enable, Events, ExitZeroOn, Explain, Freeze, Leave, Members, Nudge,
    Reload, Roll, SocketArgs, Status, Thaw, Until, Wait, Waiting, Weight,
};

/// The default configuration file.
pub const CONFIG_FILE: &str = "/etc/pollbal.json";

/// Example command lines, and what each does.
pub const EXAMPLES: [(&str, &str); 10] = [
    (
        "pollbal check",
        "prints the effective settings, or every error",
    ),
    (
        "pollbal --dry-run --once",
        "prints what pollbal would change now",
    ),
    (
        "pollbal --dry-run | nc 127.0.0.1 16000",
        "has Perlbal execute that",
    ),
    (
        "pollbal",
        "runs the daemon; SIGHUP reloads, SIGTERM stops it",
    ),
    ("pollbal status", "shows the overall state and all problems"),
    (
        "pollbal explain api-node-3",
        "explains why it is in or out, and what would bring it back",
    ),
    (
        "pollbal disable api-node-3 --reason kernel --wait",
        "takes it out, and waits until it is drained",
    ),
    (
        "pollbal enable api-node-3 --reason kernel --wait",
        "brings it back, and waits until it serves",
    ),
    (
        "pollbal roll api -- sh -c 'ssh -o BatchMode=yes $POLLBAL_NODE_IP sudo -n deploy'",
        "runs this for each node of the pool, one after another, while it is out",
    ),
    (
        "pollbal leave --back http://lb1:8099 http://lb2:8099 -- systemctl restart api",
        "on a node: restarts it when no load balancer needs it, and brings it back",
    ),
];

/// Exit codes, and what each means.
pub const EXIT_CODES: [(&str, &str); 10] = [
    ("0", "success; status: OK; --once: everything is in sync"),
    (
        "1",
        "failed, rejected or timed out; status: DEGRADED; --once: something is not in sync",
    ),
    ("2", "status: CRITICAL"),
    ("64", "usage error"),
    ("69", "no pollbal responds at the admin socket"),
    (
        "70",
        "a part of the daemon failed through a bug, or a thread could not be started: the log has the details, and the \
         service manager restarts it",
    ),
    (
        "78",
        "the configuration or the services file is invalid or cannot be read, a listener cannot be opened, or another \
         pollbal uses the state file",
    ),
    (
        "126, 127",
        "leave: COMMAND cannot be executed, or does not exist; otherwise the exit code is that of COMMAND",
    ),
    ("130", "interrupted by Ctrl-C (SIGINT)"),
    ("129, 143", "roll and leave: ended by SIGHUP, SIGTERM"),
];

/// Keeps an HTTP load balancer's pools in sync with what its nodes announce: polls nodes and drives Perlbal and HAProxy
///
/// pollbal polls every node in the services file with `GET /pool`. The node responds with the name of the pool that it
/// wants to serve, or that it is leaving. pollbal writes pool files and updates Perlbal through its management socket,
/// and HAProxy through its stats socket, so changes take effect immediately, even for connections that the load
/// balancer keeps alive, and persist through restarts, failures and manual changes.
///
/// Starting, reloading and stopping never empty a pool: nothing changes before every node has answered or failed once.
///
/// The other commands talk to the running daemon through its admin socket, except `leave`, which runs on a node.
#[derive(Debug, Parser)]
#[command(version, name = "pollbal", max_term_width = WIDTH, after_help = after_help())]
pub struct Cli {
    /// The command; `run` by default.
    #[command(subcommand)]
    command: Option<Command>,
    /// Configuration file [default: /etc/pollbal.json]
    #[arg(long, global = true, value_name = "FILE", env = "POLLBAL_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    socket_args: SocketArgs,
    #[command(flatten)]
    run: RunFlags,
}

/// Maximum width of the help, however wide the terminal is.
const WIDTH: usize = 100;

/// Width of the column of example command lines, and of that of exit codes.
const COLUMN: usize = 36;
const CODE_COLUMN: usize = 10;

/// Examples and exit codes, as `--help` shows them.
fn after_help() -> String {
    let mut text = String::from("Examples:\n");
    for (line, does) in EXAMPLES {
        let does = hanging(does, COLUMN);
        _ = if line.len() < COLUMN {
            writeln!(text, "  {line:COLUMN$}{does}")
        } else {
            writeln!(text, "  {line}\n  {:COLUMN$}{does}", "")
        };
    }
    text += "\nExit codes:\n";
    for (code, means) in EXIT_CODES {
        let means = hanging(means, CODE_COLUMN);
        _ = writeln!(text, "  {code:CODE_COLUMN$}{means}");
    }
    text
}

/// Wraps text, with a hanging indent.
fn hanging(text: &str, column: usize) -> String {
    let indent = column + 2;
    let (mut lines, mut length) = (String::new(), indent);
    for word in text.split(' ') {
        if length > indent && length + 1 + word.len() > WIDTH {
            _ = write!(lines, "\n{:indent$}", "");
            length = indent;
        } else if length > indent {
            lines.push(' ');
            length += 1;
        }
        lines += word;
        length += word.len();
    }
    lines
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Poll the nodes, and keep pool files and load balancers in sync (the default)
    Run(RunFlags),
    /// Validate the configuration and services file, and print the effective settings
    Check,
    /// Talk to the running daemon.
    #[command(flatten)]
    Client(ClientCommand),
}

/// How the daemon runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Options of run")]
pub struct RunFlags {
    /// Poll for real but change nothing; print the commands for load balancers, and changes of files
    /// as comments
    #[arg(long)]
    pub dry_run: bool,
    /// Exit after the first full round of polls and the sync that follows
    #[arg(long)]
    pub once: bool,
    /// At startup, remove nodes that are no longer listed, however many they are; later,
    /// `pollbal reload --accept-removals` does so
    #[arg(long)]
    pub accept_removals: bool,
    /// Log more; twice: everything
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Log only warnings and errors; twice: only errors
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "verbose")]
    quiet: u8,
}

impl RunFlags {
    /// The level down to which messages are logged.
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

    /// The flags before the command and those after it, together.
    fn joined(&self, after: &Self) -> Self {
        Self {
            dry_run: self.dry_run || after.dry_run,
            once: self.once || after.once,
            accept_removals: self.accept_removals || after.accept_removals,
            verbose: self.verbose.saturating_add(after.verbose),
            quiet: self.quiet.saturating_add(after.quiet),
        }
    }
}

/// A parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The command.
    pub command: Command,
    /// The configuration file, if one was named.
    pub config: Option<PathBuf>,
    /// How to reach the daemon.
    pub socket_args: SocketArgs,
}

impl Invocation {
    /// The configuration file that was named, else the default.
    #[must_use]
    pub fn config(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(CONFIG_FILE))
    }
}

/// Parses a command line, starting with the program's name.
///
/// # Errors
/// The text to print: a usage error, the help or the version.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    let matches = Cli::command().try_get_matches_from(words);
    let matches = matches.map_err(with_commands)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let command = match cli.command {
        None => Command::Run(cli.run),
        Some(Command::Run(after)) => {
            let flags = cli.run.joined(&after);
            if flags.verbose > 0 && flags.quiet > 0 {
                return Err(conflict("--verbose cannot be used with --quiet"));
            }
            Command::Run(flags)
        }
        Some(other) if cli.run == RunFlags::default() => other,
        Some(_) => {
            let what = "--dry-run, --once, --verbose, --quiet, and --accept-removals before the command, are flags of `pollbal \
                        run` only";
            return Err(conflict(what));
        }
    };
    let uses_socket =
        matches!(&command, Command::Client(command) if !matches!(command, ClientCommand::Leave(_)));
    let prints = matches!(&command, Command::Client(_));
    // The environment variable applies to all commands, so it is no error.
    let socket = matches.value_source("socket") == Some(ValueSource::CommandLine);
    if (socket && !uses_socket) || (cli.socket_args.json && !prints) {
        let what = "--socket and --json are flags of the commands that talk to the running daemon; `leave` takes --json";
        return Err(conflict(what));
    }
    Ok(Invocation {
        command,
        config: cli.config,
        socket_args: cli.socket_args,
    })
}

/// Adds a list of all commands to the error about an unknown one.
fn with_commands(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return error;
    }
    let cli = Cli::command();
    let names: Vec<_> = cli.get_subcommands().map(clap::Command::get_name).collect();
    let all = StyledStr::from(format!("the commands are: {}", names.join(", ")));
    let mut tips = match error.get(ContextKind::Suggested) {
        Some(ContextValue::StyledStrs(tips)) => tips.clone(),
        _ => Vec::new(),
    };
    tips.push(all);
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    error
}

fn conflict(what: &str) -> clap::Error {
    Cli::command().error(ErrorKind::ArgumentConflict, what)
}

#[cfg(test)]
mod tests;
