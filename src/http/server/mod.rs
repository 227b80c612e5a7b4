//! An HTTP/1 server with limits, by hyper and axum: sockets, connections, and what happens to a request
//! before its handler. It knows nothing of what is served.
//!
//! ```text
//!   bind ──► accept ─────────► connection ──► service ───────────────────► Router
//!   sockets  connection limit   HTTP, times   checks, rate, body, budget
//! ```
//!
//! axum's own server has no limits, and hyper's connection has none for slow clients; that is why
//! [`connection_limit`], [`io_timeout`] and [`response_budget`] exist. Everything else is by hyper,
//! axum, tower-http and governor.

pub(crate) mod accept;
pub(crate) mod bind;
mod connection;
pub(crate) mod connection_limit;
pub(crate) mod counters;
pub(crate) mod error;
mod io_timeout;
pub(crate) mod limits;
pub(crate) mod peer;
mod rate_limit;
pub(crate) mod response_budget;
pub(crate) mod service;
pub(crate) mod unix_socket;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// General tools, which know nothing of what is served either.
    const TOOLS: [&str; 2] = ["log_throttle", "supervision"];

    #[test]
    fn the_server_depends_on_no_other_part_of_pollbal() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/server");
        let mut sources = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let Ok(source) = fs::read_to_string(&path) else {
                continue;
            };
            sources += 1;
            // In two parts, since this file is read too.
            for path_in_crate in source.split(concat!("crate", "::")).skip(1) {
                let used = path_in_crate.split([':', ';', '}']).next();
                let used = used.unwrap_or_default();
                assert!(TOOLS.contains(&used), "{used} in {}", path.display());
            }
        }
        assert!(sources > 10, "{sources} files");
    }
}
