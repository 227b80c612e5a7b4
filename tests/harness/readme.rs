//! What docs/containers.md shows of the stack: run as it stands, on a stack of the test's own.

use std::process::Command;

use crate::book::{replace, section};
use crate::common::becomes;
use crate::common::docker::succeed;

use super::balancer::perlbal::Perlbal;
use super::containers::{Containers, compose};
use super::site::DEADLINE;
use super::world::Needs;

/// Its section.
const SECTION: &str = "A whole site in containers";

/// The name of this trial.
pub(crate) const NAME: &str = "what_the_readme_shows";

/// Each command comes to print what is shown, as soon as what was said before it holds.
pub(crate) fn run() {
    let stack = Containers::new(Needs::default(), &Perlbal);
    let words = words(&stack);
    let blocks = section(SECTION);
    assert_eq!(blocks[0].info, "sh", "how it is started comes first");
    succeeds(&stack, &replace(&blocks[0].text, &words));
    for block in &blocks[1..] {
        for (command, shown) in block.commands() {
            let (command, shown) = (replace(&command, &words), replace(&shown, &words));
            if shown.is_empty() {
                succeeds(&stack, &command);
            } else {
                becomes(DEADLINE, &command, &sorted(&shown), || {
                    sorted(&shell(&stack, &command))
                });
            }
        }
    }
}

/// Perlbal has members in the order in which they came, and nodes answer as they like.
fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// What the page has, and what that is here.
fn words(stack: &Containers) -> Vec<(String, String)> {
    let compose = compose().join(" ");
    [
        // The images are there, and no terminal is.
        (
            "docker compose up --build",
            &format!("{compose} up --no-build"),
        ),
        ("docker compose exec", &format!("{compose} exec -T")),
        ("docker compose", &compose),
        ("127.0.0.1:80", &format!("{}:80", stack.published())),
        ("198.18.42", &stack.net()),
    ]
    .map(|(shown, here)| (shown.to_owned(), here.to_owned()))
    .to_vec()
}

/// Runs a command that is not there for what it prints.
fn succeeds(stack: &Containers, command: &str) {
    succeed(&mut bash(stack, command));
}

/// What a command prints on standard output.
fn shell(stack: &Containers, command: &str) -> String {
    let output = bash(stack, command).output();
    let output = output.expect("failed to start bash");
    // A terminal shows no difference.
    String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n")
}

/// A command as a person would type it.
fn bash(stack: &Containers, command: &str) -> Command {
    let mut bash = Command::new("bash");
    bash.args(["-c", command]).envs(stack.environment());
    bash
}
