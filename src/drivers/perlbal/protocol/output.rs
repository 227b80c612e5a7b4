//! Parses what Perlbal prints: configuration, members, connections, statistics. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use super::{Endpoint, ProtocolError};
use crate::drivers::perlbal::name::PerlbalName;
use crate::drivers::perlbal::spare::address_of;
use crate::model::node::NodeAddr;
use crate::model::text::printable;

/// What `DUMPCONFIG` prints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// The pools.
    pub pools: BTreeMap<PerlbalName, DumpedPool>,
    /// The services.
    pub services: BTreeMap<PerlbalName, Service>,
}

/// A service, as far as pollbal needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its pool, if it is a reverse proxy that has one.
    pub pool: Option<PerlbalName>,
    /// Number of connections that it opens beyond those that it needs. Not printed if it is 0.
    pub connect_ahead: u64,
}

/// A pool, as `DUMPCONFIG` prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpedPool {
    /// Its nodefile; its members are not printed then.
    pub nodefile: Option<String>,
    /// Its members, without a nodefile.
    pub members: BTreeSet<Endpoint>,
}

impl Dump {
    /// Parses the lines. What a plugin prints, or a setting that pollbal does not use, is skipped.
    pub fn parse(lines: &[String]) -> Result<Self, ProtocolError> {
        let mut dump = Self::default();
        let mut current: Option<(bool, PerlbalName)> = None;
        for line in lines {
            let wrong = || ProtocolError::new(line);
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
    ) -> Result<(), ProtocolError> {
        let pool = self.pools.entry(name.clone()).or_default();
        if let Some(path) = setting.strip_prefix("SET nodefile = ") {
            pool.nodefile = Some(path.to_owned());
        } else if let Some(rest) = setting.strip_prefix("POOL ADD ") {
            let (_, endpoint) = rest
                .split_once(' ')
                .ok_or_else(|| ProtocolError::new(rest))?;
            pool.members.insert(Endpoint::parse(endpoint)?);
        }
        Ok(())
    }

    fn read_service_setting(
        &mut self,
        name: &PerlbalName,
        setting: &str,
    ) -> Result<(), ProtocolError> {
        let service = self.services.entry(name.clone()).or_default();
        // Both are printed for reverse proxies only: these settings have `check_role`.
        if let Some(pool) = setting.strip_prefix("SET pool = ") {
            service.pool = Some(pool.parse().map_err(|_| ProtocolError::new(setting))?);
        } else if let Some(number) = setting.strip_prefix("SET connect_ahead = ") {
            // Perlbal accepts any number of digits, but opens ten connections at a time.
            service.connect_ahead = number.parse().unwrap_or(u64::MAX);
        }
        Ok(())
    }
}

/// Parses `SHOW POOL x`: a member and its uses per line.
pub fn parse_pool(lines: &[String]) -> Result<BTreeSet<Endpoint>, ProtocolError> {
    let member = |line: &String| match line.rsplit_once(' ') {
        Some((endpoint, uses)) if uses.bytes().all(|byte| byte.is_ascii_digit()) => {
            Endpoint::parse(endpoint)
        }
        _ => Err(ProtocolError::new(line)),
    };
    lines.iter().map(member).collect()
}

/// The number of services that use each pool.
pub type Users = BTreeMap<PerlbalName, u64>;

/// Parses `SHOW POOL`: for each pool a line with the number of its members and one with that of its
/// services.
#[must_use]
pub fn parse_users(lines: &[String]) -> Users {
    parse_counts(lines, " services ").collect()
}

/// Parses the number of members of each pool, from the same response.
#[must_use]
pub fn parse_member_counts(lines: &[String]) -> BTreeMap<PerlbalName, usize> {
    parse_counts(lines, " nodes ").collect()
}

fn parse_counts<N: FromStr>(lines: &[String], of: &str) -> impl Iterator<Item = (PerlbalName, N)> {
    lines.iter().filter_map(move |line| {
        let (pool, count) = line.split_once(of)?;
        Some((pool.parse().ok()?, count.parse().ok()?))
    })
}

/// Parses `UPTIME`: the start time in seconds since 1970, and the version.
pub fn parse_uptime(lines: &[String]) -> Result<(u64, String), ProtocolError> {
    let value = |key: &str| {
        lines
            .iter()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
    };
    let wrong = || ProtocolError::new(&lines.join(" "));
    let start = value("starttime")
        .and_then(|text| text.parse().ok())
        .ok_or_else(wrong)?;
    Ok((start, printable(value("version").unwrap_or("unknown"))))
}

/// Parses `BACKENDS`: the addresses to which connections are open, busy or idle.
#[must_use]
pub fn parse_backends(lines: &[String]) -> BTreeSet<NodeAddr> {
    let addr = |line: &String| node_at(line.split_once(' ')?.0);
    lines.iter().filter_map(addr).collect()
}

/// Parses `PENDING`: the addresses to which each service is making connections.
#[must_use]
pub fn parse_connecting(lines: &[String]) -> BTreeMap<PerlbalName, Vec<String>> {
    let mut services: BTreeMap<PerlbalName, Vec<String>> = BTreeMap::new();
    for line in lines {
        let mut words = line.split(' ');
        if let (Some(Ok(service)), Some(addr)) = (words.next().map(str::parse), words.next()) {
            services.entry(service).or_default().push(addr.to_owned());
        }
    }
    services
}

/// Parses `SOCKS`: the addresses to which a connection is busy, so not `bored`.
#[must_use]
pub fn parse_busy(lines: &[String]) -> BTreeSet<NodeAddr> {
    let busy = backends(lines).filter(|(_, is_idle)| !is_idle);
    busy.map(|(addr, _)| addr).collect()
}

/// Parses `SOCKS`: the addresses to which a connection is open, busy or idle.
#[must_use]
pub fn parse_open(lines: &[String]) -> BTreeSet<NodeAddr> {
    backends(lines).map(|(addr, _)| addr).collect()
}

/// The connections to nodes in `SOCKS`, and whether each is idle.
fn backends(lines: &[String]) -> impl Iterator<Item = (NodeAddr, bool)> {
    lines.iter().filter_map(|line| {
        if !is_backend(line) {
            return None;
        }
        let (_, rest) = line.split_once(" to ")?;
        let (addr, rest) = rest.split_once(": ")?;
        let is_idle = rest.split("; ").any(|field| field == "bored");
        Some((node_at(addr)?, is_idle))
    })
}

/// The node to which a connection goes, also if a spare entry's spelling was used.
fn node_at(text: &str) -> Option<NodeAddr> {
    text.parse().ok().or_else(|| address_of(text))
}

/// Whether a line of `SOCKS` is about a connection to a node: descriptor, age, kind. The lines of
/// clients have their requests in them, so any text.
pub(super) fn is_backend(line: &str) -> bool {
    let kind = line.split_ascii_whitespace().nth(2);
    kind.is_some_and(|kind| kind.starts_with("Perlbal::BackendHTTP("))
}

/// Parses `NODES ip:port`: the number of requests that the address has answered on kept
/// connections.
#[must_use]
pub fn parse_requests(lines: &[String]) -> u64 {
    let requests = |line: &String| line.split_once(" requests ")?.1.parse().ok();
    lines.iter().find_map(requests).unwrap_or(0)
}
