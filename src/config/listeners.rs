//! The keys of the three HTTP listeners.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;

use super::reader::ObjectReader;

/// The default path of the admin socket. Its directory is created if missing; any other directory must
/// exist.
pub const DEFAULT_ADMIN_SOCKET: &str = "/run/pollbal/admin.sock";

/// Maximum length of the admin socket's path, in bytes. The system accepts 107, and the socket is created
/// under a name that is longer by four.
pub const MAX_ADMIN_SOCKET: usize = 103;

/// The address of each listener; none if it is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// For operators on this host: everything.
    pub admin_socket: Option<PathBuf>,
    /// For browsers, Prometheus and probes: read-only.
    pub status_listen: Option<SocketAddr>,
    /// Host names, in lower case, by which the status listener may be addressed beside this machine's own;
    /// `*` is any.
    pub status_hosts: Vec<String>,
    /// For the nodes, each for itself alone.
    pub node_listen: Option<SocketAddr>,
}

pub(super) fn read_listeners(reader: &ObjectReader<'_>) -> ListenerSettings {
    let listeners = ListenerSettings {
        admin_socket: read_admin_socket(reader),
        status_listen: read_listen(reader, "status_listen", "127.0.0.1:8098"),
        status_hosts: read_hosts(reader),
        node_listen: read_listen(reader, "node_listen", "0.0.0.0:8099"),
    };
    if listeners.status_listen.is_some() && listeners.status_listen == listeners.node_listen {
        let problem = "the same as status_listen; give each listener its own address";
        reader.error("node_listen", problem);
    }
    listeners
}

fn read_admin_socket(reader: &ObjectReader<'_>) -> Option<PathBuf> {
    let usable =
        |text: &&str| text.is_empty() || (is_file_path(text) && text.len() <= MAX_ADMIN_SOCKET);
    let read = |value: &Value| value.as_str().filter(usable).map(PathBuf::from);
    let expected = format!(
        "a path that begins with `/`, of at most {MAX_ADMIN_SOCKET} bytes (the system's limit for sockets), such as \"{DEFAULT_ADMIN_SOCKET}\"; \"\" is off"
    );
    let path = reader.read("admin_socket", &expected, read);
    let path = path.unwrap_or_else(|| PathBuf::from(DEFAULT_ADMIN_SOCKET));
    (!path.as_os_str().is_empty()).then_some(path)
}

/// Whether a text is an absolute path that may be that of a file.
pub(crate) fn is_file_path(text: &str) -> bool {
    text.starts_with('/') && !text.ends_with('/') && !text.contains(char::is_control)
}

fn read_hosts(reader: &ObjectReader<'_>) -> Vec<String> {
    let read = |value: &Value| {
        let names = value.as_array()?.iter().map(|name| {
            let name = name.as_str().filter(|name| is_host_name(name))?;
            Some(name.to_ascii_lowercase())
        });
        names.collect()
    };
    let expected =
        "a list of host names without ports, such as [\"status.example.com\"]; \"*\" is any name";
    reader
        .read("status_hosts", expected, read)
        .unwrap_or_default()
}

fn is_host_name(text: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    text == "*" || (!text.is_empty() && !text.starts_with('.') && text.chars().all(is_name))
}

fn read_listen(reader: &ObjectReader<'_>, key: &'static str, example: &str) -> Option<SocketAddr> {
    let read = |value: &Value| match value.as_str()? {
        "" => Some(None),
        text => {
            let address: SocketAddr = text.parse().ok()?;
            (address.port() > 0).then_some(Some(address))
        }
    };
    let expected =
        format!("an address of this host and a port, such as \"{example}\"; \"\" is off");
    reader.read(key, &expected, read).flatten()
}
