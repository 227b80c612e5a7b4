//! Who is who: nodes by the words by which people and sources of requests name them.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv4Addr;

use super::node::{Node, NodeAddr};
use super::text::printable;

/// The nodes of the services file, by address and name.
#[derive(Clone, Debug, Default)]
pub struct AddressBook {
    names: HashMap<String, Vec<NodeAddr>>,
    ips: HashMap<Ipv4Addr, Vec<NodeAddr>>,
}

/// Why a word names no node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// Nothing is called so.
    Unknown(String),
    /// Several nodes are: these.
    Ambiguous(String, Vec<NodeAddr>),
}

impl AddressBook {
    /// Takes down these nodes.
    #[must_use]
    pub fn new(nodes: &[Node]) -> Self {
        let mut book = Self::default();
        for node in nodes {
            let ip = node.addr.ip();
            book.ips.entry(ip).or_default().push(node.addr);
            let named = book.names.entry(node.name.clone()).or_default();
            named.push(node.addr);
        }
        book
    }

    /// The node that is called so: by its name, by `ip:port`, or by `ip` where only one has it.
    ///
    /// An `ip:port` need not be listed: orders outlive the nodes that they are about.
    pub fn find(&self, word: &str) -> Result<NodeAddr, NotFound> {
        if let Ok(addr) = word.parse() {
            return Ok(addr);
        }
        let by_ip = word.parse().ok().and_then(|ip| self.ips.get(&ip));
        match self.names.get(word).or(by_ip).map(Vec::as_slice) {
            Some([addr]) => Ok(*addr),
            Some(several) => Err(NotFound::Ambiguous(printable(word), several.to_vec())),
            None => Err(NotFound::Unknown(printable(word))),
        }
    }

    /// Whether there is a node of this address and port.
    #[must_use]
    pub fn lists(&self, addr: NodeAddr) -> bool {
        self.at(addr.ip()).contains(&addr)
    }

    /// Whether the node goes by this name in a command line: it is no other's, and has nothing in it that a shell
    /// would understand.
    #[must_use]
    pub fn is_plainly_called(&self, name: &str, addr: NodeAddr) -> bool {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_word = name.chars().all(is_plain) && !name.starts_with('-');
        is_word && self.names.get(name).is_some_and(|addrs| *addrs == [addr])
    }

    /// All of them, by address.
    #[must_use]
    pub fn all(&self) -> Vec<NodeAddr> {
        let mut all: Vec<_> = self.ips.values().flatten().copied().collect();
        all.sort_unstable();
        all
    }

    /// Whether a node has this address.
    #[must_use]
    pub fn knows(&self, ip: Ipv4Addr) -> bool {
        self.ips.contains_key(&ip)
    }

    /// The nodes at an address.
    #[must_use]
    pub fn at(&self, ip: Ipv4Addr) -> &[NodeAddr] {
        self.ips.get(&ip).map_or(&[], Vec::as_slice)
    }
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word) => write!(f, "no node of the services file is called {word}"),
            Self::Ambiguous(word, addrs) => {
                let addrs: Vec<_> = addrs.iter().map(NodeAddr::to_string).collect();
                write!(
                    f,
                    "several nodes are called {word}: say which of {}",
                    addrs.join(", ")
                )
            }
        }
    }
}

impl std::error::Error for NotFound {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_others_and_a_word_names_its_node_in_a_command_line() {
        let names = ["web-1", "dup", "dup", "web 2", "$HOME", "--wait"];
        let node = |(number, name): (usize, &&str)| Node {
            addr: format!("10.0.0.{number}:80").parse().unwrap(),
            name: (*name).to_owned(),
        };
        let nodes: Vec<_> = (1..).zip(&names).map(node).collect();
        let book = AddressBook::new(&nodes);
        let is_plain = |node: &Node| book.is_plainly_called(&node.name, node.addr);
        let plain: Vec<_> = nodes.iter().filter(|node| is_plain(node)).collect();
        assert_eq!(plain, [&nodes[0]]);
        // One that the services file does not list any more had the name before.
        assert!(!book.is_plainly_called("web-1", nodes[1].addr));
    }

    #[test]
    fn a_node_is_found_by_what_names_it_alone() {
        let node = |addr: &str, name: &str| Node {
            addr: addr.parse().unwrap(),
            name: name.to_owned(),
        };
        let book = AddressBook::new(&[
            node("10.0.0.1:80", "one"),
            node("10.0.0.2:80", "two"),
            node("10.0.0.2:81", "two"),
        ]);
        let one = Ok("10.0.0.1:80".parse().unwrap());
        for word in ["one", "10.0.0.1", "10.0.0.1:80"] {
            assert_eq!(book.find(word), one, "{word}");
        }
        for word in ["two", "10.0.0.2"] {
            let Err(NotFound::Ambiguous(_, addrs)) = book.find(word) else {
                panic!("{word} is ambiguous");
            };
            assert_eq!(addrs.len(), 2);
        }
        for (addr, listed) in [("10.0.0.2:81", true), ("10.0.0.2:82", false)] {
            assert_eq!(book.lists(addr.parse().unwrap()), listed, "{addr}");
            assert!(book.find(addr).is_ok(), "{addr}");
        }
        for word in ["three", "10.0.0.3", ""] {
            assert_eq!(book.find(word), Err(NotFound::Unknown(word.to_owned())));
        }
    }
}
