//! How a roll is told: a bar on a terminal, else a line for each step, or each as JSON.

use std::fmt::Write as _;
use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressStyle};

use super::super::line;
use super::super::terminal;
use super::super::words::now;
use super::plan::{Plan, Target};
use crate::api::{RollStep, Step};
use crate::drivers::console;
use crate::model::text::printable;

/// Where steps are told. A terminal that is gone is no reason to leave a roll half done, so nothing
/// here fails.
pub(super) enum Report {
    Json,
    Lines,
    Bar(ProgressBar),
}

impl Report {
    pub(super) fn new(json: bool, plan: &Plan) -> Self {
        if json {
            return Self::Json;
        }
        // Without a terminal it draws nothing.
        let bar = ProgressBar::new(plan.total() as u64);
        if bar.is_hidden() {
            return Self::Lines;
        }
        let template = "{bar:20} {pos} of {len}, {elapsed}{wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(terminal::TICK);
        Self::Bar(bar)
    }

    /// Whether the command's output may go where this program's goes, without a word from here.
    pub(super) fn leaves_output_alone(&self) -> bool {
        matches!(self, Self::Lines)
    }

    /// Whether standard output is for JSON alone.
    pub(super) fn is_json(&self) -> bool {
        matches!(self, Self::Json)
    }

    /// A step of a node.
    pub(super) fn step(&self, target: &Target, step: Step, text: &str) {
        let text = printable(text);
        match self {
            Self::Json => json(Some(target), step, text),
            Self::Bar(_) if !step.is_last() => {}
            Self::Bar(_) | Self::Lines => self.print(&format!("{}: {text}\n", target.shown)),
        }
    }

    /// Something about the roll as a whole.
    pub(super) fn note(&self, step: Step, text: &str) {
        self.remark(None, step, text);
    }

    /// How a node is left in the end.
    pub(super) fn end_of(&self, target: &Target, text: &str) {
        self.remark(Some(target), Step::Ended, text);
    }

    fn remark(&self, target: Option<&Target>, step: Step, text: &str) {
        match self {
            Self::Json => json(target, step, printable(text)),
            Self::Bar(_) | Self::Lines => {
                self.suspend(|| terminal::warn(text));
            }
        }
    }

    /// Draws how far it is.
    pub(super) fn show(&self, plan: &Plan) {
        let Self::Bar(bar) = self else {
            return;
        };
        bar.set_position(plan.over() as u64);
        bar.set_message(printable(&message(plan)));
    }

    /// What a command said.
    pub(super) fn output(&self, bytes: &[u8], is_error: bool) {
        self.suspend(|| {
            _ = if is_error || self.is_json() {
                io::stderr().write_all(bytes)
            } else {
                io::stdout()
                    .write_all(bytes)
                    .and_then(|()| io::stdout().flush())
            };
        });
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }

    /// All went well.
    pub(super) fn last(&self, text: &str) {
        match self {
            Self::Json => json(None, Step::Ended, text.to_owned()),
            Self::Bar(_) | Self::Lines => self.print(&format!("{text}\n")),
        }
    }

    fn print(&self, text: &str) {
        self.suspend(|| _ = console::write(text));
    }

    /// Does something while the bar is not in the way.
    fn suspend(&self, what: impl FnOnce()) {
        match self {
            Self::Bar(bar) => bar.suspend(what),
            Self::Json | Self::Lines => what(),
        }
    }
}

fn json(target: Option<&Target>, step: Step, text: String) {
    let step = RollStep {
        time: now(),
        node: target.map(|target| target.node.clone()),
        name: target.map(|target| target.name.clone()),
        step,
        text,
    };
    _ = console::write(&line(&step));
}

/// `; node-3: at rest, the command runs; 2 left`.
fn message(plan: &Plan) -> String {
    let mut text = String::new();
    for (target, what) in plan.under_way() {
        _ = write!(text, "; {}: {what}", target.shown);
    }
    format!("{text}; {} left", plan.left().len())
}
