//! The socket: one connection to one Perlbal's management port.
//!
//! Commands are pipelined and each answer is matched to its command. Changes go out before reading
//! commands that wait; a group is written in one piece, and only when Perlbal reads it in one piece
//! (see [`GROUP_BYTES`](super::plan::GROUP_BYTES)).

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_quickack;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::bytes::BytesMut;

use super::plan::{Group, READING_BYTES, bytes};
use super::wire::{Answer, Command, NotUnderstood};
use crate::drivers::console::READ_BYTES;

/// The longest line. `SOCKS` prints the requests of clients, whose headers Perlbal takes up to
/// 100 KiB (ClientHTTPBase.pm).
const MAX_LINE_BYTES: usize = 1 << 20;

/// The most lines of one answer; a Perlbal with a million sockets or members has other troubles.
const MAX_LINES: usize = 1_000_000;

/// Why a connection ended, or did not come about.
#[derive(Debug, Error)]
pub enum SessionError {
    /// No connection came about.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// Perlbal closed the connection.
    #[error("Perlbal closed the connection")]
    Closed,
    /// Perlbal took longer than `timeout` for an answer.
    #[error("no whole answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// Perlbal said something that is no answer to what was asked.
    #[error("the answer to {command} is not understood")]
    NotUnderstood {
        /// What was asked.
        command: String,
        /// What was said.
        source: NotUnderstood,
    },
    /// Perlbal refused to tell what is there.
    #[error("{command} was answered with an error: {error}")]
    Refused {
        /// What was asked.
        command: String,
        /// What was said.
        error: String,
    },
    /// Perlbal said something although nothing was asked.
    #[error("Perlbal spoke unasked: \"{0}\"")]
    Unasked(String),
    /// An answer has more lines, or a longer line, than can be.
    #[error("an answer does not end")]
    Endless,
}

impl SessionError {
    /// Perlbal refused to tell what is there.
    pub(super) fn refused(command: &Command, error: String) -> Self {
        Self::Refused {
            command: command.to_string(),
            error,
        }
    }

    /// What Perlbal said is no answer to `command`.
    pub(super) fn not_understood(command: &Command, source: NotUnderstood) -> Self {
        Self::NotUnderstood {
            command: command.to_string(),
            source,
        }
    }
}

/// One connection.
pub struct Session {
    stream: TcpStream,
    timeout: Duration,
    received: BytesMut,
    /// So much of it was searched for the end of a line.
    searched: usize,
    /// Changes that are not sent yet.
    changes: VecDeque<Group>,
    /// Reading commands that are not sent yet; they wait for all changes.
    readings: VecDeque<Command>,
    /// Sent and not answered yet, the oldest first.
    sent: VecDeque<Command>,
    sent_bytes: usize,
    /// What came of the oldest one's answer.
    lines: Vec<String>,
    /// Since when Perlbal owes the oldest answer: since that was asked, or the one before it given.
    asked_at: Instant,
}

impl Session {
    /// Connects to `address`, `host:port`.
    pub async fn connect(address: &str, limit: Duration) -> Result<Self, SessionError> {
        let stream = timeout(limit, TcpStream::connect(address))
            .await
            .map_err(|_| SessionError::Timeout(limit))?
            .map_err(SessionError::Connect)?;
        stream.set_nodelay(true).map_err(SessionError::Connect)?;
        Ok(Self {
            stream,
            timeout: limit,
            received: BytesMut::new(),
            searched: 0,
            changes: VecDeque::new(),
            readings: VecDeque::new(),
            sent: VecDeque::new(),
            sent_bytes: 0,
            lines: Vec::new(),
            asked_at: Instant::now(),
        })
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

    /// Sends what may be sent now. To be called after [`change`](Self::change) and
    /// [`ask`](Self::ask) and after each answer; not to be dropped half-way.
    pub async fn flush(&mut self) -> Result<(), SessionError> {
        while let Some(group) = self.next_group() {
            let text: String = group.iter().map(Command::line).collect();
            if self.sent.is_empty() {
                self.asked_at = Instant::now();
            }
            self.acknowledge_quickly()?;
            timeout(self.timeout, self.stream.write_all(text.as_bytes()))
                .await
                .map_err(|_| SessionError::Timeout(self.timeout))?
                .map_err(SessionError::Broken)?;
            self.sent_bytes += text.len();
            self.sent.extend(group);
        }
        Ok(())
    }

    /// The next group that Perlbal would read in one piece behind what it has to read already.
    fn next_group(&mut self) -> Option<Group> {
        if let Some(group) = self.changes.front() {
            let fits = self.sent_bytes + bytes(group) <= READ_BYTES;
            return if fits || self.sent.is_empty() {
                self.changes.pop_front()
            } else {
                None
            };
        }
        let length = self.readings.front()?.line().len();
        let fits = self.sent_bytes + length <= READING_BYTES || self.sent.is_empty();
        if fits {
            self.readings.pop_front().map(|command| vec![command])
        } else {
            None
        }
    }

    /// Waits for the next answer, and gives it with its command. May be dropped at any time.
    pub async fn answer(&mut self) -> Result<(Command, Answer), SessionError> {
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
            let endless = self.searched > MAX_LINE_BYTES;
            return if endless {
                Err(SessionError::Endless)
            } else {
                Ok(None)
            };
        };
        let line = self.received.split_to(self.searched + length + 1);
        self.searched = 0;
        let line = String::from_utf8_lossy(&line);
        Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
    }

    fn take_line(&mut self, line: &str) -> Result<Option<(Command, Answer)>, SessionError> {
        let Some(command) = self.sent.front() else {
            return Err(SessionError::Unasked(NotUnderstood::new(line).line));
        };
        match command.read(line, &mut self.lines) {
            Ok(None) if self.lines.len() > MAX_LINES => Err(SessionError::Endless),
            Ok(None) => Ok(None),
            Ok(Some(answer)) => {
                self.asked_at = Instant::now();
                self.sent_bytes -= command.line().len();
                Ok(self.sent.pop_front().map(|command| (command, answer)))
            }
            Err(source) => Err(SessionError::not_understood(command, source)),
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
                readable.map_err(|_| SessionError::Timeout(self.timeout))?
            }
            .map_err(SessionError::Broken)?;
            match self.stream.try_read_buf(&mut self.received) {
                Ok(0) => return Err(SessionError::Closed),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(SessionError::Broken(error)),
            }
        }
    }

    /// Perlbal writes each line by itself and waits for our acknowledgement before the next; the
    /// kernel forgets this option after a while, so it is set at each write and read.
    fn acknowledge_quickly(&self) -> Result<(), SessionError> {
        set_tcp_quickack(&self.stream, true).map_err(|error| SessionError::Broken(error.into()))
    }
}
