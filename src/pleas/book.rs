//! Who is to be told what, and when. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::model::node::NodeAddr;

/// So often a plea is said again while it lasts: the node may have been started anew.
pub const REPEAT: Duration = Duration::from_secs(30);

/// After this a plea that failed to be taken back is tried to be taken back again.
pub const TRY_AGAIN: Duration = Duration::from_secs(5);

/// So often that is tried. A node that cannot be reached for so long has probably ended, and with
/// it what it knew.
pub const TRIES: u32 = 5;

/// What a node is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Please do not go.
    Stay,
    /// That is over.
    Over,
}

/// Every node that is to be told something, or was.
#[derive(Debug, Default)]
pub struct Book(BTreeMap<NodeAddr, Entry>);

#[derive(Debug)]
struct Entry {
    /// It is to stay.
    wanted: bool,
    /// It may know that it was to stay: a request was begun, whatever came of it.
    asked: bool,
    /// When it is told next.
    due: Instant,
    /// It is being told.
    busy: bool,
    /// So often it is still tried to take the plea back.
    tries: u32,
    /// So often in a row it could not be told.
    failures: u32,
}

impl Book {
    /// These were asked to stay by the run before, and are to be told when that is over.
    #[must_use]
    pub fn new(asked: &BTreeSet<NodeAddr>, now: Instant) -> Self {
        let entry = |addr: &NodeAddr| {
            let entry = Entry {
                wanted: false,
                asked: true,
                ..Entry::new(now)
            };
            (*addr, entry)
        };
        Self(asked.iter().map(entry).collect())
    }

    /// These are to stay, and no others. Of the others those that were asked to are told that it is
    /// over, if they are still `listed`: what is no node any more is told nothing.
    pub fn want(
        &mut self,
        wanted: &BTreeSet<NodeAddr>,
        listed: impl Fn(NodeAddr) -> bool,
        now: Instant,
    ) {
        self.0.retain(|addr, _| listed(*addr));
        for (addr, entry) in &mut self.0 {
            let wanted = wanted.contains(addr);
            if entry.wanted != wanted {
                (entry.wanted, entry.due, entry.tries) = (wanted, now, TRIES);
            }
        }
        self.0.retain(|_, entry| entry.is_kept());
        for addr in wanted.iter().filter(|addr| listed(**addr)) {
            self.0.entry(*addr).or_insert_with(|| Entry::new(now));
        }
    }

    /// Who is told what next, and when.
    #[must_use]
    pub fn next(&self) -> Option<(NodeAddr, Word, Instant)> {
        let idle = self.0.iter().filter(|(_, entry)| !entry.busy);
        let (addr, entry) = idle.min_by_key(|(_, entry)| entry.due)?;
        Some((*addr, entry.word(), entry.due))
    }

    /// The node is being told.
    pub fn begin(&mut self, addr: NodeAddr) {
        if let Some(entry) = self.0.get_mut(&addr) {
            (entry.busy, entry.asked) = (true, true);
        }
    }

    /// The node was told, or that failed; gives whether the log is to be told of a failure.
    pub fn end(&mut self, addr: NodeAddr, word: Word, reached: bool, now: Instant) -> bool {
        let Some(entry) = self.0.get_mut(&addr) else {
            return false;
        };
        entry.busy = false;
        match (word, entry.wanted) {
            (Word::Stay, true) => entry.due = now + REPEAT,
            (Word::Over, false) if reached => entry.asked = false,
            (Word::Over, false) => {
                entry.tries = entry.tries.saturating_sub(1);
                entry.due = now + TRY_AGAIN;
            }
            // Another word is wanted meanwhile.
            _ => entry.due = now,
        }
        entry.failures = if reached {
            0
        } else {
            entry.failures.saturating_add(1)
        };
        let first = entry.failures == 1;
        self.0.retain(|_, entry| entry.is_kept());
        first
    }
}

impl Entry {
    fn new(now: Instant) -> Self {
        Self {
            wanted: true,
            asked: false,
            due: now,
            busy: false,
            tries: TRIES,
            failures: 0,
        }
    }

    fn word(&self) -> Word {
        if self.wanted { Word::Stay } else { Word::Over }
    }

    fn is_kept(&self) -> bool {
        self.wanted || self.busy || (self.asked && self.tries > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(number: u8) -> NodeAddr {
        format!("10.0.0.{number}:80").parse().unwrap()
    }

    fn set(numbers: &[u8]) -> BTreeSet<NodeAddr> {
        numbers.iter().map(|number| addr(*number)).collect()
    }

    fn want(book: &mut Book, numbers: &[u8], now: Instant) {
        book.want(&set(numbers), |_| true, now);
    }

    /// Tells all that is due; gives whom it told what.
    fn tell(book: &mut Book, reached: bool, now: Instant) -> Vec<(NodeAddr, Word)> {
        let mut told = Vec::new();
        while let Some((addr, word, _)) = book.next().filter(|(_, _, due)| *due <= now) {
            book.begin(addr);
            book.end(addr, word, reached, now);
            told.push((addr, word));
        }
        told
    }

    #[test]
    fn each_is_asked_once_and_again_while_it_lasts_and_told_once_that_it_is_over() {
        let (mut book, start) = (Book::default(), Instant::now());
        want(&mut book, &[1, 2], start);
        let stay = [(addr(1), Word::Stay), (addr(2), Word::Stay)];
        assert_eq!(tell(&mut book, true, start), stay);
        assert_eq!(book.next().unwrap().2, start + REPEAT);
        assert_eq!(tell(&mut book, true, start + REPEAT), stay);
        want(&mut book, &[2], start + REPEAT);
        let over = [(addr(1), Word::Over)];
        assert_eq!(tell(&mut book, true, start + REPEAT), over);
        want(&mut book, &[], start + REPEAT);
        assert_eq!(
            tell(&mut book, true, start + REPEAT),
            [(addr(2), Word::Over)]
        );
        assert_eq!(book.next(), None);
    }

    #[test]
    fn whom_the_run_before_asked_is_told_that_it_is_over_unless_it_is_not() {
        let start = Instant::now();
        let mut book = Book::new(&set(&[1, 2, 3]), start);
        book.want(&set(&[2]), |node| node != addr(3), start);
        let told = [(addr(1), Word::Over), (addr(2), Word::Stay)];
        assert_eq!(tell(&mut book, true, start), told);
    }

    #[test]
    fn whoever_was_not_asked_is_not_told_that_it_is_over() {
        let (mut book, start) = (Book::default(), Instant::now());
        want(&mut book, &[1], start);
        want(&mut book, &[], start);
        assert_eq!(book.next(), None);
    }

    #[test]
    fn to_take_a_plea_back_is_tried_so_often() {
        let (mut book, start) = (Book::default(), Instant::now());
        want(&mut book, &[1], start);
        // It may have arrived all the same.
        assert_eq!(tell(&mut book, false, start).len(), 1);
        want(&mut book, &[], start);
        let mut tried = 0;
        while let Some((_, word, due)) = book.next() {
            assert_eq!(word, Word::Over);
            tried += tell(&mut book, false, due).len();
        }
        assert_eq!(tried, 5);
    }

    #[test]
    fn what_changes_while_a_node_is_told_is_told_at_once_then() {
        let (mut book, start) = (Book::default(), Instant::now());
        want(&mut book, &[1], start);
        book.begin(addr(1));
        assert_eq!(book.next(), None, "one request to a node at a time");
        want(&mut book, &[], start);
        assert_eq!(book.next(), None);
        book.end(addr(1), Word::Stay, true, start);
        assert_eq!(book.next(), Some((addr(1), Word::Over, start)));
        book.begin(addr(1));
        want(&mut book, &[1], start);
        book.end(addr(1), Word::Over, true, start);
        assert_eq!(book.next(), Some((addr(1), Word::Stay, start)));
    }

    #[test]
    fn what_is_no_node_any_more_is_told_nothing() {
        let (mut book, start) = (Book::default(), Instant::now());
        want(&mut book, &[1, 2], start);
        tell(&mut book, true, start);
        let listed = set(&[2, 3]);
        book.want(&set(&[4]), |addr| listed.contains(&addr), start);
        assert_eq!(tell(&mut book, true, start), [(addr(2), Word::Over)]);
        assert_eq!(book.next(), None);
    }

    #[test]
    fn a_failure_is_told_once_until_the_node_was_reached() {
        let (mut book, start) = (Book::default(), Instant::now());
        want(&mut book, &[1], start);
        let mut end = |reached| {
            book.begin(addr(1));
            book.end(addr(1), Word::Stay, reached, start)
        };
        assert_eq!(
            [end(false), end(false), end(true), end(false)],
            [true, false, false, true]
        );
    }
}
