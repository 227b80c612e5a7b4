//! The event log: recent events, with the same texts as the log, for queries.
//!
//! It is bounded twice: per node it keeps the last [`EVENTS_PER_NODE`], so a node that comes and goes does not evict
//! the events of others, and in total the last [`MAX_EVENTS`].

use std::collections::{BTreeMap, HashMap};
use std::iter::successors;
use std::mem;
use std::sync::Arc;

use super::event::{Event, EventText};
use super::node::NodeAddr;
use super::time::Timestamp;

/// Maximum number of events kept per node.
pub const EVENTS_PER_NODE: usize = 20;

/// Maximum number of events kept in total; about 4 MB.
pub const MAX_EVENTS: usize = 20_000;

/// The most recent events.
#[derive(Debug, Default)]
pub struct EventLog {
    events: BTreeMap<u64, Entry>,
    of_node: HashMap<NodeAddr, NodeEvents>,
    last_id: u64,
}

/// An event, and the number of the one before of the same node; 0 if there is none.
#[derive(Debug)]
struct Entry {
    event: Arc<Event>,
    before: u64,
}

/// The events of one node. They are chained by their numbers, since most nodes have very few.
#[derive(Clone, Copy, Debug, Default)]
struct NodeEvents {
    last_id: u64,
    count: usize,
}

/// Which end of a range of events to return, and the maximum number of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The oldest ones.
    First(usize),
    /// The newest ones.
    Last(usize),
}

impl EventLog {
    /// Records what happened at `at`. Returns it with its number.
    pub fn record(&mut self, event: &EventText, at: Timestamp) -> Arc<Event> {
        self.last_id += 1;
        let recorded = Arc::new(Event {
            id: self.last_id,
            at,
            severity: event.severity,
            kind: event.kind,
            node: event.node.cloned(),
            pool: event.pool.cloned(),
            requested: event.requested,
            quiet: event.quiet,
            text: event.text.clone(),
        });
        let mut entry = Entry {
            event: recorded.clone(),
            before: 0,
        };
        if let Some(node) = event.node {
            let events = self.of_node.entry(node.addr).or_default();
            entry.before = mem::replace(&mut events.last_id, recorded.id);
            events.count += 1;
        }
        self.events.insert(recorded.id, entry);
        if let Some(node) = event.node {
            self.limit_node(node.addr);
        }
        if self.events.len() > MAX_EVENTS {
            self.evict_oldest();
        }
        recorded
    }

    /// The number of the last event; 0 before the first.
    #[must_use]
    pub fn last_id(&self) -> u64 {
        self.last_id
    }

    /// The events after the one with this number, oldest first; if there are more than fit, this part of them.
    #[must_use]
    pub fn after(&self, id: u64, part: Part) -> Vec<Arc<Event>> {
        let later = self.events.range(id.saturating_add(1)..);
        let later = later.map(|(_, entry)| entry.event.clone());
        match part {
            Part::First(limit) => later.take(limit).collect(),
            Part::Last(limit) => {
                let mut events: Vec<_> = later.rev().take(limit).collect();
                events.reverse();
                events
            }
        }
    }

    /// The events of one node, oldest first.
    #[must_use]
    pub fn of_node(&self, addr: NodeAddr) -> Vec<Arc<Event>> {
        let mut events: Vec<_> = self.newest_of(addr).cloned().collect();
        events.reverse();
        events
    }

    /// The events of one node, newest first.
    fn newest_of(&self, addr: NodeAddr) -> impl Iterator<Item = &Arc<Event>> {
        let last = self.of_node.get(&addr).map(|events| events.last_id);
        let last = last.and_then(|id| self.events.get(&id));
        let entries = successors(last, |entry| self.events.get(&entry.before));
        entries.map(|entry| &entry.event)
    }

    /// Evicts the node's oldest event if it has too many.
    fn limit_node(&mut self, addr: NodeAddr) {
        let events = self.of_node.get(&addr);
        if events.is_none_or(|events| events.count <= EVENTS_PER_NODE) {
            return;
        }
        let oldest = self.newest_of(addr).last().map(|event| event.id);
        oldest.and_then(|id| self.events.remove(&id));
        self.forget(addr);
    }

    fn evict_oldest(&mut self) {
        let oldest = self.events.pop_first();
        let node = oldest.and_then(|(_, entry)| entry.event.node.clone());
        if let Some(node) = node {
            self.forget(node.addr);
        }
    }

    /// Counts one event of the node less.
    fn forget(&mut self, addr: NodeAddr) {
        let Some(events) = self.of_node.get_mut(&addr) else {
            return;
        };
        events.count -= 1;
        if events.count == 0 {
            self.of_node.remove(&addr);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::change::{Change, OutReason};
    use crate::model::node::Node;

    fn record(log: &mut EventLog, number: usize) {
        let node = Arc::new(Node::new(
            format!("10.0.{}.{}:80", number / 200, number % 200)
                .parse()
                .unwrap(),
            format!("n{number}"),
        ));
        let change = Change::RemainsOut(node, OutReason::Idle);
        log.record(&EventText::from_change(&change), Timestamp::from_millis(1));
    }

    #[test]
    fn a_node_that_comes_and_goes_evicts_only_its_own_events() {
        let mut log = EventLog::default();
        record(&mut log, 1);
        for _ in 0..3 * EVENTS_PER_NODE {
            record(&mut log, 2);
        }
        assert_eq!(log.of_node("10.0.0.1:80".parse().unwrap()).len(), 1);
        let ids: Vec<_> = log
            .of_node("10.0.0.2:80".parse().unwrap())
            .iter()
            .map(|event| event.id)
            .collect();
        assert_eq!((ids.len(), ids[0], ids[19]), (20, 42, 61));
        assert_eq!(log.after(0, Part::Last(usize::MAX)).len(), 21);
        assert_eq!(log.after(60, Part::Last(usize::MAX)).len(), 1);
        assert_eq!(log.after(0, Part::Last(2))[0].id, 60, "the last ones");
        assert_eq!(log.after(58, Part::First(2))[1].id, 60, "the first ones");
    }

    #[test]
    fn the_total_is_bounded() {
        let mut log = EventLog::default();
        for number in 0..MAX_EVENTS + 5 {
            record(&mut log, number % 30_000);
        }
        assert_eq!(log.after(0, Part::Last(usize::MAX)).len(), MAX_EVENTS);
        assert_eq!(log.after(0, Part::Last(usize::MAX))[0].id, 6);
        assert_eq!(log.of_node.len(), MAX_EVENTS);
    }
}
