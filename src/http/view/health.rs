//! The health of everything or of a selection: the model's verdict, and the problems that it is made of.

use super::status::Filter;
use super::time;
use crate::api;
use crate::control::Summary;
use crate::model::alerts::ActiveProblem;
use crate::model::health::{Verdict, in_numbers};
use crate::model::node_counts::Counts;
use crate::model::node_view::NodeView;
use crate::model::problems::{Problem, well};

/// A verdict, and what it is made of.
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    problems: Vec<Problem>,
}

impl Judgement {
    /// Of everything.
    pub(crate) fn of_site(whole: &Summary) -> Self {
        let now = &whole.system_status;
        Self::on(now.problems(), &in_numbers(&now.nodes.total()))
    }

    /// Of these nodes, each by itself.
    pub(crate) fn of_nodes<'a>(nodes: impl Iterator<Item = &'a NodeView>) -> Self {
        let (mut counts, mut problems, mut summary) =
            (Counts::default(), Vec::new(), String::new());
        for view in nodes {
            counts.count(view.state.status());
            problems.extend(Problem::of_node(view));
            summary = well(view);
        }
        problems.sort_by_key(|problem| problem.kind);
        if counts.nodes() != 1 {
            summary = in_numbers(&counts);
        }
        Self::on(problems, &summary)
    }

    /// Of a selection: pools with all that concerns them, nodes by themselves.
    pub(crate) fn of_selection<'a>(
        whole: &Summary,
        filter: &Filter,
        nodes: impl Iterator<Item = &'a NodeView>,
    ) -> Self {
        if filter.pools.is_empty() {
            return Self::of_nodes(nodes);
        }
        let now = whole.system_status.clone().only(&filter.pools);
        let mut problems = now.problems();
        problems.extend(Self::of_nodes(nodes).problems);
        problems.sort_by_key(|problem| problem.kind);
        let counts = now.nodes.only(&filter.pools).total();
        Self::on(problems, &in_numbers(&counts))
    }

    fn on(problems: Vec<Problem>, well: &str) -> Self {
        Self {
            verdict: Verdict::on(&problems, well),
            problems,
        }
    }

    /// The problems, with the times when those began that are reason for an alert.
    pub(crate) fn problems(&self, whole: &Summary) -> Vec<api::HealthProblem> {
        let problem = |problem: &Problem| {
            let is_same = |active: &&ActiveProblem| {
                let active = &active.problem;
                active.kind == problem.kind && active.subject == problem.subject
            };
            let active = whole.problems.iter().find(is_same);
            api::HealthProblem {
                kind: problem.kind.word().to_owned(),
                severity: problem.severity(),
                subject: problem.subject.clone(),
                text: problem.text.clone(),
                since: active.map(|active| time(active.since)),
            }
        };
        self.problems.iter().map(problem).collect()
    }
}
