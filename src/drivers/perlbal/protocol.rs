//! The management socket's language: commands to lines, lines to answers. Pure.
//!
//! What Perlbal 1.80 takes and prints: Perlbal.pm (`run_manage_command`, `MANAGE_*`),
//! ClientManage.pm (`event_read`), Pool.pm (`dumpconfig`), Danga/Socket.pm (`as_string`).

mod output;

use std::collections::BTreeSet;
use std::fmt;

use self::output::is_backend;
pub use self::output::{
    Dump, DumpedPool, Service, Users, parse_backends, parse_busy, parse_connecting,
    parse_member_counts, parse_open, parse_pool, parse_requests, parse_uptime, parse_users,
};
use crate::drivers::console::sayable;
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::node::NodeAddr;
use crate::model::text::{printable, quotable};

/// What stands in a pool: a node, or what someone wrote there by hand. Perlbal takes more for an
/// address than there is (`999.1.1.1:99999`), and what it took must be removable. Nodes are in the
/// order of their addresses: a plan walks along both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// A valid address.
    Node(NodeAddr),
    /// Anything else, as Perlbal prints it.
    Unparsed(String),
}

/// What can be said to Perlbal. Its [`Display`](fmt::Display) form is the line, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Sets what is set already; its answer is one word, so nothing costs Perlbal less.
    Ping,
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
    /// How many members each pool has.
    CountMembers,
    /// How a service is set, asked right before something of it is set again.
    ShowService {
        /// The service.
        service: PerlbalName,
        /// What is set again is taken from this.
        known: Service,
    },
    /// How many services use each pool, asked before the first of several seals and behind each.
    ShowPools {
        /// The service that was sealed right before, and how it was set before that, as far as is known.
        sealed: Option<(PerlbalName, Service)>,
    },
    /// Makes a pool, for ever.
    CreatePool(PerlbalName),
    /// Puts a member in.
    Add(PerlbalName, NodeAddr),
    /// Puts a member in once more, under another spelling.
    AddSpare(PerlbalName, String),
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
pub enum Response {
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
pub struct ProtocolError {
    /// The line, made printable.
    pub line: String,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the line \"{}\" is not understood", self.line)
    }
}

impl std::error::Error for ProtocolError {}

impl ProtocolError {
    pub(super) fn new(line: &str) -> Self {
        Self {
            line: quotable(line, 200),
        }
    }
}

impl Endpoint {
    /// The address that gets the requests, however it is spelled.
    #[must_use]
    pub fn reached(&self) -> Option<NodeAddr> {
        match self {
            Self::Node(addr) => Some(*addr),
            Self::Unparsed(text) => text.parse().ok(),
        }
    }

    /// Reads an address as Perlbal prints it.
    fn parse(text: &str) -> Result<Self, ProtocolError> {
        // Only Perlbal's own printing gets here, but what is printed is said again in `REMOVE`.
        let sayable = |byte: u8| matches!(byte, b' '..=b'~') && !b"#$".contains(&byte);
        if text.is_empty() || !text.bytes().all(sayable) {
            return Err(ProtocolError::new(text));
        }
        match text.parse() {
            // A port that is written "080" would not be said again as it was.
            Ok(addr) if !text.contains(":0") => Ok(Self::Node(addr)),
            _ => Ok(Self::Unparsed(text.to_owned())),
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
            | Self::ShowPool(_)
            | Self::CountMembers
            | Self::ShowService { .. }
            | Self::ShowPools { .. } => Shape::Dotted,
            _ => Shape::Word,
        }
    }

    /// The pool that the command changes, if it changes one.
    #[must_use]
    pub fn changes(&self) -> Option<&PerlbalName> {
        match self {
            Self::CreatePool(pool)
            | Self::Add(pool, _)
            | Self::AddSpare(pool, _)
            | Self::Remove(pool, _)
            | Self::Reload { pool, .. } => Some(pool),
            _ => None,
        }
    }

    /// Whether the command changes anything, a seal and a wake included.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.shape() == Shape::Word && *self != Self::Ping
    }

    /// Takes the next line of this command's answer, of which `lines` came before; gives the
    /// answer when that was its last.
    pub fn read(
        &self,
        line: &str,
        lines: &mut Vec<String>,
    ) -> Result<Option<Response>, ProtocolError> {
        let shape = self.shape();
        if let Some(error) = line.strip_prefix("ERROR:") {
            // A line of an answer is never at the margin and an error at once: names and
            // addresses hold no colon-and-blank, and configuration lines are indented.
            lines.clear();
            return Ok(Some(Response::Error(printable(error.trim()))));
        }
        let end = if shape == Shape::Dotted { "." } else { "OK" };
        if line == end {
            return Ok(Some(Response::Ok(std::mem::take(lines))));
        }
        if shape == Shape::Word {
            return Err(ProtocolError::new(line));
        }
        if self.keeps(line) {
            lines.push(line.to_owned());
        }
        Ok(None)
    }

    /// Whether a line of the answer tells something that is used. `SOCKS` prints the requests of
    /// clients too, which are many and may be long.
    fn keeps(&self, line: &str) -> bool {
        *self != Self::Socks || is_backend(line)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(addr) => addr.fmt(f),
            Self::Unparsed(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ping => f.write_str("VERBOSE on"),
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
            Self::ShowService { service, .. } => write!(f, "SHOW SERVICE {service}"),
            Self::CountMembers | Self::ShowPools { .. } => f.write_str("SHOW POOL"),
            Self::CreatePool(pool) => write!(f, "CREATE POOL {pool}"),
            Self::Add(pool, addr) => write!(f, "POOL {pool} ADD {addr}"),
            Self::AddSpare(pool, text) => write!(f, "POOL {pool} ADD {text}"),
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

#[cfg(test)]
mod tests;
