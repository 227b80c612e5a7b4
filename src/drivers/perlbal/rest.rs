//! Who was removed and is not yet at rest: a removed member to which a connection is busy still
//! works on a request. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::model::names::PerlbalName;
use crate::model::node::NodeAddr;

/// A member of a pool, as Perlbal names the pool.
pub type Membered = (PerlbalName, NodeAddr);

/// The first look, soon, so that a member without a request is at rest at once. Each wait is twice
/// the one before.
const FIRST_LOOK: Duration = Duration::from_millis(50);
/// The longest wait between two looks at a member that is busy.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Of so many members at most the requests are counted one by one; each count is a command.
const COUNTED: usize = 100;

/// The removed members that are not at rest yet.
#[derive(Debug, Default)]
pub struct Leavers {
    members: BTreeMap<Membered, Leaver>,
    look_at: Option<Instant>,
    /// Between this look and the next.
    wait: Duration,
    under_way: Option<LookUnderWay>,
}

#[derive(Debug)]
struct Leaver {
    removed_at: Instant,
    /// The requests that the node had answered when last looked at.
    requests: Option<u64>,
}

#[derive(Debug)]
struct LookUnderWay {
    /// Who had left when it began; who leaves later is for the next look.
    asked: BTreeSet<NodeAddr>,
    requests: BTreeMap<NodeAddr, u64>,
}

/// What a look showed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// At rest now, and how long after the removal.
    pub at_rest: Vec<(Membered, Duration)>,
    /// Still at work: to be removed and sealed once more, in case a request came between.
    pub busy: Vec<Membered>,
}

impl Leavers {
    /// Takes a member that was removed at `now`. Gives whether its requests are to be counted, at
    /// once, so that the first look sees whether they grow.
    #[must_use]
    pub fn removed(&mut self, who: Membered, now: Instant) -> bool {
        self.members.entry(who).or_insert(Leaver {
            removed_at: now,
            requests: None,
        });
        self.wait = FIRST_LOOK;
        let soon = now + FIRST_LOOK;
        self.look_at = Some(self.look_at.map_or(soon, |at| at.min(soon)));
        self.members.len() <= COUNTED
    }

    /// Forgets a member that is back, or whose connections cannot be told from others.
    pub fn forget(&mut self, who: &Membered) {
        self.members.remove(who);
        if self.members.is_empty() {
            self.look_at = None;
        }
    }

    /// Forgets a look whose answers will not come, since the connection is gone.
    pub fn interrupted(&mut self) {
        self.under_way = None;
    }

    /// When to look next.
    #[must_use]
    pub fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Begins a look, unless one is under way: gives whose requests are to be counted. After the
    /// counts, [`end_look`](Self::end_look) takes who is busy.
    pub fn begin_look(&mut self, now: Instant) -> Option<BTreeSet<NodeAddr>> {
        self.look_at = Some(now + self.wait);
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        if self.under_way.is_some() {
            return None;
        }
        let asked: BTreeSet<_> = self.members.keys().map(|(_, addr)| *addr).collect();
        self.under_way = Some(LookUnderWay {
            asked: asked.clone(),
            requests: BTreeMap::new(),
        });
        Some(if asked.len() <= COUNTED {
            asked
        } else {
            BTreeSet::new()
        })
    }

    /// The members that left these pools.
    pub fn all(&self) -> impl Iterator<Item = &Membered> {
        self.members.keys()
    }

    /// Takes how many requests `addr` has answered so far.
    pub fn count(&mut self, addr: NodeAddr, requests: u64) {
        for (_, leaver) in self
            .members
            .iter_mut()
            .filter(|((_, leaving), _)| *leaving == addr)
        {
            leaver.requests.get_or_insert(requests);
        }
        if let Some(look) = &mut self.under_way {
            look.requests.insert(addr, requests);
        }
    }

    /// Takes the addresses to which a connection is busy, the last that a look asks for.
    pub fn end_look(&mut self, busy: &BTreeSet<NodeAddr>, now: Instant) -> Look {
        let mut seen = Look::default();
        let Some(look) = self.under_way.take() else {
            return seen;
        };
        self.members.retain(|who, leaver| {
            if !look.asked.contains(&who.1) {
                return true;
            }
            let count = look.requests.get(&who.1).copied();
            let grown = count > leaver.requests.or(count);
            leaver.requests = count.or(leaver.requests);
            if grown || busy.contains(&who.1) {
                seen.busy.push(who.clone());
                return true;
            }
            seen.at_rest.push((who.clone(), now - leaver.removed_at));
            false
        });
        if self.members.is_empty() {
            self.look_at = None;
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(number: u8) -> Membered {
        (
            "api".parse().unwrap(),
            format!("10.0.0.{number}:80").parse().unwrap(),
        )
    }

    fn look(leavers: &mut Leavers, busy: &[u8], requests: &[(u8, u64)], now: Instant) -> Look {
        let asked = leavers.begin_look(now).unwrap_or_default();
        for (number, count) in requests
            .iter()
            .filter(|(number, _)| asked.contains(&who(*number).1))
        {
            leavers.count(who(*number).1, *count);
        }
        leavers.end_look(&busy.iter().map(|number| who(*number).1).collect(), now)
    }

    #[test]
    fn a_removed_member_without_a_busy_connection_is_at_rest_once() {
        let (mut leavers, start) = (Leavers::default(), Instant::now());
        assert!(leavers.removed(who(1), start));
        leavers.count(who(1).1, 7);
        assert_eq!(leavers.look_at(), Some(start + FIRST_LOOK));
        let shown = look(&mut leavers, &[2], &[(1, 7)], start + FIRST_LOOK);
        assert_eq!(shown.at_rest, [(who(1), FIRST_LOOK)]);
        assert_eq!(leavers.look_at(), None, "nobody is left to look at");
    }

    #[test]
    fn a_busy_connection_or_growing_requests_keep_it_from_rest() {
        let (mut leavers, start) = (Leavers::default(), Instant::now());
        assert!(leavers.removed(who(1), start));
        leavers.count(who(1).1, 7);
        assert_eq!(look(&mut leavers, &[1], &[(1, 7)], start).busy, [who(1)]);
        assert_eq!(look(&mut leavers, &[], &[(1, 8)], start).busy, [who(1)]);
        assert_eq!(leavers.look_at(), Some(start + 2 * FIRST_LOOK));
        assert_eq!(look(&mut leavers, &[], &[(1, 8)], start).at_rest.len(), 1);
    }

    #[test]
    fn who_leaves_while_a_look_is_under_way_is_for_the_next_one() {
        let (mut leavers, start) = (Leavers::default(), Instant::now());
        assert!(leavers.removed(who(1), start));
        leavers.begin_look(start);
        assert!(leavers.removed(who(2), start));
        leavers.count(who(2).1, 3);
        assert_eq!(leavers.begin_look(start), None, "one at a time");
        let seen = leavers.end_look(&[].into(), start);
        assert_eq!(seen.at_rest, [(who(1), Duration::ZERO)]);
        assert_eq!(look(&mut leavers, &[], &[(2, 4)], start).busy, [who(2)]);
    }

    #[test]
    fn of_very_many_only_the_connections_are_looked_at() {
        let (mut leavers, start) = (Leavers::default(), Instant::now());
        let counted = (0..=u8::MAX)
            .filter(|number| leavers.removed(who(*number), start))
            .count();
        assert_eq!(counted, COUNTED);
        assert_eq!(leavers.begin_look(start), Some(BTreeSet::new()));
        let seen = leavers.end_look(&[who(7).1].into(), start);
        assert_eq!((seen.busy.len(), seen.at_rest.len()), (1, 255));
    }

    #[test]
    fn a_member_that_is_back_is_forgotten() {
        let (mut leavers, start) = (Leavers::default(), Instant::now());
        assert!(leavers.removed(who(1), start));
        leavers.forget(&who(1));
        assert_eq!(leavers.look_at(), None);
        assert_eq!(look(&mut leavers, &[], &[], start), Look::default());
    }
}
