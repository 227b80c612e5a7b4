//! HTTP client for the daemon's admin socket.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Decoder, LinesCodec};

use super::bounded::{self, TextError};
use super::socket::SocketPath;
use super::{format, terminal};
use crate::api::Problem;
use crate::model::text::printable;
use crate::retry::Retry;

/// Maximum time for a response. A healthy daemon responds within milliseconds, but a reload may wait for a slow disk.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time to wait for a daemon that has responded before: it may be restarting.
pub(super) const MAX_AWAY: Duration = Duration::from_secs(60);

/// Maximum length of a response, in bytes: enough for 200,000 nodes of about 1,000 bytes each.
const MAX_RESPONSE_BYTES: usize = 256 << 20;

/// Maximum length of a line of a stream, in bytes.
const MAX_LINE_BYTES: usize = 1 << 20;

/// Reason for the error when the daemon does not respond in time.
const TIMED_OUT: &str = "timed out; its log may say why";

/// The query parameters of a request.
pub(super) type Query<'a> = &'a [(&'static str, String)];

/// Sends requests to the daemon.
pub(super) struct AdminClient {
    client: Client,
    base: Url,
    socket: PathBuf,
    /// Appended to connection errors: where else the socket may be.
    socket_hint: String,
    /// Commands print responses as JSON, unchanged.
    pub(super) json: bool,
}

/// A response: its value, and its text as it was received.
pub(super) struct ApiResponse<T> {
    pub(super) value: T,
    text: String,
}

/// Why a request failed.
#[derive(Debug, Error)]
pub(super) enum ClientError {
    /// The daemon cannot be reached.
    #[error("cannot connect to pollbal at {}: {why}", .socket.display())]
    Unreachable { socket: PathBuf, why: String },
    /// The daemon does not respond, or no longer.
    #[error("no response from pollbal at {}: {why}", .socket.display())]
    NoResponse { socket: PathBuf, why: String },
    /// The daemon rejected the request.
    #[error("{}", .0.error)]
    Rejected(ApiError),
    /// Something responds, but not as this version of pollbal does.
    #[error(
        "unexpected response at {} ({what}): do the daemon and this program have the same version?",
        .socket.display()
    )]
    InvalidResponse { socket: PathBuf, what: String },
}

/// An error response.
#[derive(Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    /// The error, for people.
    pub(super) error: String,
    /// Whether the same request with `force` would be applied.
    pub(super) can_be_forced: bool,
    /// The response as JSON, if `--json` was given.
    pub(super) json: Option<String>,
}

impl ClientError {
    /// Whether the daemon responded and will not do it.
    pub(super) fn is_rejection(&self) -> bool {
        matches!(self, Self::Rejected(error) if !error.status.is_server_error())
    }

    /// Whether the same request may succeed once the daemon is back.
    pub(super) fn is_away(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NoResponse { .. } => true,
            Self::Rejected(error) => error.status.is_server_error(),
            Self::InvalidResponse { .. } => false,
        }
    }

    /// Whether it conflicts with the current state, which may change: `min_members`, somebody else's reason.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Rejected(error) if error.status == StatusCode::CONFLICT)
    }
}

impl<T> ApiResponse<T> {
    /// The response as JSON, formatted by [`indent_on_terminal`].
    pub(super) fn json(&self) -> String {
        indent_on_terminal(&self.text)
    }

    /// The response as JSON in one line.
    pub(super) fn json_line(&self) -> String {
        let mut out = Vec::new();
        transcode(&self.text, &mut serde_json::Serializer::new(&mut out));
        with_newline(out)
    }
}

/// JSON, indented if standard output is a terminal, else unchanged: indenting thousands of nodes takes longer than
/// requesting them.
pub(super) fn indent_on_terminal(json: &str) -> String {
    if !terminal::is_attended() {
        return json.trim_end().to_owned() + "\n";
    }
    let mut out = Vec::new();
    transcode(json, &mut serde_json::Serializer::pretty(&mut out));
    with_newline(out)
}

/// Serializes JSON again, keeping the order of its keys.
fn transcode<F>(text: &str, out: &mut serde_json::Serializer<&mut Vec<u8>, F>)
where
    F: serde_json::ser::Formatter,
{
    // Cannot fail: the text was parsed before.
    _ = serde_transcode::transcode(&mut serde_json::Deserializer::from_str(text), out);
}

fn with_newline(mut json: Vec<u8>) -> String {
    json.push(b'\n');
    String::from_utf8_lossy(&json).into_owned()
}

impl AdminClient {
    pub(super) fn new(path: SocketPath, json: bool) -> Result<Self, ClientError> {
        let SocketPath { socket, hint, .. } = path;
        let client = Client::builder()
            .unix_socket(socket.as_path())
            .no_proxy()
            .redirect(Policy::none())
            .build();
        // The host name does not matter: every request goes to the socket.
        match (client, Url::parse("http://pollbal")) {
            (Ok(client), Ok(base)) => Ok(Self {
                client,
                base,
                socket,
                socket_hint: hint,
                json,
            }),
            (Err(error), _) => Err(ClientError::Unreachable {
                why: format::cause(&error),
                socket,
            }),
            (_, Err(error)) => Err(ClientError::Unreachable {
                socket,
                why: error.to_string(),
            }),
        }
    }

    /// Sends a GET request that times out after `limit`.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: Query<'_>,
        limit: Duration,
    ) -> Result<ApiResponse<T>, ClientError> {
        self.send_and_parse(self.request(Method::GET, path, query).timeout(limit))
            .await
    }

    /// Sends a POST request.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<ApiResponse<T>, ClientError> {
        let request = self.request(Method::POST, path, &[]).json(body);
        self.send_and_parse(request.timeout(RESPONSE_TIMEOUT)).await
    }

    /// Requests a stream of lines that ends only with the daemon.
    pub(super) async fn follow(&self, path: &str, query: Query<'_>) -> Result<Lines, ClientError> {
        let response = self.send(self.request(Method::GET, path, query));
        let Ok(response) = tokio::time::timeout(RESPONSE_TIMEOUT, response).await else {
            return Err(ClientError::NoResponse {
                socket: self.socket.clone(),
                why: TIMED_OUT.to_owned(),
            });
        };
        Ok(Lines {
            response: response?,
            socket: self.socket.clone(),
            codec: LinesCodec::new_with_max_length(MAX_LINE_BYTES),
            read: BytesMut::new(),
        })
    }

    fn request(&self, method: Method, path: &str, query: Query<'_>) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.client.request(method, url)
    }

    /// Sends a request; an error response is an error.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await;
        let response = response.map_err(|error| self.no_response(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = self.text(response).await?;
        let problem = serde_json::from_str::<Problem>(&text);
        let problem = problem.map_err(|_| self.invalid_response(&format!("{status}: {text}")))?;
        let rejected = ApiResponse {
            value: problem,
            text,
        };
        Err(ClientError::Rejected(ApiError {
            status,
            json: self.json.then(|| rejected.json()),
            error: rejected.value.error,
            can_be_forced: rejected.value.can_be_forced,
        }))
    }

    async fn send_and_parse<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<ApiResponse<T>, ClientError> {
        let text = self.text(self.send(request).await?).await?;
        let value = serde_json::from_str(&text)
            .map_err(|error| self.invalid_response(&error.to_string()))?;
        Ok(ApiResponse { value, text })
    }

    async fn text(&self, response: Response) -> Result<String, ClientError> {
        let text = bounded::text(response, MAX_RESPONSE_BYTES).await;
        text.map_err(|error| match error {
            TextError::Http(error) => self.no_response(&error),
            TextError::TooLong(_) => self.invalid_response(&format!(
                "the response is longer than {MAX_RESPONSE_BYTES} bytes"
            )),
        })
    }

    fn no_response(&self, error: &reqwest::Error) -> ClientError {
        let socket = self.socket.clone();
        let why = self.reason(error);
        if error.is_connect() {
            ClientError::Unreachable { socket, why }
        } else {
            ClientError::NoResponse { socket, why }
        }
    }

    /// Why there was no response, and what to do about it.
    fn reason(&self, error: &reqwest::Error) -> String {
        if error.is_timeout() {
            return TIMED_OUT.to_owned();
        }
        let text = format::cause(error);
        match io_error(error).map(io::Error::kind) {
            Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                format!(
                    "{text}. Is it running? (systemctl status pollbal) {}",
                    self.socket_hint
                )
            }
            Some(io::ErrorKind::PermissionDenied) => format!(
                "{text}. Run this as root, or join {} (`adduser NAME GROUP`, then log in again)",
                owner(&self.socket)
            ),
            _ => text,
        }
    }

    fn invalid_response(&self, what: &str) -> ClientError {
        invalid_response(&self.socket, what)
    }
}

fn invalid_response(socket: &Path, what: &str) -> ClientError {
    /// Maximum number of characters shown, enough to recognize what responded.
    const MAX_CHARS: usize = 200;
    let what: String = what.chars().take(MAX_CHARS).collect();
    ClientError::InvalidResponse {
        socket: socket.to_owned(),
        what: printable(what.trim()),
    }
}

/// Retries a request while the daemon is away, for at most `limit`.
pub(super) async fn retry_while_away<T>(
    limit: Duration,
    send: impl AsyncFn() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let start = Instant::now();
    let mut retry = Retry::new();
    loop {
        match send().await {
            Err(error) if error.is_away() && start.elapsed() < limit => {
                tokio::time::sleep(retry.next_wait()).await;
            }
            other => return other,
        }
    }
}

/// A streamed response, line by line.
pub(super) struct Lines {
    response: Response,
    socket: PathBuf,
    codec: LinesCodec,
    read: BytesMut,
}

impl Lines {
    /// The next line; the end of the stream is an error.
    pub(super) async fn next(&mut self) -> Result<String, ClientError> {
        loop {
            match self.codec.decode(&mut self.read) {
                Ok(Some(line)) => return Ok(line),
                Ok(None) => {}
                Err(error) => return Err(self.invalid_response(&error.to_string())),
            }
            // The stream is as long as the daemon's life, and the daemon does not terminate it when it exits.
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.read.extend_from_slice(&bytes),
                Ok(None) | Err(_) => {
                    return Err(ClientError::NoResponse {
                        socket: self.socket.clone(),
                        why: "the daemon has exited".to_owned(),
                    });
                }
            }
        }
    }

    pub(super) fn invalid_response(&self, what: &str) -> ClientError {
        invalid_response(&self.socket, what)
    }
}

fn io_error(error: &reqwest::Error) -> Option<&io::Error> {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref() {
            return Some(cause);
        }
        source = cause.source();
    }
    None
}

/// The group that may use the socket, or that owns its directory if that is not accessible.
fn owner(socket: &Path) -> String {
    let metadata = fs::metadata(socket).or_else(|_| {
        let directory = socket.parent().unwrap_or(socket);
        fs::metadata(directory)
    });
    let Ok(metadata) = metadata else {
        return "the group that owns it".to_owned();
    };
    let number = metadata.gid().to_string();
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    // `name:password:number:members`
    let name = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then_some(name)
    });
    format!("its group, `{}`", name.unwrap_or(&number))
}
