//! Prints the progress of a roll: a bar on a terminal, otherwise one line per step, or each step as JSON.

use std::io;

use ::console::{measure_text_width, truncate_str};
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::super::format::now;
use super::super::output::Output;
use super::super::signals::Interrupts;
use super::super::terminal;
use super::queue::{Queue, Target};
use crate::api::{RollStep, Step};
use crate::model::text::printable;

/// Prints steps. A terminal that is gone or stopped must not leave a roll half done, so nothing here fails, and only
/// `output`, `flush` and `finish` wait for it.
pub(super) struct Report {
    mode: OutputMode,
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OutputMode {
    Json,
    Lines,
    Bar,
}

impl Report {
    pub(super) fn new(json: bool, queue: &Queue) -> io::Result<Self> {
        // Without a terminal it draws nothing.
        let bar = ProgressBar::new(queue.total() as u64);
        let mode = match json {
            true => OutputMode::Json,
            false if bar.is_hidden() => OutputMode::Lines,
            false => OutputMode::Bar,
        };
        let output = Output::start((mode == OutputMode::Bar).then_some(bar))?;
        let report = Self { mode, output };
        report
            .output
            .draw(|bar| bar.enable_steady_tick(terminal::TICK));
        report.show(queue);
        Ok(report)
    }

    /// Whether the command may write to standard output and standard error directly.
    pub(super) fn leaves_output_alone(&self) -> bool {
        self.mode == OutputMode::Lines
    }

    /// Whether standard output is reserved for JSON.
    pub(super) fn is_json(&self) -> bool {
        self.mode == OutputMode::Json
    }

    /// Prints a step of a node.
    pub(super) fn step(&self, target: &Target, step: Step, text: &str) {
        let text = printable(text);
        match self.mode {
            OutputMode::Json => self.json(Some(target), step, text),
            OutputMode::Bar if !step.is_last() => {}
            OutputMode::Bar | OutputMode::Lines => {
                self.output.print(&format!("{}: {text}\n", target.shown));
            }
        }
    }

    /// Prints a message about the roll as a whole.
    pub(super) fn note(&self, step: Step, text: &str) {
        self.warn(None, step, text);
    }

    /// Prints the final state of a node.
    pub(super) fn final_state(&self, target: &Target, text: &str) {
        self.warn(Some(target), Step::Ended, text);
    }

    fn warn(&self, target: Option<&Target>, step: Step, text: &str) {
        match self.mode {
            OutputMode::Json => self.json(target, step, printable(text)),
            OutputMode::Bar | OutputMode::Lines => self.output.warn(text),
        }
    }

    /// Draws the bar.
    pub(super) fn show(&self, queue: &Queue) {
        let finished = queue.finished() as u64;
        let (numbers, rest) = (numbers(queue), printable(&rest(queue)));
        self.output.draw(move |bar| {
            let layout = Layout::new(terminal::width(), &numbers);
            if let Ok(style) = ProgressStyle::with_template(&layout.template()) {
                bar.set_style(style);
            }
            bar.set_position(finished);
            bar.set_prefix(numbers);
            bar.set_message(truncate_str(&rest, layout.rest, "…").into_owned());
        });
    }

    /// Prints output of a command. A command that writes faster than its output is read waits, as it does when it
    /// writes directly, until `cancel`.
    pub(super) async fn output(&self, bytes: Vec<u8>, is_error: bool, cancel: &CancellationToken) {
        self.output.write_bytes(bytes, is_error || self.is_json());
        self.flush(cancel).await;
    }

    /// Waits until everything is written, or until `cancel`.
    pub(super) async fn flush(&self, cancel: &CancellationToken) {
        self.output.flush(cancel).await;
    }

    /// Removes the bar.
    pub(super) fn clear(&self) {
        self.output.draw(ProgressBar::finish_and_clear);
    }

    /// Prints the summary of a complete roll.
    pub(super) fn summary(&self, text: &str) {
        match self.mode {
            OutputMode::Json => self.json(None, Step::Ended, text.to_owned()),
            OutputMode::Bar | OutputMode::Lines => self.output.print(&format!("{text}\n")),
        }
    }

    /// Waits at the end until everything is written; after a signal, only briefly.
    pub(super) async fn finish(&self, interrupts: &Interrupts) {
        self.output.finish(&interrupts.finish).await;
    }

    fn json(&self, target: Option<&Target>, step: Step, text: String) {
        let step = RollStep {
            time: now(),
            node: target.map(|target| target.node.clone()),
            name: target.map(|target| target.name.clone()),
            step,
            text,
        };
        self.output.json(&step);
    }
}

/// Maximum width of the bar, in columns.
const MAX_BAR: usize = 20;
/// Minimum width of the bar; where less is free, there is none.
const MIN_BAR: usize = 4;
/// Width of the elapsed time, such as `59s`.
const ELAPSED: usize = 3;

/// The widths of the variable parts of the line: numbers, bar, elapsed time, and the rest.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    bar: usize,
    rest: usize,
}

impl Layout {
    /// The numbers take precedence at any width; the bar gets a part of what they leave.
    fn new(width: usize, numbers: &str) -> Self {
        let free = width.saturating_sub(measure_text_width(numbers) + ELAPSED + 2);
        let bar = (free / 4).min(MAX_BAR);
        if bar < MIN_BAR {
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

/// `2 done, 1 in progress, 3 left`.
fn numbers(queue: &Queue) -> String {
    format!(
        "{} done, {} in progress, {} left",
        queue.done(),
        queue.in_progress().len(),
        queue.pending().len()
    )
}

/// `1 skipped; node-3: drained; running command`.
fn rest(queue: &Queue) -> String {
    let skipped = match queue.skipped().len() {
        0 => None,
        number => Some(format!("{number} skipped")),
    };
    let in_progress = queue.in_progress().iter();
    let in_progress = in_progress.map(|(target, step)| format!("{}: {step}", target.shown));
    let parts: Vec<_> = skipped.into_iter().chain(in_progress).collect();
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::queue::tests::queue;
    use super::*;
    use crate::client::roll::queue::Outcome;

    #[test]
    fn the_numbers_fit_at_any_width_and_the_bar_shrinks_with_it() {
        let numbers = "12 done, 3 in progress, 105 left";
        let layout = |width| {
            let Layout { bar, rest } = Layout::new(width, numbers);
            (bar, rest)
        };
        assert_eq!(layout(200), (20, 142));
        assert_eq!(layout(80), (10, 32));
        assert_eq!(layout(40), (0, 3));
        assert_eq!(layout(20), (0, 0));
        // The whole line fits.
        for width in 40..200 {
            let (bar, rest) = layout(width);
            let bar = if bar == 0 { 0 } else { bar + 1 };
            assert_eq!(numbers.len() + bar + 1 + ELAPSED + 1 + rest, width);
        }
    }

    #[test]
    fn the_line_has_the_numbers_and_the_step_of_each_node_in_progress() {
        let mut queue = queue(6);
        let first = queue.start_next().unwrap();
        queue.finish(&first, Outcome::Done);
        let second = queue.start_next().unwrap();
        queue.finish(&second, Outcome::Skipped("disk".to_owned()));
        for _ in 0..2 {
            let target = queue.start_next().unwrap();
            queue.set_step(&target, "drained");
        }
        assert_eq!(numbers(&queue), "1 done, 2 in progress, 2 left");
        assert_eq!(rest(&queue), "1 skipped; node-3: drained; node-4: drained");
    }
}
