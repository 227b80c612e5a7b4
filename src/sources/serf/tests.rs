//! What the tests of the modules share: members, and the agent's address.

use std::net::{IpAddr, SocketAddr};

use super::rpc::{Member, Text};

pub(super) fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7373))
}

/// A member at 10.0.0.`host`.
pub(super) fn member(name: &str, host: u8, status: &str, tags: &[(&str, &str)]) -> Member {
    let text = |text: &str| Text(text.to_owned());
    let tags = tags.iter().map(|(tag, value)| (text(tag), text(value)));
    Member {
        name: text(name),
        addr: Some(IpAddr::from([10, 0, 0, host])),
        tags: Some(tags.collect()),
        status: text(status),
    }
}
