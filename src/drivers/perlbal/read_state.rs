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

/// Maximum number of members of a pool whose members are read to confirm a change elsewhere. Perlbal takes 3 to 4 µs for
/// each, during which it serves nobody.
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
    /// Pools that services were seen to use newly before connections were queried.
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

    /// Takes a response. `known` is the state with the changes that were sent; `later` are those that Perlbal runs after
    /// it; `own_file` says whether a nodefile is one of ours. Returns the next commands.
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
                    next.extend(self.take_dumped(name, pool, &own_file));
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
                next.extend(self.take_counts(&counts, known, &changing));
            }
            Command::ShowPool(name) => {
                self.take_members(name, parse_pool(lines)?);
                let of_pool = later.filter(|command| command.changes() == Some(name));
                of_pool.for_each(|command| self.sent(command));
            }
            _ => {}
        }
        self.due += next.len();
        Ok(next)
    }

    /// Takes the number of members of the large pools; returns the queries of those with another number than expected.
    fn take_counts(
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
                    self.take_members(&name, members.clone());
                    self.counted.insert(name);
                }
                _ => differ.push(Command::ShowPool(name)),
            }
        }
        differ
    }

    fn take_members(&mut self, name: &PerlbalName, members: BTreeSet<Endpoint>) {
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

    fn take_dumped(
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

    /// Queries connections to nodes too, unless they were queried, since services were seen to use
    /// these pools newly.
    pub fn ask_connections(&mut self, newly_used: &mut BTreeSet<PerlbalName>) -> Option<Command> {
        if mem::replace(&mut self.connections, true) {
            return None;
        }
        // What is seen from now on needs another query of connections.
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
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::super::protocol::Endpoint;
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn name(text: &str) -> PerlbalName {
        text.parse().unwrap()
    }

    fn members(actual: &Actual, pool: &str) -> Vec<String> {
        actual.pools[&name(pool)]
            .members
            .iter()
            .map(Endpoint::to_string)
            .collect()
    }

    const DUMP: &str = "CREATE POOL api\n  SET nodefile = /run/pool/api.pool\n\nCREATE POOL web\n  \
                        POOL ADD web 10.0.0.9:80\n\nCREATE SERVICE balancer\n  SET pool = api\n";

    fn own(path: &str) -> Option<OwnFile> {
        let name = path.strip_prefix("/run/pool/")?.to_owned();
        Some(OwnFile {
            name,
            path: path.to_owned(),
        })
    }

    #[test]
    fn a_whole_reading_asks_for_the_members_that_dumpconfig_does_not_tell() {
        let (mut reading, commands) = StateRead::whole(false);
        assert_eq!(commands, [Command::DumpConfig]);
        let next = reading
            .answer(
                &commands[0],
                &lines(DUMP),
                &Actual::default(),
                [].iter(),
                own,
            )
            .unwrap();
        assert_eq!(next, [Command::ShowPool(name("api"))]);
        assert!(!reading.is_done());
        reading
            .answer(
                &next[0],
                &lines("10.0.0.1:80 4"),
                &Actual::default(),
                [].iter(),
                own,
            )
            .unwrap();
        assert!(reading.is_done());
        assert_eq!(members(&reading.fresh, "api"), ["10.0.0.1:80"]);
        assert_eq!(members(&reading.fresh, "web"), ["10.0.0.9:80"]);
        assert_eq!(
            reading.fresh.pools[&name("api")].own_file,
            own("/run/pool/api.pool")
        );
        assert_eq!(
            reading.fresh.services[&name("balancer")].pool,
            Some(name("api"))
        );
    }

    #[test]
    fn the_first_reading_asks_for_connections_once_it_has_the_members() {
        let (mut reading, commands) = StateRead::whole(true);
        assert_eq!(commands, [Command::Uptime, Command::DumpConfig]);
        reading
            .answer(
                &commands[0],
                &lines("starttime 7"),
                &Actual::default(),
                [].iter(),
                own,
            )
            .unwrap();
        let next = reading
            .answer(
                &commands[1],
                &lines(DUMP),
                &Actual::default(),
                [].iter(),
                own,
            )
            .unwrap();
        assert_eq!(next, [Command::ShowPool(name("api")), Command::Backends]);
        reading
            .answer(
                &next[0],
                &lines("10.0.0.1:80 4"),
                &Actual::default(),
                [].iter(),
                own,
            )
            .unwrap();
        assert!(!reading.is_done());
        // One of them under a spelling that is a spare entry.
        let open = lines("10.0.0.1:80 2\n012.0.0.2:80 1");
        reading
            .answer(&next[1], &open, &Actual::default(), [].iter(), own)
            .unwrap();
        let open = ["10.0.0.1:80", "10.0.0.2:80"].map(|addr| addr.parse().unwrap());
        assert_eq!((reading.is_done(), reading.backends), (true, open.into()));
    }

    #[test]
    fn changes_on_their_way_while_an_answer_comes_count_too() {
        let (mut reading, _) = StateRead::whole(false);
        let add = Command::Add(name("web"), "10.0.0.1:80".parse().unwrap());
        let remove = Command::Remove(name("api"), Endpoint::Node("10.0.0.2:80".parse().unwrap()));
        let later = [add, remove];
        let next = reading
            .answer(
                &Command::DumpConfig,
                &lines(DUMP),
                &Actual::default(),
                later.iter(),
                own,
            )
            .unwrap();
        reading
            .answer(
                &next[0],
                &lines("10.0.0.1:80 4\n10.0.0.2:80 1"),
                &Actual::default(),
                later.iter(),
                own,
            )
            .unwrap();
        assert_eq!(
            members(&reading.fresh, "web"),
            ["10.0.0.1:80", "10.0.0.9:80"]
        );
        assert_eq!(members(&reading.fresh, "api"), ["10.0.0.1:80"]);
        // One more, between two responses.
        reading.sent(&Command::Add(name("web"), "10.0.0.3:80".parse().unwrap()));
        assert_eq!(members(&reading.fresh, "web").len(), 3);
        let since = |pool: &str| {
            let since = &reading.since[&name(pool)];
            (since.added.len(), since.removed.len())
        };
        assert_eq!((since("web"), since("api")), ((2, 0), (0, 1)));
    }

    #[test]
    fn a_reload_changes_what_is_not_as_the_file_has_it() {
        let addr = |number: u8| -> NodeAddr { format!("10.0.0.{number}:80").parse().unwrap() };
        let pool = ActualPool {
            members: [1, 2].map(|number| Endpoint::Node(addr(number))).into(),
            ..ActualPool::default()
        };
        let actual = Actual {
            pools: [(name("api"), pool)].into(),
            ..Actual::default()
        };
        let reload = Command::Reload {
            pool: name("api"),
            path: String::new(),
            members: [2, 3].map(addr).into(),
        };
        let change = PoolChange {
            added: [addr(3)].into(),
            removed: [Endpoint::Node(addr(1))].into(),
        };
        assert_eq!(change_by(&reload, &actual), Some((&name("api"), change)));
        let again = Command::Add(name("api"), addr(1));
        assert_eq!(change_by(&again, &actual), None);
    }

    /// A pool `api` of 300 members that follows our file.
    fn large() -> Actual {
        let member = |port| Endpoint::Node(format!("10.0.0.1:{port}").parse().unwrap());
        let pool = ActualPool {
            members: (1..=300).map(member).collect(),
            own_file: own("/run/pool/api.pool"),
            ..ActualPool::default()
        };
        Actual {
            pools: [(name("api"), pool)].into(),
            ..Actual::default()
        }
    }

    /// What is queried to confirm a change elsewhere when the large pool has this many members.
    fn asked_of_large<'a>(
        count: usize,
        later: impl Iterator<Item = &'a Command>,
    ) -> (StateRead, Vec<Command>) {
        let known = large();
        let (mut reading, commands) = StateRead::confirmation(&known, &BTreeSet::new());
        assert_eq!(commands, [Command::DumpConfig, Command::CountMembers]);
        let next = reading.answer(&commands[0], &lines(DUMP), &known, [].iter(), own);
        assert_eq!(next.unwrap(), []);
        let counts = lines(&format!("api nodes {count}\napi services 1\nweb nodes 1"));
        let next = reading.answer(&commands[1], &counts, &known, later, own);
        (reading, next.unwrap())
    }

    #[test]
    fn a_large_pool_with_as_many_members_as_before_is_not_read_to_confirm_a_change_elsewhere() {
        let (reading, next) = asked_of_large(300, [].iter());
        assert_eq!(next, []);
        assert!(reading.is_done());
        assert_eq!(
            reading.fresh.pools[&name("api")],
            large().pools[&name("api")]
        );
        assert_eq!(reading.counted, [name("api")].into());
    }

    #[test]
    fn it_is_read_when_it_has_other_members_or_changes() {
        let show = [Command::ShowPool(name("api"))];
        assert_eq!(asked_of_large(299, [].iter()).1, show);
        let change = Command::Add(name("api"), "10.0.0.9:80".parse().unwrap());
        assert_eq!(asked_of_large(300, [change].iter()).1, show);
        let (_, commands) = StateRead::confirmation(&large(), &[name("api")].into());
        assert_eq!(commands, [Command::DumpConfig]);
    }

    #[test]
    fn a_reading_of_some_pools_keeps_what_is_known_of_their_files() {
        let file = own("/run/pool/api.pool");
        let pool = ActualPool {
            own_file: file.clone(),
            ..ActualPool::default()
        };
        let known = Actual {
            pools: [(name("api"), pool)].into(),
            ..Actual::default()
        };
        let (mut reading, commands) = StateRead::of_pools([name("api")].into(), &known);
        reading
            .answer(
                &commands[0],
                &lines("10.0.0.1:80 4"),
                &Actual::default(),
                [].iter(),
                own,
            )
            .unwrap();
        assert!(reading.is_done() && !reading.is_whole());
        assert_eq!(reading.fresh.pools[&name("api")].own_file, file);
    }
}
