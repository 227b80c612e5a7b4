//! Index of the nodes, by the names and addresses that operators and requests use for them.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use super::nearest::offer;
use super::node::{Node, NodeAddr, parse_ip};
use super::text::printable;

/// The nodes of the services file, by address and name. Sorted lists, which take a third of the memory of maps.
#[derive(Clone, Debug, Default)]
pub struct NodeIndex {
    names: Box<[(Box<str>, NodeAddr)]>,
    addrs: Box<[NodeAddr]>,
}

/// Why no node was found for a name or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// No node has this name or address; the second text suggests similar ones.
    Unknown(String, String),
    /// Several nodes have it.
    Ambiguous(String, Vec<NodeAddr>),
}

impl NodeIndex {
    /// Indexes these nodes.
    #[must_use]
    pub fn new(nodes: &[Node]) -> Self {
        let name = |node: &Node| (Box::from(node.name.as_str()), node.addr);
        let mut names: Box<[(Box<str>, _)]> = nodes.iter().map(name).collect();
        // Of the same name, in the order of the services file.
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut addrs: Box<[_]> = nodes.iter().map(|node| node.addr).collect();
        addrs.sort_unstable();
        Self { names, addrs }
    }

    /// Finds a node by its name, by `ip:port`, or by `ip` if it is the only one at that address.
    ///
    /// An `ip:port` need not be in the services file: overrides outlive the nodes that they apply to.
    pub fn find(&self, word: &str) -> Result<NodeAddr, NotFound> {
        if let Ok(addr) = word.parse() {
            return Ok(addr);
        }
        let mut found: Vec<_> = self.named(word).collect();
        if let Ok(ip) = parse_ip(word)
            && found.is_empty()
        {
            found.extend_from_slice(self.nodes_at(ip));
        }
        match *found {
            [] => Err(NotFound::Unknown(printable(word), self.suggest(word))),
            [addr] => Ok(addr),
            _ => Err(NotFound::Ambiguous(printable(word), found)),
        }
    }

    /// The nodes of this name.
    fn named(&self, name: &str) -> impl Iterator<Item = NodeAddr> {
        let begin = self.names.partition_point(|(other, _)| **other < *name);
        let rest = self.names[begin..].iter();
        let named = rest.take_while(move |(other, _)| **other == *name);
        named.map(|(_, addr)| *addr)
    }

    /// Suggests names and addresses similar to `word`, as the end of a message that no node was found.
    #[must_use]
    pub fn suggest(&self, word: &str) -> String {
        let addrs: Vec<_> = self.addrs.iter().map(NodeAddr::to_string).collect();
        // An unnamed node has its address as its name; it is suggested once.
        let names = self.names.iter().map(|(name, _)| &**name);
        printable(&offer(word, names.chain(addrs.iter().map(String::as_str))))
    }

    /// Whether the index contains a node with this address and port.
    #[must_use]
    pub fn contains(&self, addr: NodeAddr) -> bool {
        self.addrs.binary_search(&addr).is_ok()
    }

    /// Whether a command line can use this name for the node: no other node has it, it contains nothing that is
    /// special to a shell, and it does not look like a flag.
    #[must_use]
    pub fn is_unique_shell_word(&self, name: &str, addr: NodeAddr) -> bool {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_word = name.chars().all(is_plain) && !name.starts_with('-');
        is_word && self.named(name).eq([addr])
    }

    /// The addresses of all nodes, sorted.
    #[must_use]
    pub fn addrs(&self) -> &[NodeAddr] {
        &self.addrs
    }

    /// Whether any node has this IP address.
    #[must_use]
    pub fn contains_ip(&self, ip: IpAddr) -> bool {
        !self.nodes_at(ip).is_empty()
    }

    /// The nodes at an IP address.
    #[must_use]
    pub fn nodes_at(&self, ip: IpAddr) -> &[NodeAddr] {
        let lowest = NodeAddr::new(ip, NonZeroU16::MIN);
        let begin = self.addrs.partition_point(|addr| *addr < lowest);
        let rest = &self.addrs[begin..];
        let count = rest.partition_point(|addr| addr.ip() == ip);
        &rest[..count]
    }
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word, offer) => {
                write!(f, "no listed node is called {word}{offer}")
            }
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
    fn a_unique_name_without_special_characters_is_usable_in_a_command_line() {
        let names = ["web-1", "dup", "dup", "web 2", "$HOME", "--wait"];
        let node = |(number, name): (usize, &&str)| {
            Node::new(
                format!("10.0.0.{number}:80").parse().unwrap(),
                (*name).to_owned(),
            )
        };
        let nodes: Vec<_> = (1..).zip(&names).map(node).collect();
        let index = NodeIndex::new(&nodes);
        let is_plain = |node: &Node| index.is_unique_shell_word(&node.name, node.addr);
        let plain: Vec<_> = nodes.iter().filter(|node| is_plain(node)).collect();
        assert_eq!(plain, [&nodes[0]]);
        // The other address had this name earlier, and is no longer in the services file under it.
        assert!(!index.is_unique_shell_word("web-1", nodes[1].addr));
    }

    #[test]
    fn a_node_is_found_by_what_identifies_it_uniquely() {
        let node = |addr: &str, name: &str| Node::new(addr.parse().unwrap(), name.to_owned());
        let index = NodeIndex::new(&[
            node("10.0.0.1:80", "one"),
            node("10.0.0.2:80", "two"),
            node("10.0.0.2:81", "two"),
            node("[2001:db8::1]:80", "six"),
        ]);
        let one = Ok("10.0.0.1:80".parse().unwrap());
        for word in ["one", "10.0.0.1", "10.0.0.1:80"] {
            assert_eq!(index.find(word), one, "{word}");
        }
        let six = Ok("[2001:db8::1]:80".parse().unwrap());
        for word in ["six", "2001:db8::1", "[2001:DB8:0::1]", "[2001:db8::1]:80"] {
            assert_eq!(index.find(word), six, "{word}");
        }
        for word in ["two", "10.0.0.2"] {
            let Err(NotFound::Ambiguous(_, addrs)) = index.find(word) else {
                panic!("{word} is ambiguous");
            };
            assert_eq!(addrs.len(), 2);
        }
        for (addr, listed) in [("10.0.0.2:81", true), ("10.0.0.2:82", false)] {
            assert_eq!(index.contains(addr.parse().unwrap()), listed, "{addr}");
            assert!(index.find(addr).is_ok(), "{addr}");
        }
        for (word, offer) in [
            ("three", ""),
            ("", ""),
            ("onne", "; the nearest is one"),
            ("10.0.0.3", ""),
        ] {
            let unknown = NotFound::Unknown(word.to_owned(), offer.to_owned());
            assert_eq!(index.find(word), Err(unknown));
        }
        let offered = index.suggest("10.0.0.1:81");
        assert_eq!(
            offered,
            "; the nearest are 10.0.0.1:80, 10.0.0.2:81, 10.0.0.2:80"
        );
    }
}
