//! Bursts: many nodes that change in the same way at once, as when a network fails. The log names the first of them and
//! counts the others.
//!
//! A burst consists of one kind of change. Some nodes are named for each reason, so that a node that fails in a
//! different way is not lost among hundreds of others. A burst goes on as long as more nodes arrive within [`BURST`];
//! each such period ends with one line that counts them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::model::event::Severity;
use crate::model::node::NodeAddr;

/// Maximum number of named nodes per burst and reason.
pub const NAMED: usize = 20;

/// Maximum number of named nodes per burst: each node may have a reason of its own.
const NAMED_IN_TOTAL: usize = 100;

/// Delay from the first node of a burst to the line that counts the unnamed ones, and from that line to the next.
pub const BURST: Duration = Duration::from_secs(5);

/// The bursts under way, by kind of change.
#[derive(Debug, Default)]
pub struct Bursts(BTreeMap<&'static str, Burst>);

/// Nodes that changed in the same way.
#[derive(Debug)]
struct Burst {
    begins: Instant,
    named: BTreeSet<NodeAddr>,
    /// Number of named nodes, by reason.
    reasons: BTreeMap<String, usize>,
    /// Those that are counted instead.
    others: BTreeSet<NodeAddr>,
    /// The most severe of their changes.
    worst: Severity,
}

impl Bursts {
    /// Whether the log names a node that changed in this way, for this reason. Otherwise it is counted here.
    pub fn is_named(
        &mut self,
        (kind, severity): (&'static str, Severity),
        (addr, reason): (NodeAddr, String),
        now: Instant,
    ) -> bool {
        let new = || Burst {
            begins: now,
            named: BTreeSet::new(),
            reasons: BTreeMap::new(),
            others: BTreeSet::new(),
            worst: Severity::Info,
        };
        let burst = self.0.entry(kind).or_insert_with(new);
        if burst.is_over(now) {
            *burst = new();
        }
        // How often the log names the same node again is up to its throttle.
        if burst.named.contains(&addr) {
            return true;
        }
        let of_reason = burst.reasons.get(&reason).copied().unwrap_or(0);
        if of_reason < NAMED && burst.named.len() < NAMED_IN_TOTAL {
            burst.named.insert(addr);
            burst.reasons.insert(reason, of_reason + 1);
            return true;
        }
        burst.others.insert(addr);
        burst.worst = burst.worst.max(severity);
        false
    }

    /// When the next count is due, if there is anything to count.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let counted = self.0.values().filter(|burst| !burst.others.is_empty());
        counted.map(|burst| burst.begins + BURST).min()
    }

    /// Takes the counts that are due, or at the `end` all of them: kind of change, severity, number of unnamed nodes.
    pub fn take_counts(&mut self, now: Instant, end: bool) -> Vec<(&'static str, Severity, usize)> {
        let mut counts = Vec::new();
        for (kind, burst) in &mut self.0 {
            let due = end || now >= burst.begins + BURST;
            if due && !burst.others.is_empty() {
                let worst = std::mem::replace(&mut burst.worst, Severity::Info);
                counts.push((*kind, worst, burst.others.len()));
                // Nodes that come from now on belong to the same burst.
                burst.others.clear();
                burst.begins = now;
            }
        }
        counts
    }
}

impl Burst {
    fn is_over(&self, now: Instant) -> bool {
        self.others.is_empty() && now >= self.begins + BURST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(number: usize) -> NodeAddr {
        format!("10.0.{}.{}:80", number / 200, number % 200)
            .parse()
            .unwrap()
    }

    fn named(bursts: &mut Bursts, numbers: std::ops::Range<usize>, now: Instant) -> usize {
        let left = ("left", Severity::Warning);
        let names = |number: &usize| {
            let why = (addr(*number), "refused".to_owned());
            bursts.is_named(left, why, now)
        };
        numbers.filter(names).count()
    }

    #[test]
    fn the_first_nodes_of_a_burst_are_named_and_the_others_counted_once() {
        let (mut bursts, start) = (Bursts::default(), Instant::now());
        assert_eq!(named(&mut bursts, 0..500, start), NAMED);
        assert_eq!(named(&mut bursts, 0..500, start), NAMED, "the same ones");
        let joined = ("joined", Severity::Info);
        let joins = (addr(1), "refused".to_owned());
        assert!(bursts.is_named(joined, joins, start), "of another kind");
        assert_eq!(bursts.due(), Some(start + BURST));
        assert_eq!(bursts.take_counts(start, false), []);
        assert_eq!(
            bursts.take_counts(start + BURST, false),
            [("left", Severity::Warning, 480)]
        );
        assert_eq!(bursts.take_counts(start + BURST, true), []);
        assert_eq!(bursts.due(), None);
    }

    #[test]
    fn nodes_with_other_reasons_are_named_up_to_the_total_limit() {
        let (mut bursts, now) = (Bursts::default(), Instant::now());
        named(&mut bursts, 0..500, now);
        let own = |number: &usize| {
            let why = (addr(*number), format!("reason {number}"));
            bursts.is_named(("left", Severity::Warning), why, now)
        };
        let named = (500..5_000).filter(own).count();
        assert_eq!(named, NAMED_IN_TOTAL - NAMED);
        assert_eq!(bursts.take_counts(now, true)[0].2, 4_900);
    }

    #[test]
    fn an_ongoing_burst_is_counted_per_period_and_a_later_one_names_nodes_again() {
        let (mut bursts, start) = (Bursts::default(), Instant::now());
        named(&mut bursts, 0..100, start);
        let mut now = start;
        for _ in 0..3 {
            now += BURST;
            assert_eq!(bursts.take_counts(now, false).len(), 1);
            assert_eq!(named(&mut bursts, 100..200, now), 0);
        }
        assert_eq!(
            bursts.take_counts(now, true),
            [("left", Severity::Warning, 100)],
            "at the end"
        );
        assert_eq!(named(&mut bursts, 200..300, now + BURST), NAMED);
    }
}
