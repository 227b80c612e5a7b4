//! A node: an address that a source lists, with its name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::weight::Weight;

/// The IP address and port at which a node is polled and serves: `10.0.0.1:80` or `[2001:db8::1]:80`.
///
/// Its text form is canonical, so it can be written into a pool file or a command as it is. An IPv4-mapped IPv6 address
/// is the IPv4 address, so that a node has one address however it was written. There are no zones (`fe80::1%eth0`):
/// a link-local address means nothing to another machine.
///
/// Kept as 18 bytes, since many maps have one for each node; IPv4 addresses as IPv4-mapped ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct NodeAddr {
    ip: Ipv6Addr,
    port: u16,
}

/// Why a text is no [`NodeAddr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddrError {
    /// The part before the port is no IP address.
    Ip,
    /// The port is no number from 1 to 65535.
    Port,
}

impl fmt::Display for AddrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "not an IP address such as 10.0.0.1 or 2001:db8::1",
            Self::Port => "not a port from 1 to 65535",
        })
    }
}

impl std::error::Error for AddrError {}

impl NodeAddr {
    /// Parses the two halves of an address; an IPv6 address may be in brackets.
    pub fn parse(ip: &str, port: &str) -> Result<Self, AddrError> {
        Ok(Self::new(parse_ip(ip)?, parse_port(port)?))
    }

    /// An address of these parts.
    #[must_use]
    pub fn new(ip: IpAddr, port: NonZeroU16) -> Self {
        let ip = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let port = port.get();
        Self { ip, port }
    }

    /// The IP address.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.ip.to_canonical()
    }

    /// The IP address if it is an IPv4 one.
    #[must_use]
    pub fn ipv4(self) -> Option<Ipv4Addr> {
        self.ip.to_ipv4_mapped()
    }

    /// The TCP port, never 0.
    #[must_use]
    pub fn port(self) -> u16 {
        self.port
    }
}

/// Parses an IP address as a person or a program may write it: an IPv6 address may be in brackets, and an IPv4-mapped
/// one is the IPv4 address.
pub fn parse_ip(text: &str) -> Result<IpAddr, AddrError> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let ip = match bracketed {
        Some(ipv6) => ipv6.parse::<Ipv6Addr>().map(IpAddr::from),
        None => text.parse(),
    };
    ip.map(|ip| ip.to_canonical()).map_err(|_| AddrError::Ip)
}

/// Parses a port, decimal digits only: the number's own parser takes "+80", which no reader of a pool file does.
pub fn parse_port(text: &str) -> Result<NonZeroU16, AddrError> {
    let is_decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|_| is_decimal);
    port.ok_or(AddrError::Port)
}

impl fmt::Display for NodeAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.ip(), self.port).fmt(f)
    }
}

impl fmt::Debug for NodeAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeAddr {
    type Err = AddrError;

    /// Of an IPv6 address only the form with brackets has a port: `[::1]:80`.
    fn from_str(text: &str) -> Result<Self, AddrError> {
        let (ip, port) = match text.rfind(']') {
            Some(end) => text.split_at(end + 1),
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = port.strip_prefix(':').ok_or(AddrError::Port)?;
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

/// Where a node comes from, and with that who says how it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The services file lists it. It is polled.
    #[default]
    ServicesFile,
    /// It is a member of Serf's cluster. It is polled.
    Serf,
    /// The same, but Serf says how it is: it is not polled.
    SerfReported,
}

impl Origin {
    /// The name of the source, for people.
    #[must_use]
    pub fn source(self) -> &'static str {
        match self {
            Self::ServicesFile => "the services file",
            Self::Serf | Self::SerfReported => "Serf",
        }
    }
}

/// A node that a source lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it is polled, and what pools contain.
    pub addr: NodeAddr,
    /// What people call it, printable; its address where the file gives no name.
    pub name: String,
    /// Its share of a pool's requests, where the file gives one.
    pub weight: Option<Weight>,
    /// Where it comes from.
    pub origin: Origin,
}

impl Node {
    /// A node to which the services file gives no weight.
    #[must_use]
    pub fn new(addr: NodeAddr, name: impl Into<String>) -> Self {
        Self {
            addr,
            name: name.into(),
            weight: None,
            origin: Origin::ServicesFile,
        }
    }

    /// Whether it is polled; otherwise its source reports how it is.
    #[must_use]
    pub fn is_polled(&self) -> bool {
        self.origin != Origin::SerfReported
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_printed_in_one_form() {
        let addr: NodeAddr = "10.0.0.1:80".parse().unwrap();
        assert_eq!(addr.to_string(), "10.0.0.1:80");
        assert_eq!("10.0.0.1:080".parse::<NodeAddr>(), Ok(addr));
        let ipv6: NodeAddr = "[2001:db8::1]:80".parse().unwrap();
        assert_eq!(ipv6.to_string(), "[2001:db8::1]:80");
        let long = "[2001:DB8:0:0:0:0:0:1]:080";
        assert_eq!(long.parse::<NodeAddr>(), Ok(ipv6));
        for ip in ["2001:db8::1", "[2001:db8::1]"] {
            assert_eq!(NodeAddr::parse(ip, "80"), Ok(ipv6));
        }
    }

    #[test]
    fn an_ipv4_mapped_address_is_the_ipv4_address() {
        let addr: NodeAddr = "10.0.0.1:80".parse().unwrap();
        assert_eq!("[::ffff:10.0.0.1]:80".parse::<NodeAddr>(), Ok(addr));
        assert_eq!(addr.ip(), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(parse_ip("::ffff:10.0.0.1"), Ok(addr.ip()));
        assert_eq!(addr.ipv4(), Some(Ipv4Addr::new(10, 0, 0, 1)));
        let ipv6: NodeAddr = "[::1]:80".parse().unwrap();
        assert_eq!((ipv6.ip(), ipv6.ipv4()), (Ipv6Addr::LOCALHOST.into(), None));
    }

    #[test]
    fn addresses_are_ordered_by_number_and_small() {
        let addr = |text: &str| text.parse::<NodeAddr>().unwrap();
        let ordered = [
            "9.0.0.1:80",
            "10.0.0.1:80",
            "10.0.0.1:443",
            "[2001:db8::1]:80",
        ];
        assert!(ordered.map(addr).is_sorted());
        assert_eq!(size_of::<NodeAddr>(), 18);
    }

    #[test]
    fn what_a_load_balancer_would_accept_blindly_is_rejected() {
        for text in [
            "999.1.1.1:80",
            "10.0.0.1:99999",
            "10.0.0.1:0",
            "10.0.0.1:+80",
            "10.0.0.1",
            "[10.0.0.1]:80",
            "::1:80",
            "[::1]",
            "[::1]80",
            "[::1]:0",
            "[::1",
            "[::1%eth0]:80",
            "[fe80::1%1]:80",
            "[]:80",
            "localhost:80",
        ] {
            assert!(text.parse::<NodeAddr>().is_err(), "{text}");
        }
    }
}
