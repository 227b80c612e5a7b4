//! Blocks of IP addresses, as the configuration lists them in `pools.<pool>.nodes`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A block of IPv4 or IPv6 addresses, `10.0.0.0/8` or `2001:db8::/32`, or a single one, `10.0.0.1`.
///
/// Its host bits are zero: a text in which they are not is probably mistyped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddrBlock(IpNet);

/// A text is neither an IP address nor a CIDR block whose host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an IP address (10.0.0.1, 2001:db8::1) or block (10.0.0.0/8, 2001:db8::/32) without host bits"
)]
pub struct BlockError;

impl AddrBlock {
    /// Whether `ip` lies in the block. No IPv4 address lies in an IPv6 block, `::/0` included.
    #[must_use]
    pub fn contains(self, ip: impl Into<IpAddr>) -> bool {
        self.0.contains(&ip.into())
    }

    /// The length of its prefix in bits: 32 or 128 for a single address.
    #[must_use]
    pub fn prefix_len(self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether it lies in `::ffff:0:0/96`, the IPv4 addresses in IPv6 form: nodes have the IPv4 form.
    fn is_ipv4_mapped(self) -> bool {
        matches!(self.0, IpNet::V6(block) if block.prefix_len() >= 96 && block.addr().to_ipv4_mapped().is_some())
    }
}

impl fmt::Display for AddrBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

impl FromStr for AddrBlock {
    type Err = BlockError;

    fn from_str(text: &str) -> Result<Self, BlockError> {
        let block = match text.parse::<IpAddr>() {
            Ok(single) => IpNet::from(single),
            Err(_) => text.parse().map_err(|_| BlockError)?,
        };
        let block = Self(block);
        let has_host_bits = block.0.addr() != block.0.network();
        if has_host_bits || block.is_ipv4_mapped() {
            return Err(BlockError);
        }
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> AddrBlock {
        text.parse().unwrap()
    }

    fn contains(block: &str, ip: &str) -> bool {
        self::block(block).contains(ip.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn a_block_holds_its_own_addresses_and_no_others() {
        assert!(contains("10.1.0.0/16", "10.1.255.3"));
        assert!(!contains("10.1.0.0/16", "10.2.0.1"));
        assert!(contains("10.1.2.3", "10.1.2.3"));
        assert!(!contains("10.1.2.3", "10.1.2.4"));
        assert!(contains("0.0.0.0/0", "192.0.2.1"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!contains("2001:db8::/32", "2001:db9::1"));
        assert!(contains("::1", "::1"));
        assert!(!contains("::1", "::2"));
        assert!(contains("::/0", "2001:db8::1"));
    }

    #[test]
    fn a_block_of_one_family_contains_no_address_of_the_other() {
        assert!(!contains("::/0", "192.0.2.1"));
        assert!(!contains("0.0.0.0/0", "::1"));
    }

    #[test]
    fn a_block_is_printed_in_one_form_and_a_single_address_without_its_prefix_length() {
        for (text, printed) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.1/32", "10.0.0.1"),
            ("2001:DB8:0::/32", "2001:db8::/32"),
            ("::1/128", "::1"),
        ] {
            assert_eq!(block(text).to_string(), printed);
        }
    }

    #[test]
    fn the_length_of_the_prefix_is_how_narrow_a_block_is() {
        let lengths = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.1", "::1"];
        let lengths = lengths.map(|text| block(text).prefix_len());
        assert_eq!(lengths, [0, 8, 32, 128]);
    }

    #[test]
    fn a_block_with_host_bits_is_taken_for_a_typo() {
        for text in [
            "10.1.2.3/16",
            "10.0.0.0/33",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "2001:db8::1/64",
            "2001:db8::/129",
            "[::1]",
            "::1%eth0",
            "example",
        ] {
            assert_eq!(text.parse::<AddrBlock>(), Err(BlockError), "{text}");
        }
    }

    #[test]
    fn a_block_of_mapped_ipv4_addresses_is_rejected_since_it_could_never_apply() {
        for text in ["::ffff:10.0.0.1", "::ffff:0:0/96", "::ffff:10.0.0.0/104"] {
            assert_eq!(text.parse::<AddrBlock>(), Err(BlockError), "{text}");
        }
    }
}
