//! The command line.
//!
//! `run` is what is done when no command is named, so its flags stand before or behind it; the flags
//! of every other command stand behind its name.

mod commands;

use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

pub use commands::{
    ClientCommand, Disable, Door, Enable, Events, ExitZeroOn, Explain, Freeze, Leave, Members,
    Nudge, Reload, Roll, Status, Thaw, Until, Wait, Waiting,
};

/// The configuration file when nothing else is said.
pub const CONFIG_FILE: &str = "/etc/pollbal.json";

/// Command lines, and what each shows or does.
pub const EXAMPLES: [(&str, &str); 10] = [
    ("pollbal check", "what is configured, or every error"),
    ("pollbal --dry-run --once", "what pollbal would change now"),
    (
        "pollbal --dry-run | nc 127.0.0.1 16000",
        "the same, done by Perlbal itself",
    ),
    ("pollbal", "the daemon; SIGHUP reloads, SIGTERM ends"),
    ("pollbal status", "how all stands, and what is not right"),
    (
        "pollbal explain api-node-3",
        "why it is in or out, and what brings it back",
    ),
    (
        "pollbal disable api-node-3 --reason kernel --wait",
        "takes it out, until no request is under way there",
    ),
    (
        "pollbal enable api-node-3 --reason kernel --wait",
        "the way back",
    ),
    (
        "pollbal roll api -- sh -c 'ssh -o BatchMode=yes $POLLBAL_NODE_IP sudo -n deploy'",
        "does that on each node of the pool, one after another, out of the pool",
    ),
    (
        "pollbal leave --back http://lb1:8099 http://lb2:8099 -- systemctl restart api",
        "on a node: restarts it when no load balancer needs it, and brings it back",
    ),
];

/// Exit codes, and what each means.
pub const EXIT_CODES: [(&str, &str); 10] = [
    (
        "0",
        "ended as asked; of status: OK; with --once: all is in sync",
    ),
    (
        "1",
        "failed, refused, or not reached in time; of status: DEGRADED; with --once: something is not in sync",
    ),
    ("2", "of status: CRITICAL"),
    ("64", "the command line is wrong"),
    ("69", "no pollbal answers at the admin socket"),
    (
        "70",
        "a part of the daemon failed by a fault of pollbal, or a thread could not be started: the log says which; its \
         service manager starts it again",
    ),
    (
        "78",
        "the configuration or the services file is wrong or cannot be read, a door cannot be opened, or another pollbal \
         uses the state file",
    ),
    (
        "126, 127",
        "of leave: COMMAND cannot be run, or is not there; else leave ends as COMMAND does",
    ),
    ("130", "interrupted by Ctrl-C (SIGINT)"),
    ("129, 143", "of roll and leave: ended by SIGHUP, SIGTERM"),
];

/// Keeps the pools of an HTTP load balancer true: polls nodes and drives Perlbal
///
/// pollbal asks every node of the services file `GET /pool`. The node answers with the name of the pool that it wants to
/// serve, or that it is leaving. pollbal writes that down in pool files and says it to Perlbal's management socket, so that
/// a change holds at once, also for connections that Perlbal keeps alive, and stays true whatever restarts, fails or is
/// changed by hand.
///
/// Start, reload and end never empty a pool: nothing changes before each node has answered or failed once.
///
/// The other commands talk to the running daemon over its admin socket, but for `leave`, which runs on a node.
#[derive(Debug, Parser)]
#[command(version, name = "pollbal", max_term_width = WIDTH, after_help = after_help())]
pub struct Cli {
    /// What to do; `run` if nothing is said.
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration file [default: /etc/pollbal.json]
    #[arg(long, global = true, value_name = "FILE", env = "POLLBAL_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    door: Door,
    #[command(flatten)]
    run: RunFlags,
}

/// No line of the help is longer, however wide the terminal is.
const WIDTH: usize = 100;

/// The width of the command lines in the help, and that of the exit codes.
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

/// A text in lines that stand below each other in their column.
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

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Poll the nodes and keep the pools true (the default)
    Run(RunFlags),
    /// Read configuration and services file, and say what they mean or what is wrong
    Check,
    /// Talk to the running daemon.
    #[command(flatten)]
    Client(ClientCommand),
}

/// How the daemon runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Options of run")]
pub struct RunFlags {
    /// Poll for real, change nothing, and print what would be said to Perlbal, and as comments
    /// what would be written
    #[arg(long)]
    pub dry_run: bool,
    /// End after the first full round and its sync
    #[arg(long)]
    pub once: bool,
    /// At the start, remove the nodes that the services file does not name any more, however many they
    /// are; as `pollbal reload --accept-removals` later
    #[arg(long)]
    pub accept_removals: bool,
    /// Log more; twice for everything
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Log less: warnings and errors; twice for errors only
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "verbose")]
    quiet: u8,
}

impl RunFlags {
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

    /// Those that stand before the command and those behind it.
    fn joined(&self, behind: &Self) -> Self {
        Self {
            dry_run: self.dry_run || behind.dry_run,
            once: self.once || behind.once,
            accept_removals: self.accept_removals || behind.accept_removals,
            verbose: self.verbose.saturating_add(behind.verbose),
            quiet: self.quiet.saturating_add(behind.quiet),
        }
    }
}

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What to do.
    pub command: Command,
    /// The configuration file that was named.
    pub config: Option<PathBuf>,
    /// How the daemon is reached.
    pub door: Door,
}

impl Asked {
    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(CONFIG_FILE))
    }
}

/// Understands a command line, the program's name first.
///
/// # Errors
/// It is wrong, or asks for help or the version: what is to be printed.
pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Asked, clap::Error> {
    let matches = Cli::command().try_get_matches_from(words);
    let matches = matches.map_err(with_commands)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let command = match cli.command {
        None => Command::Run(cli.run),
        Some(Command::Run(behind)) => {
            let flags = cli.run.joined(&behind);
            if flags.verbose > 0 && flags.quiet > 0 {
                return Err(conflict("--verbose cannot be used with --quiet"));
            }
            Command::Run(flags)
        }
        Some(other) if cli.run == RunFlags::default() => other,
        Some(_) => {
            let what = "--dry-run, --once, --verbose, --quiet and an --accept-removals in front are flags of `pollbal run`, not of \
                        other commands";
            return Err(conflict(what));
        }
    };
    let asks =
        matches!(&command, Command::Client(command) if !matches!(command, ClientCommand::Leave(_)));
    let prints = matches!(&command, Command::Client(_));
    // The environment names it for all commands.
    let socket = matches.value_source("socket") == Some(ValueSource::CommandLine);
    if (socket && !asks) || (cli.door.json && !prints) {
        let what = "--socket and --json are flags of the commands that ask the running daemon; `leave` has --json";
        return Err(conflict(what));
    }
    Ok(Asked {
        command,
        config: cli.config,
        door: cli.door,
    })
}

/// Where a command is not known, beside what is like it, all that there are.
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
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Command, clap::Error> {
        let words = ["pollbal"].iter().chain(words).map(OsString::from);
        read(words).map(|asked| asked.command)
    }

    #[test]
    fn the_definitions_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_run_stand_alone_or_before_or_behind_it() {
        for words in [
            &["--dry-run"][..],
            &["--dry-run", "run"],
            &["run", "--dry-run"],
        ] {
            let Command::Run(flags) = parsed(words).unwrap() else {
                panic!("{words:?}")
            };
            assert!(flags.dry_run && !flags.once, "{words:?}");
        }
        let Command::Run(flags) = parsed(&["-v", "run", "-v"]).unwrap() else {
            panic!("not run")
        };
        assert_eq!(flags.level(), LevelFilter::TRACE);
        assert!(parsed(&["-v", "run", "-q"]).is_err());
    }

    #[test]
    fn flags_of_run_are_no_flags_of_other_commands() {
        for words in [
            &["--dry-run", "status"][..],
            &["-q", "check"],
            &["check", "-q"],
            &["status", "--once"],
        ] {
            let error = parsed(words).unwrap_err();
            assert!(error.use_stderr(), "{words:?}");
        }
    }

    #[test]
    fn the_configuration_is_named_before_or_behind_any_command() {
        for words in [
            ["pollbal", "--config", "x", "status"],
            ["pollbal", "status", "--config", "x"],
        ] {
            let asked = read(words.map(OsString::from)).unwrap();
            assert_eq!(asked.config(), Path::new("x"));
        }
    }

    #[test]
    fn socket_and_json_stand_before_or_behind_any_command_that_knows_them() {
        for words in [
            &["--json", "--socket", "x", "status"][..],
            &["status", "--socket", "x", "--json"],
            &["--socket=x", "roll", "api", "--json", "--", "ssh"],
        ] {
            let words = ["pollbal"].iter().chain(words).map(OsString::from);
            let door = read(words).unwrap().door;
            assert_eq!(door.socket.as_deref(), Some(Path::new("x")));
            assert!(door.json);
        }
        assert!(parsed(&["--json", "leave", "a:1"]).is_ok());
        for words in [
            &["--json"][..],
            &["check", "--json"],
            &["--socket", "x", "run"],
            &["leave", "a:1", "--socket", "x"],
        ] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn a_command_that_is_not_known_is_told_with_those_that_are() {
        let told = parsed(&["stauts"]).unwrap_err().to_string();
        for words in [
            "'status'",
            "the commands are: run, check, status, explain, ",
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
    }

    #[test]
    fn what_stands_behind_two_dashes_is_a_command_with_flags_of_its_own() {
        let words = ["roll", "api", "--parallel", "2", "--", "ssh", "--wait", "x"];
        let Ok(Command::Client(ClientCommand::Roll(roll))) = parsed(&words) else {
            panic!("not a roll")
        };
        assert_eq!(roll.command, ["ssh", "--wait", "x"]);
        assert_eq!(roll.parallel.get(), 2);
        assert!(parsed(&["roll", "api"]).is_err());
        let words = ["leave", "http://a:1", "b:1", "--", "true"];
        let Ok(Command::Client(ClientCommand::Leave(leave))) = parsed(&words) else {
            panic!("not a leave")
        };
        assert_eq!((leave.urls.len(), leave.command.len()), (2, 1));
    }

    #[test]
    fn a_reason_is_asked_for_and_a_word() {
        assert!(parsed(&["disable", "n", "--reason", "kernel"]).is_ok());
        for words in [
            &["disable", "n"][..],
            &["disable", "--reason", "kernel"],
            &["disable", "n", "--reason", "two words"],
            &["disable", "n", "--reason", "a", "--timeout", "5s"],
            &["wait", "n"],
        ] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
    }
}
