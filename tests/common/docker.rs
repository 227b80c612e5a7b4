//! Docker's own program, and how the containers of one run are called.

use std::env;
use std::process::{self, Command, Output};

/// The begin of every name that this run gives in Docker. Whoever ends the run by force finds what is left by it:
/// `POLLBAL_RUN` says what to call the run.
pub(crate) fn run_name() -> String {
    let run = env::var("POLLBAL_RUN").unwrap_or_else(|_| process::id().to_string());
    format!("pollbal-{run}")
}

/// What `docker` with these arguments says, on standard output and error; it must succeed.
#[track_caller]
pub(crate) fn docker(args: &[&str]) -> String {
    text(&succeed(Command::new("docker").args(args)))
}

/// Runs a command that must succeed.
#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output();
    let output = output.unwrap_or_else(|why| panic!("failed to start {command:?}: {why}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        text(&output)
    );
    output
}

/// Runs a command that tidies up: a failure is told and is no panic, since there may be one already.
pub(crate) fn tidy(command: &mut Command) {
    match command.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => eprintln!("{command:?}: {}\n{}", output.status, text(&output)),
        Err(why) => eprintln!("failed to start {command:?}: {why}"),
    }
}

/// All that a command said.
pub(crate) fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes))
        .concat()
}
