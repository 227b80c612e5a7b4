//! The built program, run to its end.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs the built program with these arguments, and nothing of its own from the environment.
pub(crate) fn pollbal(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
    command
        .args(arguments)
        .env_remove("POLLBAL_CONFIG")
        .env_remove("POLLBAL_ADMIN_SOCKET");
    command.output().expect("failed to run pollbal")
}

/// What it said on standard output.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it said on standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A program that `perlbal/setup test` unpacked, or that of the machine.
pub(crate) fn tool(name: &str) -> PathBuf {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools");
    let ours = tools.join(name);
    if ours.exists() { ours } else { name.into() }
}
