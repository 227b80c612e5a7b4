//! The services file: the list of nodes, a line each.
//!
//! `ip port` or `ip:port` (so that a pool file can be read too), then an optional name, with or
//! without `#`. `weight=200` directly behind the port gives the node a weight. Instead of the IP address there may be a host name. An IPv6 address needs brackets before `:port`, and
//! may have them before ` port`. Behind a name without `#`, ` #` begins a comment. Blank lines and lines that begin
//! with `#` are skipped.

mod listing;

use std::collections::BTreeMap;
use std::fmt;

pub use self::listing::Listing;
use self::listing::{Entry, HostEntry};
use super::node::{AddrError, Node, NodeAddr, Origin, parse_ip, parse_port};
use super::text::{printable, shortened};
use super::weight::{Weight, WeightError};

/// The nodes of a services file, once its host names are resolved, or of all sources together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// The nodes, in its order.
    pub nodes: Vec<Node>,
    /// It is empty, or its last line has no end: it may be cut off, and is perhaps still being written.
    pub unfinished: bool,
    /// A source has not listed its nodes yet, which have this origin: what is missing may be one of them.
    pub awaits: Option<Origin>,
}

/// Maximum number of invalid lines that are reported: a file that is something
/// else altogether must not fill the log.
const MAX_REPORTED: usize = 20;

/// Maximum number of characters that are reported of such a line.
const SHOWN_CHARS: usize = 200;

/// The lines that are not understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineErrors {
    /// The first of them.
    pub first: Vec<LineError>,
    /// How many there are beyond these.
    pub more: usize,
    /// The last line of the file has no end, as in [`List`].
    pub unfinished: bool,
}

/// One line that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// The line's number, from 1.
    pub line: usize,
    /// The line verbatim, made printable.
    pub text: String,
    /// What is wrong with it.
    pub kind: LineErrorKind,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineErrorKind {
    /// It has neither the form `ip port` nor `ip:port`.
    Form,
    /// It begins with neither an IP address nor a host name.
    Host,
    /// Its address or port is none.
    Address(AddrError),
    /// Its weight is none.
    Weight(WeightError),
    /// Its host name has this address, which the line of this number gives too.
    SameAddress(NodeAddr, usize),
    /// Its address is listed in an earlier line already, of this number.
    Duplicate(usize),
}

impl LineErrors {
    fn push(&mut self, line: usize, text: &str, kind: LineErrorKind) {
        if self.first.len() >= MAX_REPORTED {
            self.more += 1;
            return;
        }
        let text = shortened(&printable(text), SHOWN_CHARS);
        self.first.push(LineError { line, text, kind });
    }

    /// The errors if there are any.
    fn or<T>(self, value: T) -> Result<T, Self> {
        if self.first.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }
}

/// Parses a services file; its errors at once when there are any.
pub fn parse_listing(text: &str) -> Result<Listing, LineErrors> {
    let mut errors = LineErrors {
        unfinished: !text.ends_with('\n'),
        ..LineErrors::default()
    };
    let mut entries = Vec::new();
    let mut known = BTreeMap::new();
    for (line, text) in (1..).zip(text.lines()) {
        let parsed = parse_line(text).and_then(|entry| match entry {
            Some(Entry::Node(node)) => match known.insert(node.addr, line) {
                Some(earlier) => Err(LineErrorKind::Duplicate(earlier)),
                None => Ok(Some(Entry::Node(node))),
            },
            other => Ok(other),
        });
        match parsed {
            Ok(entry) => entries.extend(entry.map(|entry| (line, entry))),
            Err(kind) => errors.push(line, text, kind),
        }
    }
    // It is kept until the file changes.
    entries.shrink_to_fit();
    let unfinished = errors.unfinished;
    errors.or(Listing {
        entries,
        unfinished,
    })
}

/// Parses a list without host names, as a pool file is; its errors at once when there are any.
pub fn parse(text: &str) -> Result<Vec<Node>, LineErrors> {
    let listing = parse_listing(text)?;
    let mut errors = LineErrors::default();
    for (host, line) in listing.hosts() {
        errors.push(line, host.as_str(), LineErrorKind::Address(AddrError::Ip));
    }
    let list = listing.resolved(|_| &[])?;
    errors.or(list.nodes)
}

fn parse_line(text: &str) -> Result<Option<Entry>, LineErrorKind> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let (host, rest) = split_host(text);
    let rest = match rest.strip_prefix(':') {
        Some(port_on) => port_on,
        None => rest.trim_start(),
    };
    let (port, name) = split_at_first(rest, |c| c == '#' || c.is_whitespace());
    if port.is_empty() {
        return Err(LineErrorKind::Form);
    }
    let (weight, name) = split_weight(name.trim_start())?;
    let name = match name.strip_prefix('#') {
        Some(name) => name.trim_start_matches('#'),
        None => before_comment(name),
    };
    let name = name.trim();
    let name = (!name.is_empty()).then(|| printable(name));
    let port = parse_port(port).map_err(LineErrorKind::Address);
    if let Ok(ip) = parse_ip(host) {
        let addr = NodeAddr::new(ip, port?);
        let name = name.unwrap_or_else(|| addr.to_string());
        let node = Node::new(addr, name);
        return Ok(Some(Entry::Node(Node { weight, ..node })));
    }
    let host = host.parse().map_err(|_| LineErrorKind::Host)?;
    let port = port?;
    Ok(Some(Entry::Host(HostEntry {
        host,
        port,
        name,
        weight,
    })))
}

/// Splits a weight off what follows the port.
fn split_weight(text: &str) -> Result<(Option<Weight>, &str), LineErrorKind> {
    let Some(text) = text.strip_prefix("weight=") else {
        return Ok((None, text));
    };
    let (weight, rest) = split_at_first(text, |c| c == '#' || c.is_whitespace());
    let weight = weight.parse().map_err(LineErrorKind::Weight)?;
    Ok((Some(weight), rest.trim_start()))
}

/// Splits a line after its IP address or host name.
fn split_host(text: &str) -> (&str, &str) {
    let (word, _) = split_at_first(text, |c| c == '#' || c.is_whitespace());
    match word.rfind(']') {
        Some(end) => text.split_at(end + 1),
        None if word.matches(':').nth(1).is_some() => text.split_at(word.len()),
        None => split_at_first(text, |c| c == ':' || c.is_whitespace()),
    }
}

/// The text before a `#` that follows a blank.
fn before_comment(name: &str) -> &str {
    let is_comment = |(at, _): &(usize, &str)| name[..*at].ends_with(char::is_whitespace);
    let comment = name.match_indices('#').find(is_comment);
    comment.map_or(name, |(at, _)| &name[..at])
}

fn split_at_first(text: &str, stop: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(stop).unwrap_or(text.len()))
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, text, kind } = self;
        write!(f, "line {line}: {kind}: \"{text}\"")
    }
}

impl fmt::Display for LineErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str(
                "expected \"ip port # name\" or \"ip:port # name\" (\"[ip]:port\" if it is IPv6)",
            ),
            Self::Host => f.write_str(
                "neither an IP address such as 10.0.0.1 or 2001:db8::1 nor a host name, expected \"ip port # name\"",
            ),
            Self::SameAddress(addr, other) => {
                write!(f, "has the address {addr}, which line {other} has too")
            }
            Self::Weight(error) => write!(f, "weight: {error}"),
            Self::Address(error) => write!(f, "{error}, expected \"ip port # name\""),
            Self::Duplicate(earlier) => {
                write!(
                    f,
                    "expected each address once, but line {earlier} has it too"
                )
            }
        }
    }
}

impl std::error::Error for LineError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nodes(text: &str) -> Vec<(String, String)> {
        let nodes = parse(text).unwrap();
        nodes
            .into_iter()
            .map(|node| (node.addr.to_string(), node.name))
            .collect()
    }

    fn pair(addr: &str, name: &str) -> (String, String) {
        (addr.to_owned(), name.to_owned())
    }

    #[test]
    fn each_form_of_a_line_is_read() {
        let text = "# comment\n\n10.0.0.1 80 # api-node-1\n10.0.0.2:8080 # two words\n\
                    ::1 80 # six\n[::2]:80 # seven\n[::3] 80\n2001:db8::1 8080#tight\n[::4]:80#::5\n10.0.0.10:80#a:b\n\
                    10.0.0.3\t81 bare-name\n10.0.0.7 80 bare # a comment\n10.0.0.8 80 c#1 #2 # x\n10.0.0.9 80 # a # b\n  10.0.0.4:80#tight\r\n10.0.0.5 80\n10.0.0.6 80 #\n";
        let expected = [
            pair("10.0.0.1:80", "api-node-1"),
            pair("10.0.0.2:8080", "two words"),
            pair("[::1]:80", "six"),
            pair("[::2]:80", "seven"),
            pair("[::3]:80", "[::3]:80"),
            pair("[2001:db8::1]:8080", "tight"),
            pair("[::4]:80", "::5"),
            pair("10.0.0.10:80", "a:b"),
            pair("10.0.0.3:81", "bare-name"),
            pair("10.0.0.7:80", "bare"),
            pair("10.0.0.8:80", "c#1"),
            pair("10.0.0.9:80", "a # b"),
            pair("10.0.0.4:80", "tight"),
            pair("10.0.0.5:80", "10.0.0.5:80"),
            pair("10.0.0.6:80", "10.0.0.6:80"),
        ];
        assert_eq!(nodes(text), expected);
    }

    #[test]
    fn a_weight_may_stand_behind_the_port() {
        let text = "10.0.0.1 80 weight=200 # web-1\n10.0.0.2:80 weight=1\n10.0.0.3 80 weight=256 bare\n\
                    10.0.0.4 80 # weight=5\n10.0.0.5 80 weights=5\n10.0.0.6 80 weight=7#tight\n";
        let nodes = parse(text).unwrap();
        let weights = nodes.iter().map(|node| node.weight.map(Weight::get));
        let expected = [Some(200), Some(1), Some(256), None, None, Some(7)];
        assert_eq!(weights.collect::<Vec<_>>(), expected);
        let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
        let expected = [
            "web-1",
            "10.0.0.2:80",
            "bare",
            "weight=5",
            "weights=5",
            "tight",
        ];
        assert_eq!(names, expected);
        let errors = parse("10.0.0.1 80 weight=0 # web-1\n10.0.0.2 80 weight=\n").unwrap_err();
        let kinds = errors.first.iter().map(|error| &error.kind);
        let expected = LineErrorKind::Weight(WeightError);
        assert!(kinds.clone().all(|kind| *kind == expected));
        assert_eq!(kinds.count(), 2);
    }

    #[test]
    fn all_errors_of_a_file_are_reported_at_once_with_their_lines() {
        let text = "10.0.0.1 80\nexample..org 80\n10.0.0.2\n10.0.0.3 99999\n10.0.0.1:80 # again\n::1:80\n::g 80\n[::1\n\
             ::ffff:10.0.0.1 80\n[::1]:80 # name\n0:0::1 80\n";
        let errors = parse(text).unwrap_err();
        assert_eq!(errors.more, 0);
        let errors = errors.first;
        let reported: Vec<_> = errors
            .iter()
            .map(|error| (error.line, error.kind.clone()))
            .collect();
        let expected = [
            (2, LineErrorKind::Host),
            (3, LineErrorKind::Form),
            (4, LineErrorKind::Address(AddrError::Port)),
            (5, LineErrorKind::Duplicate(1)),
            (6, LineErrorKind::Form),
            (7, LineErrorKind::Host),
            (8, LineErrorKind::Form),
            (9, LineErrorKind::Duplicate(5)),
            (11, LineErrorKind::Duplicate(10)),
        ];
        assert_eq!(reported, expected);
        assert!(errors[1].to_string().contains("line 3"), "{}", errors[1]);
        assert!(
            errors[1].to_string().contains("\"10.0.0.2\""),
            "{}",
            errors[1]
        );
    }

    #[test]
    fn of_many_errors_the_first_are_reported_and_the_rest_are_counted() {
        let long = format!("10.0.0.1 http{}\n", "x".repeat(10_000));
        let errors = parse(&(long + &"wrong\n".repeat(99_999))).unwrap_err();
        assert_eq!(
            (errors.first.len(), errors.more),
            (MAX_REPORTED, 100_000 - MAX_REPORTED)
        );
        assert!(errors.first[0].to_string().len() < 400);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,200}|[0-9.: #\\n\\r\\t\\[\\]]{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_list_of_nodes_written_as_services_is_read_back(
            nodes in proptest::collection::btree_map((any::<std::net::IpAddr>(), 1..=u16::MAX), "[a-z]([a-z -]{0,8}[a-z])?", 0..20)
        ) {
            use std::fmt::Write;
            let mut text = String::new();
            let mut expected = Vec::new();
            // An IPv4 address and the IPv6 address to which it is mapped are the same.
            let nodes: std::collections::BTreeMap<_, _> =
                nodes.into_iter().map(|((ip, port), name)| ((ip.to_canonical(), port), (ip, name))).collect();
            for ((canonical, port), (ip, name)) in nodes {
                writeln!(text, "{ip} {port} # {name}").unwrap();
                let addr = std::net::SocketAddr::new(canonical, port);
                expected.push(pair(&addr.to_string(), &name));
            }
            prop_assert_eq!(super::tests::nodes(&text), expected);
        }
    }
}
