//! What happened of late: events, in the words of the log, for those who ask.
//!
//! Bounded twice: of a node only its last events are kept, so that one that comes and goes pushes
//! out nobody else's, and of all no more than [`MAX_EVENTS`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::names::PoolName;
use super::node::{Node, NodeAddr};
use super::telling::{Telling, Weight};
use super::time::Timestamp;

/// So many events of one node are kept.
pub const EVENTS_PER_NODE: usize = 20;

/// So many events are kept in all; some 4 MB.
pub const MAX_EVENTS: usize = 20_000;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Counts up from 1 since the start of the program.
    pub id: u64,
    /// When it happened.
    pub at: Timestamp,
    /// How much it matters.
    pub weight: Weight,
    /// What happened, in one word that stays the same for ever.
    pub kind: &'static str,
    /// The node that it is about.
    pub node: Option<Arc<Node>>,
    /// The pool that it is about.
    pub pool: Option<PoolName>,
    /// What happened, for people.
    pub text: String,
}

/// The last events.
#[derive(Debug, Default)]
pub struct Journal {
    events: BTreeMap<u64, Arc<Event>>,
    of_node: HashMap<NodeAddr, VecDeque<u64>>,
    last_id: u64,
}

impl Journal {
    /// Takes what happened at `at`; gives it back with its number.
    pub fn write(&mut self, telling: &Telling, at: Timestamp) -> Arc<Event> {
        self.last_id += 1;
        let event = Arc::new(Event {
            id: self.last_id,
            at,
            weight: telling.weight,
            kind: telling.kind,
            node: telling.node.cloned(),
            pool: telling.pool.cloned(),
            text: telling.text.clone(),
        });
        if let Some(node) = telling.node {
            let ids = self.of_node.entry(node.addr).or_default();
            ids.push_back(event.id);
            if ids.len() > EVENTS_PER_NODE {
                ids.pop_front()
                    .and_then(|oldest| self.events.remove(&oldest));
            }
        }
        self.events.insert(event.id, event.clone());
        if self.events.len() > MAX_EVENTS {
            self.forget_oldest();
        }
        event
    }

    /// The number of the last event; 0 before the first.
    #[must_use]
    pub fn last_id(&self) -> u64 {
        self.last_id
    }

    /// The events that are kept and came after the one of this number, the oldest first; of more
    /// than `limit`, the last.
    #[must_use]
    pub fn after(&self, id: u64, limit: usize) -> Vec<Arc<Event>> {
        let later = self.events.range(id.saturating_add(1)..);
        let mut events: Vec<_> = later
            .rev()
            .take(limit)
            .map(|(_, event)| event.clone())
            .collect();
        events.reverse();
        events
    }

    /// The events of one node, the oldest first.
    #[must_use]
    pub fn of(&self, addr: NodeAddr) -> Vec<Arc<Event>> {
        let ids = self.of_node.get(&addr).into_iter().flatten();
        ids.filter_map(|id| self.events.get(id).cloned()).collect()
    }

    fn forget_oldest(&mut self) {
        let Some((id, event)) = self.events.pop_first() else {
            return;
        };
        let Some(addr) = event.node.as_ref().map(|node| node.addr) else {
            return;
        };
        if let Some(ids) = self.of_node.get_mut(&addr) {
            ids.retain(|known| *known != id);
            if ids.is_empty() {
                self.of_node.remove(&addr);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::change::{Change, Out};

    fn happens(journal: &mut Journal, number: usize) {
        let node = Arc::new(Node {
            addr: format!("10.0.{}.{}:80", number / 200, number % 200)
                .parse()
                .unwrap(),
            name: format!("n{number}"),
        });
        let change = Change::StaysOut(node, Out::Idle);
        journal.write(&Telling::of(&change), Timestamp::from_millis(1));
    }

    #[test]
    fn a_node_that_comes_and_goes_pushes_out_only_its_own_events() {
        let mut journal = Journal::default();
        happens(&mut journal, 1);
        for _ in 0..3 * EVENTS_PER_NODE {
            happens(&mut journal, 2);
        }
        assert_eq!(journal.of("10.0.0.1:80".parse().unwrap()).len(), 1);
        let ids: Vec<_> = journal
            .of("10.0.0.2:80".parse().unwrap())
            .iter()
            .map(|event| event.id)
            .collect();
        assert_eq!((ids.len(), ids[0], ids[19]), (20, 42, 61));
        assert_eq!(journal.after(0, usize::MAX).len(), 21);
        assert_eq!(journal.after(60, usize::MAX).len(), 1);
        assert_eq!(journal.after(0, 2)[0].id, 60, "the last ones");
    }

    #[test]
    fn no_more_than_so_many_are_kept_of_all() {
        let mut journal = Journal::default();
        for number in 0..MAX_EVENTS + 5 {
            happens(&mut journal, number % 30_000);
        }
        assert_eq!(journal.after(0, usize::MAX).len(), MAX_EVENTS);
        assert_eq!(journal.after(0, usize::MAX)[0].id, 6);
        assert_eq!(journal.of_node.len(), MAX_EVENTS);
    }
}
