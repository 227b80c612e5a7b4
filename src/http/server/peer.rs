//! The user at the other end of a Unix socket, as the system reports it (`SO_PEERCRED`), whatever the
//! process itself claims.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use tokio::net::UnixStream;

/// Where users have their names. A user who is known only elsewhere (LDAP) is shown by number, since a
/// query there may take any time.
const USERS: &str = "/etc/passwd";

/// Maximum number of bytes of it that are read.
const MAX_BYTES: u64 = 1 << 20;

/// A user, by number. An extension of each request on a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeerUser(u32);

impl PeerUser {
    /// The user of the process that made the connection.
    pub(super) fn of(stream: &UnixStream) -> Option<Self> {
        let peer = stream.peer_cred().ok()?;
        Some(Self(peer.uid()))
    }

    /// The name of the user; `uid 1000` if there is none.
    pub(crate) fn name(self) -> String {
        let users = File::open(USERS).ok().map(|file| file.take(MAX_BYTES));
        let name = users.and_then(|users| self.name_in(BufReader::new(users)));
        name.unwrap_or_else(|| format!("uid {}", self.0))
    }

    /// `name:password:number:…`
    fn name_in(self, users: impl BufRead) -> Option<String> {
        let number = self.0.to_string();
        let lines = users.split(b'\n').map_while(Result::ok);
        lines.into_iter().find_map(|line| {
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            (fields.nth(1)? == number).then(|| name.to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_called_by_name_if_it_has_one() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\n\n:x:7:\nann:x:1000:1000::/home/ann:/bin/sh\nbob:x:10";
        let name = |number| PeerUser(number).name_in(users.as_bytes());
        assert_eq!(name(0).as_deref(), Some("root"));
        assert_eq!(name(1_000).as_deref(), Some("ann"));
        assert_eq!(name(10).as_deref(), Some("bob"));
        assert_eq!((name(7), name(100)), (None, None));
        assert_eq!(PeerUser(4_000_000_000).name(), "uid 4000000000");
        assert_eq!(PeerUser(0).name(), "root");
    }
}
