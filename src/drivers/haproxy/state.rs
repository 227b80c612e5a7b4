//! What is in `HAProxy`, as far as pollbal is concerned, and the effect of each step on it. Pure.

#![warn(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::sync::Arc;

use super::name::HaproxyName;
use super::step::{Action, Step};
use crate::drivers::sync::{Member, Members};
use crate::model::node::NodeAddr;

/// The weight of a server that is added without one, and of one that is declared without one.
const DECLARED_WEIGHT: u16 = 1;

/// The backends, by name; those that no pool has, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Actual {
    pub(super) backends: BTreeMap<HaproxyName, ActualBackend>,
}

/// A backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ActualBackend {
    pub(super) servers: BTreeMap<HaproxyName, Server>,
    /// Its algorithm takes no weights at run time.
    pub(super) has_fixed_weights: bool,
    /// Its algorithm takes no servers at run time.
    pub(super) refuses_servers: bool,
    /// It has slots without a host name: another process would not take their addresses from a state file, but the rest.
    pub(super) forgets_addresses: bool,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) kind: Kind,
    /// Its address; `None` if it has none that a node could have.
    pub(super) node: Option<NodeAddr>,
    pub(super) admin: Admin,
    pub(super) weight: u16,
    /// When it was read it was in maintenance, without requests and idle connections; it is since. Otherwise requests
    /// for another node would be sent over connections to the present one.
    pub(super) is_quiet: bool,
}

/// Whose a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One of a `server-template`, by number.
    Slot(u32),
    /// pollbal added it for this node.
    Added(NodeAddr),
    /// An operator's. If its address is a node's, pollbal sets its state.
    Declared,
    /// An operator's, which serves while no other server does; never touched.
    Backup,
    /// pollbal added it as a `backup`, for this sorry server.
    Sorry(NodeAddr),
}

/// The administrative state of a server, which the operator or pollbal sets. Health checks are another matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admin {
    /// It gets requests.
    Ready,
    /// It gets no new requests, except those of persistent sessions.
    Drain,
    /// It gets no new requests.
    Maint,
}

impl Admin {
    /// By `srv_admin_state`, a mask (`enum srv_admin` in server-t.h). 0x04 says only that `disabled` is in the configuration.
    pub(super) fn of_mask(mask: u32) -> Self {
        // Forced, inherited, or since its host name is not resolved.
        const MAINTENANCE: u32 = 0x23;
        const DRAIN: u32 = 0x18;
        if mask & MAINTENANCE != 0 {
            Self::Maint
        } else if mask & DRAIN != 0 {
            Self::Drain
        } else {
            Self::Ready
        }
    }
}

/// The address of a slot that has no node: nobody listens there.
pub(super) fn placeholder() -> NodeAddr {
    NodeAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), NonZeroU16::MIN)
}

impl Server {
    /// Whether pollbal may give it an address and a weight.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Slot(_) | Kind::Added(_) | Kind::Sorry(_))
    }

    fn is_backup(&self) -> bool {
        matches!(self.kind, Kind::Backup | Kind::Sorry(_))
    }

    /// A slot that can be given to a node: nothing uses it any more.
    pub(super) fn is_free(&self) -> bool {
        matches!(self.kind, Kind::Slot(_)) && self.admin == Admin::Maint && self.is_quiet
    }

    /// In maintenance, and its address is reset.
    pub(super) fn is_released(&self) -> bool {
        self.admin == Admin::Maint && self.node == Some(placeholder())
    }

    /// It gets no new requests, but may have some in progress.
    fn is_retired(&self) -> bool {
        self.kind != Kind::Backup
            && match self.admin {
                Admin::Ready => false,
                Admin::Drain => true,
                Admin::Maint => !self.is_quiet && !self.is_released(),
            }
    }

    fn set_admin(&mut self, admin: Admin) {
        self.admin = admin;
        // What is in progress is known when it is read.
        self.is_quiet = false;
    }
}

impl ActualBackend {
    /// The servers that get requests: sorry servers only while no other server does.
    fn serving(&self) -> impl Iterator<Item = &Server> {
        let has_others = self.has_ordinary();
        self.servers.values().filter(move |server| {
            let is_in_turn = match server.kind {
                Kind::Slot(_) | Kind::Added(_) | Kind::Declared => true,
                Kind::Sorry(_) => !has_others,
                Kind::Backup => false,
            };
            is_in_turn && server.admin == Admin::Ready
        })
    }

    /// The servers that get no new requests but may have some in progress; also sorry servers that stand by.
    fn retired(&self) -> impl Iterator<Item = &Server> {
        let has_others = self.has_ordinary();
        self.servers.values().filter(move |server| {
            let stands_by = matches!(server.kind, Kind::Sorry(_)) && has_others;
            server.is_retired() || (stands_by && server.admin == Admin::Ready)
        })
    }

    /// The step adds a server.
    fn add(&mut self, step: &Step, kind: Kind, node: NodeAddr, weight: u16) {
        let added = Server {
            kind,
            node: Some(node),
            admin: Admin::Ready,
            weight,
            is_quiet: false,
        };
        self.servers.insert(step.server.clone(), added);
    }

    /// Whether a server gets requests that is no `backup`.
    fn has_ordinary(&self) -> bool {
        let mut servers = self.servers.values();
        servers.any(|server| !server.is_backup() && server.admin == Admin::Ready)
    }
}

impl Actual {
    /// The nodes that get requests, by backend.
    pub(super) fn members(&self) -> Members {
        let backends = self.backends.iter();
        let members = backends.map(|(name, backend)| {
            let nodes = backend.serving().filter_map(|server| server.node);
            (name.shared(), nodes.collect())
        });
        members.collect()
    }

    /// The nodes that get no new requests but may have some in progress.
    pub(super) fn retired(&self) -> Vec<Member> {
        let backends = self.backends.iter();
        let retired = backends.flat_map(|(name, backend)| {
            let retired = backend.retired();
            retired.filter_map(|server| Some((name.shared(), server.node?)))
        });
        retired.collect()
    }

    /// Whether anything differs but what changes by itself.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let settings = |actual: &'_ Self| -> Vec<_> {
            let backends = actual.backends.iter();
            let servers = backends.flat_map(|(name, backend)| {
                let servers = backend.servers.iter();
                servers.map(move |(server, is)| {
                    let names: [Arc<str>; 2] = [name.shared(), server.shared()];
                    (names, is.node, is.admin, is.weight)
                })
            });
            servers.collect()
        };
        settings(self) != settings(other)
    }

    /// Changes it as a successful step does.
    pub(super) fn apply(&mut self, step: &Step) {
        let Some(backend) = self.backends.get_mut(&step.backend) else {
            return;
        };
        match step.action {
            Action::Add { node, weight } => {
                let weight = weight.unwrap_or(DECLARED_WEIGHT);
                backend.add(step, Kind::Added(node), node, weight);
            }
            Action::AddSorry { sorry, weight } => {
                backend.add(step, Kind::Sorry(sorry), sorry, weight);
            }
            Action::Delete => _ = backend.servers.remove(&step.server),
            action => {
                if let Some(server) = backend.servers.get_mut(&step.server) {
                    server.apply(action);
                }
            }
        }
    }
}

impl Server {
    fn apply(&mut self, action: Action) {
        match action {
            Action::Fill { node, weight } => {
                self.node = Some(node);
                self.weight = weight.unwrap_or(self.weight);
                self.set_admin(Admin::Ready);
            }
            Action::Ready => self.set_admin(Admin::Ready),
            Action::Weight(weight) => self.weight = weight,
            Action::Drain => self.set_admin(Admin::Drain),
            Action::Maint => self.set_admin(Admin::Maint),
            Action::Release => {
                self.node = Some(placeholder());
                self.set_admin(Admin::Maint);
            }
            Action::Add { .. } | Action::AddSorry { .. } | Action::Delete => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_says_who_gets_requests() {
        for (mask, admin) in [
            (0, Admin::Ready),
            (4, Admin::Ready),
            (1, Admin::Maint),
            (5, Admin::Maint),
            (0x24, Admin::Maint),
            (8, Admin::Drain),
            (12, Admin::Drain),
            (9, Admin::Maint),
        ] {
            assert_eq!(Admin::of_mask(mask), admin, "{mask:#x}");
        }
    }
}
