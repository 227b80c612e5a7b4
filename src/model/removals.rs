//! Whether a list of nodes may take away those that it does not name any more.
//!
//! A services file that was cut off, or is written line by line, looks like one from which nodes
//! were removed. So a list that would take much at once, or the last of something, is not obeyed in
//! that until a person says so. What it adds is taken in any case.

pub mod refusals;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::names::PoolName;
use super::node::{Node, NodeAddr};
use super::services::List;

/// Maximum number of names, and of pools, that a text tells.
const MAX_NAMED: usize = 20;

/// How many of all nodes may be removed at once. One always may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxRemoved {
    /// This number of nodes.
    Number(usize),
    /// This share of them, as in "1/3" or "33%" (of 100).
    Share {
        /// This number of parts
        part: u32,
        /// of this number.
        of: u32,
    },
}

/// The active nodes, and the pools that they are in.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// The nodes, in their order.
    pub nodes: Vec<Arc<Node>>,
    /// How many of them the last list named that was taken as a whole.
    pub listed: usize,
    /// The pools that have members.
    pub pools: BTreeMap<PoolName, PoolStanding>,
}

/// A pool, as far as it can lose members.
#[derive(Clone, Debug, Default)]
pub struct PoolStanding {
    /// Its `min_members`.
    pub min_members: usize,
    /// Its members, and whether each serves as far as is known.
    pub members: BTreeMap<NodeAddr, bool>,
}

/// The removals of a list that is not obeyed in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// The nodes that stay although the list does not name them.
    pub nodes: Vec<Arc<Node>>,
    /// Why.
    pub why: Vec<Why>,
}

/// Why removals are withheld.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// A source has not listed its nodes yet, and these may be some of them.
    NotListedYet,
    /// The last line has no end, and could be the beginning of the line of a node that is missing.
    CutOff(NodeAddr, Arc<Node>),
    /// This number of nodes of this number would go at once.
    TooMany(usize, usize, MaxRemoved),
    /// The pool would lose its last members, this number.
    LastMembers(PoolName, usize),
    /// The pool would lose the last of its members that serve.
    LastServing(PoolName),
    /// The pool would have the first number of serving members left, and needs the second.
    BelowMin(PoolName, usize, usize),
}

/// Decides by `max_removed` and `min_members` whether the removals of this list may be carried out.
///
/// # Errors
/// The nodes that would go, and why they stay.
pub fn judge(list: &List, standing: &Standing, max: MaxRemoved) -> Result<(), Withheld> {
    let named: BTreeSet<_> = list.nodes.iter().map(|node| node.addr).collect();
    let missing = standing.nodes.iter();
    let missing = missing.filter(|node| !named.contains(&node.addr));
    let nodes: Vec<_> = missing.cloned().collect();
    if nodes.is_empty() {
        return Ok(());
    }
    let mut why: Vec<_> = cut_off(list, &nodes).into_iter().collect();
    why.extend(list.awaits.map(|_| Why::NotListedYet));
    if nodes.len() > 1 && max.is_exceeded(nodes.len(), standing.listed) {
        why.push(Why::TooMany(nodes.len(), standing.listed, max));
    }
    let pools = standing.pools.iter();
    why.extend(pools.filter_map(|(pool, standing)| standing.suffers(pool, &named)));
    if why.is_empty() {
        Ok(())
    } else {
        Err(Withheld { nodes, why })
    }
}

/// Whether the last line may be what is left of a longer one: its port is the beginning of the port
/// of a node that is missing, and there is nothing behind it.
fn cut_off(list: &List, missing: &[Arc<Node>]) -> Option<Why> {
    let half = list.nodes.last().filter(|_| list.unfinished)?;
    if half.name != half.addr.to_string() {
        return None;
    }
    let begins = |node: &&Arc<Node>| node.addr.to_string().starts_with(&half.name);
    let whole = missing.iter().find(begins)?;
    Some(Why::CutOff(half.addr, whole.clone()))
}

impl MaxRemoved {
    fn is_exceeded(self, going: usize, all: usize) -> bool {
        match self {
            Self::Number(number) => going > number,
            Self::Share { part, of } => {
                let times = |number: usize, times: u32| number as u128 * u128::from(times);
                times(going, of) > times(all, part)
            }
        }
    }
}

impl PoolStanding {
    /// What the pool would suffer if only these nodes were left.
    fn suffers(&self, pool: &PoolName, named: &BTreeSet<NodeAddr>) -> Option<Why> {
        let (mut left, mut left_serving, mut serving_go) = (0, 0, false);
        for (addr, serves) in &self.members {
            if named.contains(addr) {
                left += 1;
                left_serving += usize::from(*serves);
            } else {
                serving_go |= *serves;
            }
        }
        if left == 0 && !self.members.is_empty() {
            return Some(Why::LastMembers(pool.clone(), self.members.len()));
        }
        // With one that does not serve goes nothing.
        if !serving_go {
            None
        } else if left_serving == 0 {
            Some(Why::LastServing(pool.clone()))
        } else if left_serving < self.min_members {
            let min = self.min_members;
            Some(Why::BelowMin(pool.clone(), left_serving, min))
        } else {
            None
        }
    }
}

impl Withheld {
    /// The active nodes: those of the list, and behind them those that stay.
    #[must_use]
    pub fn active(&self, list: &List) -> Vec<Node> {
        let is_half =
            |addr| matches!(self.why.first(), Some(Why::CutOff(half, _)) if *half == addr);
        let named = list.nodes.iter().filter(|node| !is_half(node.addr));
        let stay = self.nodes.iter().map(Arc::as_ref);
        named.chain(stay).cloned().collect()
    }

    /// What people call those that stay.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|node| node.name.as_str())
    }
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nodes.len() {
            1 => f.write_str("a node is missing from it and stays: ")?,
            many => write!(f, "{many} nodes are missing from it and stay: ")?,
        }
        first(f, self.why.iter(), "; ")?;
        f.write_str(
            ". What it adds counts. Put them back into it, or remove them with \
             `pollbal reload --accept-removals`: ",
        )?;
        first(f, self.names(), ", ")
    }
}

/// The first of many, and how many more there are.
fn first(
    f: &mut fmt::Formatter<'_>,
    mut all: impl Iterator<Item = impl fmt::Display>,
    between: &str,
) -> fmt::Result {
    for (index, one) in all.by_ref().take(MAX_NAMED).enumerate() {
        let between = if index > 0 { between } else { "" };
        write!(f, "{between}{one}")?;
    }
    match all.count() {
        0 => Ok(()),
        more => write!(f, "{between}and {more} more"),
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListedYet => {
                f.write_str("the Serf agent has not listed its members yet, which they may be")
            }
            Self::CutOff(half, whole) => write!(
                f,
                "its last line, {half}, has no end and may be the beginning of that of {} ({}); \
                 if it is whole, end it with a newline",
                whole.name, whole.addr
            ),
            Self::TooMany(going, all, max) => {
                write!(
                    f,
                    "{going} of {all} at once are more than max_removed ({max})"
                )
            }
            Self::LastMembers(pool, 1) => write!(f, "pool {pool} would lose its last member"),
            Self::LastMembers(pool, all) => {
                write!(f, "pool {pool} would lose all its {all} members")
            }
            Self::LastServing(pool) => {
                write!(
                    f,
                    "pool {pool} would lose the last of its members that serve"
                )
            }
            Self::BelowMin(pool, left, min) => write!(
                f,
                "pool {pool} would have {left} serving, below its min_members of {min}"
            ),
        }
    }
}

impl fmt::Display for MaxRemoved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Share { part, of: 100 } => write!(f, "{part}%"),
            Self::Share { part, of } => write!(f, "{part}/{of}"),
        }
    }
}

/// A text is no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoShare;

impl FromStr for MaxRemoved {
    type Err = NoShare;

    /// Reads a share.
    fn from_str(text: &str) -> Result<Self, NoShare> {
        let (part, of) = match text.strip_suffix('%') {
            Some(part) => (part, "100"),
            None => text.split_once('/').ok_or(NoShare)?,
        };
        let number = |text: &str| match text.parse() {
            Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
            _ => Err(NoShare),
        };
        match (number(part)?, number(of)?) {
            (part, of) if of > 0 && part <= of => Ok(Self::Share { part, of }),
            _ => Err(NoShare),
        }
    }
}

#[cfg(test)]
mod tests;
