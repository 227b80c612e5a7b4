//! pollbal's listeners from the other side: where they are, and requests to them byte by byte.

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::{Value, json};

use super::SOON;
use super::stage::Stage;

/// What each of our requests has: a name that every listener takes, and what the node listener asks for.
pub(crate) const HEADERS: &str = "host: localhost\r\npollbal-request: true\r\n";

/// Where a stage's pollbal has its listeners.
pub(crate) struct Listeners {
    pub(crate) admin: PathBuf,
    pub(crate) status: SocketAddrV4,
    pub(crate) node: SocketAddrV4,
}

impl Listeners {
    pub(crate) fn new(stage: &Stage) -> Self {
        Self {
            admin: stage.admin_socket(),
            status: stage.free_addr(),
            node: stage.free_addr(),
        }
    }

    /// The keys that open all of them, and over them those of `own`.
    pub(crate) fn config(&self, own: &Value) -> Value {
        let mut config = json!({
            "admin_socket": self.admin,
            "status_listen": self.status,
            "node_listen": self.node,
        });
        super::overlay(&mut config, own);
        config
    }
}

/// A connection of either kind, and whatever else can be read and written.
pub(crate) trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

/// Connects to a socket.
#[track_caller]
pub(crate) fn dial_socket(path: &Path) -> UnixStream {
    try_dial_socket(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

pub(crate) fn try_dial_socket(path: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(SOON))?;
    Ok(stream)
}

/// Connects to an address.
#[track_caller]
pub(crate) fn dial(to: SocketAddrV4) -> TcpStream {
    dial_from(Ipv4Addr::LOCALHOST, to)
}

/// Connects from that loopback address.
#[track_caller]
pub(crate) fn dial_from(from: Ipv4Addr, to: SocketAddrV4) -> TcpStream {
    try_dial(from, to).unwrap_or_else(|why| panic!("{to} from {from}: {why}"))
}

pub(crate) fn try_dial(from: Ipv4Addr, to: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((from, 0)))?;
    connect(&socket, &SocketAddr::from(to))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SOON))?;
    // So that a test that writes byte by byte does so.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The last answer in the text.
    #[track_caller]
    fn parse(text: &str) -> Self {
        let start = text.rfind("HTTP/1.1 ");
        let start = start.unwrap_or_else(|| panic!("no answer in {text:?}"));
        let text = &text[start..];
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no status in {head:?}")),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    /// That it refuses with this status and a plain reason that has these words.
    #[track_caller]
    pub(crate) fn assert_refusal(&self, status: u16, reason: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(
            self.head.contains("content-type: text/plain"),
            "{}",
            self.head
        );
        assert_eq!(self.body.lines().count(), 1, "{}", self.body);
        assert!(
            self.body.ends_with('\n') && self.body.contains(reason),
            "{self:?}"
        );
    }

    /// The same in JSON.
    #[track_caller]
    pub(crate) fn assert_json_refusal(&self, status: u16, reason: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("content-type: application/json"));
        let body: Value = serde_json::from_str(&self.body).expect("JSON");
        let error = body["error"].as_str().expect("an error");
        assert!(error.contains(reason), "{self:?}");
    }
}

/// Asks for a path, on a connection that ends with the answer.
#[track_caller]
pub(crate) fn get(wire: impl Wire, path: &str) -> Answer {
    say(
        wire,
        &format!("GET {path} HTTP/1.1\r\n{HEADERS}connection: close\r\n\r\n"),
    )
}

/// Says this and reads until the other side ends the connection.
#[track_caller]
pub(crate) fn say(mut wire: impl Wire, text: &str) -> Answer {
    // Anyone who is refused at once need not be read to the end.
    _ = wire.write_all(text.as_bytes());
    hear(wire)
}

/// Reads until the other side ends the connection.
#[track_caller]
pub(crate) fn hear(wire: impl Wire) -> Answer {
    Answer::parse(&hear_all(wire).unwrap_or_else(|why| panic!("{why}")))
}

/// All that is said until the end, also if that is a reset; an error when the end does not come.
pub(crate) fn hear_all(mut wire: impl Wire) -> Result<String, String> {
    let mut received = Vec::new();
    if let Err(why) = wire.read_to_end(&mut received)
        && why.kind() == io::ErrorKind::WouldBlock
    {
        return Err(format!("neither answered nor closed within {SOON:?}"));
    }
    Ok(String::from_utf8_lossy(&received).into_owned())
}

/// Asks on a connection that stays open for more.
#[track_caller]
pub(crate) fn get_kept(wire: &mut impl Wire, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\n{HEADERS}\r\n");
    wire.write_all(request.as_bytes()).expect("asked");
    let mut received = Vec::new();
    let mut byte = [0];
    // Every answer here is a line.
    while !received.ends_with(b"\n") || received.ends_with(b"\r\n") {
        wire.read_exact(&mut byte).expect("an answer");
        received.push(byte[0]);
    }
    Answer::parse(&String::from_utf8_lossy(&received))
}
