//! The management socket's language: commands to lines, lines to answers. Pure.
//!
//! What Perlbal 1.80 takes and prints: Perlbal.pm (`run_manage_command`, `MANAGE_*`),
//! ClientManage.pm (`event_read`), Pool.pm (`dumpconfig`), Danga/Socket.pm (`as_string`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::drivers::console::sayable;
use crate::model::names::PerlbalName;
use crate::model::node::NodeAddr;

/// What stands in a pool: a node, or what someone wrote there by hand. Perlbal takes more for an
/// address than there is (`999.1.1.1:99999`), and what it took must be removable. Nodes are in the
/// order of their addresses: a plan walks along both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// A valid address.
    Node(NodeAddr),
    /// Anything else, as Perlbal prints it.
    Odd(String),
}

/// What can be said to Perlbal. Its [`Display`](fmt::Display) form is the line, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start time and version.
    Uptime,
    /// All pools and services, in one answer.
    DumpConfig,
    /// How many connections are open to which address.
    Backends,
    /// A line per socket.
    Socks,
    /// Statistics of one address.
    Nodes(NodeAddr),
    /// How many sockets are in which state.
    States,
    /// How many clients wait for a connection to a node, and since when.
    Queues,
    /// Which connections to nodes are being made.
    Pending,
    /// Which nodes did not show that they take several requests over one connection.
    NoVerify,
    /// The process: its time on processors and its requests.
    Proc,
    /// The members of a pool.
    ShowPool(PerlbalName),
    /// Makes a pool, for ever.
    CreatePool(PerlbalName),
    /// Puts a member in.
    Add(PerlbalName, NodeAddr),
    /// Takes a member out.
    Remove(PerlbalName, Endpoint),
    /// Gives a service the pool that it has. This counts up its generation, so that the next use
    /// of each idle connection asks whether its member is still in the pool (Service.pm,
    /// `verify_generation`).
    Seal {
        /// The service.
        service: PerlbalName,
        /// Its pool.
        pool: PerlbalName,
    },
    /// Gives a service the `connect_ahead` that it has. This makes it look whether it needs
    /// connections to its pool, and so sets requests going that wait since the pool was empty
    /// (Service.pm, the setter of `connect_ahead` and `spawn_backends`); no other command does.
    Wake {
        /// The service.
        service: PerlbalName,
        /// Its `connect_ahead`.
        connect_ahead: u64,
    },
    /// Makes Perlbal read the pool's nodefile at once.
    Reload {
        /// The pool.
        pool: PerlbalName,
        /// The path, as Perlbal has it already.
        path: String,
        /// What the file holds.
        members: BTreeSet<NodeAddr>,
    },
}

/// What Perlbal answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done, or printed: the lines, without their end mark.
    Ok(Vec<String>),
    /// Refused; what stands behind `ERROR:`.
    Error(String),
}

/// How the end of an answer is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// `OK` alone.
    Word,
    /// Lines, then `.`.
    Dotted,
    /// Lines, then `OK`.
    Config,
}

/// A line that does not fit the answer that is being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotUnderstood {
    /// The line, made printable.
    pub line: String,
}

impl fmt::Display for NotUnderstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the line \"{}\" is not understood", self.line)
    }
}

impl std::error::Error for NotUnderstood {}

impl NotUnderstood {
    pub(super) fn new(line: &str) -> Self {
        Self {
            line: line
                .chars()
                .take(200)
                .flat_map(char::escape_debug)
                .collect(),
        }
    }
}

impl Endpoint {
    /// Reads an address as Perlbal prints it.
    fn parse(text: &str) -> Result<Self, NotUnderstood> {
        // Only Perlbal's own printing gets here, but what is printed is said again in `REMOVE`.
        let sayable = |byte: u8| matches!(byte, b' '..=b'~') && !b"#$".contains(&byte);
        if text.is_empty() || !text.bytes().all(sayable) {
            return Err(NotUnderstood::new(text));
        }
        match text.parse() {
            // A port that is written "080" would not be said again as it was.
            Ok(addr) if !text.contains(":0") => Ok(Self::Node(addr)),
            _ => Ok(Self::Odd(text.to_owned())),
        }
    }
}

impl Command {
    /// The line as it is sent.
    #[must_use]
    pub fn line(&self) -> String {
        sayable(&self.to_string())
    }

    fn shape(&self) -> Shape {
        match self {
            Self::DumpConfig => Shape::Config,
            Self::Uptime
            | Self::Backends
            | Self::Socks
            | Self::Nodes(_)
            | Self::States
            | Self::Queues
            | Self::Pending
            | Self::NoVerify
            | Self::Proc
            | Self::ShowPool(_) => Shape::Dotted,
            _ => Shape::Word,
        }
    }

    /// The pool that the command changes, if it changes one.
    #[must_use]
    pub fn changes(&self) -> Option<&PerlbalName> {
        match self {
            Self::CreatePool(pool)
            | Self::Add(pool, _)
            | Self::Remove(pool, _)
            | Self::Reload { pool, .. } => Some(pool),
            _ => None,
        }
    }

    /// Whether the command changes anything, a seal and a wake included.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.shape() == Shape::Word
    }

    /// Takes the next line of this command's answer, of which `lines` came before; gives the
    /// answer when that was its last.
    pub fn read(
        &self,
        line: &str,
        lines: &mut Vec<String>,
    ) -> Result<Option<Answer>, NotUnderstood> {
        let shape = self.shape();
        if let Some(error) = line.strip_prefix("ERROR:") {
            // A line of an answer is never at the margin and an error at once: names and
            // addresses hold no colon-and-blank, and configuration lines are indented.
            lines.clear();
            return Ok(Some(Answer::Error(error.trim().to_owned())));
        }
        let end = if shape == Shape::Dotted { "." } else { "OK" };
        if line == end {
            return Ok(Some(Answer::Ok(std::mem::take(lines))));
        }
        if shape == Shape::Word {
            return Err(NotUnderstood::new(line));
        }
        lines.push(line.to_owned());
        Ok(None)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(addr) => addr.fmt(f),
            Self::Odd(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uptime => f.write_str("UPTIME"),
            Self::DumpConfig => f.write_str("DUMPCONFIG"),
            Self::Backends => f.write_str("BACKENDS"),
            Self::Socks => f.write_str("SOCKS"),
            Self::Nodes(addr) => write!(f, "NODES {addr}"),
            Self::States => f.write_str("STATES"),
            Self::Queues => f.write_str("QUEUES"),
            Self::Pending => f.write_str("PENDING"),
            Self::NoVerify => f.write_str("NOVERIFY"),
            Self::Proc => f.write_str("PROC"),
            Self::ShowPool(pool) => write!(f, "SHOW POOL {pool}"),
            Self::CreatePool(pool) => write!(f, "CREATE POOL {pool}"),
            Self::Add(pool, addr) => write!(f, "POOL {pool} ADD {addr}"),
            Self::Remove(pool, endpoint) => write!(f, "POOL {pool} REMOVE {endpoint}"),
            Self::Seal { service, pool } => write!(f, "SET {service} pool = {pool}"),
            Self::Wake {
                service,
                connect_ahead,
            } => write!(f, "SET {service} connect_ahead = {connect_ahead}"),
            Self::Reload { pool, path, .. } => write!(f, "SET {pool} nodefile = {path}"),
        }
    }
}

/// What `DUMPCONFIG` tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// The pools.
    pub pools: BTreeMap<PerlbalName, DumpedPool>,
    /// The services.
    pub services: BTreeMap<PerlbalName, Service>,
}

/// A service, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its pool, where it is a reverse proxy that has one.
    pub pool: Option<PerlbalName>,
    /// How many connections it opens beyond those that it needs. Not told where it is 0.
    pub connect_ahead: u64,
}

/// A pool, as `DUMPCONFIG` tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpedPool {
    /// Its nodefile; its members are then not told.
    pub nodefile: Option<String>,
    /// Its members, without a nodefile.
    pub members: BTreeSet<Endpoint>,
}

impl Dump {
    /// Reads the lines. What a plugin or a setting that we do not use prints is passed over.
    pub fn parse(lines: &[String]) -> Result<Self, NotUnderstood> {
        let mut dump = Self::default();
        let mut current: Option<(bool, PerlbalName)> = None;
        for line in lines {
            let wrong = || NotUnderstood::new(line);
            if let Some(name) = line.strip_prefix("CREATE POOL ") {
                let name: PerlbalName = name.parse().map_err(|_| wrong())?;
                dump.pools.insert(name.clone(), DumpedPool::default());
                current = Some((true, name));
            } else if let Some(name) = line.strip_prefix("CREATE SERVICE ") {
                let name: PerlbalName = name.parse().map_err(|_| wrong())?;
                dump.services.insert(name.clone(), Service::default());
                current = Some((false, name));
            } else if let Some((is_pool, name)) = &current {
                let setting = line.trim_start();
                if *is_pool {
                    dump.read_pool_setting(name, setting)?;
                } else {
                    dump.read_service_setting(name, setting)?;
                }
            }
        }
        Ok(dump)
    }

    fn read_pool_setting(
        &mut self,
        name: &PerlbalName,
        setting: &str,
    ) -> Result<(), NotUnderstood> {
        let pool = self.pools.entry(name.clone()).or_default();
        if let Some(path) = setting.strip_prefix("SET nodefile = ") {
            pool.nodefile = Some(path.to_owned());
        } else if let Some(rest) = setting.strip_prefix("POOL ADD ") {
            let (_, endpoint) = rest
                .split_once(' ')
                .ok_or_else(|| NotUnderstood::new(rest))?;
            pool.members.insert(Endpoint::parse(endpoint)?);
        }
        Ok(())
    }

    fn read_service_setting(
        &mut self,
        name: &PerlbalName,
        setting: &str,
    ) -> Result<(), NotUnderstood> {
        let service = self.services.entry(name.clone()).or_default();
        // Both are printed for reverse proxies only: these settings have `check_role`.
        if let Some(pool) = setting.strip_prefix("SET pool = ") {
            service.pool = Some(pool.parse().map_err(|_| NotUnderstood::new(setting))?);
        } else if let Some(number) = setting.strip_prefix("SET connect_ahead = ") {
            // Perlbal takes as many digits as one likes, but opens ten connections at a time.
            service.connect_ahead = number.parse().unwrap_or(u64::MAX);
        }
        Ok(())
    }
}

/// Reads `SHOW POOL x`: a member and its uses per line.
pub fn parse_pool(lines: &[String]) -> Result<BTreeSet<Endpoint>, NotUnderstood> {
    let member = |line: &String| match line.rsplit_once(' ') {
        Some((endpoint, uses)) if uses.bytes().all(|byte| byte.is_ascii_digit()) => {
            Endpoint::parse(endpoint)
        }
        _ => Err(NotUnderstood::new(line)),
    };
    lines.iter().map(member).collect()
}

/// Reads `UPTIME`: the start time in seconds since 1970, and the version.
pub fn parse_uptime(lines: &[String]) -> Result<(u64, String), NotUnderstood> {
    let value = |key: &str| {
        lines
            .iter()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
    };
    let wrong = || NotUnderstood::new(&lines.join(" "));
    let start = value("starttime")
        .and_then(|text| text.parse().ok())
        .ok_or_else(wrong)?;
    Ok((start, value("version").unwrap_or("unknown").to_owned()))
}

/// Reads `BACKENDS`: the addresses to which connections are open, busy or idle.
#[must_use]
pub fn parse_backends(lines: &[String]) -> BTreeSet<NodeAddr> {
    let addr = |line: &String| line.split_once(' ')?.0.parse().ok();
    lines.iter().filter_map(addr).collect()
}

/// Reads `SOCKS`: the addresses to which a connection is busy, so not `bored`.
#[must_use]
pub fn parse_busy(lines: &[String]) -> BTreeSet<NodeAddr> {
    let busy = |line: &String| {
        // Descriptor, age, kind. The lines of clients hold what they asked for, so anything.
        let kind = line.split_ascii_whitespace().nth(2)?;
        if !kind.starts_with("Perlbal::BackendHTTP(") {
            return None;
        }
        let (_, rest) = line.split_once(" to ")?;
        let (addr, rest) = rest.split_once(": ")?;
        let idle = rest.split("; ").any(|field| field == "bored");
        if idle { None } else { addr.parse().ok() }
    };
    lines.iter().filter_map(busy).collect()
}

/// Reads `NODES ip:port`: how many requests the address has answered on kept connections.
#[must_use]
pub fn parse_requests(lines: &[String]) -> u64 {
    let requests = |line: &String| line.split_once(" requests ")?.1.parse().ok();
    lines.iter().find_map(requests).unwrap_or(0)
}

#[cfg(test)]
mod tests;
