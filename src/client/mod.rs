//! The commands for the running daemon: ask at its admin socket, print the answer, choose the exit code.
//!
//! Nothing is decided here but `roll`'s order of steps: what is right, who may go and who is at rest
//! the daemon says. `leave` asks the node doors of load balancers instead, from a node.

mod bounded;
mod events;
mod explain;
mod http;
mod leave;
mod orders;
mod output;
mod program;
mod roll;
mod signals;
mod socket;
mod status;
mod terminal;
mod wait;
mod words;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tokio::runtime::{self, Runtime};

use crate::cli::{ClientCommand, Door as DoorFlags};
use crate::logging::chain;
use http::{AskError, Door};
use signals::LastResort;
use socket::SocketError;

/// The exit code when all is as it was asked for.
const DONE: u8 = 0;
/// The exit code when it is not.
const FAILED: u8 = 1;
/// The command line is wrong (sysexits.h, `EX_USAGE`).
const USAGE: u8 = 64;
/// No daemon answers (sysexits.h, `EX_UNAVAILABLE`).
const UNAVAILABLE: u8 = 69;
/// The configuration cannot be read (sysexits.h, `EX_CONFIG`).
const CONFIG: u8 = 78;

/// Why a command has no answer to print.
#[derive(Debug, Error)]
enum ClientError {
    #[error("failed to {0}")]
    System(&'static str, #[source] io::Error),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("not so within {}: {missing}", words::exact(*.timeout))]
    TimeOver { timeout: Duration, missing: String },
    /// Whoever pressed Ctrl-C knows it.
    #[error("interrupted")]
    Interrupted,
    #[error("{0}")]
    Usage(String),
    /// Several lines, each for people.
    #[error("{0}")]
    Failed(String),
}

impl ClientError {
    fn signals(error: io::Error) -> Self {
        Self::System("listen to signals", error)
    }

    fn code(&self) -> u8 {
        match self {
            Self::Socket(_) => CONFIG,
            Self::Ask(error) => Self::exit_code_of(error),
            Self::System(..) | Self::TimeOver { .. } | Self::Failed(_) => FAILED,
            Self::Interrupted => signals::INTERRUPTED,
            Self::Usage(_) => USAGE,
        }
    }

    /// The exit code when there is no answer.
    fn exit_code_of(error: &AskError) -> u8 {
        if error.is_refusal() {
            FAILED
        } else {
            UNAVAILABLE
        }
    }
}

/// Does what the command says; `config` is the configuration file, if one was named.
#[must_use]
pub fn run(config: Option<&Path>, door: &DoorFlags, command: ClientCommand) -> ExitCode {
    let code = match command {
        // It ends as another program.
        ClientCommand::Leave(leave) => leave::run(&leave, door.json),
        ClientCommand::Roll(roll) => within(roll::run(config, roll, door)),
        other => within(ask(config, door, other)),
    };
    let code = code.unwrap_or_else(|error| {
        tell(&error);
        error.code()
    });
    code.into()
}

/// Does it to its end; what a thread waits for beside it, such as a name that is looked up, is left.
fn within(what: impl Future<Output = Result<u8, ClientError>>) -> Result<u8, ClientError> {
    let runtime = runtime()?;
    let code = runtime.block_on(what);
    runtime.shutdown_background();
    code
}

/// One thread: a command waits for one thing at a time.
fn runtime() -> Result<Runtime, ClientError> {
    let mut builder = runtime::Builder::new_current_thread();
    let built = builder.enable_all().build();
    built.map_err(|error| ClientError::System("start the runtime", error))
}

async fn ask(
    config: Option<&Path>,
    flags: &DoorFlags,
    command: ClientCommand,
) -> Result<u8, ClientError> {
    let last_resort = LastResort::start().map_err(ClientError::signals)?;
    let door = open(config, flags)?;
    match command {
        ClientCommand::Status(status) if status.watch => {
            status::watch::watch(&door, &status, &last_resort).await
        }
        simple => tokio::select! {
            code = ask_simply(&door, &simple) => code,
            () = signals::interrupt() => Err(ClientError::Interrupted),
        },
    }
}

/// What leaves nothing behind when it is interrupted.
async fn ask_simply(door: &Door, command: &ClientCommand) -> Result<u8, ClientError> {
    match command {
        ClientCommand::Status(args) => status::once(door, args).await,
        ClientCommand::Explain(args) => explain::explain(door, args).await,
        ClientCommand::Disable(args) => orders::disable(door, args).await,
        ClientCommand::Enable(args) => orders::enable(door, args).await,
        ClientCommand::Wait(args) => wait::command(door, args).await,
        ClientCommand::Nudge(args) => orders::nudge(door, args).await,
        ClientCommand::Members(args) => orders::members(door, args).await,
        ClientCommand::Events(args) => events::events(door, args).await,
        ClientCommand::Reload(args) => orders::reload(door, args).await,
        ClientCommand::Freeze(args) => orders::freeze(door, args).await,
        ClientCommand::Thaw(args) => orders::thaw(door, args).await,
        // They are taken care of before.
        ClientCommand::Roll(_) | ClientCommand::Leave(_) => Ok(DONE),
    }
}

fn open(config: Option<&Path>, flags: &DoorFlags) -> Result<Door, ClientError> {
    let place = socket::find(flags.socket.as_deref(), config)?;
    if let Some(warning) = &place.warning {
        terminal::warn(warning);
    }
    Ok(Door::new(place, flags.json)?)
}

/// Says what went wrong, in the daemon's own words where it has any.
fn tell(error: &ClientError) {
    if matches!(error, ClientError::Interrupted) {
        return;
    }
    // Without that a signal may go unheard while this is not read.
    _ = signals::end_at_once();
    if let ClientError::Ask(AskError::Refused(refusal)) = error
        && let Some(json) = &refusal.json
    {
        terminal::print_json(json);
    }
    let text = chain(error);
    if text.starts_with("pollbal ") {
        terminal::say(&text);
    } else {
        terminal::warn(&text);
    }
}

/// A value as JSON in one line.
fn line(value: &impl Serialize) -> String {
    // Only a map whose keys are no texts cannot be told as JSON; there is none.
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

/// The same, laid out where people look.
fn pretty(value: &impl Serialize) -> String {
    http::laid_out(&line(value))
}
