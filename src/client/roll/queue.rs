//! The order in which nodes are rolled, and the progress of each. Pure.

use std::collections::VecDeque;

use super::labels::Labels;
use crate::api::Member;

/// A node to roll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// `ip:port`.
    pub(super) node: String,
    pub(super) name: String,
    /// Its name for people.
    pub(super) shown: String,
    /// Its argument in a command.
    pub(super) argument: String,
    /// The version that it served when the roll began.
    pub(super) version: Option<String>,
}

impl Target {
    pub(super) fn new(member: Member, labels: &Labels) -> Self {
        Self {
            shown: labels.shown(&member.name, &member.node),
            argument: labels.argument(&member.name, &member.node).to_owned(),
            node: member.node,
            name: member.name,
            version: member.version,
        }
    }
}

/// The result for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It serves again.
    Done,
    /// Somebody else's reason or a leave keeps it out, so it was skipped.
    Skipped(String),
    Failed {
        why: String,
        state: FinalState,
    },
    /// The roll ended before the node could be taken out.
    NotStarted,
}

/// The state in which the roll leaves a node that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FinalState {
    /// Not disabled by this roll.
    Untouched,
    Disabled,
    /// The result of the last request is unknown.
    Unknown,
}

impl FinalState {
    /// For people; `None` for a node that is not disabled by this roll.
    pub(super) fn text(self) -> Option<&'static str> {
        match self {
            Self::Untouched => None,
            Self::Disabled => Some("stays disabled"),
            Self::Unknown => Some("may be disabled"),
        }
    }
}

/// The nodes of a roll, in order, and the progress of each.
#[derive(Debug)]
pub(super) struct Queue {
    total: usize,
    pending: VecDeque<Target>,
    /// Each with its current step, for people.
    in_progress: Vec<(Target, String)>,
    done: usize,
    skipped: Vec<(Target, String)>,
    failed: Vec<(Target, String, FinalState)>,
    /// No other node is started.
    closed: bool,
}

impl Queue {
    pub(super) fn new(targets: Vec<Target>) -> Self {
        Self {
            total: targets.len(),
            pending: targets.into(),
            in_progress: Vec::new(),
            done: 0,
            skipped: Vec::new(),
            failed: Vec::new(),
            closed: false,
        }
    }

    /// Starts the next node; `None` if there is none or the queue is closed.
    pub(super) fn start_next(&mut self) -> Option<Target> {
        if self.closed {
            return None;
        }
        let target = self.pending.pop_front()?;
        self.in_progress.push((target.clone(), String::new()));
        Some(target)
    }

    /// Sets a node's current step; whether it differs from the previous one.
    pub(super) fn set_step(&mut self, target: &Target, text: &str) -> bool {
        let Some((_, step)) = self.in_progress.iter_mut().find(|(one, _)| one == target) else {
            return false;
        };
        let differs = step != text;
        if differs {
            text.clone_into(step);
        }
        differs
    }

    /// Finishes a node. A failure closes the queue.
    pub(super) fn finish(&mut self, target: &Target, outcome: Outcome) {
        self.in_progress.retain(|(one, _)| one != target);
        match outcome {
            Outcome::Done => self.done += 1,
            Outcome::Skipped(why) => self.skipped.push((target.clone(), why)),
            Outcome::Failed { why, state } => {
                self.failed.push((target.clone(), why, state));
                self.close();
            }
            Outcome::NotStarted => self.pending.push_front(target.clone()),
        }
    }

    /// Makes the queue start no other node.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether another node will be started.
    pub(super) fn has_next(&self) -> bool {
        !self.closed && !self.pending.is_empty()
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// The number of nodes that are finished, whatever the outcome.
    pub(super) fn finished(&self) -> usize {
        self.done + self.skipped.len() + self.failed.len()
    }

    pub(super) fn done(&self) -> usize {
        self.done
    }

    pub(super) fn pending(&self) -> impl ExactSizeIterator<Item = &Target> {
        self.pending.iter()
    }

    pub(super) fn in_progress(&self) -> &[(Target, String)] {
        &self.in_progress
    }

    /// Whether nodes other than this one are in progress.
    pub(super) fn has_others(&self, target: &Target) -> bool {
        self.in_progress.iter().any(|(one, _)| one != target)
    }

    pub(super) fn skipped(&self) -> &[(Target, String)] {
        &self.skipped
    }

    /// The nodes that failed, why, and in which state they are left.
    pub(super) fn failed(&self) -> &[(Target, String, FinalState)] {
        &self.failed
    }

    /// Whether every node was rolled.
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
            argument: format!("node-{number}"),
            version: None,
        }
    }

    pub(in super::super) fn queue(nodes: usize) -> Queue {
        Queue::new((1..=nodes).map(target).collect())
    }

    #[test]
    fn nodes_are_started_in_order_and_once() {
        let mut queue = queue(3);
        let mut turns = Vec::new();
        while let Some(target) = queue.start_next() {
            queue.finish(&target, Outcome::Done);
            turns.push(target);
        }
        assert_eq!(turns, [target(1), target(2), target(3)]);
        assert!(queue.is_complete() && !queue.has_next());
    }

    #[test]
    fn a_failure_closes_the_queue_and_nodes_in_progress_go_on() {
        let mut queue = queue(4);
        let first = queue.start_next().unwrap();
        let second = queue.start_next().unwrap();
        let failed = Outcome::Failed {
            why: "exit code 1".to_owned(),
            state: FinalState::Disabled,
        };
        queue.finish(&first, failed);
        assert_eq!(queue.start_next(), None);
        assert_eq!(queue.in_progress().len(), 1);
        assert!(queue.has_others(&first) && !queue.has_others(&second));
        queue.finish(&second, Outcome::Done);
        assert_eq!(
            (queue.done(), queue.pending().len(), queue.finished()),
            (1, 2, 2)
        );
        assert!(!queue.is_complete());
        assert_eq!(queue.failed()[0].0, target(1));
    }

    #[test]
    fn a_node_that_was_not_started_stays_pending_and_a_skipped_one_is_not_done() {
        let mut queue = queue(3);
        let first = queue.start_next().unwrap();
        queue.finish(&first, Outcome::Skipped("kernel".to_owned()));
        assert!(queue.has_next());
        let second = queue.start_next().unwrap();
        queue.close();
        queue.finish(&second, Outcome::NotStarted);
        let left: Vec<_> = queue.pending().cloned().collect();
        assert_eq!(left, [target(2), target(3)]);
        assert!(!queue.is_complete() && !queue.has_next());
    }

    #[test]
    fn setting_the_same_step_again_is_no_change() {
        let mut queue = queue(1);
        let first = queue.start_next().unwrap();
        assert!(queue.set_step(&first, "drained"));
        assert!(!queue.set_step(&first, "drained"));
        assert!(queue.set_step(&first, "running command"));
    }
}
