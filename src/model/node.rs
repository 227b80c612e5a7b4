//! A node: an address of the services file, with its name.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The `ip:port` at which a node is polled and serves. IPv4: no load balancer that is driven accepts IPv6.
///
/// Its text form is canonical, so it can be written into a pool file or a command as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct NodeAddr {
    ip: Ipv4Addr,
    port: u16,
}

/// Why a text is no [`NodeAddr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddrError {
    /// The part before the port is no IPv4 address.
    Ip,
    /// The port is no number from 1 to 65535.
    Port,
}

impl fmt::Display for AddrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "not an IPv4 address such as 10.0.0.1",
            Self::Port => "not a port from 1 to 65535",
        })
    }
}

impl std::error::Error for AddrError {}

impl NodeAddr {
    /// Reads the two halves of an address.
    pub fn parse(ip: &str, port: &str) -> Result<Self, AddrError> {
        let ip = ip.parse().map_err(|_| AddrError::Ip)?;
        // u16's own parser takes "+80", which no reader of a pool file does.
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port) if digits && port > 0 => Ok(Self { ip, port }),
            _ => Err(AddrError::Port),
        }
    }

    /// The IP address.
    #[must_use]
    pub fn ip(self) -> Ipv4Addr {
        self.ip
    }

    /// The TCP port, never 0.
    #[must_use]
    pub fn port(self) -> u16 {
        self.port
    }
}

impl fmt::Display for NodeAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddrV4::new(self.ip, self.port).fmt(f)
    }
}

impl FromStr for NodeAddr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        let (ip, port) = text.split_once(':').ok_or(AddrError::Port)?;
        Self::parse(ip, port)
    }
}

impl TryFrom<String> for NodeAddr {
    type Error = AddrError;

    fn try_from(text: String) -> Result<Self, AddrError> {
        text.parse()
    }
}

impl From<NodeAddr> for String {
    fn from(addr: NodeAddr) -> Self {
        addr.to_string()
    }
}

/// A node of the services file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it is polled, and what stands in pools.
    pub addr: NodeAddr,
    /// What people call it, printable; its address where the file gives no name.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_printed_in_one_form() {
        let addr: NodeAddr = "10.0.0.1:80".parse().unwrap();
        assert_eq!(addr.to_string(), "10.0.0.1:80");
        assert_eq!("10.0.0.1:080".parse::<NodeAddr>(), Ok(addr));
    }

    #[test]
    fn what_a_load_balancer_would_accept_blindly_is_rejected() {
        for text in [
            "999.1.1.1:80",
            "10.0.0.1:99999",
            "10.0.0.1:0",
            "10.0.0.1:+80",
            "10.0.0.1",
        ] {
            assert!(text.parse::<NodeAddr>().is_err(), "{text}");
        }
    }
}
