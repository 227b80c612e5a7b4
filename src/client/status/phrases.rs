//! Pools, nodes and load balancers in a few words each.

use super::super::terminal::Tone;
use super::super::words::{self, ahead, reason};
use crate::api::{Counts, Grant, LoadBalancer, Node, Pool, State, VersionCount};
use crate::logging::count;
use crate::model::health::Health;

/// So many versions of a pool are shown.
const VERSIONS: usize = 4;

/// `10 nodes: 8 members, 2 disabled`.
pub(super) fn counts(counts: &Counts) -> String {
    let parts = [
        (counts.members, "in pools"),
        (counts.failing, "of them failing"),
        (counts.leaving, "leaving"),
        (counts.idle, "idle"),
        (counts.failed, "failed"),
        (counts.refused, "refused"),
        (counts.disabled, "disabled"),
        (counts.awaited, "awaited"),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .enumerate()
        .filter(|(index, (number, _))| *index == 0 || *number > 0)
        .map(|(_, (number, what))| format!("{number} {what}"))
        .collect();
    format!("{}, {}", count(counts.nodes, "node"), parts.join(", "))
}

pub(super) fn is_out(node: &Node) -> bool {
    node.state != State::Member
}

/// How a pool is, in a word or two.
pub(super) fn remark(pool: &Pool) -> (Tone, String) {
    let sorry = if pool.sorry.is_empty() {
        String::new()
    } else {
        format!("sorry server {} stands in", pool.sorry.join(", "))
    };
    match (pool.short, pool.declared) {
        (true, _) if sorry.is_empty() => (Tone::Bad, "below min_members".to_owned()),
        (true, _) => (Tone::Bad, format!("below min_members, {sorry}")),
        (false, _) if !sorry.is_empty() => (Tone::Bad, sorry),
        (false, true) if pool.members == 0 => (Tone::Bad, "no members".to_owned()),
        (false, true) => (Tone::Plain, String::new()),
        (false, false) => (Tone::Plain, "not declared".to_owned()),
    }
}

/// `v23 ×4, v24 ×2`, the largest first.
pub(super) fn versions(versions: &[VersionCount]) -> String {
    let mut versions: Vec<_> = versions.iter().collect();
    versions.sort_by_key(|version| std::cmp::Reverse(version.members));
    let told = |version: &&VersionCount| {
        let name = version.version.as_deref().unwrap_or("no version");
        format!("{name} ×{}", version.members)
    };
    // A pool without versions needs no column of them.
    if let [only] = versions[..]
        && only.version.is_none()
    {
        return "-".to_owned();
    }
    let mut parts: Vec<_> = versions.iter().take(VERSIONS).map(told).collect();
    if versions.len() > VERSIONS {
        parts.push(format!("{} more", versions.len() - VERSIONS));
    }
    parts.join(", ")
}

/// `9,980 failed, 3 awaited`.
pub(super) fn states(nodes: &[&Node]) -> String {
    let mut parts: Vec<(&str, usize)> = Vec::new();
    for node in nodes {
        let state = node.word();
        match parts.iter_mut().find(|(known, _)| *known == state) {
            Some((_, number)) => *number += 1,
            None => parts.push((state, 1)),
        }
    }
    let parts: Vec<_> = parts
        .into_iter()
        .map(|(state, number)| format!("{number} {state}"))
        .collect();
    parts.join(", ")
}

/// What needs a person comes first.
pub(super) fn urgency(node: &Node) -> u8 {
    match node.state {
        State::Refused => 0,
        State::Failed => 1,
        State::Member => 2,
        State::Disabled => 3,
        State::Leaving => 4,
        State::Awaited => 5,
        State::Idle => 6,
    }
}

pub(super) fn tone(node: &Node) -> Tone {
    match node.state {
        State::Failed | State::Refused => Tone::Bad,
        State::Member if !node.failing => Tone::Plain,
        State::Member | State::Leaving | State::Disabled => Tone::Notable,
        State::Awaited | State::Idle => Tone::Plain,
    }
}

/// Why it is where it is, and whether requests are under way there. What an order is answered has no
/// time of its own (`now` is empty): it is of just now.
pub(in crate::client) fn why(node: &Node, now: &str) -> String {
    let present = words::now();
    let now = if now.is_empty() { &present } else { now };
    let mut parts: Vec<String> = node
        .reasons
        .iter()
        .map(|given| reason(given, now))
        .collect();
    if let Some(grant) = &node.grant {
        parts.push(granted(grant, now));
    }
    if parts.is_empty() {
        parts.extend(node.why.clone());
    }
    if node.drained == Some(false) {
        parts.push("draining".to_owned());
    }
    parts.join("; ")
}

/// A leave.
pub(super) fn granted(grant: &Grant, now: &str) -> String {
    format!("was granted leave, which ends {}", ahead(&grant.until, now))
}

pub(super) fn health_tone(health: Health) -> Tone {
    match health {
        Health::Ok => Tone::Good,
        Health::Degraded => Tone::Notable,
        Health::Critical => Tone::Bad,
    }
}

pub(super) fn sync(one: &LoadBalancer) -> (Tone, &'static str) {
    match (one.connected, one.in_sync) {
        (true, true) => (Tone::Plain, "in sync"),
        (true, false) => (Tone::Bad, "not in sync"),
        (false, _) => (Tone::Bad, "not connected"),
    }
}

/// Which version it is, or why it is not connected.
pub(super) fn connection(one: &LoadBalancer, now: &str) -> String {
    let away = one.away.as_ref();
    away.map_or_else(|| one.connection.clone(), |away| words::away(away, now))
}
