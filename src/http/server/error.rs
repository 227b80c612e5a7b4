//! What is said to those who are refused: one line that says why. At the admin door and below `/v1`
//! it is JSON, `{"error":"…"}`, elsewhere plain text.

use std::time::Duration;

use axum::body::HttpBody;
use axum::http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::http::Door;
use crate::http::server::counters::Refusal;

/// How errors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A line.
    Plain,
    /// `{"error":"…"}`.
    Json,
}

impl Form {
    /// The door's, for what is asked at `path`.
    pub(crate) fn of(door: Door, path: &str) -> Self {
        match door {
            Door::Admin => Self::Json,
            Door::Status if path == "/v1" || path.starts_with("/v1/") => Self::Json,
            Door::Status | Door::Node => Self::Plain,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; charset=utf-8",
            Self::Json => "application/json",
        }
    }

    fn text(self, reason: &str) -> String {
        match self {
            Self::Plain => format!("{reason}\n"),
            Self::Json => format!("{}\n", serde_json::json!({ "error": reason })),
        }
    }

    /// An answer that says why there is no other.
    pub(crate) fn error(self, status: StatusCode, reason: &str) -> Response {
        let headers = [
            (CONTENT_TYPE, self.content_type()),
            // The reason may repeat what was asked for.
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (status, headers, self.text(reason)).into_response()
    }
}

/// Why a connection or a request is refused, and what is said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    pub(crate) status: StatusCode,
    pub(crate) reason: String,
    /// When it may be tried again, if that helps.
    pub(crate) retry_after: Option<Duration>,
    /// Whether no more is taken on this connection.
    pub(crate) closes: bool,
}

impl Refused {
    /// Nothing more is taken on the connection.
    pub(crate) fn closing(refusal: Refusal, status: StatusCode, reason: String) -> Self {
        Self {
            refusal,
            status,
            reason,
            retry_after: None,
            closes: true,
        }
    }

    /// As an answer to a request.
    pub(crate) fn answer(&self, form: Form) -> Response {
        let mut response = form.error(self.status, &self.reason);
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds(wait).into());
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// As the bytes of an answer, for a connection of which nothing was read.
    pub(crate) fn bytes(&self, form: Form) -> Vec<u8> {
        let (status, text) = (self.status, form.text(&self.reason));
        let retry = self
            .retry_after
            .map(|wait| format!("retry-after: {}\r\n", seconds(wait)));
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {}\r\n{}connection: close\r\ncontent-length: {}\r\n\r\n",
            form.content_type(),
            retry.unwrap_or_default(),
            text.len()
        );
        (head + &text).into_bytes()
    }
}

/// Whole seconds, at least one.
fn seconds(time: Duration) -> u64 {
    time.as_millis()
        .div_ceil(1_000)
        .max(1)
        .try_into()
        .unwrap_or(u64::MAX)
}

/// Gives a reason to an error that has none, such as those of a router that knows no handler.
pub(crate) fn with_reason(response: Response, form: Form, method: &str, path: &str) -> Response {
    let status = response.status();
    let silent = response.body().is_end_stream() && method != "HEAD";
    if !silent || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (head, _) = response.into_parts();
    let allowed = head
        .headers
        .get(ALLOW)
        .and_then(|allow| allow.to_str().ok());
    let reason = match (status, allowed) {
        (StatusCode::NOT_FOUND, _) => format!("there is no {path} here"),
        (StatusCode::METHOD_NOT_ALLOWED, Some(allowed)) => {
            format!("{path} is not for {method}, but for {allowed}")
        }
        _ => status
            .canonical_reason()
            .unwrap_or("refused")
            .to_lowercase(),
    };
    let mut answer = form.error(status, &reason);
    for (name, value) in &head.headers {
        if !answer.headers().contains_key(name) && name != CONTENT_LENGTH {
            answer.headers_mut().insert(name.clone(), value.clone());
        }
    }
    answer
}
