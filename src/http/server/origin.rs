//! Whose request it is: a browser can be made to send requests by any page that it shows, and a node
//! by anyone who may tell it where to send a webhook. Both are recognized by the head alone.
//!
//! | listener | what could happen | what prevents it |
//! | --- | --- | --- |
//! | status | DNS rebinding: a page's own name is pointed at this address, and the page's script reads everything | the `Host` must be an address, or a name that is known to be ours |
//! | node | a page open in a browser on a node, or a webhook of the application, takes the node out of its pools | no `Origin`, and a header that neither sends by itself |
//!
//! What else a browser may send to the admin socket does not matter: it cannot reach it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use hyper::Request;
use rustix::system::uname;

use crate::api::NODE_HEADER;
use crate::http::Door;
use crate::http::server::counters::Refusal;
use crate::http::server::error::Refused;
use crate::model::text::{printable, shortened};

/// In `status_hosts`: whatever name is asked for.
const ANY: &str = "*";

/// Maximum length in characters at which a refusal repeats a name. A DNS name has at most 253.
const SHOWN: usize = 253;

/// The names by which the status listener may be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownHosts {
    names: BTreeSet<String>,
}

impl KnownHosts {
    /// This machine's names, and those that the configuration lists.
    #[must_use]
    pub fn new(listed: &[String]) -> Self {
        Self::of(&uname().nodename().to_string_lossy(), listed)
    }

    fn of(machine: &str, listed: &[String]) -> Self {
        let machine = machine.to_ascii_lowercase();
        let short = machine.split('.').next().unwrap_or_default().to_owned();
        let mut names: BTreeSet<_> = listed.iter().cloned().collect();
        names.extend([machine, short]);
        names.remove("");
        Self { names }
    }

    /// Whether `host`, as in a `Host` header, is ours. An address always is: a page whose own name is
    /// an address was loaded from there, so no DNS answer can have pointed it here.
    fn knows(&self, host: &str) -> bool {
        if self.names.contains(ANY) {
            return true;
        }
        let name = without_port(host);
        if is_address(name) {
            return true;
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        // Never asked of a name server (RFC 6761, section 6.3).
        name == "localhost" || name.ends_with(".localhost") || self.names.contains(&name)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_address(name: &str) -> bool {
    let bracketed = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<IpAddr>().is_ok(),
    }
}

/// Whether the listener takes a request with this head.
pub(crate) fn check<B>(
    door: Door,
    request: &Request<B>,
    known: &KnownHosts,
) -> Result<(), Refused> {
    match door {
        Door::Admin => Ok(()),
        Door::Status => check_host(request, known),
        Door::Node => check_sender(request.headers()),
    }
}

/// Each name that the request is for is ours. A request without any is from no browser: health checks
/// of HTTP/1.0 send none.
fn check_host<B>(request: &Request<B>, known: &KnownHosts) -> Result<(), Refused> {
    let target = request
        .uri()
        .authority()
        .map(|name| name.as_str().as_bytes());
    let named = request.headers().get_all(HOST);
    let named = named.iter().map(axum::http::HeaderValue::as_bytes);
    for host in target.into_iter().chain(named) {
        let host = String::from_utf8_lossy(host);
        if !known.knows(host.trim()) {
            let name = shortened(&printable(without_port(host.trim())), SHOWN);
            let reason = format!(
                "this is not {name}: ask for an address of this machine, or add the name to status_hosts"
            );
            let status = StatusCode::MISDIRECTED_REQUEST;
            return Err(Refused::closing(Refusal::UnknownHost, status, reason));
        }
    }
    Ok(())
}

fn check_sender(headers: &HeaderMap) -> Result<(), Refused> {
    let reason = if headers.contains_key(ORIGIN) {
        "requests of web pages (with an Origin) are refused here".to_owned()
    } else if headers.contains_key(NODE_HEADER) {
        return Ok(());
    } else {
        format!(
            "the header {NODE_HEADER} is missing; with curl: -H '{NODE_HEADER}: true' \
             (it shows that the request is no webhook and of no web page)"
        )
    };
    let status = StatusCode::FORBIDDEN;
    Err(Refused::closing(Refusal::CrossSite, status, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> KnownHosts {
        KnownHosts::of("LB1.example.com", &["status.example.net".to_owned()])
    }

    #[test]
    fn addresses_and_names_of_this_machine_are_known() {
        for host in [
            "127.0.0.1:8098",
            "10.0.0.10",
            "[::1]:8098",
            "[2001:db8::1]",
            "localhost:8098",
            "lb.localhost",
            "lb1",
            "lb1.example.com:80",
            "LB1.Example.COM.",
            "status.example.net",
        ] {
            assert!(known().knows(host), "{host}");
        }
    }

    #[test]
    fn any_other_name_is_not() {
        for host in [
            "",
            "rebound.example",
            "127.0.0.1.rebound.example",
            "example.com",
            "localhost.rebound.example",
            "lb1.rebound.example:8098",
            "[::1].rebound.example",
            "evil@127.0.0.1",
            "127.0.0.1:8098:x",
            "*",
        ] {
            assert!(!known().knows(host), "{host}");
        }
        let any = KnownHosts::of("lb1", &[ANY.to_owned()]);
        assert!(any.knows("rebound.example"));
    }

    fn refusal(door: Door, request: &Request<()>) -> Option<Refusal> {
        let refused = check(door, request, &known()).err()?;
        Some(refused.refusal)
    }

    fn request(target: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::post(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn each_name_of_a_request_counts() {
        let none = request("/", &[]);
        assert_eq!(refusal(Door::Status, &none), None);
        let two = request("/", &[("Host", "localhost"), ("Host", "rebound.example")]);
        assert_eq!(refusal(Door::Status, &two), Some(Refusal::UnknownHost));
        let target = request("http://rebound.example/", &[("Host", "localhost")]);
        assert_eq!(refusal(Door::Status, &target), Some(Refusal::UnknownHost));
        assert_eq!(refusal(Door::Admin, &target), None);
    }

    #[test]
    fn a_node_says_that_it_means_it_and_is_no_page() {
        let door = Door::Node;
        let meant = ("pollbal-request", "true");
        assert_eq!(refusal(door, &request("/leave", &[meant])), None);
        assert_eq!(
            refusal(door, &request("/leave", &[])),
            Some(Refusal::CrossSite)
        );
        for origin in ["http://10.0.0.1:8099", "null"] {
            let page = request("/leave", &[meant, ("Origin", origin)]);
            assert_eq!(refusal(door, &page), Some(Refusal::CrossSite), "{origin}");
        }
    }
}
