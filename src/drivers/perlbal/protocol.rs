//! The management socket's protocol: commands to lines, lines to responses. Pure.
//!
//! What Perlbal 1.80 accepts and prints: Perlbal.pm (`run_manage_command`, `MANAGE_*`),
//! ClientManage.pm (`event_read`), Pool.pm (`dumpconfig`), Danga/Socket.pm (`as_string`).

#![warn(clippy::disallowed_methods)]

mod output;

use std::collections::BTreeSet;
use std::fmt;

use self::output::is_backend;
pub use self::output::{
    Dump, DumpedPool, Service, Users, parse_backends, parse_busy, parse_connecting,
    parse_member_counts, parse_open, parse_pool, parse_requests, parse_uptime, parse_users,
};
use crate::drivers::perlbal::name::PerlbalName;
use crate::drivers::perlbal::pipe::escape_line;
use crate::model::node::NodeAddr;
use crate::model::text::{printable, quotable};

/// An entry of a pool: a node, or what someone wrote there by hand. Perlbal accepts more than
/// addresses (`999.1.1.1:99999`), and what it accepted must be removable. Nodes are in the order of
/// their addresses: a plan walks along both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// A valid IPv4 address.
    Node(NodeAddr),
    /// Anything else, as Perlbal prints it.
    Unparsed(String),
}

/// A command. Its [`Display`](fmt::Display) form is the line, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Sets what is set already; its response is one word, so nothing costs Perlbal less.
    Ping,
    /// Start time and version.
    Uptime,
    /// All pools and services, in one response.
    DumpConfig,
    /// The number of open connections per address.
    Backends,
    /// A line per socket.
    Socks,
    /// Statistics of one address.
    Nodes(NodeAddr),
    /// The number of sockets in each state.
    States,
    /// The number of clients that wait for a connection to a node, and since when.
    Queues,
    /// The connections to nodes that are being made.
    Pending,
    /// Nodes that did not show that they take several requests over one connection.
    NoVerify,
    /// The process: its CPU time and its requests.
    Proc,
    /// The members of a pool.
    ShowPool(PerlbalName),
    /// The number of members of each pool.
    CountMembers,
    /// How a service is set, queried right before something of it is set again.
    ShowService {
        /// The service.
        service: PerlbalName,
        /// How it is known to be set: what is set again is taken from this.
        known: Service,
    },
    /// The number of services that use each pool, queried before the first of several seals and
    /// after each.
    ShowPools {
        /// The service that was sealed right before, and how it was known to be set before that.
        sealed: Option<(PerlbalName, Service)>,
    },
    /// Creates a pool. Perlbal cannot delete it.
    CreatePool(PerlbalName),
    /// Adds a member.
    Add(PerlbalName, NodeAddr),
    /// Adds a member once more, under another spelling.
    AddSpare(PerlbalName, String),
    /// Removes a member.
    Remove(PerlbalName, Endpoint),
    /// Gives a service the pool that it has. This increments its generation, so that the next use
    /// of each idle connection checks that its member is still in the pool (Service.pm,
    /// `verify_generation`).
    Seal {
        /// The service.
        service: PerlbalName,
        /// Its pool.
        pool: PerlbalName,
    },
    /// Gives a service the `connect_ahead` that it has. This makes it check whether it needs
    /// connections to its pool, and so serves requests that wait since the pool was empty
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
        /// The members that the file has.
        members: BTreeSet<NodeAddr>,
    },
}

/// Perlbal's response to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Done, or printed: the lines, without the mark at their end.
    Ok(Vec<String>),
    /// Rejected; the text after `ERROR:`.
    Error(String),
}

/// How the end of a response is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// `OK` alone.
    Word,
    /// Lines, then `.`.
    Dotted,
    /// Lines, then `OK`.
    Config,
}

/// A line that does not fit the response that is being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError {
    /// The line, made printable.
    pub line: String,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the line \"{}\" cannot be parsed", self.line)
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

    /// Parses an address as Perlbal prints it.
    fn parse(text: &str) -> Result<Self, ProtocolError> {
        // Only what Perlbal itself printed gets here, but it is sent back in `REMOVE`.
        let sayable = |byte: u8| matches!(byte, b' '..=b'~') && !b"#$".contains(&byte);
        if text.is_empty() || !text.bytes().all(sayable) {
            return Err(ProtocolError::new(text));
        }
        match text.parse() {
            // A port that is written "080" would not be sent back as it was. IPv6 addresses mean nothing to Perlbal.
            Ok(addr) if !text.contains(":0") && !text.starts_with('[') => Ok(Self::Node(addr)),
            _ => Ok(Self::Unparsed(text.to_owned())),
        }
    }
}

impl Command {
    /// The line as it is sent.
    #[must_use]
    pub fn line(&self) -> String {
        escape_line(&self.to_string())
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

    /// Whether the command changes anything; a seal and a wake do.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.shape() == Shape::Word && *self != Self::Ping
    }

    /// Reads the next line of this command's response; `lines` are the lines before it. Returns the
    /// response when that was its last line.
    pub fn read(
        &self,
        line: &str,
        lines: &mut Vec<String>,
    ) -> Result<Option<Response>, ProtocolError> {
        let shape = self.shape();
        if let Some(error) = line.strip_prefix("ERROR:") {
            // An unindented line of a response never looks like an error: names and addresses have
            // no colon followed by a blank, and configuration lines are indented.
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

    /// Whether a line of the response is used. `SOCKS` prints the requests of clients too, which
    /// are many and may be long.
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
