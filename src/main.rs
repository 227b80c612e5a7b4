//! The `pollbal` program: parses its arguments, calls the library, chooses the exit code.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use pollbal::cli::{self, Asked, Command, RunFlags};
use pollbal::daemon::{DaemonError, Ended, Options, run};
use pollbal::drivers::Mode;
use pollbal::drivers::console::print;
use pollbal::{check, client, lifecycle, logging};
use tokio::runtime;
use tracing::error;

/// The command line is wrong (sysexits.h, `EX_USAGE`).
const USAGE: u8 = 64;
/// The configuration is wrong, or a door that it names cannot be opened (sysexits.h, `EX_CONFIG`).
const CONFIG: u8 = 78;

fn main() -> ExitCode {
    let asked = match cli::read(std::env::args_os()) {
        Ok(asked) => asked,
        Err(message) => {
            // `--help` and `--version` come here too. Nothing can be done if nobody reads it.
            _ = message.print();
            return if message.use_stderr() {
                USAGE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match asked.command {
        Command::Check => check(&asked),
        Command::Run(ref flags) => daemon(&asked, flags),
        Command::Client(command) => client::run(asked.config.as_deref(), command),
    }
}

fn check(asked: &Asked) -> ExitCode {
    match check::check(asked.config()) {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(errors) => {
            // Nobody could be told that it failed.
            _ = writeln!(io::stderr(), "{errors}");
            CONFIG.into()
        }
    }
}

fn daemon(asked: &Asked, flags: &RunFlags) -> ExitCode {
    logging::start(flags.level());
    lifecycle::raise_open_files();
    let mode = if flags.dry_run {
        Mode::DryRun
    } else {
        Mode::Live
    };
    let options = Options {
        config: asked.config().to_owned(),
        mode,
        once: flags.once,
    };
    // One thread: an answer and what follows from it are a matter of microseconds, less than it
    // takes to wake another thread. Files are written by threads of their own.
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!("failed to start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(run(options));
    // A thread that hangs on a slow disk does not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match ended {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::OutOfSync) => ExitCode::FAILURE,
        Err(error) => {
            logging::errors(&logging::chain(&error));
            if matches!(error, DaemonError::Config(_) | DaemonError::Door(_)) {
                CONFIG.into()
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
