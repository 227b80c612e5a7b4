//! How a roll calls nodes, and the command that brings one back.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::words::{named, quoted};
use crate::cli;
use crate::model::node::Node;
use crate::model::node_index::NodeIndex;
use crate::model::overrides::ReasonName;

/// Who is called how: several nodes may have the same name, and a name may hold anything.
pub(super) struct Names(NodeIndex);

impl Names {
    /// Takes down nodes by address and name, each once however often it comes.
    pub(super) fn new<'a>(nodes: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let nodes: BTreeMap<_, _> = nodes.collect();
        let nodes: Vec<_> = nodes.into_iter().filter_map(listed).collect();
        Self(NodeIndex::new(&nodes))
    }

    /// What names the node in a command: its name, or else its address.
    pub(super) fn word<'a>(&self, name: &'a str, node: &'a str) -> &'a str {
        let is_plain = node
            .parse()
            .is_ok_and(|addr| self.0.is_unique_shell_word(name, addr));
        if is_plain { name } else { node }
    }

    /// What people are told: its name, with its address where the name does not say which it is.
    pub(super) fn shown(&self, name: &str, node: &str) -> String {
        if self.word(name, node) == name {
            name.to_owned()
        } else {
            named(name, node)
        }
    }
}

fn listed((addr, name): (&str, &str)) -> Option<Node> {
    Some(Node {
        addr: addr.parse().ok()?,
        name: name.to_owned(),
    })
}

/// The command that brings a node back.
pub(super) struct WayBack {
    word: ReasonName,
    /// The flag that names the daemon, if one was given.
    door: String,
}

impl WayBack {
    /// The one of this roll; `config` is the configuration file, if one was named.
    pub(super) fn new(args: &cli::Roll, flags: &cli::Door, config: Option<&Path>) -> Self {
        let flag = |flag: &str, path: &Path| format!(" {flag} {}", quoted(&path.to_string_lossy()));
        // The socket counts more, as for this roll itself.
        let door = match (&flags.socket, config) {
            (Some(socket), _) => flag("--socket", socket),
            (None, Some(config)) => flag("--config", config),
            (None, None) => String::new(),
        };
        Self {
            word: args.reason.clone(),
            door,
        }
    }

    /// For the node that goes by this word.
    pub(super) fn of(&self, who: &str) -> String {
        format!("pollbal enable {who} --reason {}{}", self.word, self.door)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_told_with_its_address_where_its_name_does_not_say_which_it_is() {
        let one = ("10.0.0.1:80", "web-1");
        let nodes = [one, ("10.0.0.2:80", "dup"), ("10.0.0.3:80", "dup")];
        // The first one is told of twice.
        let names = Names::new(nodes.into_iter().chain([one]));
        for (node, name, word, shown) in [
            ("10.0.0.1:80", "web-1", "web-1", "web-1"),
            ("10.0.0.3:80", "dup", "10.0.0.3:80", "dup (10.0.0.3:80)"),
            ("10.0.0.4:80", "10.0.0.4:80", "10.0.0.4:80", "10.0.0.4:80"),
        ] {
            assert_eq!(names.word(name, node), word);
            assert_eq!(names.shown(name, node), shown);
        }
    }
}
