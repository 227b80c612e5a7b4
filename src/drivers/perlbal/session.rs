//! The socket: one connection to one Perlbal's management port.
//!
//! Commands are pipelined and each answer is matched to its command. Changes go out before reading
//! commands that wait; a group is written in one piece, and only when Perlbal reads it in one piece
//! (see [`GROUP_BYTES`](super::plan::GROUP_BYTES)).

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_quickack;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::bytes::BytesMut;

use super::error::SessionError;
use super::plan::{Group, READ_COMMAND_BYTES, bytes};
use super::protocol::{Command, ProtocolError, Response};
use super::throttle::{Kind, Throttle};
use crate::awake::{timeout, timeout_at};
use crate::drivers::console::READ_BYTES;

/// Maximum length of a line. `SOCKS` prints the requests of clients, whose headers Perlbal takes up to
/// 100 KiB (ClientHTTPBase.pm).
const MAX_LINE_BYTES: usize = 256 << 10;

/// Maximum length of a line before the first answer: who is no Perlbal need not be heard for long.
const MAX_FIRST_LINE_BYTES: usize = 1 << 10;

/// Maximum size of an answer. `SOCKS` with 20,000 sockets has 2 to 20 MiB, and some clients may have
/// headers of 100 KiB; no other answer comes near (10,000 members: 0.4 MiB).
pub(super) const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Maximum size of what is kept of an answer. Of `SOCKS` that is the connections to nodes alone.
const MAX_KEPT_BYTES: usize = 16 << 20;

/// Maximum number of lines that are kept of an answer: each costs memory besides its bytes.
const MAX_KEPT_LINES: usize = 200_000;

/// One connection.
pub struct Session {
    stream: TcpStream,
    timeout: Duration,
    received: BytesMut,
    /// So much of it was searched for the end of a line.
    searched: usize,
    /// Changes that are not sent yet.
    changes: VecDeque<Group>,
    /// Reads that are not sent yet; they wait for all changes.
    readings: VecDeque<Command>,
    /// Sent and not answered yet, the oldest first.
    sent: VecDeque<Command>,
    sent_bytes: usize,
    /// What is kept of the oldest one's answer so far, and its size.
    lines: Vec<String>,
    kept_bytes: usize,
    /// The size of all that came of it.
    answer_bytes: usize,
    /// The size of the answer that was given last.
    pub(super) last_answer_bytes: usize,
    /// Maximum length of a line now.
    max_line: usize,
    /// Since when Perlbal owes the oldest answer: since that was asked, or the one before it given.
    asked_at: Instant,
    /// When what may be sent.
    throttle: Throttle,
}

impl Session {
    /// Asks on a new connection for a first answer, however long that takes: who waits for it says
    /// when it has taken too long. From then on an answer must come within `limit`.
    pub(super) async fn greet(stream: TcpStream, limit: Duration) -> Result<Self, SessionError> {
        stream.set_nodelay(true).map_err(SessionError::Connect)?;
        let mut session = Self {
            stream,
            timeout: limit,
            received: BytesMut::new(),
            searched: 0,
            changes: VecDeque::new(),
            readings: VecDeque::new(),
            sent: VecDeque::new(),
            sent_bytes: 0,
            lines: Vec::new(),
            kept_bytes: 0,
            answer_bytes: 0,
            last_answer_bytes: 0,
            max_line: MAX_FIRST_LINE_BYTES,
            asked_at: Instant::now(),
            throttle: Throttle::default(),
        };
        session.ask([Command::Ping]);
        session.flush(true).await?;
        let said = session.first_answer().await;
        // An error too is an answer of a Perlbal, of a version that does not know the command.
        match said {
            Ok(_) => {}
            Err(SessionError::Protocol { source, .. }) => {
                return Err(SessionError::NotPerlbal { said: source.line });
            }
            Err(SessionError::TooLarge { .. } | SessionError::Timeout { .. }) => {
                return Err(session.not_perlbal());
            }
            Err(SessionError::Closed | SessionError::Broken(_)) if !session.received.is_empty() => {
                return Err(session.not_perlbal());
            }
            Err(other) => return Err(other),
        }
        session.max_line = MAX_LINE_BYTES;
        Ok(session)
    }

    /// The first answer. It may be long in coming, but once it has begun its line is to end.
    async fn first_answer(&mut self) -> Result<(Command, Response), SessionError> {
        self.stream.readable().await.map_err(SessionError::Broken)?;
        self.asked_at = Instant::now();
        self.answer().await
    }

    /// What was received in place of a first answer is none.
    fn not_perlbal(&self) -> SessionError {
        let said = String::from_utf8_lossy(&self.received);
        let said = ProtocolError::new(said.trim_end()).line;
        SessionError::NotPerlbal { said }
    }

    /// Takes changes to send, before any reading command that is not sent yet.
    pub fn change(&mut self, groups: impl IntoIterator<Item = Group>) {
        self.changes.extend(groups);
    }

    /// Takes reading commands to send.
    pub fn ask(&mut self, commands: impl IntoIterator<Item = Command>) {
        self.readings.extend(commands);
    }

    /// The changes that Perlbal runs after it has answered what was answered last.
    pub fn unanswered_changes(&self) -> impl Iterator<Item = &Command> {
        let waiting = self.sent.iter().chain(self.changes.iter().flatten());
        waiting.filter(|command| command.is_change())
    }

    /// Whether Perlbal still has to answer something that was sent.
    pub fn is_owed(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Whether there are changes that are not sent yet.
    pub fn has_unsent_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Whether there is anything that is not sent yet.
    pub fn has_unsent(&self) -> bool {
        self.has_unsent_changes() || !self.readings.is_empty()
    }

    /// When what may be sent, and how much work it was.
    pub(super) fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// Sends what may be sent now, reading commands only if `may_read`. To be called after
    /// [`change`](Self::change) and [`ask`](Self::ask) and after each answer; not to be dropped
    /// half-way.
    pub async fn flush(&mut self, may_read: bool) -> Result<(), SessionError> {
        while let Some(group) = self.next_group(may_read) {
            let now = std::time::Instant::now();
            for command in &group {
                self.throttle.sent(kind(command), now);
            }
            let text: String = group.iter().map(Command::line).collect();
            if self.sent.is_empty() {
                self.asked_at = Instant::now();
            }
            self.acknowledge_quickly()?;
            timeout(self.timeout, self.stream.write_all(text.as_bytes()))
                .await
                .map_err(|_| SessionError::Stuck(self.timeout))?
                .map_err(SessionError::Broken)?;
            self.sent_bytes += text.len();
            self.sent.extend(group);
        }
        Ok(())
    }

    /// The next group that Perlbal would read in one piece behind what it has to read already.
    fn next_group(&mut self, may_read: bool) -> Option<Group> {
        if let Some(group) = self.changes.front() {
            let fits = self.sent_bytes + bytes(group) <= READ_BYTES;
            return if fits || self.sent.is_empty() {
                self.changes.pop_front()
            } else {
                None
            };
        }
        let length = self.readings.front().filter(|_| may_read)?.line().len();
        let fits = self.sent_bytes + length <= READ_COMMAND_BYTES || self.sent.is_empty();
        if fits {
            self.readings.pop_front().map(|command| vec![command])
        } else {
            None
        }
    }

    /// Waits for the next answer, and gives it with its command. May be dropped at any time.
    pub async fn answer(&mut self) -> Result<(Command, Response), SessionError> {
        loop {
            if let Some(line) = self.next_line()? {
                if let Some(answered) = self.take_line(&line)? {
                    return Ok(answered);
                }
            } else {
                self.receive().await?;
            }
        }
    }

    /// The next whole line that was received. What is no text in it, as in the request of a client
    /// that `SOCKS` prints, is replaced.
    fn next_line(&mut self) -> Result<Option<String>, SessionError> {
        let unsearched = &self.received[self.searched..];
        let Some(length) = unsearched.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.received.len();
            return if self.searched > self.max_line {
                let size = ByteSize(self.max_line);
                Err(self.too_large(format!("a line has more than {size}")))
            } else {
                Ok(None)
            };
        };
        let line = self.received.split_to(self.searched + length + 1);
        self.searched = 0;
        self.answer_bytes += line.len();
        let line = String::from_utf8_lossy(&line);
        Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
    }

    fn take_line(&mut self, line: &str) -> Result<Option<(Command, Response)>, SessionError> {
        let Some(command) = self.sent.front() else {
            return Err(SessionError::Unsolicited(ProtocolError::new(line).line));
        };
        let kept = self.lines.len();
        match command.read(line, &mut self.lines) {
            Ok(None) => {
                if self.lines.len() > kept {
                    self.kept_bytes += line.len();
                }
                self.check_size()?;
                Ok(None)
            }
            Ok(Some(answer)) => {
                self.asked_at = Instant::now();
                self.throttle.answered();
                self.sent_bytes -= command.line().len();
                self.kept_bytes = 0;
                self.last_answer_bytes = mem::take(&mut self.answer_bytes);
                Ok(self.sent.pop_front().map(|command| (command, answer)))
            }
            Err(source) => Err(SessionError::protocol(command, source)),
        }
    }

    /// Whether the answer that is being read is still within its limits.
    fn check_size(&self) -> Result<(), SessionError> {
        let excess = if self.answer_bytes > MAX_ANSWER_BYTES {
            format!("more than {}", ByteSize(MAX_ANSWER_BYTES))
        } else if self.kept_bytes > MAX_KEPT_BYTES {
            format!("more than {}", ByteSize(MAX_KEPT_BYTES))
        } else if self.lines.len() > MAX_KEPT_LINES {
            format!("more than {MAX_KEPT_LINES} lines")
        } else {
            return Ok(());
        };
        Err(self.too_large(excess))
    }

    /// The answer that is being read, or what was said unasked, passes a limit.
    fn too_large(&self, excess: String) -> SessionError {
        match self.sent.front() {
            Some(command) => SessionError::too_large(command, excess),
            None => SessionError::Unsolicited(excess),
        }
    }

    async fn receive(&mut self) -> Result<(), SessionError> {
        loop {
            self.acknowledge_quickly()?;
            if self.sent.is_empty() {
                self.stream.readable().await
            } else {
                let deadline = self.asked_at + self.timeout;
                let readable = timeout_at(deadline, self.stream.readable()).await;
                readable.map_err(|_| self.overdue())?
            }
            .map_err(SessionError::Broken)?;
            match self.stream.try_read_buf(&mut self.received) {
                Ok(0) => return Err(SessionError::Closed),
                Ok(_) => {
                    self.throttle.heard(std::time::Instant::now());
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(SessionError::Broken(error)),
            }
        }
    }

    /// The oldest answer did not come in time.
    fn overdue(&self) -> SessionError {
        let command = self.sent.front().map(Command::to_string);
        SessionError::Timeout {
            command: command.unwrap_or_default(),
            limit: self.timeout,
        }
    }

    /// Since when Perlbal owes an answer, if it owes one.
    pub(super) fn owed_since(&self) -> Option<Instant> {
        self.is_owed().then_some(self.asked_at)
    }

    /// Perlbal writes each line by itself and waits for our acknowledgement before the next; the
    /// kernel forgets this option after a while, so it is set at each write and read.
    fn acknowledge_quickly(&self) -> Result<(), SessionError> {
        set_tcp_quickack(&self.stream, true).map_err(|error| SessionError::Broken(error.into()))
    }
}

/// What a command costs Perlbal, for the pace.
fn kind(command: &Command) -> Kind {
    match command {
        Command::Reload { .. } => Kind::SlowChange,
        Command::Ping => Kind::Ping,
        command if command.is_change() => Kind::Change,
        _ => Kind::Read,
    }
}

/// A limit in bytes, in the largest unit that has it whole.
struct ByteSize(usize);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            size if size % (1 << 20) == 0 => write!(f, "{} MiB", size >> 20),
            size => write!(f, "{} KiB", size >> 10),
        }
    }
}
