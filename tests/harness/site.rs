//! A world with clients in front of it, and what scenarios look at: the pool files, the load balancer's own view, and what
//! became of every request that clients sent all the while.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::mem;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use crate::common::client::{Exchange, Traffic};
use crate::common::{becomes, eventually};

use super::balancer::{Balancer, Uses};
use super::node::{announce, has_request, requests};
use super::world::{NODES, POOLS, Part, World, pool_index};

/// For what takes milliseconds on loopback and some seconds where each look at the load balancer starts a program in a container.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// From the removal of a node that vanished until the load balancer can make connections again: much less than the 15 s after
/// which it gives up those to that node (BackendHTTP.pm, `new`), and as long as some looks at it take.
const GOES_ON: Duration = Duration::from_secs(5);

/// Steady clients of each service, each with a connection of its own: no more than Perlbal keeps idle connections to
/// nodes, so that the same ones are used for ever and it never finds out by itself that a member is gone.
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
        self.world.start(Part::Balancer);
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

    /// The same with nodes that vanish without a word and are out of the pools at the end. The accident lasts until
    /// connections that the load balancer is making to them keep it from making others no longer.
    pub(crate) fn vanish(
        &mut self,
        pools: &[&'static str],
        nodes: &[usize],
        what: impl FnOnce(&mut Self),
    ) {
        self.accident(pools, |site| {
            what(site);
            let gone: Vec<_> = nodes
                .iter()
                .map(|node| site.world.node_addr(*node))
                .collect();
            for pool in pools {
                eventually(GOES_ON, "it can make connections again", || {
                    let can = site.balancer().can_connect(&site.ask(), pool, &gone);
                    can.then_some(())
                });
            }
        });
    }

    /// A member leaves; returns when pollbal logs that it is drained, and proves that it is.
    pub(crate) fn put_to_rest(&self, pool: &str, node: usize) {
        let mark = self.log().len();
        self.announce(node, "status=leaving");
        self.wait_drained(mark, node);
        self.stays_drained(pool, node);
    }

    /// Reloads the load balancer; returns when the new process answers.
    pub(crate) fn reload(&mut self) {
        let before = self.balancer().pid(&self.ask());
        self.world.reload();
        let pid = || self.balancer().pid(&self.ask());
        eventually(DEADLINE, "another process answers", || {
            pid().filter(|pid| before != Some(*pid)).map(|_| ())
        });
    }

    // --- What is observed ---

    /// Waits until pool file and load balancer have exactly these members.
    #[track_caller]
    pub(crate) fn wait_pool(&self, pool: &str, members: &[usize]) {
        self.wait_file(&format!("{pool}.pool"), members);
        self.wait_balancer(pool, members);
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
    pub(crate) fn wait_balancer(&self, pool: &str, members: &[usize]) {
        let expected = members.iter().map(|node| self.world.node_addr(*node));
        let what = format!("the members of {pool} in {}", self.balancer().name());
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

    /// The load balancer.
    pub(crate) fn balancer(&self) -> &'static dyn Balancer {
        self.world.balancer()
    }

    /// What it is asked by.
    pub(crate) fn ask(&self) -> impl Fn(&str) -> Result<Vec<String>, String> {
        |command| self.world.management(command)
    }

    /// The pool's members in the load balancer, by its own view.
    pub(crate) fn members(&self, pool: &str) -> Result<BTreeSet<SocketAddrV4>, String> {
        let members = self.uses(pool)?;
        Ok(members.into_iter().map(|(member, _)| member).collect())
    }

    /// The same with how often each was used since it became a member.
    pub(crate) fn uses(&self, pool: &str) -> Uses {
        self.balancer().uses(&self.ask(), pool)
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

    /// Waits for pollbal's log line that the node is drained, and looks whether the load balancer agrees.
    #[track_caller]
    pub(crate) fn wait_drained(&self, mark: usize, node: usize) {
        let addr = self.world.node_addr(node);
        self.wait_log(mark, &[&addr.to_string(), " drained "]);
        let busy = self.balancer().busy(&self.ask(), addr);
        assert_eq!(busy.as_deref(), Ok(&[][..]), "with a drained node");
    }

    /// Waits until the request for that path is with a node, and says with which.
    #[track_caller]
    pub(crate) fn wait_under_way(&self, path: &str) -> usize {
        eventually(DEADLINE, &format!("{path} is under way"), || {
            (0..NODES.len()).find(|node| has_request(self.world.node_addr(*node), path))
        })
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

    /// Ends the clients and proves that no request failed that was not forgiven, and that each was answered by the node
    /// that it was sent to.
    #[track_caller]
    pub(crate) fn finish(&mut self) {
        let mut records = mem::take(&mut self.rushes);
        let traffic = self.traffic.drain(..).map(Traffic::finish);
        records.extend(POOLS.into_iter().zip(traffic));
        for (pool, record) in &mut records {
            let all = record.len();
            record.retain(|one| !self.forgiven.iter().any(|those| those.covers(pool, one)));
            let blamed: Vec<_> = record.iter().filter(|one| one.outcome.is_err()).collect();
            assert!(
                blamed.is_empty(),
                "{} of {all} requests to {pool} failed that must not, the first: {:?}",
                blamed.len(),
                blamed[0]
            );
        }
        self.assert_answers(records.iter().flat_map(|(_, record)| record));
    }

    /// Proves by the load balancer's log, if it has one, that the node answered each request that it was sent to. In a
    /// container `HAProxy` drops lines that nobody takes at once.
    #[track_caller]
    fn assert_answers<'a>(&self, answered: impl Iterator<Item = &'a Exchange>) {
        let output = self.world.output(Part::Balancer);
        let Some(sent_to) = self.balancer().logged(&output) else {
            return;
        };
        let mut found = 0;
        for one in answered {
            let Some(addr) = sent_to.get(&one.number) else {
                continue;
            };
            let node = NODES[self.node_at(*addr)].name;
            assert_eq!(one.outcome.as_deref(), Ok(node), "{one:?}");
            found += 1;
        }
        assert!(found > 0, "no request is in the log");
    }

    /// Everything that helps to understand a failure.
    pub(crate) fn report(&self) -> String {
        let mut text = format!("--- pollbal's log:\n{}", self.log());
        for (name, file) in self.world.pool_files() {
            let _ = write!(text, "--- {name} ({}):\n{}", file.stamp, file.text);
        }
        for pool in POOLS {
            let _ = writeln!(text, "--- members of {pool}: {:?}", self.uses(pool));
        }
        let nodes = (0..NODES.len()).map(Part::Node);
        for part in [Part::Balancer].into_iter().chain(nodes) {
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

/// The pool's members when all nodes are as they were started.
pub(crate) fn members_at_start(pool: &str) -> Vec<usize> {
    let nodes = 0..NODES.len();
    nodes.filter(|node| NODES[*node].pool == pool).collect()
}
