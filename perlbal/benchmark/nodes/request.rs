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
pub(super) fn answer(home: bool, leaving: bool, keep_alive: bool) -> &'static [u8] {
    macro_rules! answer {
        ($pool:literal, $status:literal, $connection:literal) => {
            concat!(
                "HTTP/1.1 200 OK\r\nServer: node\r\nContent-Type: text/plain; charset=utf-8\r\n",
                "Cache-Control: no-store\r\nConnection: ",
                $connection,
                "\r\nContent-Length: 16\r\n\r\n",
                $pool,
                " ",
                $status,
                " v23\n"
            )
            .as_bytes()
        };
    }
    match (home, leaving, keep_alive) {
        (true, false, true) => answer!("api", "serving", "keep-alive"),
        (true, false, false) => answer!("api", "serving", "close"),
        (true, true, true) => answer!("api", "leaving", "keep-alive"),
        (true, true, false) => answer!("api", "leaving", "close"),
        (false, false, true) => answer!("web", "serving", "keep-alive"),
        (false, false, false) => answer!("web", "serving", "close"),
        (false, true, true) => answer!("web", "leaving", "keep-alive"),
        (false, true, false) => answer!("web", "leaving", "close"),
    }
}

/// The name of one of many pools, as long as `api`.
pub(crate) fn pool_name(pool: u32) -> String {
    format!("p{:02}", pool % 100)
}

/// The answer that puts a node into another pool than this one does.
pub(super) fn in_pool(answer: &[u8], pool: u32) -> Vec<u8> {
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let body = head.map_or(0, |head| head + 4);
    let name = pool_name(pool);
    let mut changed = answer.to_vec();
    changed[body..body + name.len()].copy_from_slice(name.as_bytes());
    changed
}
