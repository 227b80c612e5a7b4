//! Formats pools, nodes and load balancers as table cells.

use std::iter;
use std::time::Duration;

use super::super::format::{self, ahead, reason};
use super::super::terminal::Style;
use crate::api::{Counts, Grant, LoadBalancer, Node, Pool, State, VersionCount};
use crate::logging::count;
use crate::model::health::Health;

/// Maximum number of versions shown per pool.
const MAX_VERSIONS: usize = 4;

/// `12 nodes: 9 in pools (2 failing), 3 down`.
pub(super) fn counts(counts: &Counts) -> String {
    let failing = match counts.failing {
        0 => String::new(),
        failing => format!(" ({failing} failing)"),
    };
    let parts = [
        (counts.leaving, "leaving"),
        (counts.idle, "idle"),
        (counts.failed, "down"),
        (counts.refused, "refused"),
        (counts.disabled, "disabled"),
        (counts.awaited, "awaited"),
    ];
    let out = parts.into_iter().filter(|(number, _)| *number > 0);
    let in_pools = format!("{} in pools{failing}", counts.members);
    let states = iter::once(in_pools).chain(out.map(|(number, what)| format!("{number} {what}")));
    let states = states.collect::<Vec<_>>().join(", ");
    format!("{}: {states}", count(counts.nodes, "node"))
}

pub(super) fn is_out(node: &Node) -> bool {
    node.state != State::Member
}

/// What is wrong with a pool, or worth mentioning.
pub(super) fn remark(pool: &Pool) -> (Style, String) {
    let sorry = if pool.sorry.is_empty() {
        String::new()
    } else {
        format!("only sorry server {} serves", pool.sorry.join(", "))
    };
    match (pool.short, pool.declared) {
        (true, _) if sorry.is_empty() => (Style::Error, "below min_members".to_owned()),
        (true, _) => (Style::Error, format!("below min_members, {sorry}")),
        (false, _) if !sorry.is_empty() => (Style::Error, sorry),
        (false, true) if pool.members == 0 => (Style::Error, "no members".to_owned()),
        (false, true) => (Style::Plain, String::new()),
        (false, false) => (Style::Plain, "not declared".to_owned()),
    }
}

/// `v23 ×4, v24 ×2`, the largest first.
pub(super) fn versions(versions: &[VersionCount]) -> String {
    let mut versions: Vec<_> = versions.iter().collect();
    versions.sort_by_key(|version| std::cmp::Reverse(version.members));
    let text = |version: &&VersionCount| {
        let name = version.version.as_deref().unwrap_or("no version");
        format!("{name} ×{}", version.members)
    };
    // A pool without versions has an empty column.
    if let [only] = versions[..]
        && only.version.is_none()
    {
        return "-".to_owned();
    }
    let mut parts: Vec<_> = versions.iter().take(MAX_VERSIONS).map(text).collect();
    if versions.len() > MAX_VERSIONS {
        parts.push(format!("{} more", versions.len() - MAX_VERSIONS));
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

/// The sort key of a node: what needs attention comes first.
pub(super) fn urgency(node: &Node) -> u8 {
    match node.state {
        State::Refused => 0,
        State::Failed => 1,
        State::Member if node.failing || node.why.is_some() => 2,
        State::Disabled => 3,
        State::Leaving => 4,
        State::Awaited => 5,
        State::Idle => 6,
        // It has another weight than usual.
        State::Member => 7,
    }
}

pub(super) fn style(node: &Node) -> Style {
    match node.state {
        State::Failed | State::Refused => Style::Error,
        State::Member if !node.failing => Style::Plain,
        State::Member | State::Leaving | State::Disabled => Style::Warning,
        State::Awaited | State::Idle => Style::Plain,
    }
}

/// Why a node is in its state, and whether it is draining. `now` is empty for responses without a time: they describe
/// the present.
pub(in crate::client) fn why(node: &Node, now: &str) -> String {
    let present = format::now();
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
    if let Some(given) = &node.weight_reason {
        parts.push(format!("weight {}: {}", node.weight, reason(given, now)));
    }
    parts.extend(ramp(node, now).map(|ramp| format!("weight {ramp}")));
    if node.drained == Some(false) {
        parts.push("still draining".to_owned());
    }
    parts.join("; ")
}

/// How the node's weight rises, or will: `35 of 100, full in 20 s`; it follows "weight".
pub(in crate::client) fn ramp(node: &Node, now: &str) -> Option<String> {
    let full = node.weight;
    if let Some(ramp) = &node.ramp {
        let ends = ahead(&ramp.until, now);
        return Some(format!("{} of {full}, full {ends}", ramp.weight));
    }
    Some(match node.next_ramp_ms? {
        0 => format!("{full} as soon as it returns"),
        length => {
            let length = format::exact(Duration::from_millis(length));
            format!("{full}, {length} after its return")
        }
    })
}

pub(super) fn granted(grant: &Grant, now: &str) -> String {
    format!("granted leave, which ends {}", ahead(&grant.until, now))
}

pub(super) fn health_style(health: Health) -> Style {
    match health {
        Health::Ok => Style::Good,
        Health::Degraded => Style::Warning,
        Health::Critical => Style::Error,
    }
}

pub(super) fn sync(one: &LoadBalancer) -> (Style, &'static str) {
    match (one.connected, one.in_sync) {
        (true, true) => (Style::Plain, "in sync"),
        (true, false) => (Style::Error, "not in sync"),
        (false, _) => (Style::Error, "not connected"),
    }
}

/// The load balancer's version, or why it is not connected.
pub(super) fn connection(one: &LoadBalancer, now: &str) -> String {
    let away = one.away.as_ref();
    away.map_or_else(|| one.connection.clone(), |away| format::away(away, now))
}
