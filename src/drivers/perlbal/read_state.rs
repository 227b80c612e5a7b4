//! Reads Perlbal's actual state, response by response. Pure.
//!
//! Changes go on while a read is in progress. Responses come in the order of the commands, so a
//! response shows the state before all changes that are unanswered at that moment; these are
//! applied to it.

#![warn(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use super::plan::{Actual, ActualPool, OwnFile, PoolChange};
use super::protocol::{
    Command, Dump, DumpedPool, Endpoint, ProtocolError, parse_backends, parse_member_counts,
    parse_pool, parse_uptime,
};
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::node::NodeAddr;

/// Maximum number of members of a pool whose members are read to confirm a change elsewhere. Perlbal takes 3 to 4 µs
/// for each, during which it serves nobody.
const MAX_READ_TO_CONFIRM: usize = 250;

/// A read that is in progress.
#[derive(Debug, Default)]
pub struct StateRead {
    /// Everything is read, not only some pools.
    whole: bool,
    /// Connections to nodes are read as well, as in the first read over a connection.
    connections: bool,
    /// Pools that are only counted, until their number of members is known.
    to_count: BTreeSet<PerlbalName>,
    /// Pools that have as many members as expected, so that these were not read.
    pub counted: BTreeSet<PerlbalName>,
    /// Pools that services newly use, as found before connections were queried.
    pub newly_used: BTreeSet<PerlbalName>,
    /// Number of responses that are still to come.
    due: usize,
    /// The state as read so far, with changes that are not answered yet.
    pub fresh: Actual,
    /// The changes in it that the responses did not show yet.
    pub since: BTreeMap<PerlbalName, PoolChange>,
    /// The nodefiles of pools whose members are still to come: ours, or the path of another.
    files: BTreeMap<PerlbalName, Result<OwnFile, String>>,
    /// When Perlbal started, in seconds since 1970, and its version.
    pub start: Option<(u64, String)>,
    /// Pools that do not exist any more.
    pub absent: BTreeSet<PerlbalName>,
    /// The addresses to which Perlbal has connections.
    pub backends: BTreeSet<NodeAddr>,
}

impl StateRead {
    /// Reads all pools and services; if it is the `first` read over a connection, also what
    /// connects it to the time before.
    #[must_use]
    pub fn whole(first: bool) -> (Self, Vec<Command>) {
        let mut commands = vec![Command::DumpConfig];
        if first {
            commands.insert(0, Command::Uptime);
        }
        (
            Self {
                whole: true,
                connections: first,
                due: commands.len(),
                ..Self::default()
            },
            commands,
        )
    }

    /// Reads all services and pools to confirm a change. Large pools that follow our file and were not changed since
    /// they were read are only counted: the same number of members passes for the same members.
    #[must_use]
    pub fn confirmation(known: &Actual, changed: &BTreeSet<PerlbalName>) -> (Self, Vec<Command>) {
        let (read, mut commands) = Self::whole(false);
        let is_counted = |(name, pool): &(&PerlbalName, &ActualPool)| {
            pool.members.len() > MAX_READ_TO_CONFIRM
                && pool.own_file.is_some()
                && !changed.contains(*name)
        };
        let large = known.pools.iter().filter(is_counted);
        let to_count: BTreeSet<_> = large.map(|(name, _)| name.clone()).collect();
        if !to_count.is_empty() {
            commands.push(Command::CountMembers);
        }
        let read = Self {
            due: commands.len(),
            to_count,
            ..read
        };
        (read, commands)
    }

    /// Reads the members of some pools; the rest is taken from `known`.
    #[must_use]
    pub fn of_pools(pools: BTreeSet<PerlbalName>, known: &Actual) -> (Self, Vec<Command>) {
        let file = |name: &PerlbalName| {
            let pool = known.pools.get(name)?;
            let own = pool.own_file.clone().map(Ok);
            let file = own.or_else(|| pool.foreign_file.clone().map(Err))?;
            Some((name.clone(), file))
        };
        let files = pools.iter().filter_map(file).collect();
        let commands: Vec<_> = pools.into_iter().map(Command::ShowPool).collect();
        (
            Self {
                due: commands.len(),
                files,
                ..Self::default()
            },
            commands,
        )
    }

    /// Whether everything was read, not only some pools.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether pools are only counted.
    #[must_use]
    pub fn counts(&self) -> bool {
        !self.to_count.is_empty()
    }

    /// Whether all responses have come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.due == 0
    }

    /// Records a response. `known` is the state with the changes that were sent; `later` are those that Perlbal runs
    /// after it; `own_file` says whether a nodefile is one of ours. Returns the next commands.
    pub fn answer<'a>(
        &mut self,
        command: &Command,
        lines: &[String],
        known: &Actual,
        later: impl Iterator<Item = &'a Command>,
        own_file: impl Fn(&str) -> Option<OwnFile>,
    ) -> Result<Vec<Command>, ProtocolError> {
        self.due -= 1;
        let mut next = Vec::new();
        match command {
            Command::Uptime => self.start = Some(parse_uptime(lines)?),
            Command::Backends => self.backends = parse_backends(lines),
            Command::DumpConfig => {
                let dump = Dump::parse(lines)?;
                self.fresh.services = dump.services;
                for (name, pool) in dump.pools {
                    next.extend(self.record_dumped(name, pool, &own_file));
                }
                later.for_each(|command| self.sent(command));
                if self.connections {
                    // Last: to a node that was in no pool before, Perlbal opens no more connections.
                    next.push(Command::Backends);
                }
            }
            Command::CountMembers => {
                let changing: BTreeSet<_> = later.filter_map(Command::changes).collect();
                let counts = parse_member_counts(lines);
                next.extend(self.record_counts(&counts, known, &changing));
            }
            Command::ShowPool(name) => {
                self.record_members(name, parse_pool(lines)?);
                let of_pool = later.filter(|command| command.changes() == Some(name));
                of_pool.for_each(|command| self.sent(command));
            }
            _ => {}
        }
        self.due += next.len();
        Ok(next)
    }

    /// Records the number of members of the large pools; returns the queries of those with another number than
    /// expected.
    fn record_counts(
        &mut self,
        counts: &BTreeMap<PerlbalName, usize>,
        known: &Actual,
        changing: &BTreeSet<&PerlbalName>,
    ) -> Vec<Command> {
        let mut differ = Vec::new();
        for name in mem::take(&mut self.to_count) {
            // Without a nodefile its members were read; without an entry it is gone.
            if !self.files.contains_key(&name) {
                continue;
            }
            let members = known.pools.get(&name).map(|pool| &pool.members);
            match members.filter(|members| counts.get(&name) == Some(&members.len())) {
                Some(members) if !changing.contains(&name) => {
                    self.record_members(&name, members.clone());
                    self.counted.insert(name);
                }
                _ => differ.push(Command::ShowPool(name)),
            }
        }
        differ
    }

    fn record_members(&mut self, name: &PerlbalName, members: BTreeSet<Endpoint>) {
        let mut pool = ActualPool {
            members,
            ..ActualPool::default()
        };
        match self.files.remove(name) {
            Some(Ok(own)) => pool.own_file = Some(own),
            Some(Err(foreign)) => pool.foreign_file = Some(foreign),
            None => {}
        }
        self.fresh.pools.insert(name.clone(), pool);
    }

    fn record_dumped(
        &mut self,
        name: PerlbalName,
        pool: DumpedPool,
        own_file: &impl Fn(&str) -> Option<OwnFile>,
    ) -> Option<Command> {
        let Some(path) = pool.nodefile else {
            let members = pool.members;
            self.fresh.pools.insert(
                name,
                ActualPool {
                    members,
                    ..ActualPool::default()
                },
            );
            return None;
        };
        let file = own_file(&path).ok_or(path);
        self.files.insert(name.clone(), file);
        let is_counted = self.to_count.contains(&name);
        (!is_counted).then_some(Command::ShowPool(name))
    }

    /// Queries connections to nodes too, unless they were queried, since services are found to use
    /// these pools newly.
    pub fn query_connections(&mut self, newly_used: &mut BTreeSet<PerlbalName>) -> Option<Command> {
        if mem::replace(&mut self.connections, true) {
            return None;
        }
        // What is found from now on needs another query of connections.
        self.newly_used = mem::take(newly_used);
        self.due += 1;
        Some(Command::Backends)
    }

    /// Whether connections to nodes are read as well.
    #[must_use]
    pub fn has_connections(&self) -> bool {
        self.connections
    }

    /// A pool whose members were queried does not exist.
    pub fn missing(&mut self, pool: &PerlbalName) {
        self.due -= 1;
        self.absent.insert(pool.clone());
    }

    /// Applies a change that is sent while the read is in progress, or that Perlbal runs after a
    /// response.
    pub fn sent(&mut self, command: &Command) {
        if let Some((name, change)) = change_by(command, &self.fresh) {
            self.since.entry(name.clone()).or_default().merge(change);
        }
        self.fresh.apply(command);
    }
}

/// What a command will change in a pool's members, if the pool exists.
#[must_use]
pub fn change_by<'a>(
    command: &'a Command,
    actual: &Actual,
) -> Option<(&'a PerlbalName, PoolChange)> {
    let name = command.changes()?;
    let members = &actual.pools.get(name)?.members;
    let mut change = PoolChange::default();
    match command {
        Command::Add(_, addr) if !members.contains(&Endpoint::Node(*addr)) => {
            change.added.insert(*addr);
        }
        Command::Remove(_, endpoint) if members.contains(endpoint) => {
            change.removed.insert(endpoint.clone());
        }
        Command::Reload { members: new, .. } => {
            let is_new = |addr: &NodeAddr| !members.contains(&Endpoint::Node(*addr));
            change.added = new.iter().copied().filter(is_new).collect();
            let is_gone =
                |member: &&Endpoint| !matches!(member, Endpoint::Node(addr) if new.contains(addr));
            change.removed = members.iter().filter(is_gone).cloned().collect();
        }
        _ => return None,
    }
    Some((name, change))
}

#[cfg(test)]
mod tests;
