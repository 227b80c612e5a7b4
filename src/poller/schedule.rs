//! When a node is polled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::PollSettings;
use crate::model::node::{Node, NodeAddr};

/// So many nodes are to share a slot: they are polled together, so that the program does not wake
/// for each of them.
const NODES_A_SLOT: u32 = 10;

/// No slot is longer than this, and no longer than one in so many of the interval: few nodes stay
/// spread.
const LONGEST_SLOT: (Duration, u32) = (Duration::from_millis(25), 40);

/// Nor need it be shorter than this: a hundred wakings a second cost little. Of an interval no more
/// than one in so many, so that never more than a hundredth of the nodes are polled at a time.
const SHORTEST_SLOT: (Duration, u32) = (Duration::from_millis(10), 100);

/// A pause is longer or shorter by up to this part.
const JITTER: f64 = 0.2;

/// Who is polled when and how: the whole of it, as all pollers get it.
#[derive(Debug, Default)]
pub(super) struct Rota {
    /// None while there is no node.
    settings: Option<Arc<PollSettings>>,
    /// How far into each interval a node's turn is.
    offsets: HashMap<NodeAddr, Duration>,
}

/// When and how one node is polled.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) settings: Arc<PollSettings>,
    offset: Duration,
}

impl Rota {
    /// The nodes in their order, spread over the interval.
    pub(super) fn new(nodes: &[Node], settings: &PollSettings) -> Self {
        let offset = |index| offset(settings.interval, index, nodes.len());
        let offsets = nodes.iter().enumerate();
        Self {
            settings: Some(Arc::new(settings.clone())),
            offsets: offsets
                .map(|(index, node)| (node.addr, offset(index)))
                .collect(),
        }
    }

    /// The node's schedule, if it is polled.
    pub(super) fn of(&self, addr: NodeAddr) -> Option<Schedule> {
        Some(Schedule {
            offset: *self.offsets.get(&addr)?,
            settings: self.settings.clone()?,
        })
    }
}

/// The turn of the `index`th of `count` nodes, which are spread evenly over the interval.
fn offset(interval: Duration, index: usize, count: usize) -> Duration {
    // Of nanoseconds each has one of its own.
    let slot = slot(interval, count).as_nanos().max(1);
    let share = interval.as_nanos() * index as u128 / count as u128;
    Duration::from_nanos(u64::try_from(share / slot * slot).unwrap_or(0))
}

/// How long a slot is.
fn slot(interval: Duration, count: usize) -> Duration {
    let limit = |(slot, part): (Duration, u32)| slot.min(interval / part);
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let shared = interval.checked_mul(NODES_A_SLOT).map(|all| all / count);
    let longest = limit(LONGEST_SLOT);
    shared
        .unwrap_or(longest)
        .clamp(limit(SHORTEST_SLOT), longest)
}

impl Schedule {
    /// How long to wait before a node is asked again out of its turn, when its last poll took so
    /// long: never faster than it answers. With jitter, so that nodes which failed together are not
    /// asked together.
    pub(super) fn pause(&self, took: Duration) -> Duration {
        let jitter = 1.0 + JITTER * (2.0 * fastrand::f64() - 1.0);
        self.settings.retry_interval.mul_f64(jitter).max(took)
    }

    /// The first turn of this node after `now`; intervals are counted from `epoch`.
    pub(super) fn next(&self, epoch: Instant, now: Instant) -> Instant {
        let first = epoch + self.offset;
        let Some(passed) = now.checked_duration_since(first) else {
            return first;
        };
        let interval = self.settings.interval.as_nanos();
        let into = u64::try_from(passed.as_nanos() % interval).unwrap_or(0);
        now - Duration::from_nanos(into) + self.settings.interval
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn offset(interval: u64, index: usize, count: usize) -> Duration {
        super::offset(Duration::from_millis(interval), index, count)
    }

    /// The second of four nodes, polled every second.
    fn schedule() -> Schedule {
        let interval = Duration::from_secs(1);
        let settings = PollSettings {
            interval,
            timeout: interval,
            retry_interval: interval / 10,
            path: "/pool".to_owned(),
        };
        Schedule {
            settings: Arc::new(settings),
            offset: offset(1000, 1, 4),
        }
    }

    #[test]
    fn nodes_are_spread_evenly_over_the_interval() {
        let offsets = (0..4).map(|index| offset(1000, index, 4).as_millis());
        assert_eq!(offsets.collect::<Vec<_>>(), [0, 250, 500, 750]);
    }

    #[test]
    fn nodes_share_slots_and_no_slot_has_more_than_its_part() {
        for (interval, count, slots) in [
            (1_000, 10, 10),
            (1_000, 100, 40),
            (1_000, 1_000, 100),
            (1_000, 10_000, 100),
            (10_000, 10_000, 1_000),
            (50, 10_000, 100),
        ] {
            let mut nodes_at = BTreeMap::new();
            for index in 0..count {
                *nodes_at.entry(offset(interval, index, count)).or_insert(0) += 1;
            }
            assert_eq!(nodes_at.len(), slots, "{count} nodes in {interval} ms");
            let part = count.div_ceil(slots);
            assert!(nodes_at.values().all(|nodes| *nodes <= part));
        }
    }

    #[test]
    fn a_node_keeps_its_turn_whatever_its_polls_take() {
        let epoch = Instant::now();
        let at = |millis| epoch + Duration::from_millis(millis);
        let schedule = schedule();
        assert_eq!(schedule.next(epoch, at(0)), at(250));
        assert_eq!(
            schedule.next(epoch, at(250)),
            at(1250),
            "the turn of now is over"
        );
        assert_eq!(schedule.next(epoch, at(1249)), at(1250));
        assert_eq!(
            schedule.next(epoch, at(9999)),
            at(10_250),
            "missed turns are not made up for"
        );
    }

    #[test]
    fn a_node_is_asked_again_soon_but_never_faster_than_it_answers() {
        let schedule = schedule();
        for _ in 0..100 {
            let pause = schedule.pause(Duration::from_millis(1)).as_millis();
            assert!((80..=120).contains(&pause), "{pause}");
        }
        let slow = Duration::from_millis(300);
        assert_eq!(schedule.pause(slow), slow);
    }
}
