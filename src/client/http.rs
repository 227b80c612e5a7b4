//! HTTP with the daemon, over its admin socket.

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
use super::socket::Place;
use super::{terminal, words};
use crate::api::Problem;
use crate::model::text::printable;
use crate::retry::Retry;

/// A daemon that is alive answers within milliseconds; a reload may wait for a slow disk.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// How long a daemon that has answered before may be away: a restart takes a moment.
pub(super) const AWAY: Duration = Duration::from_secs(60);

/// Maximum length of an answer, in bytes: a node is told in some 1,000, so that 200,000 nodes fit.
const LONGEST_ANSWER: usize = 256 << 20;

/// The longest line of a stream, in bytes: an event's text is a line for people.
const LONGEST_LINE: usize = 1 << 20;

/// What is said of a daemon that does not answer in time.
const MUTE: &str = "it took the request, but says nothing; its log may tell why";

/// The `key=value`s of a request.
pub(super) type Query<'a> = &'a [(&'static str, String)];

/// The way to the daemon.
pub(super) struct Door {
    client: Client,
    base: Url,
    socket: PathBuf,
    /// Where else it may be.
    elsewhere: String,
    /// Answers are printed as they are.
    pub(super) json: bool,
}

/// An answer, understood and as it came.
pub(super) struct Answer<T> {
    pub(super) value: T,
    text: String,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum AskError {
    /// Nobody is there.
    #[error("pollbal does not answer at {}: {why}", .socket.display())]
    NoAnswer { socket: PathBuf, why: String },
    /// The daemon says what is wrong with the request.
    #[error("{}", .0.error)]
    Refused(Refusal),
    /// It is there, but speaks otherwise.
    #[error(
        "what pollbal answers at {} is not understood ({what}): do the daemon and this program have the same version?",
        .socket.display()
    )]
    NotUnderstood { socket: PathBuf, what: String },
}

/// A request that was refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// Why, for people.
    pub(super) error: String,
    /// Whether the same order with `force` would be carried out.
    pub(super) can_be_forced: bool,
    /// The answer as JSON, where that was asked for.
    pub(super) json: Option<String>,
}

impl AskError {
    /// Whether the daemon answered, and does not do it.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(refusal) if !refusal.status.is_server_error())
    }

    /// Whether this very request may be in order when the daemon is there again.
    pub(super) fn is_away(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Refused(refusal) => refusal.status.is_server_error(),
            Self::NotUnderstood { .. } => false,
        }
    }

    /// Whether `min_members` is in the way, an order of somebody else, or another state that may pass.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == StatusCode::CONFLICT)
    }
}

impl<T> Answer<T> {
    /// The answer as it came, as [`laid_out`].
    pub(super) fn pretty(&self) -> String {
        laid_out(&self.text)
    }

    /// The answer as it came, in one line.
    pub(super) fn compact(&self) -> String {
        let mut out = Vec::new();
        rewrite(&self.text, &mut serde_json::Serializer::new(&mut out));
        closed(out)
    }
}

/// JSON as it is, in the line that it came in; laid out for people where they look, on a terminal. To
/// lay out thousands of nodes takes longer than to ask for them.
pub(super) fn laid_out(json: &str) -> String {
    if !terminal::is_attended() {
        return json.trim_end().to_owned() + "\n";
    }
    let mut out = Vec::new();
    rewrite(json, &mut serde_json::Serializer::pretty(&mut out));
    closed(out)
}

/// Writes JSON anew, with every key in its place.
fn rewrite<F>(text: &str, out: &mut serde_json::Serializer<&mut Vec<u8>, F>)
where
    F: serde_json::ser::Formatter,
{
    // It was read as JSON before.
    _ = serde_transcode::transcode(&mut serde_json::Deserializer::from_str(text), out);
}

fn closed(mut json: Vec<u8>) -> String {
    json.push(b'\n');
    String::from_utf8_lossy(&json).into_owned()
}

impl Door {
    pub(super) fn new(place: Place, json: bool) -> Result<Self, AskError> {
        let Place {
            socket, elsewhere, ..
        } = place;
        let client = Client::builder()
            .unix_socket(socket.as_path())
            .no_proxy()
            .redirect(Policy::none())
            .build();
        // Whatever the host is called, the socket is where it goes.
        match (client, Url::parse("http://pollbal")) {
            (Ok(client), Ok(base)) => Ok(Self {
                client,
                base,
                socket,
                elsewhere,
                json,
            }),
            (Err(error), _) => Err(AskError::NoAnswer {
                why: words::cause(&error),
                socket,
            }),
            (_, Err(error)) => Err(AskError::NoAnswer {
                socket,
                why: error.to_string(),
            }),
        }
    }

    /// Asks for something, and gives up after `limit`.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: Query<'_>,
        limit: Duration,
    ) -> Result<Answer<T>, AskError> {
        self.understand(self.request(Method::GET, path, query).timeout(limit))
            .await
    }

    /// Orders something.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        order: &impl Serialize,
    ) -> Result<Answer<T>, AskError> {
        let request = self.request(Method::POST, path, &[]).json(order);
        self.understand(request.timeout(ANSWER)).await
    }

    /// Asks for lines that come for as long as the daemon lives.
    pub(super) async fn follow(&self, path: &str, query: Query<'_>) -> Result<Lines, AskError> {
        let answer = self.send(self.request(Method::GET, path, query));
        let Ok(answer) = tokio::time::timeout(ANSWER, answer).await else {
            return Err(AskError::NoAnswer {
                socket: self.socket.clone(),
                why: MUTE.to_owned(),
            });
        };
        let response = answer?;
        Ok(Lines {
            response,
            socket: self.socket.clone(),
            codec: LinesCodec::new_with_max_length(LONGEST_LINE),
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

    /// Sends it, and gives the answer when it is no refusal.
    async fn send(&self, request: RequestBuilder) -> Result<Response, AskError> {
        let response = request.send().await;
        let response = response.map_err(|error| self.no_answer(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = self.text(response).await?;
        let problem = serde_json::from_str::<Problem>(&text);
        let problem = problem.map_err(|_| self.not_understood(&format!("{status}: {text}")))?;
        let refused = Answer {
            value: problem,
            text,
        };
        Err(AskError::Refused(Refusal {
            status,
            json: self.json.then(|| refused.pretty()),
            error: refused.value.error,
            can_be_forced: refused.value.can_be_forced,
        }))
    }

    async fn understand<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<Answer<T>, AskError> {
        let text = self.text(self.send(request).await?).await?;
        let value =
            serde_json::from_str(&text).map_err(|error| self.not_understood(&error.to_string()))?;
        Ok(Answer { value, text })
    }

    async fn text(&self, response: Response) -> Result<String, AskError> {
        let text = bounded::text(response, LONGEST_ANSWER).await;
        text.map_err(|error| match error {
            TextError::Http(error) => self.no_answer(&error),
            TextError::TooLong(_) => {
                self.not_understood(&format!("its answer is longer than {LONGEST_ANSWER} bytes"))
            }
        })
    }

    fn no_answer(&self, error: &reqwest::Error) -> AskError {
        AskError::NoAnswer {
            socket: self.socket.clone(),
            why: self.reason(error),
        }
    }

    /// Why nobody answered, and what to do.
    fn reason(&self, error: &reqwest::Error) -> String {
        if error.is_timeout() {
            return MUTE.to_owned();
        }
        let text = words::cause(error);
        match io_error(error).map(io::Error::kind) {
            Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                format!("{text}; is it running? If so: {}", self.elsewhere)
            }
            Some(io::ErrorKind::PermissionDenied) => format!(
                "{text}; become a member of {} (`adduser NAME GROUP`, then log in anew), or ask as root",
                owner(&self.socket)
            ),
            _ => text,
        }
    }

    fn not_understood(&self, what: &str) -> AskError {
        not_understood(&self.socket, what)
    }
}

fn not_understood(socket: &Path, what: &str) -> AskError {
    /// Enough to see what it is.
    const SHOWN: usize = 200;
    let what: String = what.chars().take(SHOWN).collect();
    AskError::NotUnderstood {
        socket: socket.to_owned(),
        what: printable(what.trim()),
    }
}

/// Asks again for as long as the daemon is away, but no longer than `limit`.
pub(super) async fn persist<T>(
    limit: Duration,
    ask: impl AsyncFn() -> Result<T, AskError>,
) -> Result<T, AskError> {
    let start = Instant::now();
    let mut retry = Retry::new();
    loop {
        match ask().await {
            Err(error) if error.is_away() && start.elapsed() < limit => {
                tokio::time::sleep(retry.next_wait()).await;
            }
            other => return other,
        }
    }
}

/// An answer that goes on, line by line.
pub(super) struct Lines {
    response: Response,
    socket: PathBuf,
    codec: LinesCodec,
    read: BytesMut,
}

impl Lines {
    /// The next line; it ends with the daemon only.
    pub(super) async fn next(&mut self) -> Result<String, AskError> {
        loop {
            match self.codec.decode(&mut self.read) {
                Ok(Some(line)) => return Ok(line),
                Ok(None) => {}
                Err(error) => return Err(self.not_understood(&error.to_string())),
            }
            // It goes on for as long as the daemon lives, and says no word when it ends.
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.read.extend_from_slice(&bytes),
                Ok(None) | Err(_) => {
                    return Err(AskError::NoAnswer {
                        socket: self.socket.clone(),
                        why: "it has ended".to_owned(),
                    });
                }
            }
        }
    }

    pub(super) fn not_understood(&self, what: &str) -> AskError {
        not_understood(&self.socket, what)
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

/// The group that may use the socket; of its directory where that may not be looked into.
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
