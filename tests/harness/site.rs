//! A world with clients in front of it, and what scenarios look at: the pool files, Perlbal's own view, and what became
//! of every request that clients sent all the while.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::mem;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use pollbal::drivers::perlbal::spare::address_of;

use crate::common::client::{Exchange, Traffic};
use crate::common::{becomes, eventually};

use super::node::{announce, requests};
use super::world::{NODES, POOLS, Part, World, pool_index};

/// For what takes milliseconds on loopback and some seconds where each look at Perlbal starts a program in a container.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// From the removal of a node that vanished until Perlbal can make connections again: much less than the 15 s after
/// which it gives up those to that node (BackendHTTP.pm, `new`), and as long as some looks at it take.
const GOES_ON: Duration = Duration::from_secs(5);

/// Steady clients of each service, each with a connection of its own: no more than Perlbal keeps idle connections to
/// nodes, so that the same ones are used for ever and Perlbal never finds out by itself that a member is gone.
const CLIENTS: usize = 2;

/// More requests at once than that: only then does Perlbal open connections to nodes, and a member that joined has its
/// share.
const RUSH: usize = 8;

const REST: Duration = Duration::from_millis(5);

/// This number of responses shows that nothing hangs.
const MANY: usize = 100;

/// See the module's documentation.
pub(crate) struct Site {
    pub(crate) world: Box<dyn World>,
    /// In the order of [`POOLS`], once there is traffic.
    traffic: Vec<Traffic>,
    /// What became of the requests of each rush, and to which pool's service it was.
    rushes: Vec<(&'static str, Vec<Exchange>)>,
    forgiven: Vec<Forgiven>,
}

/// Requests to this pool's service may fail that were under way between these moments.
struct Forgiven {
    pool: &'static str,
    from: Instant,
    to: Instant,
}

impl Site {
    pub(crate) fn new(world: Box<dyn World>) -> Self {
        Self {
            world,
            traffic: Vec::new(),
            rushes: Vec::new(),
            forgiven: Vec::new(),
        }
    }

    /// Starts every part in the order in which nobody has to wait, and then the clients; returns when each node answers
    /// some of them.
    pub(crate) fn start(&mut self) {
        self.start_all_but(&[]);
    }

    /// The same without these nodes.
    pub(crate) fn start_all_but(&mut self, nodes: &[usize]) {
        for node in (0..NODES.len()).filter(|node| !nodes.contains(node)) {
            self.world.start(Part::Node(node));
        }
        self.world.start(Part::Pollbal);
        self.world.start(Part::Perlbal);
        for pool in POOLS {
            let mut members = members_at_start(pool);
            members.retain(|node| !nodes.contains(node));
            self.wait_pool(pool, &members);
        }
        self.start_clients();
    }

    /// Clients of every service; returns when each member of each pool has answered some of their requests.
    pub(crate) fn start_clients(&mut self) {
        for pool in POOLS {
            let service = self.world.service_addr(pool);
            let traffic = Traffic::start_paced(service, CLIENTS, REST);
            self.traffic.push(traffic);
        }
        for pool in POOLS {
            let members = self.members(pool).unwrap_or_default();
            let members: Vec<usize> = members.into_iter().map(|addr| self.node_at(addr)).collect();
            self.rush(pool, &members);
        }
    }

    // --- What is done ---

    /// Tells the node what to announce from now on, as `POST /announce` does.
    pub(crate) fn announce(&self, node: usize, query: &str) {
        announce(self.world.node_addr(node), query);
    }

    /// Does what nobody could foresee: requests to these pools' services that are under way meanwhile may fail.
    pub(crate) fn accident(&mut self, pools: &[&'static str], what: impl FnOnce(&mut Self)) {
        let from = Instant::now();
        what(self);
        let to = Instant::now();
        let forgiven = pools.iter().map(|pool| Forgiven { pool, from, to });
        self.forgiven.extend(forgiven);
    }

    /// The same with nodes that vanish without a word and are out of the pools at the end. Perlbal makes no more
    /// connections at a time than a pool has entries, and counts those to nodes that are out until it gives them up
    /// after 15 s (Service.pm, `spawn_backends`): pollbal makes up for that by spare entries, and the accident lasts
    /// until these are there, or nothing is connected to any more.
    pub(crate) fn vanish(
        &mut self,
        pools: &[&'static str],
        nodes: &[usize],
        what: impl FnOnce(&mut Self),
    ) {
        self.accident(pools, |site| {
            what(site);
            for pool in pools {
                eventually(GOES_ON, "Perlbal can make connections again", || {
                    site.can_connect(pool, nodes).then_some(())
                });
            }
        });
    }

    /// Whether Perlbal makes no connection to any of these nodes now, or the pool has spare entries.
    fn can_connect(&self, pool: &str, nodes: &[usize]) -> bool {
        let (made, entries) = (
            self.world.management("PENDING"),
            self.world.management(&format!("SHOW POOL {pool}")),
        );
        let is_to = |line: &String, node: &usize| {
            let addr = self.world.node_addr(*node).to_string();
            line.split(' ').any(|word| word == addr)
        };
        let to_any = |line: &String| nodes.iter().any(|node| is_to(line, node));
        let has_spare = entries.is_ok_and(|lines| lines.iter().any(|line| is_spare(line)));
        has_spare || made.is_ok_and(|lines| !lines.iter().any(to_any))
    }

    /// A member leaves; returns when pollbal logs that it is drained, and proves that it is.
    pub(crate) fn put_to_rest(&self, pool: &str, node: usize) {
        let mark = self.log().len();
        self.announce(node, "status=leaving");
        self.wait_drained(mark, node);
        self.stays_drained(pool, node);
    }

    // --- What is observed ---

    /// Waits until pool file and Perlbal have exactly these members.
    #[track_caller]
    pub(crate) fn wait_pool(&self, pool: &str, members: &[usize]) {
        self.wait_file(&format!("{pool}.pool"), members);
        self.wait_perlbal(pool, members);
    }

    #[track_caller]
    pub(crate) fn wait_file(&self, file: &str, members: &[usize]) {
        becomes(DEADLINE, file, &Some(self.pool_text(members)), || {
            self.file(file)
        });
    }

    /// Waits until `disabled_services` has exactly these nodes.
    #[track_caller]
    pub(crate) fn wait_disabled(&self, nodes: &[usize]) {
        let line = |node: &usize| {
            let addr = self.world.node_addr(*node);
            format!("{} {} # {}\n", addr.ip(), addr.port(), NODES[*node].name)
        };
        let expected = Some(nodes.iter().map(line).collect::<String>());
        let file = "disabled_services";
        becomes(DEADLINE, file, &expected, || self.file(file));
    }

    #[track_caller]
    pub(crate) fn wait_perlbal(&self, pool: &str, members: &[usize]) {
        let expected = members.iter().map(|node| self.world.node_addr(*node));
        let what = format!("the members of Perlbal's pool {pool}");
        becomes(DEADLINE, &what, &Ok(expected.collect()), || {
            self.members(pool)
        });
    }

    /// The text of a pool file with these members.
    pub(crate) fn pool_text(&self, members: &[usize]) -> String {
        let line = |node: &usize| {
            let addr = self.world.node_addr(*node);
            format!("{addr} # {}\n", NODES[*node].name)
        };
        members.iter().map(line).collect()
    }

    pub(crate) fn file(&self, name: &str) -> Option<String> {
        Some(self.world.pool_files().get(name)?.text.clone())
    }

    /// The pool's members in Perlbal, by its management socket.
    pub(crate) fn members(&self, pool: &str) -> Result<BTreeSet<SocketAddrV4>, String> {
        let members = self.uses(pool)?;
        Ok(members.into_iter().map(|(member, _)| member).collect())
    }

    /// The same with how often each was used since it became a member.
    pub(crate) fn uses(&self, pool: &str) -> Result<Vec<(SocketAddrV4, u64)>, String> {
        let mut answer = self.world.management(&format!("SHOW POOL {pool}"))?;
        answer.retain(|line| !is_spare(line));
        let member = |line: &String| {
            let (addr, uses) = line.split_once(' ')?;
            Some((addr.parse().ok()?, uses.parse().ok()?))
        };
        let members: Option<Vec<_>> = answer.iter().map(member).collect();
        members.ok_or_else(|| format!("not understood: {answer:?}"))
    }

    fn node_at(&self, addr: SocketAddrV4) -> usize {
        let found = (0..NODES.len()).find(|node| self.world.node_addr(*node) == addr);
        found.unwrap_or_else(|| panic!("{addr} is no node"))
    }

    pub(crate) fn log(&self) -> String {
        self.world.output(Part::Pollbal)
    }

    /// Waits for a line of pollbal's log behind the mark (a length of the log) that has all of these words.
    #[track_caller]
    pub(crate) fn wait_log(&self, mark: usize, words: &[&str]) {
        eventually(DEADLINE, &format!("a log line with {words:?}"), || {
            let log = self.log();
            let mut new = log.get(mark..).unwrap_or_default().lines();
            new.find(|line| words.iter().all(|word| line.contains(word)))
                .map(|_| ())
        });
    }

    // --- Requests ---

    fn traffic(&self, pool: &str) -> &Traffic {
        &self.traffic[pool_index(pool)]
    }

    /// More clients than usual for a while, until each of these nodes answers some of their requests.
    #[track_caller]
    pub(crate) fn rush(&mut self, pool: &'static str, nodes: &[usize]) {
        let rush = Traffic::start_paced(self.world.service_addr(pool), RUSH, REST);
        for node in nodes {
            rush.wait_answers_of_for(DEADLINE, NODES[*node].name, 5);
        }
        self.rushes.push((pool, rush.finish()));
    }

    /// Waits until many requests that are sent from now on have been answered.
    #[track_caller]
    pub(crate) fn wait_many_answers(&self, pool: &str) {
        let now = Instant::now();
        self.traffic(pool)
            .wait_answers_after_for(DEADLINE, now, MANY);
    }

    /// Proves that only these nodes answer requests that are sent from now on, and that each of them does.
    #[track_caller]
    pub(crate) fn answered_only_by(&mut self, pool: &'static str, nodes: &[usize]) {
        let since = Instant::now();
        self.wait_many_answers(pool);
        self.rush(pool, nodes);
        let rushes = self.rushes.iter().filter(|(to, _)| *to == pool);
        let mut record: Vec<Exchange> = rushes.flat_map(|(_, record)| record.clone()).collect();
        record.extend(self.traffic(pool).record());
        let later = record.iter().filter(|one| one.sent > since);
        let names: BTreeSet<&str> = later
            .filter_map(|one| one.outcome.as_deref().ok())
            .collect();
        let expected = nodes.iter().map(|node| NODES[*node].name).collect();
        assert_eq!(names, expected, "who answers the requests to {pool}");
    }

    /// Waits for pollbal's log line that the node is drained, and looks whether Perlbal agrees.
    #[track_caller]
    pub(crate) fn wait_drained(&self, mark: usize, node: usize) {
        let addr = self.world.node_addr(node).to_string();
        self.wait_log(mark, &[&addr, " drained "]);
        assert_eq!(
            self.busy_connections(node),
            [""; 0],
            "busy connections to a drained node"
        );
    }

    /// Perlbal's busy connections to the node.
    fn busy_connections(&self, node: usize) -> Vec<String> {
        let to = format!(" to {}:", self.world.node_addr(node));
        let mut lines = self.sockets("BackendHTTP");
        lines.retain(|line| line.contains(&to) && !line.contains("; bored"));
        lines
    }

    /// Waits until the request for that path is with a node, and says with which.
    #[track_caller]
    pub(crate) fn wait_under_way(&self, path: &str) -> usize {
        eventually(DEADLINE, &format!("{path} is under way"), || {
            let lines = self.sockets("ClientProxy");
            let mut with = lines.iter().filter(|line| line.contains(path));
            let (_, behind) = with.find_map(|line| line.split_once("; backend="))?;
            let addr = behind.split(';').next()?.parse().ok()?;
            Some(self.node_at(addr))
        })
    }

    /// The lines of `SOCKS` about sockets of this kind.
    #[track_caller]
    fn sockets(&self, kind: &str) -> Vec<String> {
        let mut lines = self.world.management("SOCKS").expect("Perlbal answers");
        lines.retain(|line| line.contains(kind));
        lines
    }

    /// Proves that no request reaches the node from now on, while others answer many.
    #[track_caller]
    pub(crate) fn stays_drained(&self, pool: &str, node: usize) {
        let before = requests(self.world.node_addr(node));
        self.wait_many_answers(pool);
        let after = requests(self.world.node_addr(node));
        assert_eq!(after, before, "requests that reached {}", NODES[node].name);
    }

    // --- The end ---

    /// Ends the clients and proves that no request failed that was not forgiven.
    #[track_caller]
    pub(crate) fn finish(&mut self) {
        let mut records = mem::take(&mut self.rushes);
        let traffic = self.traffic.drain(..).map(Traffic::finish);
        records.extend(POOLS.into_iter().zip(traffic));
        for (pool, record) in records {
            let failed = record.iter().filter(|one| one.outcome.is_err());
            let blamed: Vec<&Exchange> = failed
                .filter(|one| !self.forgiven.iter().any(|those| those.covers(pool, one)))
                .collect();
            assert!(
                blamed.is_empty(),
                "{} of {} requests to {pool} failed that must not, the first: {:?}",
                blamed.len(),
                record.len(),
                blamed[0]
            );
        }
    }

    /// Everything that helps to understand a failure.
    pub(crate) fn report(&self) -> String {
        let mut text = format!("--- pollbal's log:\n{}", self.log());
        for (name, file) in self.world.pool_files() {
            let _ = write!(text, "--- {name} ({}):\n{}", file.stamp, file.text);
        }
        for pool in POOLS {
            let _ = writeln!(text, "--- SHOW POOL {pool}: {:?}", self.uses(pool));
        }
        let nodes = (0..NODES.len()).map(Part::Node);
        for part in [Part::Perlbal].into_iter().chain(nodes) {
            let _ = write!(text, "--- {part:?}:\n{}", self.world.output(part));
        }
        text
    }
}

impl Forgiven {
    fn covers(&self, pool: &str, request: &Exchange) -> bool {
        self.pool == pool && request.sent <= self.to && request.ended >= self.from
    }
}

/// Whether a line of `SHOW POOL` is a spare entry, which is there while a node vanishes.
fn is_spare(line: &str) -> bool {
    line.split(' ').next().and_then(address_of).is_some()
}

/// The pool's members when all nodes are as they were started.
pub(crate) fn members_at_start(pool: &str) -> Vec<usize> {
    let nodes = 0..NODES.len();
    nodes.filter(|node| NODES[*node].pool == pool).collect()
}
