//! The labels under which a roll shows nodes, and the command that brings one back.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::format::{named, quoted};
use crate::cli;
use crate::model::node::Node;
use crate::model::node_index::NodeIndex;
use crate::model::overrides::ReasonName;

/// Labels of nodes: several nodes may have the same name, and a name may contain anything.
pub(super) struct Labels(NodeIndex);

impl Labels {
    /// Labels for these nodes (address and name), which may contain duplicates.
    pub(super) fn new<'a>(nodes: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let nodes: BTreeMap<_, _> = nodes.collect();
        let nodes: Vec<_> = nodes.into_iter().filter_map(listed).collect();
        Self(NodeIndex::new(&nodes))
    }

    /// The node's argument in a command: its name if that is unique and needs no quotes, otherwise its address.
    pub(super) fn argument<'a>(&self, name: &'a str, node: &'a str) -> &'a str {
        let is_plain = node
            .parse()
            .is_ok_and(|addr| self.0.is_unique_shell_word(name, addr));
        if is_plain { name } else { node }
    }

    /// The node's name for people, with its address if the name is ambiguous.
    pub(super) fn shown(&self, name: &str, node: &str) -> String {
        if self.argument(name, node) == name {
            name.to_owned()
        } else {
            named(name, node)
        }
    }
}

fn listed((addr, name): (&str, &str)) -> Option<Node> {
    Some(Node::new(addr.parse().ok()?, name))
}

/// The command that brings a node back.
pub(super) struct RecoveryHint {
    reason: ReasonName,
    /// The flag that selects the daemon, if one was given.
    flag: String,
}

impl RecoveryHint {
    /// The hint for a roll; `config` is the configuration file, if the command line names one.
    pub(super) fn new(args: &cli::Roll, flags: &cli::SocketArgs, config: Option<&Path>) -> Self {
        let flag = |flag: &str, path: &Path| format!(" {flag} {}", quoted(&path.to_string_lossy()));
        // The socket takes precedence, as it does for the roll.
        let flag = match (&flags.socket, config) {
            (Some(socket), _) => flag("--socket", socket),
            (None, Some(config)) => flag("--config", config),
            (None, None) => String::new(),
        };
        Self {
            reason: args.reason.clone(),
            flag,
        }
    }

    /// The command for a node.
    pub(super) fn command(&self, node: &str) -> String {
        format!(
            "pollbal enable {node} --reason {}{}",
            self.reason, self.flag
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_with_an_ambiguous_name_is_shown_with_its_address() {
        let one = ("10.0.0.1:80", "web-1");
        let nodes = [one, ("10.0.0.2:80", "dup"), ("10.0.0.3:80", "dup")];
        // The first one is listed twice.
        let labels = Labels::new(nodes.into_iter().chain([one]));
        for (node, name, argument, shown) in [
            ("10.0.0.1:80", "web-1", "web-1", "web-1"),
            ("10.0.0.3:80", "dup", "10.0.0.3:80", "dup (10.0.0.3:80)"),
            ("10.0.0.4:80", "10.0.0.4:80", "10.0.0.4:80", "10.0.0.4:80"),
        ] {
            assert_eq!(labels.argument(name, node), argument);
            assert_eq!(labels.shown(name, node), shown);
        }
    }
}
