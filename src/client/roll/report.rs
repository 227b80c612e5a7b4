//! How a roll is told: a bar on a terminal, else a line for each step, or each as JSON.

use std::io::{self, Write};

use ::console::{measure_text_width, truncate_str};
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
        bar.enable_steady_tick(terminal::TICK);
        let report = Self::Bar(bar);
        report.show(plan);
        report
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
        let numbers = numbers(plan);
        let layout = Layout::new(terminal::width(), &numbers);
        if let Ok(style) = ProgressStyle::with_template(&layout.template()) {
            bar.set_style(style);
        }
        bar.set_position(plan.over() as u64);
        bar.set_prefix(numbers);
        let rest = printable(&rest(plan));
        bar.set_message(truncate_str(&rest, layout.rest, "…").into_owned());
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

/// The longest bar.
const BAR: usize = 20;
/// A shorter one says nothing.
const SHORTEST_BAR: usize = 4;
/// How long it has taken, such as `59s`.
const ELAPSED: usize = 3;

/// What stands in the one line, in columns: numbers, the bar, the time, and the rest.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    bar: usize,
    rest: usize,
}

impl Layout {
    /// Numbers come first, whatever the width; the bar has a part of what they leave.
    fn new(width: usize, numbers: &str) -> Self {
        let free = width.saturating_sub(measure_text_width(numbers) + ELAPSED + 2);
        let bar = (free / 4).min(BAR);
        if bar < SHORTEST_BAR {
            return Self { bar: 0, rest: free };
        }
        let rest = free - bar - 1;
        Self { bar, rest }
    }

    fn template(&self) -> String {
        let bar = match self.bar {
            0 => String::new(),
            bar => format!(" {{bar:{bar}}}"),
        };
        format!("{{prefix}}{bar} {{elapsed:>{ELAPSED}}} {{wide_msg}}")
    }
}

/// `2 done, 1 being done, 3 left`.
fn numbers(plan: &Plan) -> String {
    format!(
        "{} done, {} being done, {} left",
        plan.done(),
        plan.under_way().len(),
        plan.left().len()
    )
}

/// `1 passed over; node-3: at rest; the command runs`.
fn rest(plan: &Plan) -> String {
    let passed_over = match plan.passed_over().len() {
        0 => None,
        number => Some(format!("{number} passed over")),
    };
    let under_way = plan.under_way().iter();
    let under_way = under_way.map(|(target, what)| format!("{}: {what}", target.shown));
    let parts: Vec<_> = passed_over.into_iter().chain(under_way).collect();
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::plan;
    use super::*;
    use crate::client::roll::plan::Outcome;

    #[test]
    fn numbers_stand_at_any_width_and_the_bar_shrinks_with_it() {
        let numbers = "12 done, 3 being done, 105 left";
        let layout = |width| {
            let Layout { bar, rest } = Layout::new(width, numbers);
            (bar, rest)
        };
        assert_eq!(layout(200), (20, 143));
        assert_eq!(layout(80), (11, 32));
        assert_eq!(layout(40), (0, 4));
        assert_eq!(layout(20), (0, 0));
        // The whole line fits.
        for width in 40..200 {
            let (bar, rest) = layout(width);
            let bar = if bar == 0 { 0 } else { bar + 1 };
            assert_eq!(numbers.len() + bar + 1 + ELAPSED + 1 + rest, width);
        }
    }

    #[test]
    fn what_is_done_being_done_and_left_is_told_before_what_is_done_where() {
        let mut plan = plan(6);
        let first = plan.take().unwrap();
        plan.end(&first, Outcome::Done);
        let second = plan.take().unwrap();
        plan.end(&second, Outcome::PassedOver("disk".to_owned()));
        for _ in 0..2 {
            let target = plan.take().unwrap();
            plan.say(&target, "at rest");
        }
        assert_eq!(numbers(&plan), "1 done, 2 being done, 2 left");
        assert_eq!(
            rest(&plan),
            "1 passed over; node-3: at rest; node-4: at rest"
        );
    }
}
