//! How well all is, or what was asked for: the model's verdict, and the problems that it is made of.

use super::status::Filter;
use super::time;
use crate::api;
use crate::control::Summary;
use crate::model::conditions::{Condition, well};
use crate::model::health::{Verdict, in_numbers};
use crate::model::node_counts::Counts;
use crate::model::node_view::NodeView;

/// A verdict, and what it is made of.
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    problems: Vec<Condition>,
}

impl Judgement {
    /// Of everything.
    pub(crate) fn of_site(whole: &Summary) -> Self {
        let now = &whole.circumstances;
        Self::on(now.conditions(), &in_numbers(&now.nodes.total()))
    }

    /// Of these nodes, each by itself.
    pub(crate) fn of_nodes<'a>(nodes: impl Iterator<Item = &'a NodeView>) -> Self {
        let (mut counts, mut problems, mut said) = (Counts::default(), Vec::new(), String::new());
        for view in nodes {
            counts.count(view.state.status());
            problems.extend(Condition::of_node(view));
            said = well(view);
        }
        problems.sort_by_key(|problem| problem.kind);
        if counts.nodes() != 1 {
            said = in_numbers(&counts);
        }
        Self::on(problems, &said)
    }

    /// Of what is asked for: pools with all that concerns them, nodes by themselves.
    pub(crate) fn of_asked<'a>(
        whole: &Summary,
        filter: &Filter,
        nodes: impl Iterator<Item = &'a NodeView>,
    ) -> Self {
        if filter.pools.is_empty() {
            return Self::of_nodes(nodes);
        }
        let now = whole.circumstances.clone().only(&filter.pools);
        let mut problems = now.conditions();
        problems.extend(Self::of_nodes(nodes).problems);
        problems.sort_by_key(|problem| problem.kind);
        let counts = now.nodes.only(&filter.pools).total();
        Self::on(problems, &in_numbers(&counts))
    }

    fn on(problems: Vec<Condition>, well: &str) -> Self {
        Self {
            verdict: Verdict::on(&problems, well),
            problems,
        }
    }

    /// The texts of the problems.
    pub(crate) fn texts(&self) -> Vec<String> {
        let problems = self.problems.iter();
        problems.map(|problem| problem.text.clone()).collect()
    }

    /// The problems, with since when those hold that a person is alerted of.
    pub(crate) fn problems(&self, whole: &Summary) -> Vec<api::HealthProblem> {
        let problem = |problem: &Condition| {
            let same = |stands: &&crate::model::alerts::StandingCondition| {
                let condition = &stands.condition;
                condition.kind == problem.kind && condition.subject == problem.subject
            };
            let stands = whole.conditions.iter().find(same);
            api::HealthProblem {
                kind: problem.kind.word().to_owned(),
                severity: problem.severity(),
                subject: problem.subject.clone(),
                text: problem.text.clone(),
                since: stands.map(|stands| time(stands.since)),
            }
        };
        self.problems.iter().map(problem).collect()
    }
}
