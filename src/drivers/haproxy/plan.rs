//! What leads from the actual to the desired state. Pure.
//!
//! - Who comes in is ready before anyone leaves, so that no backend is empty in between.
//! - A slot is given to another node only when it is free: by a read, nothing uses it any more.
//! - A node that is back before its server is free gets the same server.
//! - Sorry servers stand by as `backup` servers, so that `HAProxy` turns to them by itself. Where none can be added, they
//!   get servers as members do, while there is no member.
//! - What is an operator's stays as it is: each other `backup`, and servers that are neither slots nor added by pollbal,
//!   but for the state of those that have a node's address.

#![warn(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};

use super::desired::{Desired, DesiredBackend, DesiredMember};
use super::name::HaproxyName;
use super::settings::{Leave, ServerMode};
use super::state::{Actual, ActualBackend, Admin, Kind, Server};
use super::step::{Action, Step};
use crate::drivers::sync::{Member, Plan, Problems};
use crate::model::node::NodeAddr;

/// Maximum number of steps of a batch: a newer snapshot supersedes the batches that are not sent yet.
const MAX_BATCH: usize = 500;

/// The steps from the actual to the desired state. `draining` are the members that left and are not drained yet.
pub(super) fn plan(desired: &Desired, actual: &Actual, draining: &BTreeSet<Member>) -> Plan<Step> {
    let (mut joining, mut leaving) = (Vec::new(), Vec::new());
    let mut problems = forgotten_addresses(desired, actual);
    let mut absent = BTreeMap::new();
    for (name, target) in &desired.backends {
        let Some(backend) = actual.backends.get(name) else {
            let pool = target.needed_by.iter();
            absent.extend(pool.map(|pool| (pool.clone(), missing(desired, name))));
            continue;
        };
        let mut planner = Planner {
            desired,
            draining,
            name,
            backend,
            recipients: target.recipients().collect(),
            steps: Vec::new(),
        };
        planner.plan(target, &mut problems);
        let (ins, outs): (Vec<_>, Vec<_>) = planner.steps.into_iter().partition(Step::brings_in);
        joining.extend(ins);
        leaving.extend(outs);
    }
    let batches = joining.chunks(MAX_BATCH).chain(leaving.chunks(MAX_BATCH));
    Plan {
        batches: batches.map(<[_]>::to_vec).collect(),
        problems,
        absent,
    }
}

/// What to write into the configuration of `HAProxy`.
fn missing(desired: &Desired, name: &HaproxyName) -> String {
    let servers = match desired.servers {
        ServerMode::Add => String::new(),
        ServerMode::Slots | ServerMode::Auto => format!(" with the line `{}`", slots(desired)),
    };
    format!(
        "backend {name} is missing in HAProxy: write `backend {name}`{servers} into haproxy.cfg and reload HAProxy"
    )
}

/// What to write so that the state file can be used.
fn forgotten_addresses(desired: &Desired, actual: &Actual) -> Problems {
    let backends = actual.backends.iter();
    let forgets = backends.filter(|(_, backend)| desired.keeps_state && backend.forgets_addresses);
    let problem = |(name, _): (&HaproxyName, _)| {
        let slots = slots(desired);
        format!(
            "state_file is not written: another process of HAProxy would not take the addresses of slots in backend {name} from it; write `{slots}` there, with a host name, into haproxy.cfg and reload HAProxy"
        )
    };
    forgets.map(problem).collect()
}

/// The line that makes slots. From a state file, only servers with a host name take their addresses.
fn slots(desired: &Desired) -> String {
    let prefix = &desired.slot_prefix;
    let servers = if desired.keeps_state {
        "pollbal.invalid:80 disabled init-addr last,127.0.0.1"
    } else {
        "127.0.0.1:1 disabled"
    };
    format!("server-template {prefix} 1-50 {servers}")
}

/// Plans one backend.
struct Planner<'a> {
    desired: &'a Desired,
    draining: &'a BTreeSet<Member>,
    name: &'a HaproxyName,
    backend: &'a ActualBackend,
    /// Who gets servers that are no `backup`.
    recipients: BTreeMap<NodeAddr, &'a DesiredMember>,
    steps: Vec<Step>,
}

impl<'a> Planner<'a> {
    fn plan(&mut self, target: &DesiredBackend, problems: &mut Problems) {
        let mut used = BTreeSet::new();
        let mut manages_others = target.is_managed();
        if self.takes_backups() {
            self.recipients
                .retain(|node, _| target.members.contains_key(node));
            manages_others = target.has_served();
            used = self.stand_by(target);
        }
        if manages_others {
            used.extend(self.bring_in(problems));
        }
        for (name, server) in &self.backend.servers {
            let is_managed = manages_others || matches!(server.kind, Kind::Sorry(_));
            if is_managed && !used.contains(name) {
                self.take_out(name, server);
            }
        }
    }

    /// Whether sorry servers can stand by as `backup` servers.
    fn takes_backups(&self) -> bool {
        self.desired.servers != ServerMode::Slots && !self.backend.refuses_servers
    }

    /// Plans that sorry servers stand by, the first one first; the servers that they have. One whose address is another
    /// is deleted before it is added again.
    fn stand_by(&mut self, target: &DesiredBackend) -> BTreeSet<&'a HaproxyName> {
        let mut used = BTreeSet::new();
        for (sorry, member) in &target.sorry {
            let name = HaproxyName::of_sorry(*sorry);
            let Some((name, server)) = self.backend.servers.get_key_value(&name) else {
                let (sorry, weight) = (*sorry, member.weight);
                self.push(&name, Action::AddSorry { sorry, weight });
                continue;
            };
            if matches!(server.kind, Kind::Sorry(_)) && server.node == Some(*sorry) {
                used.insert(name);
                self.make_ready(name, server, *sorry, member);
            }
        }
        used
    }

    /// Plans that recipients get requests; the servers that they use.
    fn bring_in(&mut self, problems: &mut Problems) -> BTreeSet<&'a HaproxyName> {
        let mut used = BTreeSet::new();
        let own = self.servers_by_node();
        let mut without = Vec::new();
        for (node, member) in self.recipients.clone() {
            if let Some((name, server)) = own.get(&node) {
                used.insert(*name);
                self.make_ready(name, server, node, member);
            } else {
                without.push((node, member));
            }
        }
        let adds = self.adds();
        if adds && self.backend.refuses_servers {
            problems.extend((!without.is_empty()).then(|| self.refused_servers()));
            return used;
        }
        let is_free =
            |(name, server): &(&HaproxyName, &Server)| server.is_free() && !used.contains(name);
        let backend = self.backend;
        let mut free: Vec<_> = backend.servers.iter().filter(is_free).collect();
        free.sort_by_key(|(_, server)| server.kind.slot_number());
        let mut free = free.into_iter();
        let mut lacking = 0;
        for (node, member) in without {
            if adds {
                self.add(node, member);
            } else if let Some((name, server)) = free.next() {
                used.insert(name);
                let weight = self.weight(server, member);
                self.push(name, Action::Fill { node, weight });
            } else {
                lacking += 1;
            }
        }
        let released = backend.servers.values();
        let released = released.filter(|server| {
            server.kind.slot_number().is_some() && server.is_released() && !server.is_free()
        });
        // One that is about to be free is no problem.
        if lacking > released.count() {
            problems.insert(self.lacking_slots(lacking));
        }
        used
    }

    fn lacking_slots(&self, count: usize) -> String {
        let (name, prefix) = (self.name, &self.desired.slot_prefix);
        let nodes = if count == 1 { "node" } else { "nodes" };
        format!(
            "backend {name} has no free slot for {count} {nodes}: raise the number in its line `server-template {prefix} 1-…` in haproxy.cfg and reload HAProxy"
        )
    }

    fn refused_servers(&self) -> String {
        let name = self.name;
        let or_slots = match self.desired.servers {
            ServerMode::Add => String::new(),
            ServerMode::Slots | ServerMode::Auto => format!(" or `{}`", slots(self.desired)),
        };
        format!(
            "no servers can be added to backend {name}, as its balancing algorithm is static: write `balance roundrobin`{or_slots} there into haproxy.cfg and reload HAProxy"
        )
    }

    /// The server of each node that has one: of several the one that serves, or is nearest to it.
    fn servers_by_node(&self) -> BTreeMap<NodeAddr, (&'a HaproxyName, &'a Server)> {
        let mut own: BTreeMap<NodeAddr, (&HaproxyName, &Server)> = BTreeMap::new();
        for (name, server) in &self.backend.servers {
            let Some(node) = self.node_of(server) else {
                continue;
            };
            let distance = |server: &Server| (server.admin.distance(), server.is_quiet);
            let best = own.entry(node).or_insert((name, server));
            if distance(server) < distance(best.1) {
                *best = (name, server);
            }
        }
        own
    }

    /// The node whose requests a server that pollbal may change is for.
    fn node_of(&self, server: &Server) -> Option<NodeAddr> {
        match server.kind {
            Kind::Backup | Kind::Sorry(_) => None,
            Kind::Slot(_) => server.node,
            Kind::Added(node) => Some(node),
            Kind::Declared => server.node.filter(|node| {
                self.recipients.contains_key(node) || self.desired.known.contains(node)
            }),
        }
    }

    fn make_ready(
        &mut self,
        name: &HaproxyName,
        server: &Server,
        node: NodeAddr,
        member: &DesiredMember,
    ) {
        let weight = self.weight(server, member);
        if server.node != Some(node) {
            // An added one whose address was reset: it is used again, or deleted, once nothing uses it.
            if server.admin == Admin::Maint && server.is_quiet {
                self.push(name, Action::Fill { node, weight });
            }
            return;
        }
        if let Some(weight) = weight {
            self.push(name, Action::Weight(weight));
        }
        if server.admin != Admin::Ready {
            self.push(name, Action::Ready);
        }
    }

    /// The weight to set, if it differs and pollbal may set it.
    fn weight(&self, server: &Server, member: &DesiredMember) -> Option<u16> {
        let is_settable = server.is_ours() && !self.backend.has_fixed_weights;
        (is_settable && server.weight != member.weight).then_some(member.weight)
    }

    /// Whether servers are added to this backend.
    fn adds(&self) -> bool {
        let has_slots = || {
            let mut servers = self.backend.servers.values();
            servers.any(|server| server.kind.slot_number().is_some())
        };
        match self.desired.servers {
            ServerMode::Slots => false,
            ServerMode::Add => true,
            ServerMode::Auto => !has_slots(),
        }
    }

    fn add(&mut self, node: NodeAddr, member: &DesiredMember) {
        let name = HaproxyName::of_added(&member.name, node);
        let weight = (!self.backend.has_fixed_weights).then_some(member.weight);
        self.push(&name, Action::Add { node, weight });
    }

    /// Plans that a server gets no more requests which is for no recipient, and that it is released once it is drained.
    fn take_out(&mut self, name: &HaproxyName, server: &Server) {
        let is_mine = server.is_ours() || self.node_of(server).is_some();
        let action = is_mine.then(|| self.next_action(server)).flatten();
        if let Some(action) = action {
            self.push(name, action);
        }
    }

    fn next_action(&self, server: &Server) -> Option<Action> {
        let is_draining = server.node.is_some_and(|node| {
            let member = (self.name.shared(), node);
            self.draining.contains(&member)
        });
        match server.admin {
            Admin::Ready if self.drains_in_place(server) => Some(Action::Drain),
            Admin::Drain if is_draining && self.drains_in_place(server) => None,
            Admin::Drain if server.is_ours() && !is_draining => Some(Action::Release),
            Admin::Ready | Admin::Drain => Some(Action::Maint),
            Admin::Maint => match server.kind {
                Kind::Added(_) | Kind::Sorry(_) if server.is_quiet => Some(Action::Delete),
                _ if server.is_quiet || is_draining => None,
                _ if !server.is_ours() || server.is_released() => None,
                _ => Some(Action::Release),
            },
        }
    }

    /// Whether persistent sessions may still send requests to it. A node that failed does not answer them.
    fn drains_in_place(&self, server: &Server) -> bool {
        let healthy = &self.desired.healthy;
        let is_healthy = server.node.is_some_and(|node| healthy.contains(&node));
        self.desired.leave == Leave::Drain && is_healthy
    }

    fn push(&mut self, server: &HaproxyName, action: Action) {
        self.steps.push(Step {
            backend: self.name.clone(),
            server: server.clone(),
            action,
        });
    }
}

impl Kind {
    fn slot_number(self) -> Option<u32> {
        match self {
            Self::Slot(number) => Some(number),
            Self::Added(_) | Self::Sorry(_) | Self::Declared | Self::Backup => None,
        }
    }
}

impl Admin {
    /// How far it is from serving.
    fn distance(self) -> u8 {
        match self {
            Self::Ready => 0,
            Self::Drain => 1,
            Self::Maint => 2,
        }
    }
}

#[cfg(test)]
mod tests;
