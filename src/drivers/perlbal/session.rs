//! The socket: one connection to one Perlbal's management port. What is sent and received on it is the
//! [`Pipeline`]'s.

use std::io;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_tcp_quickack;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::error::SessionError;
use super::pipeline::Pipeline;
use super::protocol::{Command, ProtocolError, Response};
use crate::awake::{timeout, timeout_at};

/// A connection over which Perlbal has answered, and what is on its way there.
pub(super) struct Session {
    pub(super) socket: Socket,
    pub(super) pipeline: Pipeline,
}

/// One connection's socket.
pub(super) struct Socket {
    stream: TcpStream,
    /// The exchange timeout: time limit for each response, and for each write.
    timeout: Duration,
}

impl Session {
    /// Sends a first command on a new connection and waits for its response, without a time limit: the caller has its
    /// own. From then on each response must come within `limit`, the exchange timeout.
    pub(super) async fn open(stream: TcpStream, limit: Duration) -> Result<Self, SessionError> {
        stream.set_nodelay(true).map_err(SessionError::Connect)?;
        let mut session = Self {
            socket: Socket {
                stream,
                timeout: limit,
            },
            pipeline: Pipeline::new(Instant::now()),
        };
        session.pipeline.queue_reads([Command::Ping]);
        session.flush().await?;
        match session.first_response().await {
            // An error too is the response of a Perlbal, of a version that does not know the command.
            Ok(_) => {}
            Err(SessionError::Protocol { source, .. }) => {
                return Err(SessionError::NotPerlbal {
                    received: source.line,
                });
            }
            Err(SessionError::TooLarge { .. } | SessionError::Timeout { .. }) => {
                return Err(session.not_perlbal());
            }
            Err(SessionError::Closed | SessionError::Broken(_))
                if !session.pipeline.unread().is_empty() =>
            {
                return Err(session.not_perlbal());
            }
            Err(other) => return Err(other),
        }
        session.pipeline.end_first_response();
        Ok(session)
    }

    async fn first_response(&mut self) -> Result<(Command, Response), SessionError> {
        let readable = self.socket.stream.readable().await;
        readable.map_err(SessionError::Broken)?;
        self.pipeline.begin_first_response(Instant::now());
        self.response().await
    }

    /// What was received in place of a first response is none.
    fn not_perlbal(&self) -> SessionError {
        let received = String::from_utf8_lossy(self.pipeline.unread());
        let received = ProtocolError::new(received.trim_end()).line;
        SessionError::NotPerlbal { received }
    }

    /// Sends what Perlbal would read in one piece, reads included, whatever the throttle says.
    pub(super) async fn flush(&mut self) -> Result<(), SessionError> {
        while let Some(batch) = self.pipeline.next_batch(true, Instant::now()) {
            self.socket.write(&batch).await?;
        }
        Ok(())
    }

    /// Waits for the next response. May be dropped at any time.
    pub(super) async fn response(&mut self) -> Result<(Command, Response), SessionError> {
        self.socket.response(&mut self.pipeline).await
    }
}

impl Socket {
    /// Writes a batch in one piece. Not to be dropped half-way.
    pub(super) async fn write(&mut self, batch: &str) -> Result<(), SessionError> {
        self.acknowledge_quickly()?;
        timeout(self.timeout, self.stream.write_all(batch.as_bytes()))
            .await
            .map_err(|_| SessionError::Stuck(self.timeout))?
            .map_err(SessionError::Broken)
    }

    /// Waits for the next response to what the pipeline has sent. May be dropped at any time.
    pub(super) async fn response(
        &mut self,
        pipeline: &mut Pipeline,
    ) -> Result<(Command, Response), SessionError> {
        loop {
            if let Some(answered) = pipeline.next_response(Instant::now())? {
                return Ok(answered);
            }
            self.receive(pipeline).await?;
        }
    }

    /// Receives more of the responses that are due; fails once the exchange timeout of the oldest one has passed.
    async fn receive(&mut self, pipeline: &mut Pipeline) -> Result<(), SessionError> {
        loop {
            self.acknowledge_quickly()?;
            match pipeline.owed_since() {
                None => self.stream.readable().await,
                Some(since) => {
                    let deadline = since + self.timeout;
                    let readable = timeout_at(deadline.into(), self.stream.readable()).await;
                    readable.map_err(|_| self.overdue(pipeline))?
                }
            }
            .map_err(SessionError::Broken)?;
            match self.stream.try_read_buf(pipeline.buffer()) {
                Ok(0) => return Err(SessionError::Closed),
                Ok(_) => {
                    pipeline.on_received(Instant::now());
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(SessionError::Broken(error)),
            }
        }
    }

    /// The oldest response did not come in time.
    fn overdue(&self, pipeline: &Pipeline) -> SessionError {
        let command = pipeline.oldest_unanswered().map(Command::to_string);
        SessionError::Timeout {
            command: command.unwrap_or_default(),
            limit: self.timeout,
        }
    }

    /// Perlbal writes each line by itself and waits for our acknowledgement before the next; the
    /// kernel resets this option after a while, so it is set at each write and read.
    fn acknowledge_quickly(&self) -> Result<(), SessionError> {
        set_tcp_quickack(&self.stream, true).map_err(|error| SessionError::Broken(error.into()))
    }
}
