//! The commands that talk to the running daemon: send a request to its admin socket, print the response, choose the
//! exit code.
//!
//! They decide nothing but the order of `roll`'s steps: the daemon decides whether everything is healthy, which nodes
//! may leave and which are drained. `leave` runs on a node and talks to the node listeners of load balancers instead.

mod bounded;
mod events;
mod explain;
mod format;
mod http;
mod leave;
mod output;
mod overrides;
mod program;
mod roll;
mod signals;
mod socket;
mod status;
mod terminal;
mod wait;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tokio::runtime::{self, Runtime};

use crate::cli::{ClientCommand, SocketArgs};
use crate::logging::chain;
use http::{AdminClient, ClientError};
use signals::LastResort;
use socket::SocketError;

/// Exit code: the command was carried out.
const DONE: u8 = 0;
/// Exit code: it did not.
const FAILED: u8 = 1;
/// Exit code: usage error (sysexits.h, `EX_USAGE`).
const USAGE: u8 = 64;
/// Exit code: no daemon responds (sysexits.h, `EX_UNAVAILABLE`).
const UNAVAILABLE: u8 = 69;
/// Exit code: the configuration has no admin socket (sysexits.h, `EX_CONFIG`).
const CONFIG: u8 = 78;

/// Why a command failed.
#[derive(Debug, Error)]
enum CommandError {
    #[error("failed to {0}")]
    System(&'static str, #[source] io::Error),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("timed out after {}: {missing}", format::exact(*.timeout))]
    TimedOut { timeout: Duration, missing: String },
    /// Not printed: the user pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    #[error("{0}")]
    Usage(String),
    /// One or more lines for people.
    #[error("{0}")]
    Failed(String),
}

impl CommandError {
    fn signals(error: io::Error) -> Self {
        Self::System("listen to signals", error)
    }

    fn code(&self) -> u8 {
        match self {
            Self::Socket(_) => CONFIG,
            Self::Client(error) => Self::exit_code_of(error),
            Self::System(..) | Self::TimedOut { .. } | Self::Failed(_) => FAILED,
            Self::Interrupted => signals::INTERRUPTED,
            Self::Usage(_) => USAGE,
        }
    }

    /// The exit code for a request that failed.
    fn exit_code_of(error: &ClientError) -> u8 {
        if error.is_rejection() {
            FAILED
        } else {
            UNAVAILABLE
        }
    }
}

/// Runs a command; `config` is the configuration file, if the command line names one.
#[must_use]
pub fn run(config: Option<&Path>, args: &SocketArgs, command: ClientCommand) -> ExitCode {
    let code = match command {
        // It may be replaced by another program.
        ClientCommand::Leave(leave) => leave::run(&leave, args.json),
        ClientCommand::Roll(roll) => block_on(roll::run(config, roll, args)),
        other => block_on(run_interruptible(config, args, other)),
    };
    let code = code.unwrap_or_else(|error| {
        print_error(&error);
        error.code()
    });
    code.into()
}

/// Runs a command to its end. Blocking work in other threads, such as a name lookup, is not waited for.
fn block_on(command: impl Future<Output = Result<u8, CommandError>>) -> Result<u8, CommandError> {
    let runtime = runtime()?;
    let code = runtime.block_on(command);
    runtime.shutdown_background();
    code
}

/// Single-threaded: a command waits for one thing at a time.
fn runtime() -> Result<Runtime, CommandError> {
    let mut builder = runtime::Builder::new_current_thread();
    let built = builder.enable_all().build();
    built.map_err(|error| CommandError::System("start the runtime", error))
}

async fn run_interruptible(
    config: Option<&Path>,
    args: &SocketArgs,
    command: ClientCommand,
) -> Result<u8, CommandError> {
    let last_resort = LastResort::start().map_err(CommandError::signals)?;
    let client = connect(config, args)?;
    match command {
        ClientCommand::Status(status) if status.watch => {
            status::watch::watch(&client, &status, &last_resort).await
        }
        simple => tokio::select! {
            code = run_simple(&client, &simple) => code,
            () = signals::interrupt() => Err(CommandError::Interrupted),
        },
    }
}

/// Runs a command that needs no cleanup when it is interrupted.
async fn run_simple(client: &AdminClient, command: &ClientCommand) -> Result<u8, CommandError> {
    match command {
        ClientCommand::Status(args) => status::once(client, args).await,
        ClientCommand::Explain(args) => explain::explain(client, args).await,
        ClientCommand::Disable(args) => overrides::disable(client, args).await,
        ClientCommand::Enable(args) => overrides::enable(client, args).await,
        ClientCommand::Wait(args) => wait::command(client, args).await,
        ClientCommand::Nudge(args) => overrides::nudge(client, args).await,
        ClientCommand::Members(args) => overrides::members(client, args).await,
        ClientCommand::Events(args) => events::events(client, args).await,
        ClientCommand::Reload(args) => overrides::reload(client, args).await,
        ClientCommand::Freeze(args) => overrides::freeze(client, args).await,
        ClientCommand::Weight(args) => overrides::weight(client, args).await,
        ClientCommand::Thaw(args) => overrides::thaw(client, args).await,
        // `run` handles these.
        ClientCommand::Roll(_) | ClientCommand::Leave(_) => Ok(DONE),
    }
}

fn connect(config: Option<&Path>, args: &SocketArgs) -> Result<AdminClient, CommandError> {
    let path = socket::find(args.socket.as_deref(), config)?;
    if let Some(warning) = &path.warning {
        terminal::warn(warning);
    }
    Ok(AdminClient::new(path, args.json)?)
}

/// Prints what went wrong, as the daemon described it where it did.
fn print_error(error: &CommandError) {
    if matches!(error, CommandError::Interrupted) {
        return;
    }
    // Otherwise no signal would end the program while nobody reads its output.
    _ = signals::exit_on_signal();
    if let CommandError::Client(ClientError::Rejected(error)) = error
        && let Some(json) = &error.json
    {
        terminal::print_json(json);
    }
    terminal::warn(&chain(error));
}

/// A value as one line of JSON.
fn json_line(value: &impl Serialize) -> String {
    // Only maps with keys that are not strings cannot be serialized; there are none.
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

/// A value as JSON, indented on a terminal.
fn json_for_stdout(value: &impl Serialize) -> String {
    http::indent_on_terminal(&json_line(value))
}
