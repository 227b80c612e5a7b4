//! The health of everything: decided here and nowhere else.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::node_counts::Counts;
use super::node_view::NodeStatus;
use super::problems::{Kind, Problem};

/// Maximum number of kinds of problems in a verdict; further ones are counted.
const MAX_KINDS: usize = 4;

/// Maximum number of problems of one kind that are named there.
const MAX_NAMES: usize = 3;

/// The health that follows from problems, with a line that says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The health.
    pub health: Health,
    /// The health and the reason, with numbers: `DEGRADED: 5 of 12 nodes down (api 3/5, web 2/4)`.
    pub line: String,
}

/// The health of everything, the best first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// No problem.
    #[default]
    Ok,
    /// Clients are served, but something is wrong.
    Degraded,
    /// Clients are not served as they should be, or may soon not be.
    Critical,
}

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// See [`Health::Degraded`].
    Degraded,
    /// See [`Health::Critical`].
    Critical,
}

impl Health {
    /// The health of something with these problems.
    #[must_use]
    pub fn of(problems: impl IntoIterator<Item = Severity>) -> Self {
        let worst = problems.into_iter().max();
        worst.map_or(Self::Ok, Severity::health)
    }

    /// The word that verdicts begin with.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Degraded => "DEGRADED",
            Self::Critical => "CRITICAL",
        }
    }

    /// As a number, for exit codes and metrics: 0, 1, 2.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Degraded => 1,
            Self::Critical => 2,
        }
    }
}

impl Verdict {
    /// The verdict on these problems, the worst first; `well` is its text where there is none.
    #[must_use]
    pub fn on(problems: &[Problem], well: &str) -> Self {
        let health = if problems
            .iter()
            .any(|problem| problem.kind == Kind::Starting)
        {
            // The desired state is not known yet, so nothing that differs from it is worse.
            Health::Degraded
        } else {
            Health::of(problems.iter().map(Problem::severity))
        };
        let reasons = if problems.is_empty() {
            well.to_owned()
        } else {
            in_brief(problems)
        };
        let line = format!("{}: {reasons}", health.label());
        Self { health, line }
    }
}

/// `12 nodes: 10 in pools, 2 disabled`.
#[must_use]
pub fn in_numbers(counts: &Counts) -> String {
    let (all, members) = (counts.nodes(), counts.at(NodeStatus::Member));
    let nodes = if all == 1 { "node" } else { "nodes" };
    let mut text = format!("{all} {nodes}: {members} in pools");
    let out = counts.describe_out();
    if !out.is_empty() {
        _ = write!(text, ", {out}");
    }
    text
}

/// A kind of problem after the other, those of one kind in sum.
fn in_brief(problems: &[Problem]) -> String {
    let empty = |pool: &Problem| {
        let is_empty = |other: &&Problem| {
            matches!(other.kind, Kind::PoolEmpty | Kind::SorryServer) && other.pool == pool.pool
        };
        problems.iter().any(|other| is_empty(&other))
    };
    // That an empty pool is below its min_members goes without saying.
    let said = problems
        .iter()
        .filter(|problem| problem.kind != Kind::PoolShort || !empty(problem));
    let mut said: Vec<_> = said.collect();
    // Why nothing is decided yet explains all the rest.
    said.sort_by_key(|problem| (problem.kind != Kind::Starting, problem.kind));
    let kinds: Vec<_> = said.chunk_by(|one, other| one.kind == other.kind).collect();
    let shown = kinds.iter().take(MAX_KINDS).map(|same| of_one_kind(same));
    let mut parts: Vec<_> = shown.collect();
    match kinds.iter().skip(MAX_KINDS).map(|same| same.len()).sum() {
        0 => {}
        1 => parts.push("1 more problem".to_owned()),
        more => parts.push(format!("{more} more problems")),
    }
    parts.join("; ")
}

fn of_one_kind(same: &[&Problem]) -> String {
    if let [only] = same {
        return only.brief.clone();
    }
    let names = same
        .iter()
        .take(MAX_NAMES)
        .map(|problem| problem.subject.as_str());
    let mut names: Vec<_> = names.collect();
    let more = format!("{} more", same.len().saturating_sub(MAX_NAMES));
    if same.len() > MAX_NAMES {
        names.push(&more);
    }
    let what = same.first().map_or("", |problem| problem.kind.of_several());
    format!("{} {what} ({})", same.len(), names.join(", "))
}

impl Severity {
    /// What one problem of this severity makes of everything.
    #[must_use]
    pub fn health(self) -> Health {
        match self {
            Self::Degraded => Health::Degraded,
            Self::Critical => Health::Critical,
        }
    }

    /// Its word, as in JSON and in `POLLBAL_SEVERITY`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Degraded => "degraded",
            Self::Critical => "critical",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_problem_decides() {
        use Severity::{Critical, Degraded};
        assert_eq!(Health::of([]), Health::Ok);
        assert_eq!(Health::of([Degraded, Degraded]), Health::Degraded);
        assert_eq!(Health::of([Degraded, Critical, Degraded]), Health::Critical);
        let all = [Health::Ok, Health::Degraded, Health::Critical];
        assert_eq!(all.map(Health::number), [0, 1, 2]);
        assert_eq!(all.map(Health::label), ["OK", "DEGRADED", "CRITICAL"]);
    }

    #[test]
    fn words_are_those_of_json() {
        for severity in [Severity::Degraded, Severity::Critical] {
            let json = serde_json::to_value(severity).unwrap();
            assert_eq!(json, severity.word());
            assert_eq!(
                serde_json::to_value(severity.health()).unwrap(),
                severity.word()
            );
        }
    }
}
