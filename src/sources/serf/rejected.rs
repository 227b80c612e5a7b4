//! Members that should be nodes and are none.

use std::fmt;

use crate::model::node::NodeAddr;

/// Maximum length of a member's name.
pub(super) const MAX_NAME: usize = 128;

/// A member that should be a node and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its name, escaped.
    pub name: String,
    /// Why.
    pub why: Why,
}

/// Why a member is no node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its name has other characters than host names have.
    Name,
    /// It has no address that another machine could have.
    Address,
    /// The value of the port's tag, escaped, is no port.
    Port(String, String),
    /// It has no tag with its port, and the configuration has none.
    NoPort(String),
    /// The member of this name has the same address and port.
    SameAddress(NodeAddr, String),
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\": {}", self.name, self.why)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => write!(
                f,
                "the name must have 1 to {MAX_NAME} of A-Z a-z 0-9 . _ -, a letter or digit first"
            ),
            Self::Address => f.write_str("it has no address that can be connected to"),
            Self::Port(tag, text) => {
                write!(f, "its tag {tag} is not a port from 1 to 65535: \"{text}\"")
            }
            Self::NoPort(tag) => write!(f, "it has no tag {tag}, and `serf.port` is not set"),
            Self::SameAddress(addr, other) => {
                write!(f, "member {other} has the same address, {addr}")
            }
        }
    }
}
