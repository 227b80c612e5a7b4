//! Whose process is at the other end of the admin socket: the system says so (`SO_PEERCRED`), whatever
//! the process says of itself.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use tokio::net::UnixStream;

/// Where users have their names. Who is known elsewhere only (LDAP) is told by number: to ask there may
/// take as long as it likes.
const USERS: &str = "/etc/passwd";

/// Maximum number of bytes of it that are read.
const READ: u64 = 1 << 20;

/// A user by number. The admin socket puts it beside each request there, as `Extension<User>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User(u32);

impl User {
    /// Whoever made the connection.
    pub(crate) fn of(stream: &UnixStream) -> Option<Self> {
        let peer = stream.peer_cred().ok()?;
        Some(Self(peer.uid()))
    }

    /// What people call it; `uid 1000` where it has no name.
    pub(crate) fn name(self) -> String {
        let users = File::open(USERS).ok().map(|file| file.take(READ));
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
    fn a_user_is_called_by_its_name_where_it_has_one() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\n\n:x:7:\nann:x:1000:1000::/home/ann:/bin/sh\nbob:x:10";
        let name = |number| User(number).name_in(users.as_bytes());
        assert_eq!(name(0).as_deref(), Some("root"));
        assert_eq!(name(1_000).as_deref(), Some("ann"));
        assert_eq!(name(10).as_deref(), Some("bob"));
        assert_eq!((name(7), name(100)), (None, None));
        assert_eq!(User(4_000_000_000).name(), "uid 4000000000");
        assert_eq!(User(0).name(), "root");
    }
}
