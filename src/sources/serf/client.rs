//! A connection to an agent, over which its members are asked for.

use std::io;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::rpc::{
    AnswerHeader, Auth, FrameError, Frames, Handshake, Member, MembersAnswer, decode, request,
};
use super::settings::SerfSettings;
use crate::awake::timeout;
use crate::model::text::quotable;
use crate::outgoing;

/// Time limit for connecting, and for each answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The version of the protocol, which has been the same from the beginning.
const VERSION: u32 = 1;

/// Maximum length of an agent's error message that is shown, in characters.
const MAX_ERROR: usize = 100;

/// Why the members are not known.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is no connection.
    #[error("cannot be reached: {}", .0.kind())]
    Connect(io::Error),
    /// The connection ended.
    #[error("closed the connection: {}", .0.kind())]
    Broken(io::Error),
    /// An answer is not complete in time.
    #[error("does not answer within {}", humantime::format_duration(TIMEOUT))]
    Timeout,
    /// The agent asks for a password, or does not accept the one it got.
    #[error("rejects the key: {0}; set `serf.auth_key` to the agent's rpc_auth")]
    Auth(String),
    /// The agent answers a request with an error.
    #[error("rejects a request: {0}")]
    Rejected(String),
    /// An answer is not understood.
    #[error("cannot be understood: {0}")]
    NotUnderstood(String),
}

/// A connection that was introduced.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    frames: Frames,
    seq: u64,
}

/// Asks once, over a connection of its own.
pub(super) async fn ask_once(settings: &SerfSettings) -> Result<Vec<Member>, ClientError> {
    Client::connect(settings).await?.members().await
}

impl Client {
    /// Connects and introduces itself.
    pub(super) async fn connect(settings: &SerfSettings) -> Result<Self, ClientError> {
        let connecting = timeout(TIMEOUT, outgoing::connect(settings.address)).await;
        let stream = connecting.map_err(|_| ClientError::Timeout)?;
        let stream = stream.map_err(ClientError::Connect)?;
        stream.set_nodelay(true).map_err(ClientError::Connect)?;
        let mut client = Self {
            stream,
            frames: Frames::default(),
            seq: 0,
        };
        let version = Handshake { version: VERSION };
        client.call("handshake", Some(&version)).await?;
        if let Some(key) = &settings.auth_key {
            let auth = Auth { auth_key: &key.0 };
            client.call("auth", Some(&auth)).await?;
        }
        Ok(client)
    }

    /// The members of the cluster, as the agent knows them.
    pub(super) async fn members(&mut self) -> Result<Vec<Member>, ClientError> {
        self.call("members", None::<&()>).await?;
        let answer: MembersAnswer = self.receive().await?;
        Ok(answer.members)
    }

    /// Sends a request, and reads the header of its answer.
    async fn call(
        &mut self,
        command: &str,
        body: Option<&impl Serialize>,
    ) -> Result<(), ClientError> {
        self.seq += 1;
        let request = request(command, self.seq, body);
        let written = timeout(TIMEOUT, self.stream.write_all(&request)).await;
        let written = written.map_err(|_| ClientError::Timeout)?;
        written.map_err(ClientError::Broken)?;
        let header: AnswerHeader = self.receive().await?;
        let error = header.error.0;
        if !error.is_empty() {
            let shown = quotable(&error, MAX_ERROR);
            return Err(if error.to_lowercase().contains("authentication") {
                ClientError::Auth(shown)
            } else {
                ClientError::Rejected(shown)
            });
        }
        if header.seq != self.seq {
            let error = "it answers another request".to_owned();
            return Err(ClientError::NotUnderstood(error));
        }
        Ok(())
    }

    /// Reads the next value.
    async fn receive<T: DeserializeOwned>(&mut self) -> Result<T, ClientError> {
        let frame = timeout(TIMEOUT, self.frame()).await;
        let frame = frame.map_err(|_| ClientError::Timeout)??;
        decode(&frame).map_err(ClientError::from)
    }

    async fn frame(&mut self) -> Result<Vec<u8>, ClientError> {
        loop {
            if let Some(frame) = self.frames.next()? {
                return Ok(frame);
            }
            let read = self.stream.read_buf(&mut self.frames.received).await;
            if read.map_err(ClientError::Broken)? == 0 {
                let error = io::ErrorKind::UnexpectedEof.into();
                return Err(ClientError::Broken(error));
            }
        }
    }
}

impl From<FrameError> for ClientError {
    fn from(error: FrameError) -> Self {
        Self::NotUnderstood(quotable(&error.to_string(), MAX_ERROR))
    }
}
