//! A connection to a stats socket, over which commands are sent and answers read.
//!
//! It is interactive (`prompt`), so that each answer ends in a prompt: nothing else tells where an answer ends, and
//! without it `HAProxy` takes a single line.

use std::io;
use std::mem;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::yield_now;

use super::socket::StatsSocket;
use crate::drivers::sync::SessionError;
use crate::model::driver_status::OutageCause;
use crate::outgoing;

/// What an answer ends in.
const PROMPT: &[u8] = b"\n> ";

/// Maximum number of commands that are sent before their answers are read: `HAProxy` reads no more commands while its
/// answers are not read, so that both must fit into the buffers of the socket.
const PIPELINED: usize = 64;

/// Maximum length of the answers to commands that are sent together, in bytes: some 100,000 servers.
const MAX_ANSWERS: usize = 64 << 20;

/// Maximum number of bytes that are read at once.
const PIECE: usize = 64 << 10;

/// Others have their turn after a piece of this many bytes; answers to changes are shorter.
const YIELD_BYTES: usize = 4 << 10;

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
        let mut left = MAX_ANSWERS;
        for commands in commands.chunks(PIPELINED) {
            let lines = commands.iter().map(AsRef::as_ref);
            let text: String = lines.flat_map(|line| [line, "\n"]).collect();
            let written = self.stream.write_all(text.as_bytes()).await;
            written.map_err(|error| broken(&error))?;
            for _ in commands {
                let answer = self.answer(left).await?;
                left -= answer.len();
                answers.push(text_of(answer));
            }
        }
        if self.received.is_empty() {
            Ok(answers)
        } else {
            Err(unusable("it says more than it was asked".to_owned()))
        }
    }

    /// The next answer, which may be this long.
    async fn answer(&mut self, limit: usize) -> Result<Vec<u8>, SessionError> {
        let mut searched = 0;
        loop {
            let end = find(&self.received[searched..], PROMPT).map(|at| searched + at);
            if end.unwrap_or(self.received.len()) > limit {
                let text = format!("its answers are longer than {} MiB", MAX_ANSWERS >> 20);
                return Err(unusable(text));
            }
            if let Some(end) = end {
                let rest = self.received.split_off(end + PROMPT.len());
                self.received.truncate(end);
                return Ok(mem::replace(&mut self.received, rest));
            }
            searched = self.received.len().saturating_sub(PROMPT.len() - 1);
            let mut stream = (&mut self.stream).take(PIECE as u64);
            let read = stream.read_buf(&mut self.received).await;
            match read.map_err(|error| broken(&error))? {
                0 => return Err(lost("closing connections", "it closed the connection")),
                // What comes without end holds up nobody else.
                YIELD_BYTES.. => yield_now().await,
                _ => {}
            }
        }
    }
}

/// An answer as text. Descriptions of servers may be in any encoding.
fn text_of(answer: Vec<u8>) -> String {
    String::from_utf8(answer)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use tokio::io::duplex;
    use tokio::runtime::Builder;

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(future)
    }

    /// What is made of these pieces of answers to that many commands.
    async fn ask(pieces: &[&[u8]], commands: usize) -> Result<Vec<String>, SessionError> {
        let (ours, mut theirs) = duplex(1 << 20);
        let mut connection = Connection {
            stream: Box::new(ours),
            received: Vec::new(),
        };
        let commands = vec!["show info"; commands];
        let say = async {
            for piece in pieces {
                theirs.write_all(piece).await.unwrap();
                yield_now().await;
            }
            drop(theirs);
        };
        let (answers, ()) = tokio::join!(connection.ask(&commands), say);
        answers
    }

    #[test]
    fn answers_that_are_too_long_together_are_an_error() {
        let answer = |length: usize| [&vec![b'x'; length], PROMPT].concat();
        let half = answer(MAX_ANSWERS / 2);
        let long = answer(MAX_ANSWERS / 2 + 1);
        let error = run(ask(&[&half, &long], 2));
        assert!(matches!(error, Err(SessionError::Unusable(_))));
    }

    fn answers() -> impl Strategy<Value = Vec<String>> {
        let answer = "[a> \n]{0,9}".prop_filter("no prompt", |text| !text.contains("\n> "));
        vec(answer, 1..6)
    }

    proptest! {
        #[test]
        fn answers_are_the_same_however_they_come_and_an_end_in_between_is_an_error(
            answers in answers(),
            cuts in vec(any::<Index>(), 0..6),
            end in any::<Index>(),
        ) {
            let stream: Vec<u8> = answers.iter().flat_map(|text| format!("{text}\n> ").into_bytes()).collect();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
            cuts.sort_unstable();
            let starts = [0].into_iter().chain(cuts.iter().copied());
            let ends = cuts.iter().copied().chain([stream.len()]);
            let pieces: Vec<_> = starts.zip(ends).map(|(start, end)| &stream[start..end]).collect();
            prop_assert_eq!(run(ask(&pieces, answers.len())), Ok(answers.clone()));
            let part = &stream[..end.index(stream.len())];
            let broken = run(ask(&[part], answers.len()));
            prop_assert!(matches!(broken, Err(SessionError::Lost(_))), "{:?}", broken);
            let more = [&*stream, b"x"].concat();
            let more = run(ask(&[&more], answers.len()));
            prop_assert!(matches!(more, Err(SessionError::Unusable(_))), "{:?}", more);
        }
    }
}
