//! Where a request comes from: any page can make a browser send requests, and anyone who may configure a
//! webhook of an application can make its node send some. Both are recognized by the head alone.
//!
//! | listener | what could happen | what prevents it |
//! | --- | --- | --- |
//! | status | DNS rebinding: a page's own name is pointed at this address, and the page's script reads everything | the `Host` must be an address, or a name that is known to be ours |
//! | node | a page open in a browser on a node, or a webhook of its application, takes the node out of its pools | no `Origin`, and a header that neither sends by itself |
//!
//! The admin socket needs no check: a browser cannot reach it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use axum::http::header::{HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use rustix::system::uname;

use super::server::counters::RejectReason;
use super::server::error::Rejection;
use crate::api::NODE_HEADER;
use crate::model::text::{printable, shortened};

/// In `status_hosts`: any name.
const ANY: &str = "*";

/// Maximum length of a name as repeated in a rejection, in characters. A DNS name has at most 253.
const MAX_SHOWN: usize = 253;

/// The host names by which the status listener may be addressed.
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
    /// an address was loaded from there, so no DNS response can have pointed it here.
    fn knows(&self, host: &str) -> bool {
        if self.names.contains(ANY) {
            return true;
        }
        let name = without_port(host);
        if is_address(name) {
            return true;
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        // Never looked up in DNS (RFC 6761, section 6.3).
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

/// Checks that each host name in the request is ours. A request without any comes from no browser:
/// health checks with HTTP/1.0 send none.
pub(super) fn check_host(head: &Parts, known: &KnownHosts) -> Result<(), Rejection> {
    let target = head.uri.authority().map(|name| name.as_str().as_bytes());
    let named = head.headers.get_all(HOST);
    let named = named.iter().map(HeaderValue::as_bytes);
    for host in target.into_iter().chain(named) {
        let host = String::from_utf8_lossy(host);
        if !known.knows(host.trim()) {
            let name = shortened(&printable(without_port(host.trim())), MAX_SHOWN);
            let text = format!(
                "unknown host {name}: use an address of this machine, or add the name to status_hosts"
            );
            let status = StatusCode::MISDIRECTED_REQUEST;
            return Err(Rejection::closing(RejectReason::UnknownHost, status, text));
        }
    }
    Ok(())
}

/// Checks that the sender intends the request, and is no web page.
pub(super) fn check_sender(headers: &HeaderMap) -> Result<(), Rejection> {
    let text = if headers.contains_key(ORIGIN) {
        "requests from web pages (with an Origin header) are rejected".to_owned()
    } else if headers.contains_key(NODE_HEADER) {
        return Ok(());
    } else {
        format!(
            "the header {NODE_HEADER} is missing (with curl: -H '{NODE_HEADER}: true'); it shows that \
             the request comes from neither a webhook nor a web page"
        )
    };
    let status = StatusCode::FORBIDDEN;
    Err(Rejection::closing(RejectReason::CrossSite, status, text))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

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

    fn head(target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::post(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn each_host_name_of_a_request_counts() {
        let rejected = |target, headers: &[_]| {
            let checked = check_host(&head(target, headers), &known());
            checked.err().map(|rejection| rejection.reason)
        };
        let unknown = Some(RejectReason::UnknownHost);
        assert_eq!(rejected("/", &[]), None);
        assert_eq!(rejected("/", &[("Host", "localhost")]), None);
        let two = [("Host", "localhost"), ("Host", "rebound.example")];
        assert_eq!(rejected("/", &two), unknown);
        let target = "http://rebound.example/";
        assert_eq!(rejected(target, &[("Host", "localhost")]), unknown);
    }

    #[test]
    fn a_node_shows_that_it_intends_the_request_and_is_no_page() {
        let rejected = |headers: &[_]| {
            let checked = check_sender(&head("/leave", headers).headers);
            checked.err().map(|rejection| rejection.reason)
        };
        let intended = ("pollbal-request", "true");
        assert_eq!(rejected(&[intended]), None);
        assert_eq!(rejected(&[]), Some(RejectReason::CrossSite));
        for origin in ["http://10.0.0.1:8099", "null"] {
            let page = [intended, ("Origin", origin)];
            assert_eq!(rejected(&page), Some(RejectReason::CrossSite), "{origin}");
        }
    }
}
