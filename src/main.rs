//! The `pollbal` program: parses its arguments, calls the library, chooses the exit code.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use pollbal::cli::{self, Command, Invocation, RunFlags};
use pollbal::daemon::{DaemonError, Options, Outcome, run};
use pollbal::drivers::Mode;
use pollbal::stdout::print;
use pollbal::{check, client, fd_limits, logging, supervision, threads};
use tracing::error;

/// Exit code: usage error (sysexits.h, `EX_USAGE`).
const USAGE: u8 = 64;
/// Exit code: the configuration is invalid, or what it names cannot be used (sysexits.h, `EX_CONFIG`).
const CONFIG: u8 = 78;

fn main() -> ExitCode {
    let invocation = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(message) => {
            // Includes the output of `--help` and `--version`. If printing fails, there is nothing left to do.
            _ = message.print();
            return if message.use_stderr() {
                USAGE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match invocation.command {
        Command::Check => check(&invocation),
        Command::Run(ref flags) => daemon(&invocation, flags),
        Command::Client(command) => client::run(
            invocation.config.as_deref(),
            &invocation.socket_args,
            command,
        ),
    }
}

fn check(invocation: &Invocation) -> ExitCode {
    match check::check(invocation.config()) {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(errors) => {
            // There is nowhere left to report a failure.
            _ = writeln!(io::stderr(), "{errors}");
            CONFIG.into()
        }
    }
}

fn daemon(invocation: &Invocation, flags: &RunFlags) -> ExitCode {
    if let Err(error) = logging::start(flags.level()) {
        _ = writeln!(
            io::stderr(),
            "failed to start the log's thread: {error}{}",
            threads::threads_hint(&error)
        );
        return supervision::SOFTWARE.into();
    }
    supervision::end_at_panic();
    let code = serve(invocation, flags);
    logging::finish();
    code
}

fn serve(invocation: &Invocation, flags: &RunFlags) -> ExitCode {
    fd_limits::raise_open_files();
    let mode = if flags.dry_run {
        Mode::DryRun
    } else {
        Mode::Live
    };
    let options = Options {
        config: invocation.config().to_owned(),
        mode,
        once: flags.once,
        accept_removals: flags.accept_removals,
    };
    // Single-threaded: handling a response takes microseconds, less than waking another thread. Files are written by
    // separate threads.
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
    // A thread that hangs on a slow disk must not delay the exit.
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
