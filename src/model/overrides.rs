//! Overrides of what polls decide, by operators, scripts and nodes: reasons to keep a node out, granted leaves,
//! freezes.
//!
//! Overrides outlive the process (`state_file`), so their times are times of day. Their consequences are decided by
//! [`Membership`](super::membership::Membership), which owns them.

mod saved;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::saved::SavedLease;
use super::names::{PoolName, Version};
use super::node::NodeAddr;
use super::observation::Observation;
use super::text::printable;
use super::time::Timestamp;
use super::weight::Weight;

/// The name of a reason: 1 to 64 characters of `A–Z a–z 0–9 . _ + -`. A reason is removed by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ReasonName(Arc<str>);

/// The text is not a valid [`ReasonName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonNameError;

impl ReasonName {
    /// Maximum length in bytes.
    pub const MAX_BYTES: usize = 64;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ReasonName {
    type Err = ReasonNameError;

    fn from_str(text: &str) -> Result<Self, ReasonNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        if (1..=Self::MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(ReasonNameError)
        }
    }
}

impl fmt::Display for ReasonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ReasonNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reason is a word of 1 to 64 of A-Z a-z 0-9 . _ + -")
    }
}

impl std::error::Error for ReasonNameError {}

impl TryFrom<String> for ReasonName {
    type Error = ReasonNameError;

    fn try_from(text: String) -> Result<Self, ReasonNameError> {
        text.parse()
    }
}

impl From<ReasonName> for String {
    fn from(name: ReasonName) -> Self {
        name.as_str().to_owned()
    }
}

/// Free text about an override: one printable line of at most 200 characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Note(String);

impl From<String> for Note {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl Note {
    /// Maximum number of characters; longer text is truncated.
    pub const MAX_CHARS: usize = 200;

    /// Escapes what is not printable, and truncates.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let short: String = text.chars().take(Self::MAX_CHARS).collect();
        let shown = printable(short.trim());
        Self(shown.chars().take(Self::MAX_CHARS).collect())
    }

    /// The text, possibly empty.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One reason for which a node is disabled, or a freeze is active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Free text for other operators.
    #[serde(default)]
    pub note: Note,
    /// Who gave it, if known.
    #[serde(default)]
    pub by: Note,
    /// When it was given.
    pub since: Timestamp,
    /// When it expires.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

impl Reason {
    /// ` by ann: "new kernel", until 2026-07-30T02:00:54Z`, as far as known; follows the name.
    #[must_use]
    pub fn details(&self) -> String {
        let given = given(self.by.as_str(), self.note.as_str());
        match self.until {
            Some(until) => format!("{given}, until {until}"),
            None => given,
        }
    }
}

/// ` by ann: "new kernel"`, omitting what is empty; follows the name of the reason.
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

/// The reason of this name if someone other than `by` gave it: then only they may change it.
#[must_use]
pub fn given_by_other<'a>(
    reasons: &'a Reasons,
    name: &ReasonName,
    by: &Note,
) -> Option<&'a Reason> {
    reasons.get(name).filter(|given| given.by != *by)
}

/// A leave that a node requested and was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SavedLease")]
pub struct LeaveLease {
    /// The pool that it was in or announced last, if any.
    pub pool: Option<PoolName>,
    /// The version that it announced there.
    pub version: Option<Version>,
    /// The pool of which it was a member, and in whose `max_leaving` it counts; none if it was in no pool.
    pub left: Option<PoolName>,
    /// When it was granted.
    pub since: Timestamp,
    /// When it expires.
    pub until: Timestamp,
    /// The node has been away since: the leave ends once it serves again.
    pub was_away: bool,
}

impl LeaveLease {
    /// Whether the observation shows another pool or version than when the leave was granted: the node has been
    /// restarted then, although no poll found it away.
    #[must_use]
    pub fn is_other(&self, observation: &Observation) -> bool {
        match (observation, &self.pool) {
            (Observation::Announced(announced), Some(pool)) => {
                announced.pool != *pool || announced.version != self.version
            }
            _ => false,
        }
    }
}

/// A weight that an operator gives a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightOverride {
    /// The weight.
    pub weight: Weight,
    /// The name of the reason.
    pub name: ReasonName,
    /// Who gave it, why, and until when.
    pub reason: Reason,
}

/// Reasons by their name.
pub type Reasons = BTreeMap<ReasonName, Reason>;

/// All active overrides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overrides {
    /// Why nodes are disabled, including nodes that are not listed at present.
    pub disabled: BTreeMap<NodeAddr, Reasons>,
    /// The granted leaves.
    #[serde(rename = "granted")]
    pub leases: BTreeMap<NodeAddr, LeaveLease>,
    /// The freezes.
    pub frozen: Reasons,
    /// The weights.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<NodeAddr, WeightOverride>,
    /// For how long nodes that are out ramp up when they return, whatever the configuration says, in milliseconds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ramps_ms: BTreeMap<NodeAddr, u64>,
    /// The nodes that are asked to stay (`pool_please_dont_go`) and must be notified when that ends.
    #[serde(rename = "pleaded", skip_serializing_if = "BTreeSet::is_empty")]
    pub asked_to_stay: BTreeSet<NodeAddr>,
}

/// Overrides that have expired.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expired {
    pub(super) reasons: Vec<(NodeAddr, ReasonName)>,
    pub(super) leases: Vec<NodeAddr>,
    pub(super) weights: Vec<NodeAddr>,
}

impl Expired {
    /// Whether nothing has expired.
    pub(super) fn is_empty(&self) -> bool {
        self.reasons.is_empty() && self.leases.is_empty() && self.weights.is_empty()
    }
}

impl Overrides {
    /// Whether failed nodes are kept in their pools.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        !self.frozen.is_empty()
    }

    /// Whether the node is kept out of all pools, whatever it announces.
    #[must_use]
    pub fn excludes(&self, addr: NodeAddr) -> bool {
        self.disabled.contains_key(&addr) || self.leases.contains_key(&addr)
    }

    /// The reasons for which a node is disabled.
    #[must_use]
    pub fn reasons(&self, addr: NodeAddr) -> Option<&Reasons> {
        self.disabled.get(&addr)
    }

    /// The nodes with overrides of their own, some of them more than once.
    pub fn nodes(&self) -> impl Iterator<Item = NodeAddr> {
        let nodes = self.disabled.keys().chain(self.leases.keys());
        nodes.chain(self.weights.keys()).copied()
    }

    /// When the next override expires.
    #[must_use]
    pub fn next_end(&self) -> Option<Timestamp> {
        let reasons = self.disabled.values().flat_map(Reasons::values);
        let weights = self.weights.values().map(|weight| &weight.reason);
        let ends = reasons.chain(weights).filter_map(|reason| reason.until);
        ends.chain(self.leases.values().map(|lease| lease.until))
            .min()
    }

    /// Removes what has expired, and returns it; of weights only the nodes, whose weights are still there.
    pub(super) fn expire(&mut self, now: Timestamp) -> Expired {
        let over = |until: Option<Timestamp>| until.is_some_and(|until| until <= now);
        let mut expired = Expired::default();
        self.disabled.retain(|addr, reasons| {
            reasons.retain(|name, reason| {
                let over = over(reason.until);
                if over {
                    expired.reasons.push((*addr, name.clone()));
                }
                !over
            });
            !reasons.is_empty()
        });
        self.leases.retain(|addr, lease| {
            let over = over(Some(lease.until));
            if over {
                expired.leases.push(*addr);
            }
            !over
        });
        let is_over = |weight: &WeightOverride| over(weight.reason.until);
        let ended = self.weights.iter().filter(|(_, weight)| is_over(weight));
        expired.weights = ended.map(|(addr, _)| *addr).collect();
        expired
    }

    /// Extends all leaves by a pause of pollbal that ended at `today`, since their time passes only while pollbal runs.
    /// None gets more time than it was granted: a clock that was years off may have been set.
    pub(super) fn extend_leaves(&mut self, pause: Duration, today: Timestamp) {
        for lease in self.leases.values_mut() {
            let granted = lease.until.since(lease.since);
            let longest = lease.until.max(today.after(granted));
            lease.until = lease.until.after(pause).min(longest);
        }
    }

    /// Removes a reason of a node. Returns whether it had that reason.
    pub(super) fn remove_reason(&mut self, addr: NodeAddr, name: &ReasonName) -> bool {
        let Some(reasons) = self.disabled.get_mut(&addr) else {
            return false;
        };
        let had = reasons.remove(name).is_some();
        if reasons.is_empty() {
            self.disabled.remove(&addr);
        }
        had
    }
}

/// The names as a list: `kernel, deploy`.
#[must_use]
pub fn words<'a>(words: impl IntoIterator<Item = &'a ReasonName>) -> String {
    let words: Vec<_> = words.into_iter().map(ReasonName::as_str).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests;
