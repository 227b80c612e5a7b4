//! Commands on their way to one Perlbal: queues, framing, limits and the throttle. Pure: bytes and the time are
//! arguments.
//!
//! Commands are pipelined and each response is matched to its command. Changes go before reads that
//! wait; a group is written in one piece, and only when Perlbal reads it in one piece (see
//! [`GROUP_BYTES`](super::plan::GROUP_BYTES)).

#![warn(clippy::disallowed_methods)]

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use tokio_util::bytes::BytesMut;

use super::error::SessionError;
use super::plan::{Group, READ_COMMAND_BYTES, bytes};
use super::protocol::{Command, ProtocolError, Response};
use super::throttle::{Kind, Throttle};
use crate::drivers::perlbal::pipe::READ_BYTES;

/// Maximum length of a line. `SOCKS` prints the requests of clients, whose headers Perlbal accepts up to
/// 100 KiB (ClientHTTPBase.pm).
const MAX_LINE_BYTES: usize = 256 << 10;

/// Maximum length of a line before the first response: what is no Perlbal is not read at length.
const MAX_FIRST_LINE_BYTES: usize = 1 << 10;

/// Maximum size of a response. `SOCKS` with 20,000 sockets has 2 to 20 MiB, and some clients may have
/// headers of 100 KiB; no other response comes near (10,000 members: 0.4 MiB).
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// Maximum size of the lines that are kept of a response. Of `SOCKS` only connections to nodes are kept.
const MAX_KEPT_BYTES: usize = 16 << 20;

/// Maximum number of lines that are kept of a response: each costs memory besides its bytes.
const MAX_KEPT_LINES: usize = 200_000;

/// What is queued, sent and received on one connection.
pub(super) struct Pipeline {
    received: BytesMut,
    /// Length of the part of `received` that is known to hold no line end.
    searched: usize,
    /// Changes that are not sent yet.
    changes: VecDeque<Group>,
    /// Reads that are not sent yet; they wait for all changes.
    reads: VecDeque<Command>,
    /// Sent and not answered yet, the oldest first.
    sent: VecDeque<Command>,
    sent_bytes: usize,
    /// Kept lines of the oldest command's response so far, and their size.
    lines: Vec<String>,
    kept_bytes: usize,
    /// Size of all that was received of that response.
    response_bytes: usize,
    /// Maximum length of a line now.
    max_line: usize,
    /// Since when Perlbal owes the oldest response: since the command was sent, or since the response before it.
    owed_since: Instant,
    throttle: Throttle,
}

impl Pipeline {
    /// A new connection, over which nothing was received yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            received: BytesMut::new(),
            searched: 0,
            changes: VecDeque::new(),
            reads: VecDeque::new(),
            sent: VecDeque::new(),
            sent_bytes: 0,
            lines: Vec::new(),
            kept_bytes: 0,
            response_bytes: 0,
            max_line: MAX_FIRST_LINE_BYTES,
            owed_since: now,
            throttle: Throttle::default(),
        }
    }

    /// Queues changes, before any read that is not sent yet.
    pub(super) fn queue_changes(&mut self, groups: impl IntoIterator<Item = Group>) {
        self.changes.extend(groups);
    }

    /// Queues reads.
    pub(super) fn queue_reads(&mut self, commands: impl IntoIterator<Item = Command>) {
        self.reads.extend(commands);
    }

    /// The changes that Perlbal runs after the last response that was taken.
    pub(super) fn unanswered_changes(&self) -> impl Iterator<Item = &Command> {
        let waiting = self.sent.iter().chain(self.changes.iter().flatten());
        waiting.filter(|command| command.is_change())
    }

    /// Since when Perlbal owes a response, if it owes one.
    pub(super) fn owed_since(&self) -> Option<Instant> {
        (!self.sent.is_empty()).then_some(self.owed_since)
    }

    /// Whether there are changes that are not sent yet.
    pub(super) fn has_unsent_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Whether anything is not sent yet.
    pub(super) fn has_unsent(&self) -> bool {
        self.has_unsent_changes() || !self.reads.is_empty()
    }

    /// When commands may be sent, and how much work they were for Perlbal.
    pub(super) fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// What is to be written now, in one piece: the next group that Perlbal would read in one piece behind what it has
    /// to read already. Reads are sent only if `may_read`.
    pub(super) fn next_batch(&mut self, may_read: bool, now: Instant) -> Option<String> {
        let group = self.next_group(may_read)?;
        if self.sent.is_empty() {
            self.owed_since = now;
        }
        for command in &group {
            self.throttle.sent(kind(command), now);
        }
        let text: String = group.iter().map(Command::line).collect();
        self.sent_bytes += text.len();
        self.sent.extend(group);
        Some(text)
    }

    fn next_group(&mut self, may_read: bool) -> Option<Group> {
        if let Some(group) = self.changes.front() {
            let fits = self.sent_bytes + bytes(group) <= READ_BYTES;
            return if fits || self.sent.is_empty() {
                self.changes.pop_front()
            } else {
                None
            };
        }
        let length = self.reads.front().filter(|_| may_read)?.line().len();
        let fits = self.sent_bytes + length <= READ_COMMAND_BYTES || self.sent.is_empty();
        if fits {
            self.reads.pop_front().map(|command| vec![command])
        } else {
            None
        }
    }

    /// The buffer to receive into; [`on_received`](Self::on_received) is called after that.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.received
    }

    /// Records that something was received.
    pub(super) fn on_received(&mut self, now: Instant) {
        self.throttle.received(now);
    }

    /// The first response is awaited from now on: it may have been long in coming, but once it has begun its line is to
    /// end within the limit.
    pub(super) fn begin_first_response(&mut self, now: Instant) {
        self.owed_since = now;
    }

    /// The first response has come: this is a Perlbal, whose lines may be long.
    pub(super) fn end_first_response(&mut self) {
        self.max_line = MAX_LINE_BYTES;
    }

    /// What was received and is not part of a response that was taken.
    pub(super) fn unread(&self) -> &[u8] {
        &self.received
    }

    /// The next response that was received whole, with its command.
    pub(super) fn next_response(
        &mut self,
        now: Instant,
    ) -> Result<Option<(Command, Response)>, SessionError> {
        while let Some(line) = self.next_line()? {
            if let Some(answered) = self.read_line(&line, now)? {
                return Ok(Some(answered));
            }
        }
        Ok(None)
    }

    /// The next whole line that was received. What is not text in it, as in the request of a client
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
        self.response_bytes += line.len();
        let line = String::from_utf8_lossy(&line);
        Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
    }

    fn read_line(
        &mut self,
        line: &str,
        now: Instant,
    ) -> Result<Option<(Command, Response)>, SessionError> {
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
            Ok(Some(response)) => {
                self.owed_since = now;
                self.throttle.answered();
                self.sent_bytes -= command.line().len();
                self.kept_bytes = 0;
                self.response_bytes = 0;
                Ok(self.sent.pop_front().map(|command| (command, response)))
            }
            Err(source) => Err(SessionError::protocol(command, source)),
        }
    }

    /// Fails when the response that is being read exceeds a limit.
    fn check_size(&self) -> Result<(), SessionError> {
        let excess = if self.response_bytes > MAX_RESPONSE_BYTES {
            format!("more than {}", ByteSize(MAX_RESPONSE_BYTES))
        } else if self.kept_bytes > MAX_KEPT_BYTES {
            format!("more than {}", ByteSize(MAX_KEPT_BYTES))
        } else if self.lines.len() > MAX_KEPT_LINES {
            format!("more than {MAX_KEPT_LINES} lines")
        } else {
            return Ok(());
        };
        Err(self.too_large(excess))
    }

    /// The error for a response, or unsolicited text, that exceeds a limit.
    fn too_large(&self, excess: String) -> SessionError {
        match self.sent.front() {
            Some(command) => SessionError::too_large(command, excess),
            None => SessionError::Unsolicited(excess),
        }
    }

    /// The oldest command that is not answered.
    pub(super) fn oldest_unanswered(&self) -> Option<&Command> {
        self.sent.front()
    }
}

/// What a command costs Perlbal, for the throttle.
fn kind(command: &Command) -> Kind {
    match command {
        Command::Reload { .. } => Kind::SlowChange,
        Command::Ping => Kind::Ping,
        command if command.is_change() => Kind::Change,
        _ => Kind::Read,
    }
}

/// A limit in bytes, in the largest unit that divides it.
struct ByteSize(usize);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            size if size % (1 << 20) == 0 => write!(f, "{} MiB", size >> 20),
            size => write!(f, "{} KiB", size >> 10),
        }
    }
}
