//! What was found: a row per figure for people, as soon as it is known, and everything as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::Outcome;

/// What a figure must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// At most this part of `HAProxy`'s figure of the same run.
    OfHaproxy(f64),
    /// Less than this many times the floor's.
    OfFloor(f64),
}

/// One thing that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// For programs; it stays the same.
    id: String,
    what: String,
    unit: &'static str,
    pollbal: f64,
    haproxy: Option<f64>,
    floor: Option<f64>,
    goal: Option<Goal>,
}

impl Figure {
    pub(crate) fn new(
        id: impl Into<String>,
        what: impl Into<String>,
        unit: &'static str,
        pollbal: f64,
    ) -> Self {
        Self {
            id: id.into(),
            what: what.into(),
            unit,
            pollbal,
            haproxy: None,
            floor: None,
            goal: None,
        }
    }

    pub(crate) fn beside(mut self, haproxy: Option<f64>, floor: Option<f64>) -> Self {
        (self.haproxy, self.floor) = (haproxy, floor);
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    /// The same with another goal, under another id.
    pub(crate) fn also(&self, id: &str, goal: Goal) -> Self {
        let mut other = self.clone().goal(goal);
        other.id = format!("{}.{id}", self.id);
        other
    }

    /// Whether the goal is met, where there is one and what it is compared with is known.
    fn met(&self) -> Option<bool> {
        Some(match self.goal? {
            Goal::AtMost(limit) => self.pollbal <= limit,
            Goal::AtLeast(limit) => self.pollbal >= limit,
            Goal::OfHaproxy(part) => self.pollbal <= self.haproxy? * part,
            Goal::OfFloor(times) => self.pollbal < self.floor? * times,
        })
    }

    fn expected(&self) -> String {
        match self.goal {
            None => String::new(),
            Some(Goal::AtMost(limit)) => format!("≤ {}", number(limit)),
            Some(Goal::AtLeast(limit)) => format!("≥ {}", number(limit)),
            Some(Goal::OfHaproxy(part)) => format!("≤ {part} × HAProxy"),
            Some(Goal::OfFloor(times)) => format!("< {times} × floor"),
        }
    }

    fn json(&self) -> Value {
        let limit = match self.goal {
            Some(Goal::AtMost(limit) | Goal::AtLeast(limit)) => Some(limit),
            Some(Goal::OfHaproxy(part)) => self.haproxy.map(|haproxy| haproxy * part),
            Some(Goal::OfFloor(times)) => self.floor.map(|floor| floor * times),
            None => None,
        };
        json!({
            "id": self.id,
            "what": self.what,
            "unit": self.unit,
            "pollbal": self.pollbal,
            "haproxy": self.haproxy,
            "floor": self.floor,
            "goal": self.goal.map(|_| self.expected()),
            "limit": limit,
            "met": self.met(),
        })
    }
}

/// As many digits as say something.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 | 1000.0.. => 0,
        100.0..1000.0 => 1,
        10.0..100.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    // 18 rather than 18.00.
    match text.split_once('.') {
        Some((whole, part)) if part.bytes().all(|digit| digit == b'0') => whole.to_owned(),
        _ => text,
    }
}

/// All figures of a run.
pub(crate) struct Report {
    about: BTreeMap<&'static str, Value>,
    figures: Vec<Figure>,
    notes: Vec<String>,
    quick: bool,
}

const WIDTH: usize = 62;

impl Report {
    /// Begins a report and its table; of a quick run it has no goals.
    pub(crate) fn new(about: BTreeMap<&'static str, Value>, quick: bool) -> Self {
        for (key, value) in &about {
            match value {
                Value::String(text) => println!("{key}: {text}"),
                other => println!("{key}: {other}"),
            }
        }
        println!(
            "\n{:WIDTH$} {:>9} {:>9} {:>9}  {:15}",
            "figure", "pollbal", "HAProxy", "floor", "goal"
        );
        Self {
            about,
            figures: Vec::new(),
            notes: Vec::new(),
            quick,
        }
    }

    pub(crate) fn add(&mut self, mut figure: Figure) {
        if self.quick {
            // Nothing can be said of goals.
            figure.goal = None;
        }
        let optional = |value: Option<f64>| value.map(number).unwrap_or_default();
        let verdict = match figure.met() {
            Some(true) => "ok",
            Some(false) => "MISSED",
            None => "",
        };
        let what = match figure.unit {
            "" => figure.what.clone(),
            unit => format!("{}, {unit}", figure.what),
        };
        let row = format!(
            "{what:WIDTH$} {:>9} {:>9} {:>9}  {:15} {verdict}",
            number(figure.pollbal),
            optional(figure.haproxy),
            optional(figure.floor),
            figure.expected(),
        );
        println!("{}", row.trim_end());
        self.figures.push(figure);
    }

    /// Something that a reader of the figures must know.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        println!("note: {note}");
        self.notes.push(note);
    }

    /// Whether no goal was missed.
    pub(crate) fn good(&self) -> bool {
        self.figures
            .iter()
            .all(|figure| figure.met() != Some(false))
    }

    pub(crate) fn finish(&self) {
        if self.quick {
            return;
        }
        let goals = self.figures.iter().filter_map(Figure::met);
        let (met, missed): (Vec<bool>, Vec<bool>) = goals.partition(|met| *met);
        println!("\n{} goals met, {} missed", met.len(), missed.len());
    }

    pub(crate) fn json(&self) -> Outcome<String> {
        let figures: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        let whole = json!({ "about": self.about, "figures": figures, "notes": self.notes });
        Ok(serde_json::to_string_pretty(&whole)? + "\n")
    }
}
