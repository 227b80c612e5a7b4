//! The `pollbal` program: parses its arguments, calls the library, chooses the exit code.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use pollbal::cli::{self, Asked, Command, RunFlags};
use pollbal::daemon::{DaemonError, Options, Outcome, run};
use pollbal::drivers::Mode;
use pollbal::stdout::print;
use pollbal::{check, client, fd_limits, logging, supervision, threads};
use tracing::error;

/// The command line is wrong (sysexits.h, `EX_USAGE`).
const USAGE: u8 = 64;
/// The configuration is wrong, or what it names cannot be had (sysexits.h, `EX_CONFIG`).
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
        Command::Client(command) => client::run(asked.config.as_deref(), &asked.door, command),
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
    if let Err(error) = logging::start(flags.level()) {
        _ = writeln!(
            io::stderr(),
            "failed to start the log's thread: {error}{}",
            threads::threads_hint(&error)
        );
        return supervision::SOFTWARE.into();
    }
    supervision::end_at_panic();
    let code = serve(asked, flags);
    logging::finish();
    code
}

fn serve(asked: &Asked, flags: &RunFlags) -> ExitCode {
    fd_limits::raise_open_files();
    let mode = if flags.dry_run {
        Mode::DryRun
    } else {
        Mode::Live
    };
    let options = Options {
        config: asked.config().to_owned(),
        mode,
        once: flags.once,
        accept_removals: flags.accept_removals,
    };
    // One thread: an answer and what follows from it are a matter of microseconds, less than it
    // takes to wake another thread. Files are written by threads of their own.
    let runtime = match threads::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(
                "failed to start the runtime: {error}{}",
                threads::threads_hint(&error)
            );
            return supervision::SOFTWARE.into();
        }
    };
    let ended = runtime.block_on(run(options));
    // A thread that hangs on a slow disk does not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match ended {
        Ok(Outcome::Success) => ExitCode::SUCCESS,
        Ok(Outcome::OutOfSync) => ExitCode::FAILURE,
        Err(error) => {
            logging::errors(&logging::chain(&error));
            match error {
                DaemonError::Config(_) | DaemonError::Listener(_) | DaemonError::State(_) => {
                    CONFIG.into()
                }
                DaemonError::Http(_) | DaemonError::Signals(_) => supervision::SOFTWARE.into(),
            }
        }
    }
}
