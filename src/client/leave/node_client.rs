//! HTTP client for the node listeners of load balancers.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};

use super::super::bounded::{self, TextError};
use super::super::format::cause;
use crate::api::{LeaveAnswer, NODE_HEADER};
use crate::model::text::shortened;

/// Maximum time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum time for a response, in addition to the time for which it is delayed.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum length of a response, in bytes. A response is one line; error pages of other servers may have some thousand
/// bytes, and their beginning is shown.
const MAX_RESPONSE_BYTES: usize = 64 << 10;

/// Maximum number of characters shown of an unexpected response.
const MAX_CHARS: usize = 1_000;

/// Sends requests on behalf of this node.
pub(super) struct NodeClient {
    client: Client,
    /// The node's port, if several nodes share this machine's address.
    port: Option<NonZeroU16>,
}

/// The result of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Answer(LeaveAnswer, String),
    /// The request was rejected; repeating it is useless.
    Rejected(String),
    /// The load balancer is overloaded or shutting down.
    Busy(String),
    /// No response. If the load balancer was `reached`, it may have processed the request.
    NoResponse {
        why: String,
        reached: bool,
    },
}

impl NodeClient {
    /// A client that sends from this address, for the node with this port.
    pub(super) fn new(from: Option<IpAddr>, port: Option<NonZeroU16>) -> Result<Self, String> {
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .local_address(from)
            .build();
        let client = client.map_err(|error| why(&error))?;
        Ok(Self { client, port })
    }

    /// Requests to leave, or for the progress of that; the response is delayed until it changes, for at most
    /// `long_poll`.
    pub(super) async fn leave(&self, url: &Url, long_poll: Duration) -> Reply {
        let request = self.request(
            Method::POST,
            url,
            (!long_poll.is_zero()).then_some(long_poll),
        );
        let response = request.timeout(long_poll + RESPONSE_TIMEOUT).send().await;
        let response = match response {
            Ok(response) => response,
            Err(error) => return no_response(&error),
        };
        let status = response.status();
        match bounded::text(response, MAX_RESPONSE_BYTES).await {
            Ok(text) => parse(status, &text),
            Err(TextError::Http(error)) => no_response(&error),
            Err(TextError::TooLong(text)) => too_long(status, &text),
        }
    }

    /// Ends the leave: the node stays, or is back.
    pub(super) async fn end_leave(&self, url: &Url) -> Reply {
        let request = self.request(Method::DELETE, url, None);
        match request.timeout(RESPONSE_TIMEOUT).send().await {
            Ok(response) if response.status().is_success() => {
                Reply::Answer(LeaveAnswer::TakenBack, String::new())
            }
            Ok(response) if is_busy(response.status()) => {
                Reply::Busy(response.status().to_string())
            }
            Ok(response) => Reply::Rejected(response.status().to_string()),
            Err(error) => no_response(&error),
        }
    }

    /// The URL of a load balancer's `/leave`.
    pub(super) fn leave_url(&self, url: &Url) -> Url {
        let mut url = url.clone();
        url.set_path(&format!("{}/leave", url.path().trim_end_matches('/')));
        if let Some(port) = self.port {
            url.query_pairs_mut().append_pair("port", &port.to_string());
        }
        url
    }

    fn request(&self, method: Method, url: &Url, long_poll: Option<Duration>) -> RequestBuilder {
        let mut url = self.leave_url(url);
        if let Some(long_poll) = long_poll {
            let seconds = long_poll.as_secs_f64().ceil();
            url.query_pairs_mut()
                .append_pair("wait", &format!("{seconds}s"));
        }
        self.client.request(method, url).header(NODE_HEADER, "true")
    }
}

/// Whether the request may succeed later: server errors and rate limits.
fn is_busy(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// Parses a response, a line with a keyword: `wait <why>`, `granted <why>` or `gone`.
fn parse(status: StatusCode, text: &str) -> Reply {
    let line = &shortened(first_line(text), MAX_CHARS);
    let (keyword, why) = line.split_once(' ').unwrap_or((line, ""));
    let answer = match keyword {
        "wait" => Some(LeaveAnswer::Wait),
        "granted" => Some(LeaveAnswer::Granted),
        "gone" => Some(LeaveAnswer::Gone),
        _ => None,
    };
    match answer {
        Some(answer) if status.is_success() || status == StatusCode::CONFLICT => {
            Reply::Answer(answer, why.to_owned())
        }
        _ if is_busy(status) => Reply::Busy(format!("{status}: {line}")),
        _ if status.is_success() => Reply::Rejected(format!("unexpected response: \"{line}\"")),
        _ => Reply::Rejected(format!("{status}: {line}")),
    }
}

/// A response that is longer than any of pollbal's, so from something else.
fn too_long(status: StatusCode, text: &str) -> Reply {
    let line = shortened(first_line(text), MAX_CHARS / 5);
    let why =
        format!("{status}: longer than {MAX_RESPONSE_BYTES} bytes, so not from pollbal: {line}");
    if is_busy(status) {
        Reply::Busy(why)
    } else {
        Reply::Rejected(why)
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim()
}

fn no_response(error: &reqwest::Error) -> Reply {
    Reply::NoResponse {
        why: why(error),
        reached: !error.is_connect(),
    }
}

fn why(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "no response in time".to_owned()
    } else {
        cause(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_keywords_are_parsed_and_anything_else_is_shown() {
        let ok = StatusCode::OK;
        let wait = Reply::Answer(LeaveAnswer::Wait, "pool api needs it".to_owned());
        assert_eq!(parse(ok, "wait pool api needs it\n"), wait);
        let granted = Reply::Answer(LeaveAnswer::Granted, String::new());
        assert_eq!(parse(ok, "granted\n"), granted);
        let why = "no connection to Perlbal 127.0.0.1:16000";
        let granted = Reply::Answer(LeaveAnswer::Granted, why.to_owned());
        assert_eq!(parse(ok, &format!("granted {why}\n")), granted);
        assert_eq!(parse(StatusCode::CONFLICT, "wait pool api needs it"), wait);
        let gone = Reply::Answer(LeaveAnswer::Gone, String::new());
        assert_eq!(parse(ok, "gone"), gone);
        for (status, text) in [(ok, "<html>"), (StatusCode::FORBIDDEN, "not a node")] {
            assert!(matches!(parse(status, text), Reply::Rejected(_)));
        }
        for status in [
            StatusCode::BAD_GATEWAY,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ] {
            assert!(matches!(parse(status, "x"), Reply::Busy(_)));
        }
    }
}
