//! What people, scripts and nodes have ordered: reasons to keep a node out, leaves that were
//! granted, freezes.
//!
//! Orders outlive the program (`state_file`), so their times are times of day. What follows from
//! them is decided by [`Membership`](super::membership::Membership), which owns them.

mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::written::Written;
use super::names::{PoolName, Version};
use super::node::NodeAddr;
use super::observation::Observation;
use super::text::printable;
use super::time::Timestamp;

/// The word that names a reason: 1 to 64 of `A–Z a–z 0–9 . _ + -`. Whoever gives it takes it back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ReasonWord(Arc<str>);

/// A text is no [`ReasonWord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonWordError;

impl ReasonWord {
    /// The longest word, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// The word as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ReasonWord {
    type Err = ReasonWordError;

    fn from_str(text: &str) -> Result<Self, ReasonWordError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        if (1..=Self::MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(ReasonWordError)
        }
    }
}

impl fmt::Display for ReasonWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ReasonWordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reason is a word of 1 to 64 of A-Z a-z 0-9 . _ + -")
    }
}

impl std::error::Error for ReasonWordError {}

impl TryFrom<String> for ReasonWord {
    type Error = ReasonWordError;

    fn try_from(text: String) -> Result<Self, ReasonWordError> {
        text.parse()
    }
}

impl From<ReasonWord> for String {
    fn from(word: ReasonWord) -> Self {
        word.as_str().to_owned()
    }
}

/// A note that a person left beside an order: one line, printable, of 200 characters at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Note(String);

impl From<String> for Note {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl Note {
    /// The most characters; what is longer is cut.
    pub const MAX_CHARS: usize = 200;

    /// Makes a text harmless and short.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let short: String = text.chars().take(Self::MAX_CHARS).collect();
        let shown = printable(short.trim());
        Self(shown.chars().take(Self::MAX_CHARS).collect())
    }

    /// The note, perhaps empty.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One reason for which a node is out, or everything is frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// What people should know of it.
    #[serde(default)]
    pub note: Note,
    /// Who gave it, as far as is known.
    #[serde(default)]
    pub by: Note,
    /// When it was given.
    pub since: Timestamp,
    /// When it ends by itself.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

impl Reason {
    /// ` by ann: "new kernel", until 2026-07-30T02:00:54Z`, as far as is known; behind its word.
    #[must_use]
    pub fn details(&self) -> String {
        let said = given(self.by.as_str(), self.note.as_str());
        match self.until {
            Some(until) => format!("{said}, until {until}"),
            None => said,
        }
    }
}

/// ` by ann: "new kernel"`, of what is not empty: how a reason is told behind its word.
#[must_use]
pub fn given(by: &str, note: &str) -> String {
    let by = match by {
        "" => String::new(),
        by => format!(" by {by}"),
    };
    match note {
        "" => by,
        note => format!("{by}: \"{note}\""),
    }
}

/// The reason of this word that someone other than `by` gave: it is his to change.
#[must_use]
pub fn given_by_another<'a>(
    reasons: &'a Reasons,
    word: &ReasonWord,
    by: &Note,
) -> Option<&'a Reason> {
    reasons.get(word).filter(|given| given.by != *by)
}

/// A leave that a node asked for and got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Grant {
    /// The pool that it left, or spoke of last; none when it spoke of none.
    pub pool: Option<PoolName>,
    /// And the version.
    pub version: Option<Version>,
    /// The pool of which it was a member, and whose place to leave it takes (`max_leaving`); none when
    /// it was in no pool.
    pub left: Option<PoolName>,
    /// When it was granted.
    pub since: Timestamp,
    /// When it ends by itself.
    pub until: Timestamp,
    /// The node answered otherwise since: when it serves, the leave is over.
    pub was_away: bool,
}

impl Grant {
    /// Whether a node that says this serves elsewhere, or another version, than when it was granted
    /// leave: then it was started anew, though no poll came while it was away.
    #[must_use]
    pub fn is_other(&self, observation: &Observation) -> bool {
        match (observation, &self.pool) {
            (Observation::Announced(said), Some(pool)) => {
                said.pool != *pool || said.version != self.version
            }
            _ => false,
        }
    }
}

/// Reasons by their word.
pub type Reasons = BTreeMap<ReasonWord, Reason>;

/// All orders in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Orders {
    /// Why nodes are out, also such as the services file does not name now.
    pub disabled: BTreeMap<NodeAddr, Reasons>,
    /// The leaves that were granted.
    pub granted: BTreeMap<NodeAddr, Grant>,
    /// Why failures put nobody out.
    pub frozen: Reasons,
    /// Who is asked to stay (`pool_please_dont_go`), and is to be told when that is over.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub pleaded: BTreeSet<NodeAddr>,
}

/// Orders that came to their end by themselves.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expired {
    pub(super) reasons: Vec<(NodeAddr, ReasonWord)>,
    pub(super) grants: Vec<NodeAddr>,
}

impl Orders {
    /// Whether failures put nobody out.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        !self.frozen.is_empty()
    }

    /// Whether the node is kept out, whatever it answers.
    #[must_use]
    pub fn bars(&self, addr: NodeAddr) -> bool {
        self.disabled.contains_key(&addr) || self.granted.contains_key(&addr)
    }

    /// The reasons for which a node is out.
    #[must_use]
    pub fn reasons(&self, addr: NodeAddr) -> Option<&Reasons> {
        self.disabled.get(&addr)
    }

    /// When the next one comes to its end by itself.
    #[must_use]
    pub fn next_end(&self) -> Option<Timestamp> {
        let reasons = self.disabled.values().flat_map(Reasons::values);
        let ends = reasons.filter_map(|reason| reason.until);
        ends.chain(self.granted.values().map(|grant| grant.until))
            .min()
    }

    /// Takes out what has come to its end.
    pub(super) fn expire(&mut self, now: Timestamp) -> Expired {
        let over = |until: Option<Timestamp>| until.is_some_and(|until| until <= now);
        let mut expired = Expired::default();
        self.disabled.retain(|addr, reasons| {
            reasons.retain(|word, reason| {
                let over = over(reason.until);
                if over {
                    expired.reasons.push((*addr, word.clone()));
                }
                !over
            });
            !reasons.is_empty()
        });
        self.granted.retain(|addr, grant| {
            let over = over(Some(grant.until));
            if over {
                expired.grants.push(*addr);
            }
            !over
        });
        expired
    }

    /// Extends all leaves by a pause that ended at `today`: their time is to pass while pollbal runs. None gets more
    /// time than it was granted: a clock that was wrong for years may be set.
    pub(super) fn extend_leaves(&mut self, pause: Duration, today: Timestamp) {
        for grant in self.granted.values_mut() {
            let granted = grant.until.since(grant.since);
            let longest = grant.until.max(today.after(granted));
            grant.until = grant.until.after(pause).min(longest);
        }
    }

    /// Takes a reason of a node away; whether it had it.
    pub(super) fn remove_reason(&mut self, addr: NodeAddr, word: &ReasonWord) -> bool {
        let Some(reasons) = self.disabled.get_mut(&addr) else {
            return false;
        };
        let had = reasons.remove(word).is_some();
        if reasons.is_empty() {
            self.disabled.remove(&addr);
        }
        had
    }
}

/// Words in a row: `kernel, deploy`.
#[must_use]
pub fn words<'a>(words: impl IntoIterator<Item = &'a ReasonWord>) -> String {
    let words: Vec<_> = words.into_iter().map(ReasonWord::as_str).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(until: Option<u64>) -> Reason {
        Reason {
            note: Note::default(),
            by: Note::new("ann"),
            since: Timestamp::from_millis(1),
            until: until.map(Timestamp::from_millis),
        }
    }

    #[test]
    fn a_reason_is_a_word_and_a_note_one_harmless_line() {
        for good in ["kernel", "deploy-v24", "INC-7.1+b"] {
            assert!(good.parse::<ReasonWord>().is_ok(), "{good}");
        }
        for bad in ["", "two words", "a/b", "x\n", &"a".repeat(65)] {
            assert_eq!(bad.parse::<ReasonWord>(), Err(ReasonWordError), "{bad}");
        }
        let note = Note::new(&format!(" a\x1b[2J\nb{}", "x".repeat(1_000)));
        assert_eq!(note.as_str().chars().count(), Note::MAX_CHARS);
        assert!(!note.as_str().contains(char::is_control));
    }

    #[test]
    fn orders_end_by_themselves_each_at_its_time() {
        let addr: NodeAddr = "10.0.0.1:80".parse().unwrap();
        let mut orders = Orders::default();
        let reasons = orders.disabled.entry(addr).or_default();
        reasons.insert("short".parse().unwrap(), reason(Some(10)));
        reasons.insert("long".parse().unwrap(), reason(Some(20)));
        reasons.insert("ever".parse().unwrap(), reason(None));
        assert_eq!(orders.next_end(), Some(Timestamp::from_millis(10)));
        let expired = orders.expire(Timestamp::from_millis(10));
        assert_eq!(expired.reasons, [(addr, "short".parse().unwrap())]);
        assert!(orders.bars(addr));
        orders.expire(Timestamp::from_millis(20));
        assert_eq!(orders.next_end(), None);
        assert!(orders.remove_reason(addr, &"ever".parse().unwrap()));
        assert!(!orders.bars(addr));
    }

    #[test]
    fn orders_are_written_and_read_as_they_are() {
        let addr: NodeAddr = "10.0.0.1:80".parse().unwrap();
        let mut orders = Orders::default();
        let reasons = orders.disabled.entry(addr).or_default();
        reasons.insert("kernel".parse().unwrap(), reason(Some(10)));
        orders.frozen.insert("storm".parse().unwrap(), reason(None));
        let grant = Grant {
            pool: Some("api".parse().unwrap()),
            version: Some("v1".parse().unwrap()),
            left: Some("api".parse().unwrap()),
            since: Timestamp::from_millis(1),
            until: Timestamp::from_millis(2),
            was_away: true,
        };
        orders.granted.insert(addr, grant);
        let text = serde_json::to_string(&orders).unwrap();
        assert_eq!(serde_json::from_str::<Orders>(&text).unwrap(), orders);
    }
}
