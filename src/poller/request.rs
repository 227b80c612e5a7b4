//! The requests that are sent to nodes.

use crate::config::poll::Headers;
use crate::model::node::NodeAddr;

/// The request to a group of nodes, except for what differs between them. Built once, since building it would be a
/// considerable part of the cost of a poll.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Template {
    /// Everything before the value of `Host`.
    start: String,
    /// The value of `Host`, if the configuration sets it.
    host: Option<String>,
    /// All other header fields.
    fields: String,
}

impl Template {
    pub(super) fn new(method: &str, path: &str, headers: &Headers) -> Self {
        let mut host = None;
        let mut fields = String::from("\r\n");
        let ours = [
            ("User-Agent", concat!("pollbal/", env!("CARGO_PKG_VERSION"))),
            ("Accept", "*/*"),
            ("Cache-Control", "no-cache"),
        ];
        let ours = ours.into_iter().filter(|(name, _)| !headers.has(name));
        for (name, value) in ours.chain(headers.iter()) {
            if name.eq_ignore_ascii_case("Host") {
                host = Some(value.to_owned());
            } else {
                fields.extend([name, ": ", value, "\r\n"]);
            }
        }
        Self {
            start: format!("{method} {path} HTTP/1.1\r\nHost: "),
            host,
            fields,
        }
    }

    /// Adds a header field.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.extend([name, ": ", value, "\r\n"]);
        self
    }

    /// The request to a node whose default `Host` is given. Unless the connection is `kept`, it requests the node to
    /// close it.
    pub(super) fn request(&self, default_host: &str, kept: bool) -> Vec<u8> {
        let host = self.host.as_deref().unwrap_or(default_host);
        let end = if kept {
            "\r\n"
        } else {
            "Connection: close\r\n\r\n"
        };
        let request = [&self.start, host, &self.fields, end];
        request.concat().into_bytes()
    }
}

/// The default value of `Host`.
pub(super) fn host(addr: NodeAddr) -> Box<str> {
    let text = addr.to_string();
    text.strip_suffix(":80").unwrap_or(&text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)], addr: &str, kept: bool) -> String {
        let template = Template::new("GET", "/pool?all", &headers.iter().copied().collect());
        let host = host(addr.parse().unwrap());
        String::from_utf8(template.request(&host, kept)).unwrap()
    }

    #[test]
    fn a_request_names_path_and_host_and_whether_the_connection_is_kept() {
        let agent = format!("User-Agent: pollbal/{}", env!("CARGO_PKG_VERSION"));
        let kept = request(&[], "10.0.0.1:8080", true);
        let lines = [
            "GET /pool?all HTTP/1.1",
            "Host: 10.0.0.1:8080",
            &agent,
            "Accept: */*",
            "Cache-Control: no-cache",
            "\r\n",
        ];
        assert_eq!(kept, lines.join("\r\n"));
        let passing = request(&[], "10.0.0.1:8080", false);
        let end = "no-cache\r\nConnection: close\r\n\r\n";
        assert!(passing.ends_with(end), "{passing}");
    }

    #[test]
    fn the_host_names_the_port_unless_it_is_80() {
        for (addr, host) in [
            ("10.0.0.1:80", "10.0.0.1"),
            ("[2001:db8::80]:80", "[2001:db8::80]"),
            ("[2001:db8::80]:8080", "[2001:db8::80]:8080"),
        ] {
            let request = request(&[], addr, true);
            assert!(
                request.contains(&format!("\r\nHost: {host}\r\n")),
                "{request}"
            );
        }
    }

    #[test]
    fn configured_header_fields_replace_the_default_ones() {
        let headers = [
            ("hOST", "www.example.com"),
            ("accept", "text/plain"),
            ("X-Poll", "1"),
        ];
        let lines = [
            "GET /pool?all HTTP/1.1",
            "Host: www.example.com",
            concat!("User-Agent: pollbal/", env!("CARGO_PKG_VERSION")),
            "Cache-Control: no-cache",
            "accept: text/plain",
            "X-Poll: 1",
            "\r\n",
        ];
        assert_eq!(request(&headers, "10.0.0.1:80", true), lines.join("\r\n"));
    }
}
