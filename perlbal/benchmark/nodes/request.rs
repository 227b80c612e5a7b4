//! What a request asks for, and the answers there are.

/// As much of a request as matters.
pub(super) struct Request {
    /// A poll; anything else is a client's, through the load balancer.
    pub(super) poll: bool,
    pub(super) keep_alive: bool,
}

impl Request {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let first = lines.next().unwrap_or_default();
        // HTTP/1.1 keeps a connection unless something else is said, HTTP/1.0 does not.
        let mut keep_alive = first.ends_with(b"1.1\r");
        for line in lines {
            let Some((name, value)) = line.split_at_checked(11) else {
                continue;
            };
            if name.eq_ignore_ascii_case(b"connection:") {
                keep_alive = value.trim_ascii().eq_ignore_ascii_case(b"keep-alive")
                    || keep_alive && !value.trim_ascii().eq_ignore_ascii_case(b"close");
            }
        }
        Self {
            poll: bytes.starts_with(b"GET /pool"),
            keep_alive,
        }
    }
}

/// A whole answer, as long as that of an ordinary server.
pub(super) fn answer(leaving: bool, keep_alive: bool) -> &'static [u8] {
    macro_rules! answer {
        ($connection:literal, $body:literal) => {
            concat!(
                "HTTP/1.1 200 OK\r\nServer: node\r\nContent-Type: text/plain; charset=utf-8\r\n",
                "Cache-Control: no-store\r\nConnection: ",
                $connection,
                "\r\nContent-Length: 16\r\n\r\n",
                $body,
                "\n"
            )
            .as_bytes()
        };
    }
    match (leaving, keep_alive) {
        (false, true) => answer!("keep-alive", "api serving v23"),
        (false, false) => answer!("close", "api serving v23"),
        (true, true) => answer!("keep-alive", "api leaving v23"),
        (true, false) => answer!("close", "api leaving v23"),
    }
}
