//! Steps, and the commands that they consist of. Pure.

#![warn(clippy::disallowed_methods)]

use std::fmt;

use super::answers::Expected;
use super::name::HaproxyName;
use super::state::placeholder;
use crate::model::node::NodeAddr;

/// A change of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) backend: HaproxyName,
    pub(super) server: HaproxyName,
    pub(super) action: Action,
}

/// What is changed; weights only where they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// A server that nothing uses gets a node's address, and requests.
    Fill {
        node: NodeAddr,
        weight: Option<u16>,
    },
    /// A server is added for a node, and gets requests.
    Add {
        node: NodeAddr,
        weight: Option<u16>,
    },
    /// A sorry server is added as a `backup`, which gets requests while no other server does.
    AddSorry {
        sorry: NodeAddr,
        weight: u16,
    },
    /// It gets requests.
    Ready,
    Weight(u16),
    /// It gets no new requests; it stays usable for persistent sessions.
    Drain,
    /// It gets no new requests.
    Maint,
    /// Its node is drained: maintenance, and another address, at which connections to the node that became idle
    /// meanwhile are closed.
    Release,
    /// It is deleted.
    Delete,
}

/// A command, and which answers mean success.
pub(super) struct Command {
    pub(super) text: String,
    pub(super) expected: Expected,
}

impl Step {
    /// Whether it brings requests to a node.
    pub(super) fn brings_in(&self) -> bool {
        use Action::{Add, AddSorry, Fill, Ready, Weight};
        let action = self.action;
        matches!(
            action,
            Fill { .. } | Add { .. } | AddSorry { .. } | Ready | Weight(_)
        )
    }

    /// The kind of the step in metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self.action {
            Action::Fill { .. } => "fill",
            Action::Add { .. } | Action::AddSorry { .. } => "add",
            Action::Ready => "ready",
            Action::Weight(_) => "weight",
            Action::Drain => "drain",
            Action::Maint => "maint",
            Action::Release => "release",
            Action::Delete => "delete",
        }
    }

    /// Its commands. Each needs the success of the one before.
    pub(super) fn commands(&self) -> Vec<Command> {
        match self.action {
            Action::Fill { node, weight } => {
                let weight = weight.map(|weight| self.set_weight(weight));
                let before = [self.set_address(node)].into_iter().chain(weight);
                before.chain([self.set_state("ready")]).collect()
            }
            Action::Add { node, weight } => {
                let weight = weight.map(|weight| format!("weight {weight}"));
                vec![self.add(node, weight), self.set_state("ready")]
            }
            Action::AddSorry { sorry, weight } => {
                let keywords = Some(format!("weight {weight} backup"));
                vec![self.add(sorry, keywords), self.set_state("ready")]
            }
            Action::Ready => vec![self.set_state("ready")],
            Action::Weight(weight) => vec![self.set_weight(weight)],
            Action::Drain => vec![self.set_state("drain")],
            Action::Maint => vec![self.set_state("maint")],
            Action::Release => vec![self.set_state("maint"), self.set_address(placeholder())],
            Action::Delete => vec![Command {
                text: format!("del server {}", self.place()),
                expected: Expected::Deleted,
            }],
        }
    }

    fn place(&self) -> String {
        format!("{}/{}", self.backend, self.server)
    }

    fn set_state(&self, state: &str) -> Command {
        Command {
            text: format!("set server {} state {state}", self.place()),
            expected: Expected::Nothing,
        }
    }

    fn set_weight(&self, weight: u16) -> Command {
        Command {
            text: format!("set server {} weight {weight}", self.place()),
            expected: Expected::Weight,
        }
    }

    fn set_address(&self, node: NodeAddr) -> Command {
        let (ip, port) = (node.ip(), node.port());
        Command {
            text: format!("set server {} addr {ip} port {port}", self.place()),
            expected: Expected::Address(node),
        }
    }

    /// Never `enabled`, which lets it serve before it is complete, or without weight. Up to 2.6, connections of an added
    /// server are not reused unless `pool-max-conn` and `pool-purge-delay` are given.
    fn add(&self, node: NodeAddr, keywords: Option<String>) -> Command {
        let keywords = keywords.map_or_else(String::new, |keywords| format!(" {keywords}"));
        Command {
            text: format!(
                "add server {} {node}{keywords} pool-max-conn 1000 pool-purge-delay 5s",
                self.place()
            ),
            expected: Expected::Added,
        }
    }
}

/// As it can be piped into the socket after `prompt`.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commands = self.commands();
        let texts: Vec<_> = commands
            .iter()
            .map(|command| command.text.as_str())
            .collect();
        f.write_str(&texts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(action: Action) -> String {
        let step = Step {
            backend: "api".parse().unwrap(),
            server: "pb1".parse().unwrap(),
            action,
        };
        step.to_string()
    }

    #[test]
    fn a_step_reads_as_its_commands() {
        let node = "10.0.0.1:80".parse().unwrap();
        let weight = Some(100);
        assert_eq!(
            text(Action::Fill { node, weight }),
            "set server api/pb1 addr 10.0.0.1 port 80; set server api/pb1 weight 100; set server api/pb1 state ready"
        );
        let node = "[2001:db8::1]:80".parse().unwrap();
        assert_eq!(
            text(Action::Add { node, weight: None }),
            "add server api/pb1 [2001:db8::1]:80 pool-max-conn 1000 pool-purge-delay 5s; set server api/pb1 state ready"
        );
        let sorry = "10.0.0.9:80".parse().unwrap();
        assert_eq!(
            text(Action::AddSorry { sorry, weight: 100 }),
            "add server api/pb1 10.0.0.9:80 weight 100 backup pool-max-conn 1000 pool-purge-delay 5s; set server api/pb1 state ready"
        );
        assert_eq!(
            text(Action::Release),
            "set server api/pb1 state maint; set server api/pb1 addr 127.0.0.1 port 1"
        );
        assert_eq!(text(Action::Delete), "del server api/pb1");
    }
}
