//! The members that count: those of the agent's lists, unless a list must not be believed.
//!
//! Serf keeps members that left or failed on its list, for a day by default. So one that is missing altogether is a
//! reason for caution: an agent that was restarted lists itself alone at first, and then others as they find it.

use std::collections::BTreeMap;
use std::fmt;

use super::rpc::Member;
use crate::logging::count;

/// Number of lists in a row from which a member must be missing until it is gone.
const LISTS: u32 = 3;

/// Number of lists after a connection was made from which nobody is gone: an agent that was restarted has found the
/// others within 2 s, which is far less than 20 lists take.
const SETTLING: u32 = 20;

/// The members that count.
#[derive(Debug, Default)]
pub struct Roster {
    known: BTreeMap<String, Known>,
    /// Number of lists from which nobody is gone yet.
    settling: u32,
    is_settled: bool,
}

#[derive(Debug)]
struct Known {
    member: Member,
    status: Status,
    /// Number of lists in a row from which it is missing.
    missed: u32,
}

/// What Serf says of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It answers.
    Alive,
    /// It said that it leaves.
    Leaving,
    /// It does not answer.
    Failed,
    /// It said that it leaves, and is gone.
    Left,
}

/// Why a list is not believed: too many members that were alive are missing from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shrunk {
    listed: usize,
    missing: usize,
    alive: usize,
}

impl Roster {
    /// Whether the agent has had the time to find all members.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// A connection to the agent was made, which may have been restarted.
    pub fn reconnected(&mut self) {
        self.settling = SETTLING;
    }

    /// Takes a list, unless it must not be believed.
    pub fn take(&mut self, list: Vec<Member>) -> Result<(), Shrunk> {
        self.settling = self.settling.saturating_sub(1);
        let list: BTreeMap<_, _> = list
            .into_iter()
            .map(|member| (member.name.0.clone(), member))
            .collect();
        self.judge(&list)?;
        for (name, known) in &mut self.known {
            known.missed = if list.contains_key(name) {
                0
            } else {
                known.missed + 1
            };
        }
        let settling = self.settling > 0;
        self.known
            .retain(|_, known| settling || known.missed < LISTS);
        for (name, member) in list {
            let known = Known {
                status: Status::of(&member.status.0),
                member,
                missed: 0,
            };
            self.known.insert(name, known);
        }
        self.is_settled |= !settling;
        Ok(())
    }

    /// The members by name, with what Serf says of them.
    pub fn members(&self) -> impl Iterator<Item = (&Member, Status)> {
        let known = self.known.values();
        known.map(|known| (&known.member, known.status))
    }

    /// Rejects a list of a single member where others were alive, and one from which most of them are missing.
    fn judge(&self, list: &BTreeMap<String, Member>) -> Result<(), Shrunk> {
        let known = self.known.iter();
        let alive = known.filter(|(_, known)| known.status <= Status::Leaving);
        let missing = alive.clone().filter(|(name, _)| !list.contains_key(*name));
        let shrunk = Shrunk {
            listed: list.len(),
            missing: missing.count(),
            alive: alive.count(),
        };
        let is_alone = shrunk.listed <= 1 && shrunk.missing > 0;
        if is_alone || shrunk.missing * 2 > shrunk.alive {
            return Err(shrunk);
        }
        Ok(())
    }
}

impl Status {
    fn of(word: &str) -> Self {
        match word {
            "alive" => Self::Alive,
            "leaving" => Self::Leaving,
            "left" => Self::Left,
            // `none` too, which is a member that is not known yet.
            _ => Self::Failed,
        }
    }

    /// Whether it said that it leaves.
    #[must_use]
    pub fn leaves(self) -> bool {
        matches!(self, Self::Leaving | Self::Left)
    }
}

impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            listed,
            missing,
            alive,
        } = self;
        write!(
            f,
            "lists {}, without {missing} of the {alive} that were alive: it was probably restarted. Once it has \
             joined the cluster again, its list counts; if they are really gone, say `pollbal reload --accept-removals`",
            count(*listed, "member")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::member;
    use super::*;

    fn list(members: &[(&str, &str)]) -> Vec<Member> {
        let members = members.iter();
        members
            .map(|(name, status)| member(name, 1, status, &[]))
            .collect()
    }

    fn names(roster: &Roster) -> Vec<&str> {
        roster
            .members()
            .map(|(member, _)| member.name.0.as_str())
            .collect()
    }

    fn alive<'a>(names: &[&'a str]) -> Vec<(&'a str, &'static str)> {
        names.iter().map(|name| (*name, "alive")).collect()
    }

    #[test]
    fn a_member_is_gone_after_three_lists_in_a_row() {
        let mut roster = Roster::default();
        let (all, rest) = (alive(&["a", "b", "c"]), alive(&["a", "c"]));
        for lists in [&[&rest, &rest, &all][..], &[&rest, &rest]] {
            roster.take(list(&all)).unwrap();
            for members in lists {
                roster.take(list(members)).unwrap();
                assert_eq!(names(&roster), ["a", "b", "c"]);
            }
        }
        roster.take(list(&rest)).unwrap();
        assert_eq!(names(&roster), ["a", "c"]);
    }

    #[test]
    fn a_list_of_the_agent_alone_or_without_most_is_not_believed() {
        let mut roster = Roster::default();
        roster.take(list(&alive(&["a", "b", "c", "d"]))).unwrap();
        for few in [&["a"][..], &[], &["x"], &["a", "x", "y"]] {
            for _ in 0..2 * LISTS {
                assert!(roster.take(list(&alive(few))).is_err(), "{few:?}");
            }
        }
        assert_eq!(names(&roster), ["a", "b", "c", "d"]);
        // The lists that were not believed do not count.
        roster.take(list(&alive(&["a", "b", "c"]))).unwrap();
        assert_eq!(names(&roster), ["a", "b", "c", "d"]);
        let mut two = Roster::default();
        two.take(list(&alive(&["a", "b"]))).unwrap();
        assert!(two.take(list(&alive(&["a"]))).is_err());
    }

    #[test]
    fn members_that_left_or_failed_may_be_forgotten_however_many() {
        let mut roster = Roster::default();
        let all = [
            ("a", "alive"),
            ("b", "left"),
            ("c", "failed"),
            ("d", "left"),
        ];
        roster.take(list(&all)).unwrap();
        for _ in 0..LISTS {
            roster.take(list(&all[..1])).unwrap();
        }
        assert_eq!(names(&roster), ["a"]);
    }

    #[test]
    fn nobody_is_gone_soon_after_a_connection_was_made() {
        let mut roster = Roster::default();
        roster.take(list(&alive(&["a", "b", "c"]))).unwrap();
        roster.reconnected();
        let mut lists = 0;
        while names(&roster).len() == 3 {
            roster.take(list(&alive(&["a", "c"]))).unwrap();
            lists += 1;
        }
        assert_eq!(lists, SETTLING);
    }
}
