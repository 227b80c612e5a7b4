//! A connection to a stats socket, over which commands are sent and answers read.
//!
//! It is interactive (`prompt`), so that each answer ends in a prompt: nothing else tells where an answer ends, and
//! without it `HAProxy` takes a single line.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use super::socket::StatsSocket;
use crate::drivers::sync::SessionError;
use crate::model::driver_status::OutageCause;
use crate::outgoing;

/// What an answer ends in.
const PROMPT: &[u8] = b"\n> ";

/// Maximum number of commands that are sent before their answers are read: `HAProxy` reads no more commands while its
/// answers are not read, so that both must fit into the buffers of the socket.
const PIPELINED: usize = 64;

/// Maximum length of an answer, in bytes: some 100,000 servers.
const MAX_ANSWER: usize = 32 << 20;

/// What can be written to and read from.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    /// What was received behind the last answer.
    received: Vec<u8>,
}

impl Connection {
    /// Connects. The first command must be `prompt`.
    pub(super) async fn open(socket: &StatsSocket) -> Result<Self, SessionError> {
        let stream: Box<dyn Stream> = match socket {
            StatsSocket::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                Box::new(stream.map_err(|error| unreachable(&error))?)
            }
            StatsSocket::Tcp(addr) => {
                let stream = outgoing::connect(addr).await;
                let stream = stream.map_err(|error| unreachable(&error))?;
                stream.set_nodelay(true).map_err(|error| broken(&error))?;
                Box::new(stream)
            }
        };
        Ok(Self {
            stream,
            received: Vec::new(),
        })
    }

    /// Sends commands, and returns the answer to each.
    pub(super) async fn ask(
        &mut self,
        commands: &[impl AsRef<str>],
    ) -> Result<Vec<String>, SessionError> {
        let mut answers = Vec::with_capacity(commands.len());
        for commands in commands.chunks(PIPELINED) {
            let lines = commands.iter().map(AsRef::as_ref);
            let text: String = lines.flat_map(|line| [line, "\n"]).collect();
            let written = self.stream.write_all(text.as_bytes()).await;
            written.map_err(|error| broken(&error))?;
            for _ in commands {
                answers.push(self.answer().await?);
            }
        }
        if self.received.is_empty() {
            Ok(answers)
        } else {
            Err(unusable("it says more than it was asked".to_owned()))
        }
    }

    async fn answer(&mut self) -> Result<String, SessionError> {
        let mut searched = 0;
        loop {
            if let Some(at) = find(&self.received[searched..], PROMPT) {
                let end = searched + at;
                let rest = self.received.split_off(end + PROMPT.len());
                let answer = String::from_utf8_lossy(&self.received[..end]).into_owned();
                self.received = rest;
                return Ok(answer);
            }
            if self.received.len() > MAX_ANSWER {
                let limit = format!("an answer is longer than {} MiB", MAX_ANSWER >> 20);
                return Err(unusable(limit));
            }
            searched = self.received.len().saturating_sub(PROMPT.len() - 1);
            let read = self.stream.read_buf(&mut self.received).await;
            if read.map_err(|error| broken(&error))? == 0 {
                return Err(lost("closing connections", "it closed the connection"));
            }
        }
    }
}

/// Where `part` is in `text`.
fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn unreachable(error: &io::Error) -> SessionError {
    let detail = match error.kind() {
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied: pollbal's user may not open it".to_owned()
        }
        kind => kind.to_string(),
    };
    lost("not reachable", &detail)
}

fn broken(error: &io::Error) -> SessionError {
    lost("closing connections", &error.kind().to_string())
}

/// There is no connection, or it broke.
pub(super) fn lost(state: &'static str, detail: &str) -> SessionError {
    SessionError::Lost(OutageCause {
        state,
        detail: detail.to_owned(),
    })
}

/// What answers cannot be used.
pub(super) fn unusable(detail: String) -> SessionError {
    let state = "not usable";
    SessionError::Unusable(OutageCause { state, detail })
}
