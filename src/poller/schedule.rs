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

/// Who is polled when and how: the whole of it, as all pollers get it.
#[derive(Debug, Default)]
pub(super) struct Rota {
    /// None while there is no node.
    settings: Option<Arc<PollSettings>>,
    turns: HashMap<NodeAddr, Turn>,
    /// So many pollers were ever started.
    started: u64,
}

/// Whose turn, and when.
#[derive(Clone, Copy, Debug)]
struct Turn {
    poller: PollerId,
    /// How far into each interval.
    offset: Duration,
}

/// Tells the poller of a node from an earlier one of the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PollerId(u64);

/// When and how one node is polled.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) settings: Arc<PollSettings>,
    offset: Duration,
}

impl Rota {
    /// The next rota: just these nodes. Gives the pollers that are to be started too; those of
    /// nodes that stay go on.
    pub(super) fn next(
        &self,
        nodes: &[Node],
        settings: &PollSettings,
    ) -> (Self, Vec<(NodeAddr, PollerId)>) {
        let mut rota = Self {
            settings: Some(Arc::new(settings.clone())),
            turns: HashMap::with_capacity(nodes.len()),
            started: self.started,
        };
        let mut new = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let before = self.turns.get(&node.addr).map(|turn| turn.poller);
            let poller = before.unwrap_or_else(|| {
                rota.started += 1;
                let poller = PollerId(rota.started);
                new.push((node.addr, poller));
                poller
            });
            let offset = offset(settings.interval, index, nodes.len());
            rota.turns.insert(node.addr, Turn { poller, offset });
        }
        (rota, new)
    }

    /// The schedule of a poller; `None` when its node is not polled any more, or by a later one.
    pub(super) fn of(&self, addr: NodeAddr, poller: PollerId) -> Option<Schedule> {
        let turn = self.turns.get(&addr).filter(|turn| turn.poller == poller)?;
        Some(Schedule {
            settings: self.settings.clone()?,
            offset: turn.offset,
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

    fn settings(interval: u64) -> PollSettings {
        let interval = Duration::from_millis(interval);
        PollSettings {
            interval,
            timeout: interval,
            path: "/pool".parse().unwrap(),
        }
    }

    fn nodes(addrs: &[&str]) -> Vec<Node> {
        let node = |addr: &&str| Node {
            addr: addr.parse().unwrap(),
            name: String::new(),
        };
        addrs.iter().map(node).collect()
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
        let schedule = Schedule {
            settings: Arc::new(settings(1000)),
            offset: offset(1000, 1, 4),
        };
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
    fn a_poller_goes_on_while_its_node_stays_and_never_beside_a_later_one() {
        let (one, two) = ("10.0.0.1:80", "10.0.0.2:80");
        let (first, new) = Rota::default().next(&nodes(&[one, two]), &settings(1000));
        let (addr, poller) = new[0];
        let (second, new) = first.next(&nodes(&[one]), &settings(500));
        assert!(new.is_empty());
        let schedule = second.of(addr, poller).unwrap();
        assert_eq!(*schedule.settings, settings(500));
        let (third, _) = second.next(&nodes(&[two]), &settings(500));
        assert!(third.of(addr, poller).is_none());
        let (fourth, new) = third.next(&nodes(&[one]), &settings(500));
        assert!(fourth.of(addr, poller).is_none());
        assert!(fourth.of(addr, new[0].1).is_some());
    }
}
