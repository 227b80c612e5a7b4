//! What a node says to the node door of a load balancer's pollbal, and hears.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};

use super::super::bounded::{self, TextError};
use super::super::words::cause;
use crate::api::{LeaveAnswer, NODE_HEADER};
use crate::model::text::shortened;

/// Who does not take a connection for so long is dead.
const CONNECT: Duration = Duration::from_secs(3);

/// Who does not answer for so long, after having held the answer, is dead.
const ANSWER: Duration = Duration::from_secs(5);

/// Maximum length of an answer, in bytes. It is a line; an error page of something else may be some
/// thousand, and its beginning is told.
const LONGEST_ANSWER: usize = 64 << 10;

/// Maximum number of characters of an answer that is not understood that are told.
const SHOWN: usize = 1_000;

/// The load balancers, as this node speaks to them.
pub(super) struct Balancers {
    client: Client,
    /// The node's port, where its address alone does not say which node it is.
    port: Option<NonZeroU16>,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Answer(LeaveAnswer, String),
    /// It will not do, however often it is asked.
    Refused(String),
    /// It is there, but has too much to do, or is about to end.
    Busy(String),
    /// It is dead, for now; perhaps after it has done what it was asked for.
    Nothing {
        why: String,
        reached: bool,
    },
}

impl Balancers {
    /// Speaks from this address, and for the node of this port.
    pub(super) fn new(from: Option<Ipv4Addr>, port: Option<NonZeroU16>) -> Result<Self, String> {
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            .local_address(from.map(IpAddr::from))
            .build();
        let client = client.map_err(|error| why(&error))?;
        Ok(Self { client, port })
    }

    /// Asks to leave, or how far it is; the answer is held until it changes, or for `hold`.
    pub(super) async fn leave(&self, url: &Url, hold: Duration) -> Said {
        let request = self.request(Method::POST, url, (!hold.is_zero()).then_some(hold));
        let answer = request.timeout(hold + ANSWER).send().await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return nothing(&error),
        };
        let status = answer.status();
        match bounded::text(answer, LONGEST_ANSWER).await {
            Ok(text) => understand(status, &text),
            Err(TextError::Http(error)) => nothing(&error),
            Err(TextError::TooLong(text)) => too_long(status, &text),
        }
    }

    /// Ends the leave: says that the node stays, or is back.
    pub(super) async fn stay(&self, url: &Url) -> Said {
        let request = self.request(Method::DELETE, url, None);
        match request.timeout(ANSWER).send().await {
            Ok(answer) if answer.status().is_success() => {
                Said::Answer(LeaveAnswer::TakenBack, String::new())
            }
            Ok(answer) if is_busy(answer.status()) => Said::Busy(answer.status().to_string()),
            Ok(answer) => Said::Refused(answer.status().to_string()),
            Err(error) => nothing(&error),
        }
    }

    /// Where one of them is asked and told.
    pub(super) fn door(&self, url: &Url) -> Url {
        let mut url = url.clone();
        url.set_path(&format!("{}/leave", url.path().trim_end_matches('/')));
        if let Some(port) = self.port {
            url.query_pairs_mut().append_pair("port", &port.to_string());
        }
        url
    }

    fn request(&self, method: Method, url: &Url, hold: Option<Duration>) -> RequestBuilder {
        let mut url = self.door(url);
        if let Some(hold) = hold {
            let seconds = hold.as_secs_f64().ceil();
            url.query_pairs_mut()
                .append_pair("wait", &format!("{seconds}s"));
        }
        self.client.request(method, url).header(NODE_HEADER, "true")
    }
}

/// Whether it is a matter of time; too many requests are one, too.
fn is_busy(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// One line, whose first word counts: `wait <why>`, `granted <why>` or `gone`.
fn understand(status: StatusCode, text: &str) -> Said {
    let line = &shortened(first_line(text), SHOWN);
    let (word, why) = line.split_once(' ').unwrap_or((line, ""));
    let answer = match word {
        "wait" => Some(LeaveAnswer::Wait),
        "granted" => Some(LeaveAnswer::Granted),
        "gone" => Some(LeaveAnswer::Gone),
        _ => None,
    };
    match answer {
        Some(answer) if status.is_success() || status == StatusCode::CONFLICT => {
            Said::Answer(answer, why.to_owned())
        }
        _ if is_busy(status) => Said::Busy(format!("{status}: {line}")),
        _ if status.is_success() => {
            Said::Refused(format!("it does not know how to leave: \"{line}\""))
        }
        _ => Said::Refused(format!("{status}: {line}")),
    }
}

/// What is longer than any answer of a pollbal comes from something else.
fn too_long(status: StatusCode, text: &str) -> Said {
    let line = shortened(first_line(text), SHOWN / 5);
    let why = format!(
        "{status}: longer than {LONGEST_ANSWER} bytes, so it is no answer of a pollbal: {line}"
    );
    if is_busy(status) {
        Said::Busy(why)
    } else {
        Said::Refused(why)
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim()
}

fn nothing(error: &reqwest::Error) -> Said {
    Said::Nothing {
        why: why(error),
        reached: !error.is_connect(),
    }
}

fn why(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        cause(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_answers_are_understood_and_all_else_is_told() {
        let ok = StatusCode::OK;
        let waits = Said::Answer(LeaveAnswer::Wait, "pool api needs it".to_owned());
        assert_eq!(understand(ok, "wait pool api needs it\n"), waits);
        let granted = Said::Answer(LeaveAnswer::Granted, String::new());
        assert_eq!(understand(ok, "granted\n"), granted);
        let why = "no connection to Perlbal 127.0.0.1:16000";
        let granted = Said::Answer(LeaveAnswer::Granted, why.to_owned());
        assert_eq!(understand(ok, &format!("granted {why}\n")), granted);
        assert_eq!(
            understand(StatusCode::CONFLICT, "wait pool api needs it"),
            waits
        );
        let gone = Said::Answer(LeaveAnswer::Gone, String::new());
        assert_eq!(understand(ok, "gone"), gone);
        for (status, text) in [(ok, "<html>"), (StatusCode::FORBIDDEN, "not a node")] {
            assert!(matches!(understand(status, text), Said::Refused(_)));
        }
        for status in [
            StatusCode::BAD_GATEWAY,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ] {
            assert!(matches!(understand(status, "x"), Said::Busy(_)));
        }
    }
}
