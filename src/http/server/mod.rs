//! The HTTP/1 server under the routes: listening sockets, connections, and their limits.

pub(crate) mod bind;
pub(crate) mod connection;
pub(crate) mod connection_limit;
pub(crate) mod counters;
pub(crate) mod error;
pub(crate) mod io_timeout;
pub(crate) mod limits;
pub(crate) mod listener;
pub(crate) mod origin;
pub(crate) mod rate_limit;
pub(crate) mod response_budget;
pub(crate) mod service;
pub(crate) mod unix_socket;
pub(crate) mod user;
