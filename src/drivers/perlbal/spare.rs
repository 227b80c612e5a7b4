//! Spare entries: members that are in a pool of Perlbal several times, so that a node that vanished
//! delays no request. Pure.
//!
//! Perlbal makes at most as many connections at a time as a pool has members, and counts those that
//! it is making to nodes which were removed from the pool, until it gives them up after 15 s
//! (Service.pm, `spawn_backends`; BackendHTTP.pm, `new`). When a machine is gone and does not even
//! refuse connections, a pool of two makes no connection at all meanwhile, and requests wait. No
//! command ends a connection that is being made. But Perlbal treats an address in several spellings
//! as several members, and its `inet_aton` reads them alike: in `0177.0.0.1` and `127.0.0.01` the
//! numbers with a leading zero are octal. So for each connection to a removed node a member gets an
//! entry under another spelling, as long as that connection is being made.
//!
//! Perlbal also expects each of these connections to serve a waiting request. So as long as they
//! are being made it is *poked* again and again: for a moment `connect_ahead` is larger by their
//! number, and it makes a connection for each request that waits.

#![warn(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};

use super::desired::Desired;
use super::plan::Actual;
use crate::drivers::perlbal::name::PerlbalName;
use crate::model::node::NodeAddr;

/// Maximum number of spare entries of a pool: Perlbal makes no more connections at once.
const MOST: usize = 10;

/// Number of other spellings of an address: each of four numbers is decimal or octal.
const SPELLINGS: u8 = 15;

/// An IPv4 address in one of its other spellings, `1..=SPELLINGS`; an IPv6 address has none.
fn spelled(addr: NodeAddr, spelling: u8) -> Option<String> {
    let octet = |(place, octet): (usize, u8)| {
        if spelling >> place & 1 == 1 {
            format!("0{octet:o}")
        } else {
            octet.to_string()
        }
    };
    let octets = addr.ipv4()?.octets().into_iter();
    let octets: Vec<_> = octets.enumerate().map(octet).collect();
    Some(format!("{}:{}", octets.join("."), addr.port()))
}

/// The address that a spare entry stands for; `None` if it is no spare entry.
#[must_use]
pub fn address_of(text: &str) -> Option<NodeAddr> {
    let (ip, port) = text.split_once(':')?;
    let octet = |text: &str| match text.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u8::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    };
    let octets: Option<Vec<u8>> = ip.split('.').map(octet).collect();
    let octets: [u8; 4] = octets?.try_into().ok()?;
    let addr = NodeAddr::parse(&std::net::Ipv4Addr::from(octets).to_string(), port).ok()?;
    let is_spelling =
        (1..=SPELLINGS).any(|spelling| spelled(addr, spelling).as_deref() == Some(text));
    is_spelling.then_some(addr)
}

/// What makes up for connections to removed nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needed {
    /// The spare entries that pools need.
    pub spares: BTreeMap<PerlbalName, BTreeSet<String>>,
    /// Number of such connections that each service is making.
    pub vain: BTreeMap<PerlbalName, u64>,
}

/// What is needed while each service is making these connections.
#[must_use]
pub fn needed(
    made: &BTreeMap<PerlbalName, Vec<String>>,
    actual: &Actual,
    desired: &Desired,
) -> Needed {
    let mut needed = Needed::default();
    for (user, addrs) in made {
        let service = actual.services.get(user);
        let Some(name) = service.and_then(|service| service.pool.as_ref()) else {
            continue;
        };
        let Some(pool) = desired.pools.get(name) else {
            continue;
        };
        let is_out = |text: &&String| {
            let addr = text.parse().ok().or_else(|| address_of(text));
            !addr.is_some_and(|addr| pool.members.contains(&addr))
        };
        let out = addrs.iter().filter(is_out).count();
        if out == 0 {
            continue;
        }
        needed.vain.insert(user.clone(), out as u64);
        if pool.members.len() >= out + MOST {
            continue;
        }
        let spares = (1..=SPELLINGS).flat_map(|spelling| {
            let members = pool.members.iter();
            members.filter_map(move |addr| spelled(*addr, spelling))
        });
        let spares: BTreeSet<_> = spares.take(out.min(MOST)).collect();
        let entry = needed.spares.entry(name.clone()).or_default();
        if spares.len() > entry.len() {
            *entry = spares;
        }
    }
    needed.spares.retain(|_, spares| !spares.is_empty());
    needed
}

#[cfg(test)]
mod tests {
    use super::super::desired::DesiredPool;
    use super::super::protocol::Service;
    use super::*;

    fn addr(text: &str) -> NodeAddr {
        text.parse().unwrap()
    }

    fn name(text: &str) -> PerlbalName {
        text.parse().unwrap()
    }

    #[test]
    fn each_spelling_is_another_text_and_the_same_address() {
        let addr = addr("10.0.9.255:8080");
        let texts: BTreeSet<_> = (1..=SPELLINGS).filter_map(|n| spelled(addr, n)).collect();
        assert_eq!(texts.len(), usize::from(SPELLINGS));
        assert!(texts.contains("012.00.011.0377:8080") && texts.contains("012.0.9.255:8080"));
        for text in &texts {
            assert_eq!(address_of(text), Some(addr), "{text}");
        }
    }

    #[test]
    fn what_somebody_else_wrote_is_no_spare_entry() {
        for text in [
            "10.0.9.255:8080",
            "010.0.0.9:080",
            "010.0.0:80",
            "010.0.0.1.2:80",
            "08.0.0.1:80",
            "0400.0.0.1:80",
            "001.0.0.1:80",
            "010.0.0.1",
            "",
        ] {
            assert_eq!(address_of(text), None, "{text}");
        }
    }

    #[test]
    fn a_pool_needs_one_for_each_connection_to_a_node_that_is_out() {
        let pool = DesiredPool {
            members: [addr("10.0.0.1:80"), addr("10.0.0.2:80")].into(),
            ..DesiredPool::default()
        };
        let desired = Desired {
            pools: [(name("api"), pool)].into(),
        };
        let service = |pool| Service {
            pool: Some(name(pool)),
            ..Service::default()
        };
        let services = [("web", "api"), ("more", "api"), ("other", "theirs")];
        let actual = Actual {
            services: services
                .map(|(one, pool)| (name(one), service(pool)))
                .into(),
            ..Actual::default()
        };
        let needed = |made: &[(&str, &[&str])]| {
            let made = made.iter().map(|(service, addrs)| {
                let addrs = addrs.iter().map(|addr| (*addr).to_owned());
                (name(service), addrs.collect())
            });
            let needed = needed(&made.collect(), &actual, &desired);
            let spares = needed.spares.get(&name("api")).cloned();
            assert!(needed.spares.keys().all(|pool| *pool == name("api")));
            assert_eq!(needed.vain.is_empty(), needed.spares.is_empty());
            spares.unwrap_or_default().into_iter().collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(needed(&[("web", &["10.0.0.1:80"])]), none);
        // Nor is one that is being made to a member under another spelling.
        assert_eq!(needed(&[("web", &["012.0.0.1:80"])]), none);
        assert_eq!(needed(&[("other", &["10.0.0.9:80"])]), none);
        let gone = "10.0.0.9:80";
        assert_eq!(needed(&[("web", &[gone, "10.0.0.1:80"])]), ["012.0.0.1:80"]);
        // Services that use one pool make their connections each for itself.
        let both = [("more", &[gone][..]), ("web", &[gone, "10.0.0.8:80"][..])];
        assert_eq!(needed(&both), ["012.0.0.1:80", "012.0.0.2:80"]);
        let many: Vec<String> = (1..=100).map(|port| format!("10.0.0.9:{port}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(needed(&[("web", &many)]).len(), MOST);
    }

    #[test]
    fn a_large_pool_needs_no_spare_entry() {
        let members =
            (1..=u8::try_from(MOST).unwrap() + 1).map(|n| addr(&format!("10.0.0.{n}:80")));
        let pool = DesiredPool {
            members: members.collect(),
            ..DesiredPool::default()
        };
        let service = Service {
            pool: Some(name("api")),
            ..Service::default()
        };
        let desired = Desired {
            pools: [(name("api"), pool)].into(),
        };
        let actual = Actual {
            services: [(name("web"), service)].into(),
            ..Actual::default()
        };
        let made = [(name("web"), vec!["10.0.0.99:80".to_owned()])].into();
        let needed = needed(&made, &actual, &desired);
        assert_eq!((needed.spares.len(), needed.vain[&name("web")]), (0, 1));
    }
}
