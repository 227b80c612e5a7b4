//! The socket: one connection to one Perlbal's management port.
//!
//! Commands are pipelined and each answer is matched to its command. Changes go out at once and
//! before reading commands that wait; a group is written in one piece, and only when Perlbal reads
//! it in one piece (see [`GROUP_BYTES`](super::plan::GROUP_BYTES)).

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_quickack;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Decoder, LinesCodec, LinesCodecError};

use super::plan::{Group, READING_BYTES, bytes};
use super::wire::{Answer, Command, NotUnderstood};
use crate::drivers::console::READ_BYTES;

/// No line of an answer that we ask for comes near.
const MAX_LINE_BYTES: usize = 64 * 1_024;

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
    /// Perlbal was silent for longer than `timeout`.
    #[error("no answer within {}", humantime::format_duration(*.0))]
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
    /// Perlbal said something although nothing was asked, or something that is no text.
    #[error("unexpected data")]
    Unexpected(#[source] LinesCodecError),
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
    codec: LinesCodec,
    /// Changes that are not sent yet.
    changes: VecDeque<Group>,
    /// Reading commands that are not sent yet; they wait for all changes.
    readings: VecDeque<Command>,
    /// Sent and not answered yet, the oldest first.
    sent: VecDeque<Command>,
    sent_bytes: usize,
    /// What came of the oldest one's answer.
    lines: Vec<String>,
    /// When Perlbal last had reason to say something, or said it.
    quiet_since: Instant,
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
            codec: LinesCodec::new_with_max_length(MAX_LINE_BYTES),
            changes: VecDeque::new(),
            readings: VecDeque::new(),
            sent: VecDeque::new(),
            sent_bytes: 0,
            lines: Vec::new(),
            quiet_since: Instant::now(),
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

    /// Sends what may be sent now. To be called after [`change`](Self::change) and
    /// [`ask`](Self::ask) and after each answer; not to be dropped half-way.
    pub async fn flush(&mut self) -> Result<(), SessionError> {
        while let Some(group) = self.next_group() {
            let text: String = group.iter().map(Command::line).collect();
            if self.sent.is_empty() {
                self.quiet_since = Instant::now();
            }
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
            match self.codec.decode(&mut self.received) {
                Ok(Some(line)) => {
                    if let Some(answered) = self.take_line(&line)? {
                        return Ok(answered);
                    }
                }
                Ok(None) => self.receive().await?,
                Err(error) => return Err(SessionError::Unexpected(error)),
            }
        }
    }

    fn take_line(&mut self, line: &str) -> Result<Option<(Command, Answer)>, SessionError> {
        let Some(command) = self.sent.front() else {
            return Err(SessionError::NotUnderstood {
                command: "nothing".to_owned(),
                source: NotUnderstood::new(line),
            });
        };
        match command.read(line, &mut self.lines) {
            Ok(None) => Ok(None),
            Ok(Some(answer)) => {
                self.sent_bytes -= command.line().len();
                Ok(self.sent.pop_front().map(|command| (command, answer)))
            }
            Err(source) => Err(SessionError::not_understood(command, source)),
        }
    }

    async fn receive(&mut self) -> Result<(), SessionError> {
        loop {
            // Perlbal writes each line by itself and waits for our acknowledgement before the
            // next; the kernel forgets this option after a while, so it is set at each read.
            set_tcp_quickack(&self.stream, true)
                .map_err(|error| SessionError::Broken(error.into()))?;
            if self.sent.is_empty() {
                self.stream.readable().await
            } else {
                let deadline = self.quiet_since + self.timeout;
                let readable = timeout_at(deadline, self.stream.readable()).await;
                readable.map_err(|_| SessionError::Timeout(self.timeout))?
            }
            .map_err(SessionError::Broken)?;
            match self.stream.try_read_buf(&mut self.received) {
                Ok(0) => return Err(SessionError::Closed),
                Ok(_) => {
                    self.quiet_since = Instant::now();
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(SessionError::Broken(error)),
            }
        }
    }
}
