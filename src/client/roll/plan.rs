//! Who is rolled when: pure.

use std::collections::VecDeque;

use super::names::Names;
use crate::api::Member;

/// A node that is to be rolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// `ip:port`.
    pub(super) node: String,
    pub(super) name: String,
    /// What people are told of it.
    pub(super) shown: String,
    /// What names it in a command.
    pub(super) word: String,
    /// What it served when the roll began.
    pub(super) version: Option<String>,
}

impl Target {
    pub(super) fn new(member: Member, names: &Names) -> Self {
        Self {
            shown: names.shown(&member.name, &member.node),
            word: names.word(&member.name, &member.node).to_owned(),
            node: member.node,
            name: member.name,
            version: member.version,
        }
    }
}

/// What became of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It serves again.
    Done,
    /// Others keep it out: it was left to them.
    PassedOver(String),
    /// Why it failed, and how it is left.
    Failed { why: String, left: Left },
    /// The roll ended before it could be taken out.
    NotBegun,
}

/// How a node that failed is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// As it was, or in again: this roll does not keep it out.
    Untouched,
    /// It stays disabled.
    Disabled,
    /// What became of the last order is not known.
    Unknown,
}

impl Left {
    /// For people; none for one that is as it was.
    pub(super) fn words(self) -> Option<&'static str> {
        match self {
            Self::Untouched => None,
            Self::Disabled => Some("stays disabled"),
            Self::Unknown => Some("may be disabled"),
        }
    }
}

/// The order of nodes, and how far each is.
#[derive(Debug)]
pub(super) struct Plan {
    total: usize,
    left: VecDeque<Target>,
    /// Each with what is done there, for people.
    under_way: Vec<(Target, String)>,
    done: usize,
    passed_over: Vec<(Target, String)>,
    failed: Vec<(Target, String, Left)>,
    /// No other is begun.
    closed: bool,
}

impl Plan {
    pub(super) fn new(targets: Vec<Target>) -> Self {
        Self {
            total: targets.len(),
            left: targets.into(),
            under_way: Vec::new(),
            done: 0,
            passed_over: Vec::new(),
            failed: Vec::new(),
            closed: false,
        }
    }

    /// The next node; none when all have had their turn, or no other is to be begun.
    pub(super) fn take(&mut self) -> Option<Target> {
        if self.closed {
            return None;
        }
        let target = self.left.pop_front()?;
        self.under_way.push((target.clone(), String::new()));
        Some(target)
    }

    /// Says what is done at a node now; whether that is something else than before.
    pub(super) fn say(&mut self, target: &Target, what: &str) -> bool {
        let Some((_, said)) = self.under_way.iter_mut().find(|(one, _)| one == target) else {
            return false;
        };
        let differs = said != what;
        if differs {
            what.clone_into(said);
        }
        differs
    }

    /// A node has had its turn. A failure is the end of the roll.
    pub(super) fn end(&mut self, target: &Target, outcome: Outcome) {
        self.under_way.retain(|(one, _)| one != target);
        match outcome {
            Outcome::Done => self.done += 1,
            Outcome::PassedOver(why) => self.passed_over.push((target.clone(), why)),
            Outcome::Failed { why, left } => {
                self.failed.push((target.clone(), why, left));
                self.close();
            }
            Outcome::NotBegun => self.left.push_front(target.clone()),
        }
    }

    /// Begins no other.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether another is to be begun.
    pub(super) fn goes_on(&self) -> bool {
        !self.closed && !self.left.is_empty()
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// How many have had their turn.
    pub(super) fn over(&self) -> usize {
        self.done + self.passed_over.len() + self.failed.len()
    }

    pub(super) fn done(&self) -> usize {
        self.done
    }

    pub(super) fn left(&self) -> impl ExactSizeIterator<Item = &Target> {
        self.left.iter()
    }

    pub(super) fn under_way(&self) -> &[(Target, String)] {
        &self.under_way
    }

    /// Whether others than this node are under way.
    pub(super) fn has_others(&self, target: &Target) -> bool {
        self.under_way.iter().any(|(one, _)| one != target)
    }

    pub(super) fn passed_over(&self) -> &[(Target, String)] {
        &self.passed_over
    }

    /// Who failed, why, and how it is left.
    pub(super) fn failed(&self) -> &[(Target, String, Left)] {
        &self.failed
    }

    /// Whether each node was rolled.
    pub(super) fn is_complete(&self) -> bool {
        self.done == self.total
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn target(number: usize) -> Target {
        Target {
            node: format!("10.0.0.{number}:80"),
            name: format!("node-{number}"),
            shown: format!("node-{number}"),
            word: format!("node-{number}"),
            version: None,
        }
    }

    pub(in super::super) fn plan(nodes: usize) -> Plan {
        Plan::new((1..=nodes).map(target).collect())
    }

    #[test]
    fn nodes_have_their_turn_in_order_and_once() {
        let mut plan = plan(3);
        let mut turns = Vec::new();
        while let Some(target) = plan.take() {
            plan.end(&target, Outcome::Done);
            turns.push(target);
        }
        assert_eq!(turns, [target(1), target(2), target(3)]);
        assert!(plan.is_complete() && !plan.goes_on());
    }

    #[test]
    fn a_failure_ends_it_and_those_under_way_go_on() {
        let mut plan = plan(4);
        let first = plan.take().unwrap();
        let second = plan.take().unwrap();
        let failed = Outcome::Failed {
            why: "exit code 1".to_owned(),
            left: Left::Disabled,
        };
        plan.end(&first, failed);
        assert_eq!(plan.take(), None);
        assert_eq!(plan.under_way().len(), 1);
        assert!(plan.has_others(&first) && !plan.has_others(&second));
        plan.end(&second, Outcome::Done);
        assert_eq!((plan.done(), plan.left().len(), plan.over()), (1, 2, 2));
        assert!(!plan.is_complete());
        assert_eq!(plan.failed()[0].0, target(1));
    }

    #[test]
    fn one_that_was_not_begun_is_left_and_one_that_was_passed_over_is_not_done() {
        let mut plan = plan(3);
        let first = plan.take().unwrap();
        plan.end(&first, Outcome::PassedOver("kernel".to_owned()));
        assert!(plan.goes_on());
        let second = plan.take().unwrap();
        plan.close();
        plan.end(&second, Outcome::NotBegun);
        let left: Vec<_> = plan.left().cloned().collect();
        assert_eq!(left, [target(2), target(3)]);
        assert!(!plan.is_complete() && !plan.goes_on());
    }

    #[test]
    fn what_is_said_twice_is_news_once() {
        let mut plan = plan(1);
        let first = plan.take().unwrap();
        assert!(plan.say(&first, "at rest"));
        assert!(!plan.say(&first, "at rest"));
        assert!(plan.say(&first, "the command runs"));
    }
}
