//! Who was removed and is not yet at rest: a removed member to which a connection is busy still
//! works on a request. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::model::names::PerlbalName;
use crate::model::node::NodeAddr;

/// A member of a pool, as Perlbal names the pool.
pub type Membered = (PerlbalName, NodeAddr);

/// The first look, soon, so that a member without a request is at rest at once.
const FIRST_LOOK: Duration = Duration::from_millis(50);
/// Between two looks at a member that is busy.
const NEXT_LOOK: Duration = Duration::from_secs(1);

/// The removed members that are not at rest yet.
#[derive(Debug, Default)]
pub struct Leavers {
    leavers: BTreeMap<Membered, Leaver>,
    look_at: Option<Instant>,
}

#[derive(Debug)]
struct Leaver {
    removed_at: Instant,
    /// The requests that the node had answered when last looked at.
    requests: Option<u64>,
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
    /// Takes a member that was removed at `now`.
    pub fn removed(&mut self, who: Membered, now: Instant) {
        self.leavers.entry(who).or_insert(Leaver {
            removed_at: now,
            requests: None,
        });
        self.look_at.get_or_insert(now + FIRST_LOOK);
    }

    /// Forgets a member that is back, or whose connections cannot be told from others.
    pub fn forget(&mut self, who: &Membered) {
        self.leavers.remove(who);
        if self.leavers.is_empty() {
            self.look_at = None;
        }
    }

    /// When to look next.
    #[must_use]
    pub fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Who is to be looked at; the next look is a while later.
    pub fn begin_look(&mut self, now: Instant) -> BTreeSet<NodeAddr> {
        self.look_at = Some(now + NEXT_LOOK);
        self.leavers.keys().map(|(_, addr)| *addr).collect()
    }

    /// The members that left these pools.
    pub fn all(&self) -> impl Iterator<Item = &Membered> {
        self.leavers.keys()
    }

    /// Takes the number of requests that `addr` has answered so far; whether it has grown.
    fn grown(&mut self, who: &Membered, requests: u64) -> bool {
        let leaver = self.leavers.get_mut(who);
        leaver
            .and_then(|leaver| leaver.requests.replace(requests))
            .is_some_and(|old| requests > old)
    }

    /// Takes the first count of requests, right behind the removal.
    pub fn count(&mut self, addr: NodeAddr, requests: u64) {
        for (_, leaver) in self
            .leavers
            .iter_mut()
            .filter(|((_, leaving), _)| *leaving == addr)
        {
            leaver.requests.get_or_insert(requests);
        }
    }

    /// Takes what a look showed: the addresses to which a connection is busy, and how many
    /// requests each has answered.
    pub fn end_look(
        &mut self,
        busy: &BTreeSet<NodeAddr>,
        requests: &BTreeMap<NodeAddr, u64>,
        now: Instant,
    ) -> Look {
        let mut look = Look::default();
        for who in self.leavers.keys().cloned().collect::<Vec<_>>() {
            // Removed after the look began: the next one will show it.
            let Some(count) = requests.get(&who.1) else {
                continue;
            };
            if self.grown(&who, *count) || busy.contains(&who.1) {
                look.busy.push(who);
            } else if let Some(leaver) = self.leavers.remove(&who) {
                look.at_rest.push((who, now - leaver.removed_at));
            }
        }
        if self.leavers.is_empty() {
            self.look_at = None;
        }
        look
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
        let asked = leavers.begin_look(now);
        let busy = busy.iter().map(|number| who(*number).1).collect();
        let requests = requests
            .iter()
            .map(|(number, count)| (who(*number).1, *count));
        leavers.end_look(
            &busy,
            &requests.filter(|(addr, _)| asked.contains(addr)).collect(),
            now,
        )
    }

    #[test]
    fn a_removed_member_without_a_busy_connection_is_at_rest_once() {
        let (mut leavers, start) = (Leavers::default(), Instant::now());
        leavers.removed(who(1), start);
        leavers.count(who(1).1, 7);
        assert_eq!(leavers.look_at(), Some(start + FIRST_LOOK));
        let shown = look(&mut leavers, &[2], &[(1, 7)], start + FIRST_LOOK);
        assert_eq!(shown.at_rest, [(who(1), FIRST_LOOK)]);
        assert_eq!(leavers.look_at(), None, "nobody is left to look at");
    }

    #[test]
    fn a_busy_connection_or_growing_requests_keep_it_from_rest() {
        let (mut leavers, start) = (Leavers::default(), Instant::now());
        leavers.removed(who(1), start);
        leavers.count(who(1).1, 7);
        assert_eq!(look(&mut leavers, &[1], &[(1, 7)], start).busy, [who(1)]);
        assert_eq!(look(&mut leavers, &[], &[(1, 8)], start).busy, [who(1)]);
        assert_eq!(leavers.look_at(), Some(start + NEXT_LOOK));
        assert_eq!(look(&mut leavers, &[], &[(1, 8)], start).at_rest.len(), 1);
    }

    #[test]
    fn a_member_that_is_back_is_forgotten() {
        let (mut leavers, start) = (Leavers::default(), Instant::now());
        leavers.removed(who(1), start);
        leavers.forget(&who(1));
        assert_eq!(leavers.look_at(), None);
        assert_eq!(look(&mut leavers, &[], &[], start), Look::default());
    }
}
