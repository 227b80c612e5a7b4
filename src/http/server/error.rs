//! Rejections: a response that gives the reason in one line, as plain text or as JSON, `{"error":"…"}`.

use std::time::Duration;

use axum::body::HttpBody;
use axum::http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::counters::RejectReason;

/// How errors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorFormat {
    /// A line of text.
    Plain,
    /// `{"error":"…"}`.
    Json,
}

impl ErrorFormat {
    fn content_type(self) -> &'static str {
        match self {
            Self::Plain => "text/plain; charset=utf-8",
            Self::Json => "application/json",
        }
    }

    fn body(self, reason: &str) -> String {
        match self {
            Self::Plain => format!("{reason}\n"),
            Self::Json => format!("{}\n", serde_json::json!({ "error": reason })),
        }
    }

    /// A response that gives the reason why there is no other.
    pub(crate) fn response(self, status: StatusCode, reason: &str) -> Response {
        let headers = [
            (CONTENT_TYPE, self.content_type()),
            // The reason may repeat a part of the request.
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (status, headers, self.body(reason)).into_response()
    }
}

/// A connection or a request that is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) reason: RejectReason,
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    /// Delay after which it may be tried again, if that helps.
    pub(crate) retry_after: Option<Duration>,
    /// Whether the connection is closed.
    pub(crate) closes: bool,
}

impl Rejection {
    /// One after which the connection is closed.
    pub(crate) fn closing(reason: RejectReason, status: StatusCode, text: String) -> Self {
        Self {
            reason,
            status,
            text,
            retry_after: None,
            closes: true,
        }
    }

    /// The response to a request.
    pub(crate) fn response(&self, format: ErrorFormat) -> Response {
        let mut response = format.response(self.status, &self.text);
        let headers = response.headers_mut();
        if let Some(delay) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds(delay).into());
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The response as bytes, for a connection on which hyper does not respond.
    pub(crate) fn bytes(&self, format: ErrorFormat) -> Vec<u8> {
        let (status, body) = (self.status, format.body(&self.text));
        let retry_after = self
            .retry_after
            .map(|delay| format!("retry-after: {}\r\n", seconds(delay)));
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {}\r\n{}connection: close\r\ncontent-length: {}\r\n\r\n",
            format.content_type(),
            retry_after.unwrap_or_default(),
            body.len()
        );
        (head + &body).into_bytes()
    }
}

/// In whole seconds, at least one.
fn seconds(time: Duration) -> u64 {
    time.as_millis()
        .div_ceil(1_000)
        .max(1)
        .try_into()
        .unwrap_or(u64::MAX)
}

/// Adds a reason to an error response that has none, such as the router's own.
pub(crate) fn with_reason(
    response: Response,
    format: ErrorFormat,
    method: &str,
    path: &str,
) -> Response {
    let status = response.status();
    let is_empty = response.body().is_end_stream() && method != "HEAD";
    if !is_empty || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (head, _) = response.into_parts();
    let allowed = head
        .headers
        .get(ALLOW)
        .and_then(|allow| allow.to_str().ok());
    let reason = match (status, allowed) {
        (StatusCode::NOT_FOUND, _) => format!("no such path: {path}"),
        (StatusCode::METHOD_NOT_ALLOWED, Some(allowed)) => {
            format!("{path} does not support {method}, only {allowed}")
        }
        _ => status
            .canonical_reason()
            .unwrap_or("rejected")
            .to_lowercase(),
    };
    let mut response = format.response(status, &reason);
    for (name, value) in &head.headers {
        if !response.headers().contains_key(name) && name != CONTENT_LENGTH {
            response.headers_mut().insert(name.clone(), value.clone());
        }
    }
    response
}
