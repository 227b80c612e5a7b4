//! Where pollbal can be asked: the keys of the three doors.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;

use super::section::Section;

/// Where the admin socket is unless the configuration says otherwise. Its directory is made if
/// missing; any other directory must be there.
pub const DEFAULT_ADMIN_SOCKET: &str = "/run/pollbal/admin.sock";

/// The longest path of an admin socket, in bytes. The system takes 107 for a socket's, and the
/// socket is made under a name that is longer by four.
pub const MAX_ADMIN_SOCKET: usize = 103;

/// Where each door is; none where it is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorSettings {
    /// For operators on this host: everything.
    pub admin_socket: Option<PathBuf>,
    /// For browsers, Prometheus and probes: read only.
    pub status_listen: Option<SocketAddr>,
    /// Names, in lower case, by which the status listener may be asked for beside this machine's own;
    /// `*` is any.
    pub status_hosts: Vec<String>,
    /// For the nodes, each for itself alone.
    pub node_listen: Option<SocketAddr>,
}

pub(super) fn read_doors(section: &Section<'_>) -> DoorSettings {
    let doors = DoorSettings {
        admin_socket: read_admin_socket(section),
        status_listen: read_listen(section, "status_listen", "127.0.0.1:8098"),
        status_hosts: read_hosts(section),
        node_listen: read_listen(section, "node_listen", "0.0.0.0:8099"),
    };
    if doors.status_listen.is_some() && doors.status_listen == doors.node_listen {
        let problem = "the same as status_listen; give each door an address of its own";
        section.error("node_listen", problem);
    }
    doors
}

fn read_admin_socket(section: &Section<'_>) -> Option<PathBuf> {
    let usable =
        |text: &&str| text.is_empty() || (is_file_path(text) && text.len() <= MAX_ADMIN_SOCKET);
    let read = |value: &Value| value.as_str().filter(usable).map(PathBuf::from);
    let expected = format!(
        "a path that begins with `/`, of {MAX_ADMIN_SOCKET} bytes at most (a socket's path cannot \
         be longer), such as \"{DEFAULT_ADMIN_SOCKET}\"; \"\" is off"
    );
    let path = section.read("admin_socket", &expected, read);
    let path = path.unwrap_or_else(|| PathBuf::from(DEFAULT_ADMIN_SOCKET));
    (!path.as_os_str().is_empty()).then_some(path)
}

pub(super) fn is_file_path(text: &str) -> bool {
    text.starts_with('/') && !text.ends_with('/') && !text.contains(char::is_control)
}

fn read_hosts(section: &Section<'_>) -> Vec<String> {
    let read = |value: &Value| {
        let names = value.as_array()?.iter().map(|name| {
            let name = name.as_str().filter(|name| is_host_name(name))?;
            Some(name.to_ascii_lowercase())
        });
        names.collect()
    };
    let expected =
        "a list of host names without ports, such as [\"status.example.com\"]; \"*\" is any name";
    section
        .read("status_hosts", expected, read)
        .unwrap_or_default()
}

fn is_host_name(text: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    text == "*" || (!text.is_empty() && !text.starts_with('.') && text.chars().all(is_name))
}

fn read_listen(section: &Section<'_>, key: &'static str, example: &str) -> Option<SocketAddr> {
    let read = |value: &Value| match value.as_str()? {
        "" => Some(None),
        text => {
            let address: SocketAddr = text.parse().ok()?;
            (address.port() > 0).then_some(Some(address))
        }
    };
    let expected =
        format!("an address of this host and a port, such as \"{example}\"; \"\" is off");
    section.read(key, &expected, read).flatten()
}
