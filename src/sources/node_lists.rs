//! One list of what all sources list: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::node::{Node, NodeAddr, Origin};
use crate::model::services::List;

/// What each source lists.
#[derive(Debug, Default)]
pub struct NodeLists {
    /// The services file's list; empty if there is none.
    pub file: List,
    /// Serf's nodes, if it is a source.
    pub serf: Option<SerfNodes>,
}

/// Serf's nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerfNodes {
    /// Where they come from while Serf says no more of them than that they are there.
    pub origin: Origin,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The agent has had the time to find them all.
    pub is_settled: bool,
}

/// What both sources list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shared {
    /// This address: by these names, in the services file and in Serf.
    Address(NodeAddr, String, String),
    /// This name, for this address in Serf and another one in the services file.
    Name(String, NodeAddr),
}

/// What the services file has.
struct InFile<'a> {
    addrs: BTreeMap<NodeAddr, &'a str>,
    names: BTreeSet<&'a str>,
}

impl NodeLists {
    /// All nodes. What both list is as the services file has it, which was written by a person: an address is its node,
    /// and a name its node's, so that another node of that name in Serf goes by its address.
    ///
    /// Serf's come first, since the last line of a file may be cut off, which is looked for at the end of the list.
    #[must_use]
    pub fn list(&self) -> List {
        let Some(cluster) = &self.serf else {
            return self.file.clone();
        };
        let in_file = InFile::of(&self.file);
        let mut nodes = cluster.nodes.clone();
        nodes.retain(|node| !in_file.addrs.contains_key(&node.addr));
        for node in &mut nodes {
            if in_file.names.contains(node.name.as_str()) {
                node.name = node.addr.to_string();
            }
        }
        nodes.extend(self.file.nodes.iter().cloned());
        List {
            nodes,
            unfinished: self.file.unfinished,
            awaits: (!cluster.is_settled).then_some(cluster.origin),
        }
    }

    /// What both list.
    #[must_use]
    pub fn shared(&self) -> Vec<Shared> {
        let in_file = InFile::of(&self.file);
        let nodes = self.serf.iter().flat_map(|serf| &serf.nodes);
        let shared = nodes.filter_map(|node| match in_file.addrs.get(&node.addr) {
            Some(name) => {
                let (in_file, in_serf) = ((*name).to_owned(), node.name.clone());
                Some(Shared::Address(node.addr, in_file, in_serf))
            }
            None if in_file.names.contains(node.name.as_str()) => {
                Some(Shared::Name(node.name.clone(), node.addr))
            }
            None => None,
        });
        shared.collect()
    }
}

impl<'a> InFile<'a> {
    fn of(list: &'a List) -> Self {
        let nodes = list.nodes.iter();
        Self {
            addrs: nodes
                .clone()
                .map(|node| (node.addr, node.name.as_str()))
                .collect(),
            names: nodes.map(|node| node.name.as_str()).collect(),
        }
    }
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(addr, in_file, in_serf) => write!(
                f,
                "{addr} is in the services file, as {in_file}, and in Serf, as {in_serf}: the services file counts, \
                 and the node is polled whatever Serf says of it"
            ),
            Self::Name(name, addr) => write!(
                f,
                "{name} is the name of a node in the services file and, in Serf, of {addr}, which therefore goes by its \
                 address"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: u8, name: &str, origin: Origin) -> Node {
        let addr = format!("10.0.0.{host}:80").parse().unwrap();
        Node {
            origin,
            ..Node::new(addr, name)
        }
    }

    fn lists(nodes: Vec<Node>, is_settled: bool) -> NodeLists {
        let file = List {
            nodes: vec![
                node(1, "one", Origin::ServicesFile),
                node(2, "two", Origin::ServicesFile),
            ],
            unfinished: true,
            awaits: None,
        };
        let serf = Some(SerfNodes {
            origin: Origin::Serf,
            nodes,
            is_settled,
        });
        NodeLists { file, serf }
    }

    #[test]
    fn what_both_list_is_as_the_services_file_has_it_and_is_named() {
        let serf = [(2, "web"), (3, "one"), (4, "api")];
        let serf = serf.map(|(host, name)| node(host, name, Origin::Serf));
        let lists = lists(serf.to_vec(), true);
        let list = lists.list();
        let nodes = list.nodes.iter();
        let nodes = nodes.map(|node| format!("{} {}", node.addr, node.name));
        let expected = [
            "10.0.0.3:80 10.0.0.3:80",
            "10.0.0.4:80 api",
            "10.0.0.1:80 one",
            "10.0.0.2:80 two",
        ];
        assert_eq!(nodes.collect::<Vec<_>>(), expected);
        assert!(list.unfinished && list.awaits.is_none());
        let shared: Vec<_> = lists.shared().iter().map(ToString::to_string).collect();
        assert_eq!(shared.len(), 2, "{shared:?}");
        assert!(shared[0].starts_with("10.0.0.2:80 is in the services file, as two"));
        assert!(shared[1].starts_with("one is the name of a node"));
    }

    #[test]
    fn until_serf_has_settled_the_whole_list_awaits_it() {
        let list = lists(Vec::new(), false).list();
        assert_eq!((list.nodes.len(), list.awaits), (2, Some(Origin::Serf)));
        let alone = NodeLists {
            serf: None,
            ..lists(Vec::new(), false)
        };
        assert_eq!(alone.list(), alone.file);
    }
}
