//! What Perlbal tells of itself in numbers: answers, one by one, to a value. Pure.
//!
//! Perlbal is one process that serves nobody while it prints, and each line is a write of its own.
//! What it costs, on Perlbal 1.80 with 1,000 members, 1,000 connections to them and 1,000 clients:
//!
//! | command | lines | time |
//! | --- | --- | --- |
//! | `UPTIME`, `PROC`, `QUEUES`, `PENDING`, `NOVERIFY` | few | 0.04 to 0.15 ms each |
//! | `STATES` | few, but it looks at each socket | 1.5 ms |
//! | `BACKENDS` | one for each node with a connection | 4 ms |
//! | `NODES ip:port` | 8 | 0.06 ms; 0.1 ms once it has answered 500 requests |
//! | `NODES` | 7 for each node ever seen | 22 ms and more |
//! | `SOCKS` | one for each socket | 27 ms |
//!
//! So the last two are not asked, the nodes one by one, and between any two commands Perlbal
//! serves its clients. What is told by node is asked for only by those who want it, and only where
//! there are no more than [`NODES`] members.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::protocol::Command;
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::node::NodeAddr;

/// Of no more members than these is told by node. It takes 0.1 s of Perlbal's time, a thousandth of
/// it at once, and the longest answer (`BACKENDS`) 4 ms.
pub const NODES: usize = 1_000;

/// For so long at least the same statistics are given.
pub const KEPT: Duration = Duration::from_secs(5);

/// And for so many times what it took to read them, so that it takes a fiftieth of Perlbal's time.
const KEPT_TIMES: u32 = 50;
/// But no longer than this, where Perlbal stood still meanwhile.
const KEPT_LONGEST: Duration = Duration::from_secs(60);

/// What Perlbal tells of itself. What it did not tell, as another version may not, is not there.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// When the first of it was asked.
    pub at: Instant,
    /// When Perlbal was started, in seconds since 1970.
    pub start: Option<u64>,
    /// How long ago that was, in whole seconds.
    pub uptime: Option<Duration>,
    /// Its version.
    pub version: Option<String>,
    /// The process.
    pub process: Process,
    /// The clients that wait for a connection to a node, by service.
    pub queues: BTreeMap<PerlbalName, Queues>,
    /// The connections to nodes that are being made, by service.
    pub pending: BTreeMap<PerlbalName, Waiting>,
    /// The nodes that failed verification (`verify_backend`), and for how long they are not
    /// verified again.
    pub failed_verifications: BTreeMap<NodeAddr, Duration>,
    /// How many sockets there are, by kind (`BackendHTTP`, `ClientProxy`, …) and state (`bored`,
    /// `wait_res`, …).
    pub sockets: BTreeMap<(String, String), u64>,
    /// What is told by node, if it was asked for.
    pub nodes: Nodes,
}

/// What is told by node.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Nodes {
    /// It was not asked for.
    #[default]
    NotAsked,
    /// There are more members than [`NODES`]: so many.
    TooMany(usize),
    /// Of each member, and of others to which there is a connection.
    Told(BTreeMap<NodeAddr, NodeStatistics>),
}

/// Perlbal's process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// Its id.
    pub pid: Option<u32>,
    /// Time on processors, in user mode. Needs Perl's `BSD::Resource`.
    pub user_time: Option<Duration>,
    /// Time on processors, in the kernel. Needs Perl's `BSD::Resource`.
    pub system_time: Option<Duration>,
    /// Requests of clients since its start, of all services.
    pub requests: Option<u64>,
}

/// The queues of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// Of ordinary requests.
    pub normal: Waiting,
    /// Of requests that go before the others.
    pub high_priority: Waiting,
    /// Of requests that go behind the others.
    pub low_priority: Waiting,
}

/// What waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many.
    pub count: u64,
    /// For how long the oldest has waited, in whole seconds.
    pub oldest: Duration,
}

/// What Perlbal counted of one node, since Perlbal's start unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatistics {
    /// Connections to it that are open now.
    pub connections: u64,
    /// Requests that it answered on connections that could then be used again.
    pub requests: u64,
    /// Connections that were begun.
    pub attempts: u64,
    /// Connections that came about or failed, so were not given up before.
    pub connects: u64,
    /// Connections that it showed to be good for several requests (`verify_backend`).
    pub verifies: u64,
    /// Of its last 500 answers, how many had which status.
    pub statuses: BTreeMap<u16, u64>,
    /// When it last answered, in seconds since 1970.
    pub last_response: Option<u64>,
}

/// Statistics that are being read: one command at a time, so that nothing else waits for long.
#[derive(Debug)]
pub struct Gathering {
    so_far: Statistics,
    next: VecDeque<Command>,
    /// What is told by node is asked, too.
    pub by_node: bool,
}

/// Statistics that were read.
#[derive(Clone, Debug)]
pub struct Kept {
    /// They.
    pub statistics: Arc<Statistics>,
    /// What is told by node was asked, too.
    pub by_node: bool,
    /// Until then they are given to everyone who asks.
    pub until: Instant,
}

impl Gathering {
    /// Begins at `now`. `by_node` has the members, if it is to be told of each node.
    #[must_use]
    pub fn begin(now: Instant, by_node: Option<Vec<NodeAddr>>) -> Self {
        let mut so_far = Statistics {
            at: now,
            start: None,
            uptime: None,
            version: None,
            process: Process::default(),
            queues: BTreeMap::new(),
            pending: BTreeMap::new(),
            failed_verifications: BTreeMap::new(),
            sockets: BTreeMap::new(),
            nodes: Nodes::NotAsked,
        };
        let mut next = VecDeque::from([
            Command::Uptime,
            Command::Proc,
            Command::Queues,
            Command::Pending,
            Command::NoVerify,
            Command::States,
        ]);
        let asks_by_node = by_node.is_some();
        match by_node {
            None => {}
            Some(members) if members.len() > NODES => so_far.nodes = Nodes::TooMany(members.len()),
            Some(members) => {
                so_far.nodes = Nodes::Told(BTreeMap::new());
                next.push_back(Command::Backends);
                next.extend(members.into_iter().map(Command::Nodes));
            }
        }
        Self {
            so_far,
            next,
            by_node: asks_by_node,
        }
    }

    /// The next command, until there is none.
    pub fn next_command(&mut self) -> Option<Command> {
        self.next.pop_front()
    }

    /// Takes an answer. A line that is not understood is passed over.
    pub fn answer(&mut self, command: &Command, lines: &[String]) {
        let so_far = &mut self.so_far;
        match command {
            Command::Uptime => so_far.take_uptime(lines),
            Command::Proc => so_far.process = Process::parse(lines),
            Command::Queues => so_far.queues = parse_queues(lines),
            Command::Pending => so_far.pending = parse_pending(lines),
            Command::NoVerify => so_far.failed_verifications = parse_failed_verifications(lines),
            Command::States => so_far.sockets = parse_states(lines),
            command => {
                if let Nodes::Told(nodes) = &mut so_far.nodes {
                    take_of_nodes(nodes, command, lines);
                }
            }
        }
    }

    /// Ends at `now`, when there is no next command and all are answered; all of it was so much work
    /// for Perlbal.
    #[must_use]
    pub fn end(self, now: Instant, took: Duration) -> Kept {
        Kept {
            until: now + (took * KEPT_TIMES).clamp(KEPT, KEPT_LONGEST),
            by_node: self.by_node,
            statistics: Arc::new(self.so_far),
        }
    }
}

impl Statistics {
    fn take_uptime(&mut self, lines: &[String]) {
        for (key, value) in lines.iter().filter_map(|line| line.split_once(' ')) {
            match key {
                "starttime" => self.start = value.parse().ok(),
                "uptime" => self.uptime = whole_seconds(value),
                "version" => self.version = Some(value.to_owned()),
                _ => {}
            }
        }
    }
}

impl Process {
    /// Reads `PROC`: `key: value (+since the last PROC)`.
    fn parse(lines: &[String]) -> Self {
        let mut process = Self::default();
        for (key, value) in lines.iter().filter_map(|line| line.split_once(": ")) {
            let value = value.split(' ').next().unwrap_or_default();
            match key {
                "pid" => process.pid = value.parse().ok(),
                "utime" => process.user_time = seconds(value),
                "stime" => process.system_time = seconds(value),
                "reqs" => process.requests = value.parse().ok(),
                _ => {}
            }
        }
        process
    }
}

/// Reads `QUEUES`: `service-normal.age 0` and `service-normal.count 0`, for each queue.
fn parse_queues(lines: &[String]) -> BTreeMap<PerlbalName, Queues> {
    let mut services: BTreeMap<_, Queues> = BTreeMap::new();
    for line in lines {
        let words = || {
            let (key, value) = line.split_once(' ')?;
            let (service, key) = key.rsplit_once('-')?;
            let (queue, what) = key.split_once('.')?;
            Some((service.parse().ok()?, queue, what, value))
        };
        let Some((service, queue, what, value)) = words() else {
            continue;
        };
        let queues = services.entry(service).or_default();
        let queue = match queue {
            "normal" => &mut queues.normal,
            "highpri" => &mut queues.high_priority,
            "lowpri" => &mut queues.low_priority,
            _ => continue,
        };
        match what {
            "count" => queue.count = number(Some(value)),
            "age" => queue.oldest = whole_seconds(value).unwrap_or_default(),
            _ => {}
        }
    }
    services
}

/// Reads `PENDING`: `service ip:port age`, for each connection.
fn parse_pending(lines: &[String]) -> BTreeMap<PerlbalName, Waiting> {
    let mut services: BTreeMap<_, Waiting> = BTreeMap::new();
    for line in lines {
        let mut words = line.split(' ');
        let (Some(Ok(service)), Some(age)) = (words.next().map(str::parse), words.nth(1)) else {
            continue;
        };
        let waiting = services.entry(service).or_default();
        waiting.count += 1;
        waiting.oldest = waiting.oldest.max(whole_seconds(age).unwrap_or_default());
    }
    services
}

/// Reads `NOVERIFY`: `ip:port seconds`. They are below zero where the time is over and no
/// connection has come since (BackendHTTP.pm, `event_write`); such a node is verified again.
fn parse_failed_verifications(lines: &[String]) -> BTreeMap<NodeAddr, Duration> {
    let node = |line: &String| {
        let (addr, left) = line.split_once(' ')?;
        Some((addr.parse().ok()?, whole_seconds(left)?))
    };
    lines.iter().filter_map(node).collect()
}

/// Reads `STATES`: `Perlbal::BackendHTTP bored 12`.
fn parse_states(lines: &[String]) -> BTreeMap<(String, String), u64> {
    let state = |line: &String| {
        let (rest, count) = line.rsplit_once(' ')?;
        let (kind, state) = rest.split_once(' ')?;
        let kind = kind.strip_prefix("Perlbal::").unwrap_or(kind);
        Some(((kind.to_owned(), state.to_owned()), count.parse().ok()?))
    };
    lines.iter().filter_map(state).collect()
}

/// Takes an answer to `BACKENDS`: `ip:port 3`; or to `NODES ip:port`: `ip:port requests 7`.
fn take_of_nodes(
    nodes: &mut BTreeMap<NodeAddr, NodeStatistics>,
    command: &Command,
    lines: &[String],
) {
    if let Command::Nodes(addr) = command {
        // Of a node to which there never was a connection nothing is printed.
        let node = nodes.entry(*addr).or_default();
        for line in lines {
            node.take(line);
        }
    } else {
        for (addr, count) in lines.iter().filter_map(|line| line.split_once(' ')) {
            if let Ok(addr) = addr.parse() {
                let node: &mut NodeStatistics = nodes.entry(addr).or_default();
                node.connections = number(Some(count));
            }
        }
    }
}

impl NodeStatistics {
    fn take(&mut self, line: &str) {
        let mut words = line.split(' ').skip(1);
        let (key, value, count) = (words.next(), words.next(), words.next());
        match key {
            Some("requests") => self.requests = number(value),
            Some("attempts") => self.attempts = number(value),
            Some("connects") => self.connects = number(value),
            Some("verifies") => self.verifies = number(value),
            Some("lastresponse") => self.last_response = value.and_then(|text| text.parse().ok()),
            Some("responsecodes") => {
                if let Some(Ok(status)) = value.map(str::parse) {
                    self.statuses.insert(status, number(count));
                }
            }
            _ => {}
        }
    }
}

/// A count; 0 where there is none.
fn number(word: Option<&str>) -> u64 {
    word.and_then(|word| word.parse().ok()).unwrap_or_default()
}

fn whole_seconds(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_secs)
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

#[cfg(test)]
mod tests;
