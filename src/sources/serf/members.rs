//! Which members are nodes, and what Serf says of each: pure.
//!
//! Names, addresses and tags are those that a member gives itself: what is no name, no port or another member's address
//! makes it no node, and is reported with everything escaped.

#![warn(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::rejected::{MAX_NAME, Rejected, Why};
use super::roster::{Roster, Shrunk, Status};
use super::rpc::Member;
use super::settings::SerfSettings;
use crate::model::announcement::Announcement;
use crate::model::node::{Node, NodeAddr, Origin, parse_port};
use crate::model::observation::{Failure, Observation};
use crate::model::report::{Report, Said};
use crate::model::text::quotable;
use crate::sources::SerfNodes;

/// Maximum length of what is shown of a name or tag, in characters.
const SHOWN_CHARS: usize = 40;

/// The nodes of the last list.
#[derive(Debug)]
pub struct Members {
    settings: SerfSettings,
    nodes: Vec<Node>,
    statuses: BTreeMap<NodeAddr, Status>,
    rejected: Vec<Rejected>,
    others: usize,
    is_settled: bool,
}

/// What follows from a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// The nodes, if they are others than before.
    pub nodes: Option<SerfNodes>,
    /// What Serf says of nodes that are not polled.
    pub reports: Vec<Report>,
    /// Nodes that have failed or returned by what Serf says: a poll decides.
    pub poll_now: Vec<NodeAddr>,
}

/// A member that is a node, unless another has its address.
struct Candidate<'a> {
    member: &'a Member,
    status: Status,
}

impl Members {
    /// No list was seen yet.
    #[must_use]
    pub fn new(settings: SerfSettings) -> Self {
        Self {
            settings,
            nodes: Vec::new(),
            statuses: BTreeMap::new(),
            rejected: Vec::new(),
            others: 0,
            is_settled: false,
        }
    }

    /// The nodes, by name.
    #[must_use]
    pub fn nodes(&self) -> SerfNodes {
        SerfNodes {
            origin: self.settings.origin(),
            nodes: self.nodes.clone(),
            is_settled: self.is_settled,
        }
    }

    /// The members that should be nodes and are none.
    #[must_use]
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// Number of members that are not meant to be nodes: their tags do not match, or say nothing of a port.
    #[must_use]
    pub fn others(&self) -> usize {
        self.others
    }

    /// Takes a list, which was asked for at `asked_at`; an error if it must not be believed.
    pub fn take(
        &mut self,
        roster: &mut Roster,
        list: Vec<Member>,
        (asked_at, took): (Instant, Duration),
    ) -> Result<Update, Shrunk> {
        roster.take(list)?;
        Ok(self.update(roster, (asked_at, took)))
    }

    /// What follows from the members that count.
    pub fn update(&mut self, roster: &Roster, (asked_at, took): (Instant, Duration)) -> Update {
        self.rejected.clear();
        self.others = 0;
        let chosen = self.choose(roster);
        let mut nodes: Vec<_> = chosen
            .iter()
            .map(|(addr, candidate)| Node {
                origin: self.origin(candidate.status),
                ..Node::new(*addr, candidate.member.name.0.clone())
            })
            .collect();
        nodes.sort_by(|a, b| (&a.name, a.addr).cmp(&(&b.name, b.addr)));
        let report = |(addr, candidate): (&NodeAddr, &Candidate<'_>)| Report {
            addr: *addr,
            said: self.said(candidate),
            asked_at,
            took,
        };
        let is_reported = |(_, candidate): &(&NodeAddr, &Candidate<'_>)| {
            self.origin(candidate.status) == Origin::SerfReported
        };
        let reports = chosen.iter().filter(is_reported).map(report).collect();
        let statuses: BTreeMap<_, _> = chosen
            .into_iter()
            .map(|(addr, candidate)| (addr, candidate.status))
            .collect();
        let is_turn = |(addr, status): &(&NodeAddr, &Status)| {
            let before = self.statuses.get(addr);
            before.is_some_and(|before| (*before == Status::Failed) != (**status == Status::Failed))
        };
        let turns = statuses.iter().filter(is_turn);
        let poll_now = if self.settings.poll {
            turns.map(|(addr, _)| *addr).collect()
        } else {
            Vec::new()
        };
        self.statuses = statuses;
        let is_same = nodes == self.nodes && self.is_settled == roster.is_settled();
        self.nodes = nodes;
        self.is_settled = roster.is_settled();
        Update {
            nodes: (!is_same).then(|| self.nodes()),
            reports,
            poll_now,
        }
    }

    /// The members that are nodes, by address. Of several at one address, those that are alive go first, then the one
    /// that had it before: after a restart under another name the old one is still listed as failed.
    fn choose<'a>(&mut self, roster: &'a Roster) -> BTreeMap<NodeAddr, Candidate<'a>> {
        let mut all: BTreeMap<NodeAddr, Vec<Candidate<'a>>> = BTreeMap::new();
        for (member, status) in roster.members() {
            match self.addr_of(member) {
                Ok(Some(addr)) => all
                    .entry(addr)
                    .or_default()
                    .push(Candidate { member, status }),
                Ok(None) => self.others += 1,
                Err(why) => self.reject(member, why),
            }
        }
        let names = self.nodes.iter().map(|node| (node.addr, node.name.clone()));
        let names: BTreeMap<_, _> = names.collect();
        let mut chosen = BTreeMap::new();
        for (addr, mut candidates) in all {
            let is_other = |name: &str| names.get(&addr).is_none_or(|before| before != name);
            candidates
                .sort_by_key(|candidate| (candidate.status, is_other(&candidate.member.name.0)));
            let mut candidates = candidates.into_iter();
            let Some(first) = candidates.next() else {
                continue;
            };
            for other in candidates.filter(|other| other.status <= Status::Leaving) {
                let why = Why::SameAddress(addr, first.member.name.0.clone());
                self.reject(other.member, why);
            }
            chosen.insert(addr, first);
        }
        chosen
    }

    fn reject(&mut self, member: &Member, why: Why) {
        let name = quotable(&member.name.0, SHOWN_CHARS);
        self.rejected.push(Rejected { name, why });
    }

    /// The address of a member that is a node; `None` if it is not meant to be one.
    fn addr_of(&self, member: &Member) -> Result<Option<NodeAddr>, Why> {
        let settings = &self.settings;
        let mut tags = settings.tags.iter();
        if !tags.all(|(tag, pattern)| pattern.matches(member.tag(tag).unwrap_or_default())) {
            return Ok(None);
        }
        let port = match (member.tag(&settings.port_tag), settings.port) {
            (Some(text), _) => parse_port(text).map_err(|_| {
                let text = quotable(text, SHOWN_CHARS);
                Why::Port(settings.port_tag.clone(), text)
            })?,
            (None, Some(port)) => port,
            // Nothing says that it serves anything.
            (None, None) if settings.tags.is_empty() => return Ok(None),
            (None, None) => return Err(Why::NoPort(settings.port_tag.clone())),
        };
        if !is_name(&member.name.0) {
            return Err(Why::Name);
        }
        let ip = member
            .addr
            .filter(|ip| !is_nowhere(*ip))
            .ok_or(Why::Address)?;
        Ok(Some(NodeAddr::new(ip, port)))
    }

    fn origin(&self, status: Status) -> Origin {
        if status.leaves() {
            Origin::SerfReported
        } else {
            self.settings.origin()
        }
    }

    fn said(&self, candidate: &Candidate<'_>) -> Said {
        match candidate.status {
            Status::Leaving | Status::Left => Said::Leaves,
            Status::Failed => Said::Observed(Observation::Failed(Failure::Reported)),
            Status::Alive => Said::Observed(self.announcement(candidate.member)),
        }
    }

    /// What a member's tags announce, by the checks of a node's own answer.
    fn announcement(&self, member: &Member) -> Observation {
        let Some(pool) = member
            .tag(&self.settings.pool_tag)
            .filter(|pool| !pool.is_empty())
        else {
            return Observation::Nothing;
        };
        let [status, version, weight] = ["status", "version", "weight"]
            .map(|tag| member.tag(tag).filter(|value| !value.is_empty()));
        match Announcement::of_words(pool, status, version, weight) {
            Ok(announcement) => Observation::Announced(announcement),
            Err(error) => {
                let tags = [(self.settings.pool_tag.as_str(), Some(pool))].into_iter();
                let tags =
                    tags.chain([("status", status), ("version", version), ("weight", weight)]);
                let tags = tags.filter_map(|(tag, value)| Some(format!("{tag}={}", value?)));
                let tags: Vec<_> = tags.collect();
                Observation::Failed(Failure::Tags(error, quotable(&tags.join(" "), SHOWN_CHARS)))
            }
        }
    }
}

/// The characters of host names, so that a name is no address with a port, and no option.
fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(is_allowed)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

/// Whether no other machine can have it.
fn is_nowhere(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip.is_multicast()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests;
