//! How those stand that are to show a change, and what that means for a node.

use std::collections::BTreeMap;
use std::time::Instant;

use super::NodeAtSerial;
use crate::drivers::Progress;
use crate::drivers::perlbal::standing::{Standing, Stray};
use crate::model::names::PoolName;
use crate::model::node::NodeAddr;
use crate::model::node_view::NodeState;

/// How those stand that are to show a change: the Perlbals and the pool files.
#[derive(Clone, Debug)]
pub struct Perlbals {
    /// Address and standing of each, in the order of the configuration.
    pub standings: Vec<(String, Standing)>,
    /// How far the pool files have come.
    pub files: Progress,
    /// The sorry servers that stand in now, and for which pool.
    pub sorry: BTreeMap<NodeAddr, PoolName>,
}

impl Perlbals {
    /// Whether no load balancer has a busy connection to a node that is out; `None` for a member.
    #[must_use]
    pub fn at_rest(&self, seen: &NodeAtSerial) -> Option<bool> {
        let out = matches!(seen.view.state, NodeState::Out(_));
        out.then(|| self.unrest(seen, Instant::now()).is_none())
    }

    /// What a node that is out lacks to be at rest everywhere, in words.
    #[must_use]
    pub fn unrest(&self, seen: &NodeAtSerial, now: Instant) -> Option<String> {
        let addr = seen.view.node.addr;
        if let Some(pool) = self.sorry.get(&addr) {
            return Some(format!("it stands in as sorry server of pool {pool}"));
        }
        self.untold(seen.serial).or_else(|| {
            let mut standings = self.standings.iter();
            standings.find_map(|(address, standing)| {
                let stray = standing.strays.get(&addr);
                if let Some(stray) = stray.filter(|stray| !stray.is_managed()) {
                    return Some(stray.text(address));
                }
                if let Some(since) = standing
                    .unrest
                    .get(&addr)
                    .and_then(|pools| pools.values().min())
                {
                    let passed = now.saturating_duration_since(*since).as_secs();
                    return Some(format!("not at rest in {address} after {passed} s"));
                }
                if let Some(stray) = stray {
                    return Some(stray.text(address));
                }
                let is_shown = standing.shown >= seen.serial;
                (!is_shown).then(|| format!("{address} was not read since it was told"))
            })
        })
    }

    /// Who was not told the snapshot of this serial yet, in words. Without a Perlbal the pool files
    /// are all that can tell.
    #[must_use]
    pub fn untold(&self, serial: u64) -> Option<String> {
        if self.standings.is_empty() && (!self.files.in_sync || self.files.serial < serial) {
            let why = self.files.because();
            return Some(format!("the pool files are not written{why}"));
        }
        self.standings.iter().find_map(|(address, standing)| {
            if !standing.connected {
                Some(match &standing.away {
                    Some(away) => format!(
                        "no connection to Perlbal {address}: it is {}",
                        away.steady_text()
                    ),
                    None => format!("no connection to Perlbal {address}"),
                })
            } else if standing.told < serial {
                Some(format!("{address} is not told yet"))
            } else {
                None
            }
        })
    }

    /// Where the node stands in each Perlbal.
    pub fn each(&self, seen: &NodeAtSerial) -> impl Iterator<Item = Place<'_>> {
        let (addr, serial) = (seen.view.node.addr, seen.serial);
        let stands_in = self.sorry.contains_key(&addr);
        self.standings.iter().map(move |(address, standing)| {
            let told = standing.connected && standing.told >= serial;
            let rest = !stands_in && standing.is_at_rest(addr, serial);
            Place {
                address,
                standing,
                connected: standing.connected,
                told,
                stray: standing.strays.get(&addr),
                rest,
            }
        })
    }
}

/// Where a node stands in a Perlbal.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The Perlbal's address.
    pub address: &'a str,
    /// How it stands.
    pub standing: &'a Standing,
    /// There is a connection to it.
    pub connected: bool,
    /// It was told where the node is.
    pub told: bool,
    /// Where it still is there, although it is not wanted.
    pub stray: Option<&'a Stray>,
    /// If the node is out, it is at rest there.
    pub rest: bool,
}
