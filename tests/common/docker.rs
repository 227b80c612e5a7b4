//! Docker's own program, how the containers of one run are called, and what is asked inside them.

use std::env;
use std::process::{self, Command, Output};

/// A shell's commands that ask Perlbal's management socket; `quit` makes it hang up behind its answer. One that stands
/// still is not waited for.
const ASK: &str = r#"exec 3<>/dev/tcp/127.0.0.1/16000 && printf '%s \r\nquit\r\n' "$1" >&3 && timeout 10 cat <&3"#;

/// The same of `HAProxy`'s stats socket, which hangs up behind an answer by itself.
const ASK_HAPROXY: &str =
    r#"exec 3<>/dev/tcp/127.0.0.1/16001 && printf '%s\n' "$1" >&3 && timeout 10 cat <&3"#;

/// The begin of every name that this run gives in Docker. Anyone who ends the run by force finds what is left by it:
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

/// Runs a shell's commands in a container, which may fail; `$1` is the argument.
pub(crate) fn shell(container: &str, commands: &str, argument: &str) -> Output {
    let shell = ["exec", container, "bash", "-c", commands, "bash", argument];
    let output = Command::new("docker").args(shell).output();
    output.expect("failed to start docker")
}

/// Sends a command to the management socket of the Perlbal that shares a container's loopback, and gives the lines of
/// the answer without its end (`.`, or `OK` to a change); or why there is none.
pub(crate) fn ask_perlbal(container: &str, command: &str) -> Result<Vec<String>, String> {
    let output = shell(container, ASK, command);
    if !output.status.success() {
        return Err(text(&output));
    }
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = answer.lines().map(|line| line.trim_end().to_owned());
    Ok(lines
        .take_while(|line| line != "." && line != "OK")
        .collect())
}

/// Sends a command to the stats socket of the `HAProxy` that shares a container's loopback, and gives the lines of the
/// answer; or why there is none.
pub(crate) fn ask_haproxy(container: &str, command: &str) -> Result<Vec<String>, String> {
    let output = shell(container, ASK_HAPROXY, command);
    if !output.status.success() {
        return Err(text(&output));
    }
    let answer = String::from_utf8_lossy(&output.stdout);
    Ok(answer.lines().map(str::to_owned).collect())
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

/// Runs a command that tidies up: a failure is reported and is no panic, since there may be one already.
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
