//! Names of backends and servers, which may be part of a command. Pure.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::model::names::PoolName;
use crate::model::node::NodeAddr;

/// Maximum number of bytes of a name. A command has two of them, and to one of 16 KiB (`tune.bufsize`) `HAProxy` may not
/// even respond.
const MAX_BYTES: usize = 4_096;

/// Maximum number of bytes of a node's name in the name of its server: commands stay short.
const MAX_NODE_NAME: usize = 100;

/// What the name of an added server has between the node's name and its address.
const MARK: char = '_';

/// What the name of a sorry server begins with that pollbal added as a `backup`. Without [`MARK`], so that no node's name
/// makes the same.
const SORRY: &str = "pollbal-sorry:";

/// A name that `HAProxy` accepts for a backend or a server: `A–Z a–z 0–9 . _ : -`. As part of a command it cannot be
/// taken for something else, and commands stay short enough.
///
/// A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HaproxyName(Arc<str>);

/// A text is no [`HaproxyName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a name in HAProxy is made of A-Z a-z 0-9 . _ : -")]
pub struct HaproxyNameError;

impl HaproxyName {
    /// The backend of a pool, unless the configuration gives another one: whatever a pool's name is made of is allowed.
    pub(super) fn of_pool(pool: &PoolName) -> Self {
        Self(pool.as_str().into())
    }

    /// A name that is known to be one.
    pub(super) fn of_literal(text: &'static str) -> Self {
        debug_assert!(text.chars().all(is_allowed), "{text} is no name");
        Self(text.into())
    }

    /// The name of the server that is added for a node: `web-1_10.0.0.1:80`. The address at its end says that pollbal
    /// added it, and for which node.
    pub(super) fn of_added(node_name: &str, node: NodeAddr) -> Self {
        let allowed = |c: char| if is_allowed(c) { c } else { '-' };
        let name: String = node_name.chars().map(allowed).take(MAX_NODE_NAME).collect();
        Self(format!("{name}{MARK}{}", address(node)).into())
    }

    /// The name of the `backup` that is added for a sorry server: `pollbal-sorry:10.0.0.9:80`.
    pub(super) fn of_sorry(sorry: NodeAddr) -> Self {
        Self(format!("{SORRY}{}", address(sorry)).into())
    }

    /// The node for which pollbal added the server of this name, if it did.
    pub(super) fn added_for(&self) -> Option<NodeAddr> {
        let (_, node) = self.0.rsplit_once(MARK)?;
        parse_address(node)
    }

    /// The sorry server for which pollbal added the `backup` of this name, if it did.
    pub(super) fn sorry_for(&self) -> Option<NodeAddr> {
        parse_address(self.0.strip_prefix(SORRY)?)
    }

    /// The number of a slot whose name begins with `prefix`.
    pub(super) fn slot_number(&self, prefix: &str) -> Option<u32> {
        let number = self.0.strip_prefix(prefix)?;
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        number.parse().ok().filter(|_| is_number)
    }

    /// The name as text that shares its memory.
    pub(super) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

/// An address in a name, in which brackets are not allowed.
fn address(node: NodeAddr) -> String {
    format!("{}:{}", node.ip(), node.port())
}

fn parse_address(text: &str) -> Option<NodeAddr> {
    let (ip, port) = text.rsplit_once(':')?;
    NodeAddr::parse(ip, port).ok()
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._:-".contains(c)
}

impl FromStr for HaproxyName {
    type Err = HaproxyNameError;

    fn from_str(text: &str) -> Result<Self, HaproxyNameError> {
        let is_short = (1..=MAX_BYTES).contains(&text.len());
        if is_short && text.chars().all(is_allowed) {
            Ok(Self(text.into()))
        } else {
            Err(HaproxyNameError)
        }
    }
}

impl fmt::Display for HaproxyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_part_commands_is_no_name() {
        let long = "a".repeat(MAX_BYTES);
        for good in ["api", "api.v2.3_rc-1", "n:1", &long] {
            assert!(good.parse::<HaproxyName>().is_ok(), "{good}");
        }
        let longer = long + "a";
        for bad in [
            "", "a;b", "a b", "a\nb", "a\\b", "1+2", "a/b", "$x", "ä", &longer,
        ] {
            assert_eq!(bad.parse::<HaproxyName>(), Err(HaproxyNameError), "{bad}");
        }
    }

    #[test]
    fn the_name_of_an_added_server_says_its_node() {
        for node in ["10.0.0.1:80", "[2001:db8::1]:8080"] {
            let node: NodeAddr = node.parse().unwrap();
            for name in ["web-1", "a_b", "", "x; del server a/b\n", &"ä".repeat(200)] {
                let added = HaproxyName::of_added(name, node);
                assert!(added.to_string().parse::<HaproxyName>().is_ok(), "{added}");
                assert_eq!(added.added_for(), Some(node), "{added}");
            }
        }
        let added = HaproxyName::of_added("web-1", "10.0.0.1:80".parse().unwrap());
        assert_eq!(added.to_string(), "web-1_10.0.0.1:80");
        for other in [
            "pb1",
            "10.0.0.1:80",
            "web_1",
            "web_10.0.0.1",
            "web_10.0.0.1:0",
        ] {
            let name: HaproxyName = other.parse().unwrap();
            assert_eq!(name.added_for(), None, "{other}");
        }
    }

    #[test]
    fn the_name_of_a_sorry_server_is_no_nodes() {
        for text in ["10.0.0.9:80", "[2001:db8::9]:8080"] {
            let addr: NodeAddr = text.parse().unwrap();
            let sorry = HaproxyName::of_sorry(addr);
            assert!(sorry.to_string().parse::<HaproxyName>().is_ok(), "{sorry}");
            assert_eq!(sorry.sorry_for(), Some(addr));
            assert_eq!(sorry.added_for(), None, "{sorry}");
            // Whatever a node is called.
            for name in ["pollbal-sorry:", "pollbal-sorry:10.0.0.9:80", "sorry"] {
                let added = HaproxyName::of_added(name, addr);
                assert_eq!(added.sorry_for(), None, "{added}");
            }
        }
        for other in ["sorry", "pollbal-sorry:", "pollbal-sorry:10.0.0.9", "pb1"] {
            let name: HaproxyName = other.parse().unwrap();
            assert_eq!(name.sorry_for(), None, "{other}");
        }
    }

    #[test]
    fn a_slot_has_the_prefix_and_a_number() {
        let number = |name: &str| name.parse::<HaproxyName>().unwrap().slot_number("pb");
        assert_eq!(number("pb12"), Some(12));
        for other in ["pb", "pb-1", "pbx", "web1", "pb1a", "pb99999999999"] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
