//! How a roll is told: a bar on a terminal, else a line for each step, or each as JSON.

use std::io;

use ::console::{measure_text_width, truncate_str};
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::super::output::Output;
use super::super::signals::Interrupts;
use super::super::terminal;
use super::super::words::now;
use super::plan::{Plan, Target};
use crate::api::{RollStep, Step};
use crate::model::text::printable;

/// Where steps are told. A terminal that is gone or stopped is no reason to leave a roll half done, so nothing
/// here fails or waits for it, but where that is said.
pub(super) struct Report {
    form: Form,
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Lines,
    Bar,
}

impl Report {
    pub(super) fn new(json: bool, plan: &Plan) -> io::Result<Self> {
        // Without a terminal it draws nothing.
        let bar = ProgressBar::new(plan.total() as u64);
        let form = match json {
            true => Form::Json,
            false if bar.is_hidden() => Form::Lines,
            false => Form::Bar,
        };
        let output = Output::start((form == Form::Bar).then_some(bar))?;
        let report = Self { form, output };
        report
            .output
            .draw(|bar| bar.enable_steady_tick(terminal::TICK));
        report.show(plan);
        Ok(report)
    }

    /// Whether the command's output may go where this program's goes, without a word from here.
    pub(super) fn leaves_output_alone(&self) -> bool {
        self.form == Form::Lines
    }

    /// Whether standard output is for JSON alone.
    pub(super) fn is_json(&self) -> bool {
        self.form == Form::Json
    }

    /// A step of a node.
    pub(super) fn step(&self, target: &Target, step: Step, text: &str) {
        let text = printable(text);
        match self.form {
            Form::Json => self.json(Some(target), step, text),
            Form::Bar if !step.is_last() => {}
            Form::Bar | Form::Lines => self.output.print(&format!("{}: {text}\n", target.shown)),
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
        match self.form {
            Form::Json => self.json(target, step, printable(text)),
            Form::Bar | Form::Lines => self.output.warn(text),
        }
    }

    /// Draws how far it is.
    pub(super) fn show(&self, plan: &Plan) {
        let over = plan.over() as u64;
        let (numbers, rest) = (numbers(plan), printable(&rest(plan)));
        self.output.draw(move |bar| {
            let layout = Layout::new(terminal::width(), &numbers);
            if let Ok(style) = ProgressStyle::with_template(&layout.template()) {
                bar.set_style(style);
            }
            bar.set_position(over);
            bar.set_prefix(numbers);
            bar.set_message(truncate_str(&rest, layout.rest, "…").into_owned());
        });
    }

    /// What a command said. Who says more than is read waits, as where it writes by itself, unless all is to end.
    pub(super) async fn output(&self, bytes: Vec<u8>, is_error: bool, enough: &CancellationToken) {
        self.output.pass_on(bytes, is_error || self.is_json());
        self.written(enough).await;
    }

    /// Waits until all is written, unless all is to end.
    pub(super) async fn written(&self, enough: &CancellationToken) {
        self.output.written(enough).await;
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        self.output.draw(ProgressBar::finish_and_clear);
    }

    /// All went well.
    pub(super) fn last(&self, text: &str) {
        match self.form {
            Form::Json => self.json(None, Step::Ended, text.to_owned()),
            Form::Bar | Form::Lines => self.output.print(&format!("{text}\n")),
        }
    }

    /// Waits in the end until all is written, unless a signal has come.
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
