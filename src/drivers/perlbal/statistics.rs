//! Perlbal's statistics: from the responses, one by one, to a value. Pure.
//!
//! Perlbal is a single process that serves no clients while it prints, and each line is a write of its
//! own. The cost on Perlbal 1.80 with 1,000 members, 1,000 connections to them and 1,000 clients:
//!
//! | command | lines | time |
//! | --- | --- | --- |
//! | `UPTIME`, `PROC`, `QUEUES`, `PENDING`, `NOVERIFY` | few | 0.04 to 0.15 ms each |
//! | `STATES` | few, but it visits each socket | 1.5 ms |
//! | `BACKENDS` | one for each node with a connection | 4 ms |
//! | `NODES ip:port` | 8 | 0.06 ms; 0.1 ms once it has answered 500 requests |
//! | `NODES` | 7 for each node ever used | 22 ms and more |
//! | `SOCKS` | one for each socket | 27 ms |
//!
//! So the last two are not used, nodes are queried one by one, and between any two commands Perlbal
//! serves its clients. Statistics per node are read only on demand, and only if there are no more than
//! [`NODES`] members.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::protocol::Command;
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::node::NodeAddr;

/// Maximum number of members for statistics per node. They take 0.1 s of Perlbal's time, a thousandth of
/// it at a time, and the longest response (`BACKENDS`) 4 ms.
pub const NODES: usize = 1_000;

/// Minimum time for which statistics are cached.
pub const KEPT: Duration = Duration::from_secs(5);

/// They are cached for this many times what it took to read them, which limits that to a fiftieth of Perlbal's time.
const KEPT_TIMES: u32 = 50;
/// Maximum time for which they are cached, as Perlbal may have paused meanwhile.
const KEPT_LONGEST: Duration = Duration::from_secs(60);

/// Perlbal's statistics. What it did not report, as another version may not, is absent.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// When the first command was sent.
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
    /// Statistics per node, if they were requested.
    pub nodes: Nodes,
}

/// Statistics per node.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Nodes {
    /// They were not requested.
    #[default]
    NotRequested,
    /// There are more members than [`NODES`]: this number.
    TooMany(usize),
    /// Of each member, and of others to which there is a connection.
    Known(BTreeMap<NodeAddr, NodeStatistics>),
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
    /// Number of its last 500 responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// When it last responded, in seconds since 1970.
    pub last_response: Option<u64>,
}

/// Statistics that are being read, one command at a time, so that nothing else waits for long.
#[derive(Debug)]
pub struct StatisticsQuery {
    partial: Statistics,
    next: VecDeque<Command>,
    /// They are read per node, too.
    pub per_node: bool,
}

/// Statistics that were read, for everyone who requests them soon.
#[derive(Clone, Debug)]
pub struct CachedStatistics {
    /// The statistics.
    pub statistics: Arc<Statistics>,
    /// They were read per node, too.
    pub per_node: bool,
    /// When they expire.
    pub until: Instant,
}

impl StatisticsQuery {
    /// Begins at `now`. `members` are those to read statistics of, if they are to be read per node.
    #[must_use]
    pub fn begin(now: Instant, members: Option<Vec<NodeAddr>>) -> Self {
        let mut partial = Statistics {
            at: now,
            start: None,
            uptime: None,
            version: None,
            process: Process::default(),
            queues: BTreeMap::new(),
            pending: BTreeMap::new(),
            failed_verifications: BTreeMap::new(),
            sockets: BTreeMap::new(),
            nodes: Nodes::NotRequested,
        };
        let mut next = VecDeque::from([
            Command::Uptime,
            Command::Proc,
            Command::Queues,
            Command::Pending,
            Command::NoVerify,
            Command::States,
        ]);
        let per_node = members.is_some();
        match members {
            None => {}
            Some(members) if members.len() > NODES => partial.nodes = Nodes::TooMany(members.len()),
            Some(members) => {
                partial.nodes = Nodes::Known(BTreeMap::new());
                next.push_back(Command::Backends);
                next.extend(members.into_iter().map(Command::Nodes));
            }
        }
        Self {
            partial,
            next,
            per_node,
        }
    }

    /// The next command, until there is none.
    pub fn next_command(&mut self) -> Option<Command> {
        self.next.pop_front()
    }

    /// Records a response. A line that cannot be parsed is skipped.
    pub fn answer(&mut self, command: &Command, lines: &[String]) {
        let partial = &mut self.partial;
        match command {
            Command::Uptime => partial.record_uptime(lines),
            Command::Proc => partial.process = Process::parse(lines),
            Command::Queues => partial.queues = parse_queues(lines),
            Command::Pending => partial.pending = parse_pending(lines),
            Command::NoVerify => partial.failed_verifications = parse_failed_verifications(lines),
            Command::States => partial.sockets = parse_states(lines),
            command => {
                if let Nodes::Known(nodes) = &mut partial.nodes {
                    record_nodes(nodes, command, lines);
                }
            }
        }
    }

    /// Ends at `now`, when there is no next command and all are answered; `took` is Perlbal's work on all of them.
    #[must_use]
    pub fn end(self, now: Instant, took: Duration) -> CachedStatistics {
        CachedStatistics {
            until: now + (took * KEPT_TIMES).clamp(KEPT, KEPT_LONGEST),
            per_node: self.per_node,
            statistics: Arc::new(self.partial),
        }
    }
}

impl Statistics {
    fn record_uptime(&mut self, lines: &[String]) {
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

/// Records a response to `BACKENDS`: `ip:port 3`; or to `NODES ip:port`: `ip:port requests 7`.
fn record_nodes(
    nodes: &mut BTreeMap<NodeAddr, NodeStatistics>,
    command: &Command,
    lines: &[String],
) {
    if let Command::Nodes(addr) = command {
        // Of a node to which there never was a connection nothing is printed.
        let node = nodes.entry(*addr).or_default();
        for line in lines {
            node.record(line);
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
    fn record(&mut self, line: &str) {
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
