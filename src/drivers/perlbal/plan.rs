//! The commands that lead from the actual to the desired state. Pure.
//!
//! `plan(desired, actual)` gives commands, [`Actual::apply`] gives the state of Perlbal after them; a
//! property test compares the two.

#![warn(clippy::disallowed_methods)]

mod actual;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use self::actual::{Actual, ActualPool, OwnFile};
use super::desired::{Desired, DesiredPool, Missing};
use super::protocol::{Command, Endpoint, Service};
use crate::drivers::perlbal::name::PerlbalName;
use crate::drivers::perlbal::pipe::READ_BYTES;
use crate::model::node::NodeAddr;

/// Commands that reach Perlbal in one piece: it runs them before it does anything else.
pub type Group = Vec<Command>;

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The commands, in order.
    pub groups: Vec<Group>,
    /// What changes in each pool, for the log.
    pub changes: BTreeMap<PerlbalName, PoolChange>,
    /// What cannot be corrected.
    pub problems: BTreeSet<Problem>,
}

/// What changes in a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolChange {
    /// Nodes that are added.
    pub added: BTreeSet<NodeAddr>,
    /// Entries that are removed.
    pub removed: BTreeSet<Endpoint>,
}

/// What cannot be corrected in a Perlbal until someone changes something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// A service has the pool's name; the two share one namespace (Perlbal.pm, `MANAGE_create`).
    TakenByService(PerlbalName),
    /// The pool does not exist and must not be created.
    MissingPool(PerlbalName),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TakenByService(name) => write!(
                f,
                "pool `{name}` cannot be made in Perlbal, since a service has this name; \
                 rename the service or give the pool a `perlbal_pool`"
            ),
            Self::MissingPool(name) => write!(
                f,
                "pool `{name}` is missing in Perlbal and create_pools is false; \
                 run CREATE POOL {name} there, or set create_pools"
            ),
        }
    }
}

/// Maximum size of a group: it must fit into one of Perlbal's reads ([`READ_BYTES`]) behind the
/// queries that may be unanswered ([`READ_COMMAND_BYTES`]).
pub const GROUP_BYTES: usize = 640;

/// Maximum size of the queries that may be unanswered at a time.
pub const READ_COMMAND_BYTES: usize = READ_BYTES - GROUP_BYTES;

/// Minimum number of changes in a pool for which its nodefile is reloaded instead, if it is ours.
///
/// One `ADD` or `REMOVE` costs Perlbal time in proportion to the pool, and so does a reload; one
/// reload costs as much as 4 of them in a pool of 20, 8 in one of 100, 15 in one of 1,000 and 12 in
/// one of 5,000 (measured on Perlbal 1.80). From 16 on it is never more expensive.
pub const RELOAD_CHANGES: usize = 16;

/// The commands that make `actual` as desired.
#[must_use]
pub fn plan(desired: &Desired, actual: &Actual) -> Plan {
    let mut plan = Plan::default();
    let mut adds = Vec::new();
    let mut removals = Vec::new();
    for (name, pool) in &desired.pools {
        let there = actual.pools.get(name);
        if there.is_none() {
            match missing(name, pool, actual) {
                Ok(true) => adds.push(Command::CreatePool(name.clone())),
                Ok(false) => continue,
                Err(problem) => {
                    plan.problems.insert(problem);
                    continue;
                }
            }
        }
        let nothing = ActualPool::default();
        let there = there.unwrap_or(&nothing);
        let change = PoolChange::between(pool, there);
        let spares = spares(name, pool, there, actual);
        if change.is_empty() && there.unsealed.is_empty() && spares.is_empty() {
            continue;
        }
        let removing = if let Some(reload) = reload(name, pool, there, &change) {
            vec![reload]
        } else {
            let added = change.added.iter();
            adds.extend(added.map(|addr| Command::Add(name.clone(), *addr)));
            let gone = change
                .removed
                .iter()
                .chain(&there.unsealed)
                .filter(|gone| !pool.has(gone));
            let gone: BTreeSet<_> = gone.cloned().collect();
            let removes = gone.into_iter();
            removes
                .map(|gone| Command::Remove(name.clone(), gone))
                .collect()
        };
        adds.extend(spares);
        let wakes = if change.replaces_all(there) {
            wakes(name, actual)
        } else {
            Vec::new()
        };
        if removing.is_empty() {
            adds.extend(wakes);
        } else {
            let mut groups = with_seals(&removing, &seals(name, actual));
            stand_behind(&mut groups, wakes);
            removals.extend(groups);
        }
        if !change.is_empty() {
            plan.changes.insert(name.clone(), change);
        }
    }
    // Additions before removals, so that no pool is empty in between.
    plan.groups = chunks(adds, GROUP_BYTES);
    plan.groups.extend(removals);
    plan
}

/// Whether a pool that does not exist is to be created.
fn missing(name: &PerlbalName, pool: &DesiredPool, actual: &Actual) -> Result<bool, Problem> {
    match pool.missing {
        Missing::Ignore => Ok(false),
        // Perlbal cannot delete pools, so none is created before it has a member.
        _ if pool.members.is_empty() => Ok(false),
        _ if actual.services.contains_key(name) => Err(Problem::TakenByService(name.clone())),
        Missing::Create => Ok(true),
        Missing::Report => Err(Problem::MissingPool(name.clone())),
    }
}

/// The commands that add missing spare entries, and let waiting requests use them.
fn spares(
    name: &PerlbalName,
    pool: &DesiredPool,
    there: &ActualPool,
    actual: &Actual,
) -> Vec<Command> {
    let is_missing = |text: &&String| !there.members.contains(&Endpoint::Unparsed((*text).clone()));
    let missing = pool.spares.iter().filter(is_missing);
    let mut commands: Vec<_> = missing
        .map(|text| Command::AddSpare(name.clone(), text.clone()))
        .collect();
    if !commands.is_empty() {
        commands.extend(wakes(name, actual));
    }
    commands
}

/// The commands that seal the pool: one for each reverse-proxy service that uses it.
fn seals(pool: &PerlbalName, actual: &Actual) -> Vec<Command> {
    let seal = |(service, _): (&PerlbalName, _)| Command::Seal {
        service: service.clone(),
        pool: pool.clone(),
    };
    actual.users(pool).map(seal).collect()
}

/// The commands that serve requests which wait for the pool: one for each service that uses it.
fn wakes(pool: &PerlbalName, actual: &Actual) -> Vec<Command> {
    let wake = |(service, known): (&PerlbalName, &Service)| Command::Wake {
        service: service.clone(),
        connect_ahead: known.connect_ahead,
    };
    actual.users(pool).map(wake).collect()
}

fn reload(
    name: &PerlbalName,
    pool: &DesiredPool,
    there: &ActualPool,
    change: &PoolChange,
) -> Option<Command> {
    let file = there
        .own_file
        .as_ref()
        .filter(|file| pool.file.as_ref() == Some(&file.name))?;
    let big = change.added.len() + change.removed.len() >= RELOAD_CHANGES;
    big.then(|| Command::Reload {
        pool: name.clone(),
        path: file.path.clone(),
        members: pool.members.clone(),
    })
}

/// Groups in which each of `removes` is together with each of `seals`.
fn with_seals(removes: &[Command], seals: &[Command]) -> Vec<Group> {
    if removes.is_empty() {
        return Vec::new();
    }
    let mut groups = Vec::new();
    let mut seal_chunks = chunks(seals.to_vec(), GROUP_BYTES / 2);
    if seal_chunks.is_empty() {
        seal_chunks.push(Vec::new());
    }
    for seals in seal_chunks {
        for mut group in chunks(removes.to_vec(), GROUP_BYTES - bytes(&seals)) {
            group.extend(seals.iter().cloned());
            groups.push(group);
        }
    }
    groups
}

/// Adds commands to the last of the groups, as far as there is room, and further groups after it.
fn stand_behind(groups: &mut Vec<Group>, commands: Vec<Command>) {
    for group in chunks(commands, GROUP_BYTES) {
        match groups.last_mut() {
            Some(last) if bytes(last) + bytes(&group) <= GROUP_BYTES => last.extend(group),
            _ => groups.push(group),
        }
    }
}

/// Cuts commands into groups of at most `limit` bytes, or of one command.
fn chunks(commands: Vec<Command>, limit: usize) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut room = 0;
    for command in commands {
        let length = command.line().len();
        match groups.last_mut() {
            Some(group) if length <= room => group.push(command),
            _ => {
                room = limit;
                groups.push(vec![command]);
            }
        }
        room = room.saturating_sub(length);
    }
    groups
}

/// Size of the commands' lines together.
#[must_use]
pub fn bytes(commands: &[Command]) -> usize {
    commands.iter().map(|command| command.line().len()).sum()
}

impl DesiredPool {
    fn has(&self, endpoint: &Endpoint) -> bool {
        match endpoint {
            Endpoint::Node(addr) => self.members.contains(addr),
            Endpoint::Unparsed(text) => self.spares.contains(text) || self.strangers.contains(text),
        }
    }
}

impl PoolChange {
    /// Whether nothing is added or removed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    /// Whether members are added and none of those that are there stays, or none is there. Requests
    /// may then wait for connections that will not come: none is opened to an empty pool, and dead
    /// members are retried after a second at the earliest (Service.pm, `note_bad_backend_connect`).
    fn replaces_all(&self, actual: &ActualPool) -> bool {
        !self.added.is_empty() && self.removed.len() == actual.members.len()
    }

    /// Adds a change that came after this one.
    pub fn merge(&mut self, later: Self) {
        for addr in later.added {
            if !self.removed.remove(&Endpoint::Node(addr)) {
                self.added.insert(addr);
            }
        }
        for gone in later.removed {
            let came = matches!(&gone, Endpoint::Node(addr) if self.added.remove(addr));
            if !came {
                self.removed.insert(gone);
            }
        }
    }

    fn between(desired: &DesiredPool, actual: &ActualPool) -> Self {
        let mut change = Self::default();
        let mut there = actual.members.iter().peekable();
        // Both are sorted alike: one walk is much cheaper than a look-up for each member.
        for addr in &desired.members {
            let member = Endpoint::Node(*addr);
            while let Some(gone) = there.next_if(|there| **there < member) {
                change.removed.insert(gone.clone());
            }
            if there.next_if(|there| **there == member).is_none() {
                change.added.insert(*addr);
            }
        }
        change.removed.extend(there.cloned());
        if !desired.spares.is_empty() || !desired.strangers.is_empty() {
            change.removed.retain(|gone| !desired.has(gone));
        }
        change
    }
}

#[cfg(test)]
mod tests;
