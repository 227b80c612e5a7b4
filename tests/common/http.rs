//! Requests to pollbal's listeners: one each, on a connection of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::net::UnixStream;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::runtime;
use super::stage::Stage;

/// What a listener answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Reply {
    fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text
            .split_once("\r\n\r\n")
            .expect("the answer has no end of its head");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Self {
            status: status.expect("the answer has no status"),
            body: body.to_owned(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.body))
    }

    /// The body, when the request was granted.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body.trim_end()
    }

    /// Its first word, which is all that scripts look at.
    #[track_caller]
    pub(crate) fn word(&self) -> &str {
        self.ok().split(' ').next().unwrap_or_default()
    }
}

/// Asks the admin socket.
pub(crate) fn get(stage: &Stage, path: &str) -> Reply {
    admin(stage, "GET", path, "")
}

/// Tells the admin socket.
pub(crate) fn post(stage: &Stage, path: &str, body: &Value) -> Reply {
    admin(stage, "POST", path, &body.to_string())
}

/// Has the services file read again, and obeyed in all that it removes.
#[track_caller]
pub(crate) fn accept_removals(stage: &Stage) {
    let accept = serde_json::json!({ "accept_removals": true });
    post(stage, "/v1/reload", &accept).ok();
}

fn admin(stage: &Stage, method: &str, path: &str, body: &str) -> Reply {
    let mut stream =
        UnixStream::connect(stage.admin_socket()).expect("the admin socket is not open");
    stream
        .write_all(request(method, path, body).as_bytes())
        .expect("failed to ask the admin socket");
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .expect("the admin socket's answer broke off");
    Reply::read(&answer)
}

/// Asks a TCP listener from an address of the test's choice.
pub(crate) fn ask_from(
    source: Ipv4Addr,
    listener: SocketAddrV4,
    method: &str,
    path: &str,
) -> Reply {
    Asked::from(source, listener, method, path).reply()
}

/// A request to a TCP listener that is sent, and not answered yet.
pub(crate) struct Asked(TcpStream);

impl Asked {
    pub(crate) fn from(source: Ipv4Addr, listener: SocketAddrV4, method: &str, path: &str) -> Self {
        let request = request(method, path, "");
        runtime().block_on(async {
            let socket = TcpSocket::new_v4().expect("failed to make a socket");
            let source = SocketAddr::from((source, 0));
            socket.bind(source).expect("failed to take an address");
            let stream = socket.connect(listener.into()).await;
            let mut stream = stream.expect("the listener is not open");
            let sent = stream.write_all(request.as_bytes()).await;
            sent.expect("failed to ask");
            Self(stream)
        })
    }

    pub(crate) fn reply(mut self) -> Reply {
        runtime().block_on(async {
            let mut answer = Vec::new();
            let read = self.0.read_to_end(&mut answer).await;
            read.expect("the answer broke off");
            Reply::read(&answer)
        })
    }

    /// Waits until the connection ends, in whichever way, and gives what came by then: for a listener whose program
    /// ends.
    pub(crate) fn until_it_ends(mut self) -> String {
        runtime().block_on(async {
            let mut came = Vec::new();
            // A connection that is reset has ended as well.
            let _ = self.0.read_to_end(&mut came).await;
            String::from_utf8_lossy(&came).into_owned()
        })
    }
}

fn request(method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nPollbal-Request: true\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
