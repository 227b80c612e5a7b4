//! What a services file lists, and which nodes that is once its host names are resolved.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU16;

use super::{LineErrorKind, LineErrors, List};
use crate::model::host_name::HostName;
use crate::model::node::{Node, NodeAddr};
use crate::model::weight::Weight;

/// What a services file lists, before its host names are resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries with the numbers of their lines, in the file's order.
    pub(super) entries: Vec<(usize, Entry)>,
    /// It is empty, or its last line has no end: it may be cut off, and is perhaps still being written.
    pub unfinished: bool,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// An address.
    Node(Node),
    /// A host name, which is a node for each of its addresses.
    Host(HostEntry),
}

/// A line with a host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostEntry {
    pub(super) host: HostName,
    pub(super) port: NonZeroU16,
    /// The name that the line gives.
    pub(super) name: Option<String>,
    /// The weight that it gives.
    pub(super) weight: Option<Weight>,
}

impl Listing {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The host names, each with the number of the first line that has it.
    #[must_use]
    pub fn hosts(&self) -> Vec<(HostName, usize)> {
        let mut known = BTreeSet::new();
        let hosts = self.entries.iter().filter_map(|(line, entry)| match entry {
            Entry::Host(entry) => Some((entry.host.clone(), *line)),
            Entry::Node(_) => None,
        });
        hosts
            .filter(|(host, _)| known.insert(host.clone()))
            .collect()
    }

    /// The nodes, where `addresses` gives those of each host name. No two lines may give the same node.
    pub fn resolved<'a>(
        &self,
        addresses: impl Fn(&HostName) -> &'a [IpAddr],
    ) -> Result<List, LineErrors> {
        let mut errors = LineErrors {
            unfinished: self.unfinished,
            ..LineErrors::default()
        };
        let mut lines = self.lines_of_addresses();
        let mut nodes = Vec::with_capacity(self.entries.len());
        for (line, entry) in &self.entries {
            let entry = match entry {
                Entry::Node(node) => {
                    nodes.push(node.clone());
                    continue;
                }
                Entry::Host(entry) => entry,
            };
            for node in entry.nodes(addresses(&entry.host)) {
                match lines.insert(node.addr, *line) {
                    None => nodes.push(node),
                    Some(other) => {
                        let kind = LineErrorKind::SameAddress(node.addr, other);
                        errors.push(*line, &entry.text(), kind);
                    }
                }
            }
        }
        errors.or(List {
            nodes,
            unfinished: self.unfinished,
            awaits: None,
        })
    }

    /// The addresses that lines give without a host name, for files that have any.
    fn lines_of_addresses(&self) -> HashMap<NodeAddr, usize> {
        let is_host = |(_, entry): &(usize, Entry)| matches!(entry, Entry::Host(_));
        if !self.entries.iter().any(is_host) {
            return HashMap::new();
        }
        let lines = self.entries.iter().filter_map(|(line, entry)| match entry {
            Entry::Node(node) => Some((node.addr, *line)),
            Entry::Host(_) => None,
        });
        lines.collect()
    }
}

impl HostEntry {
    /// A node for each address. It is called by the name that the line gives, or the host's; of several, with the
    /// address.
    fn nodes(&self, addresses: &[IpAddr]) -> impl Iterator<Item = Node> {
        let name = self.name.as_deref().unwrap_or(self.host.as_str());
        // Resolvers give them in a different order each time.
        let ips: BTreeSet<_> = addresses.iter().map(IpAddr::to_canonical).collect();
        let is_single = ips.len() == 1;
        ips.into_iter().map(move |ip| {
            let name = if is_single {
                name.to_owned()
            } else {
                format!("{name}-{ip}")
            };
            Node {
                weight: self.weight,
                ..Node::new(NodeAddr::new(ip, self.port), name)
            }
        })
    }

    /// The line, as it might be written.
    fn text(&self) -> String {
        let weight = self.weight.map(|weight| format!(" weight={weight}"));
        let name = self.name.as_ref().map(|name| format!(" # {name}"));
        let (weight, name) = (weight.unwrap_or_default(), name.unwrap_or_default());
        format!("{} {}{weight}{name}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_listing;
    use super::*;

    fn resolved(text: &str, addresses: &[&str]) -> Result<List, LineErrors> {
        let ips: Vec<IpAddr> = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        parse_listing(text).unwrap().resolved(|_| &ips)
    }

    fn nodes(text: &str, addresses: &[&str]) -> Vec<String> {
        let nodes = resolved(text, addresses).unwrap().nodes.into_iter();
        nodes
            .map(|node| format!("{} {}", node.addr, node.name))
            .collect()
    }

    #[test]
    fn a_host_name_is_a_node_for_each_address_in_the_order_of_the_file() {
        let text = "10.0.0.1 80 # one\nWeb.example:8080 # web\nweb.example 80\n10.0.0.3 80\n";
        assert_eq!(
            nodes(text, &["10.0.0.2"]),
            [
                "10.0.0.1:80 one",
                "10.0.0.2:8080 web",
                "10.0.0.2:80 web.example",
                "10.0.0.3:80 10.0.0.3:80",
            ]
        );
        let both = ["::2", "10.0.0.2", "::ffff:10.0.0.2"];
        assert_eq!(
            nodes("web 80 # w\n", &both),
            ["10.0.0.2:80 w-10.0.0.2", "[::2]:80 w-::2"]
        );
        assert_eq!(nodes("web 80 # w\n", &[]), [""; 0]);
    }

    #[test]
    fn an_address_that_two_lines_give_is_an_error_that_names_both() {
        for (text, error) in [
            (
                "10.0.0.1 80\nweb 80 # w\n",
                "line 2: has the address 10.0.0.1:80, which line 1 has too: \"web 80 # w\"",
            ),
            (
                "web 80\n10.0.0.1 80\n",
                "line 1: has the address 10.0.0.1:80, which line 2 has too: \"web 80\"",
            ),
            (
                "web 80\nother 80\n",
                "line 2: has the address 10.0.0.1:80, which line 1 has too: \"other 80\"",
            ),
        ] {
            let errors = resolved(text, &["10.0.0.1"]).unwrap_err();
            assert_eq!(errors.first.len(), 1);
            assert_eq!(errors.first[0].to_string(), error);
        }
        assert!(resolved("web 80\nweb 81\n", &["10.0.0.1"]).is_ok());
    }

    #[test]
    fn host_names_are_named_once_with_their_first_line() {
        let listing = parse_listing("10.0.0.1 80\nweb 80\nWEB 81\nother 80\n").unwrap();
        let hosts = listing.hosts();
        let hosts: Vec<_> = hosts
            .iter()
            .map(|(host, line)| (host.as_str(), *line))
            .collect();
        assert_eq!(hosts, [("web", 2), ("other", 4)]);
    }
}
