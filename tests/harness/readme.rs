//! What docs/containers.md shows of the stacks: run as it stands, each section on a stack of the test's own.

use std::process::Command;

use crate::book::{Block, replace, section};
use crate::common::becomes;
use crate::common::docker::succeed;

use super::balancer::perlbal::Perlbal;
use super::containers::Containers;
use super::site::DEADLINE;
use super::stack::{Stack, compose};
use super::world::Needs;

/// The name of the trial of the stack with Perlbal.
pub(crate) const NAME: &str = "what_the_readme_shows";

/// Its section.
const SECTION: &str = "A whole site in containers";

/// Each command comes to print what is shown, as soon as what was said before it holds.
pub(crate) fn run() {
    let containers = Containers::new(Needs::default(), &Perlbal);
    let up = ("docker compose up --build", "up --no-build");
    let examples = Examples::new(containers.stack(), up, "198.18.42", str::to_owned);
    for block in section(SECTION) {
        examples.run(&block);
    }
}

/// A section's examples, and the stack on which they are run.
pub(crate) struct Examples<'a> {
    stack: &'a Stack,
    /// What the page has, and what that is here.
    words: Vec<(String, String)>,
    /// Makes alike what commands print differently each time.
    alike: fn(&str) -> String,
}

impl<'a> Examples<'a> {
    /// The examples of a page that has this way to bring the stack up, of which `up` gives what is the same here without
    /// Compose's name, and this network.
    pub(crate) fn new(
        stack: &'a Stack,
        (shown_up, up): (&str, &str),
        shown_net: &str,
        alike: fn(&str) -> String,
    ) -> Self {
        let compose = compose().join(" ");
        let words = [
            // The images are there, and no terminal is.
            (shown_up, &format!("{compose} {up}")),
            ("docker compose exec", &format!("{compose} exec -T")),
            ("docker compose", &compose),
            ("127.0.0.1:", &format!("{}:", stack.published())),
            (shown_net, &stack.net()),
        ]
        .map(|(shown, here)| (shown.to_owned(), here.to_owned()))
        .to_vec();
        Self {
            stack,
            words,
            alike,
        }
    }

    /// Runs a script, or each command of a console until it prints what is shown.
    pub(crate) fn run(&self, block: &Block) {
        if block.info == "sh" {
            return self.succeeds(&block.text);
        }
        for (command, shown) in block.commands() {
            if shown.is_empty() {
                self.succeeds(&command);
            } else {
                self.comes_to_print(&command, &shown);
            }
        }
    }

    /// Waits until a command prints this, in whatever order: Perlbal has members in the order in which they came, and
    /// nodes answer as they like.
    #[track_caller]
    pub(crate) fn comes_to_print(&self, command: &str, shown: &str) {
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(self.alike).collect();
            lines.sort();
            lines
        };
        let shown = sorted(&replace(shown, &self.words));
        becomes(DEADLINE, command, &shown, || sorted(&self.print(command)));
    }

    /// What a command prints on standard output.
    pub(crate) fn print(&self, command: &str) -> String {
        let output = self.bash(command).output();
        let output = output.expect("failed to start bash");
        // A terminal shows no difference.
        String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n")
    }

    /// Runs a command that is not there for what it prints.
    #[track_caller]
    pub(crate) fn succeeds(&self, command: &str) {
        succeed(&mut self.bash(command));
    }

    /// A command as a person would type it.
    fn bash(&self, command: &str) -> Command {
        let environment = self.stack.environment().iter().cloned();
        let mut bash = Command::new("bash");
        bash.args(["-c", &replace(command, &self.words)])
            .envs(environment);
        bash
    }
}
