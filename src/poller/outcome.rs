//! Translates the outcome of a poll into the model's terms.

use std::time::Duration;

use rustix::io::Errno;

use super::connection::PollError;
use super::exchange::{Cause, ExchangeError};
use super::response::{MAX_BODY_BYTES, Response};
use crate::model::announcement::Announcement;
use crate::model::observation::{Failure, Observation};

/// The observation that a response amounts to.
pub(super) fn observation(response: Response) -> Observation {
    if response.status != 200 {
        return Observation::Failed(Failure::Status(response.status));
    }
    let Some(body) = response.body else {
        return Observation::Failed(Failure::TooLong(MAX_BODY_BYTES));
    };
    match Announcement::parse(&body) {
        Ok(Some(announcement)) => Observation::Announced(announcement),
        Ok(None) => Observation::Nothing,
        Err(error) => Observation::Failed(Failure::not_understood(error, &body)),
    }
}

/// The failure of the node that an error amounts to, in a poll with this timeout; `None` if the node is not to blame.
pub(super) fn failure(error: PollError, timeout: Duration) -> Option<Failure> {
    match error {
        PollError::Timeout(false) => Some(Failure::Timeout(timeout)),
        PollError::Timeout(true) => Some(Failure::TimeoutOnNew(timeout)),
        PollError::Nudged => None,
        PollError::Connect(error, beside) => {
            let ours = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
            let ours = ours.contains(&error.raw_os_error());
            let failure = if beside {
                Failure::NoNewConnections
            } else {
                Failure::Connect
            };
            (!ours).then(|| failure(error.to_string()))
        }
        PollError::Exchange(error, beside) => Some(match error {
            ExchangeError::BeforeHead(Cause::Malformed(error))
            | ExchangeError::InBody(_, Cause::Malformed(error)) => {
                Failure::Malformed(error.to_string())
            }
            ExchangeError::BeforeHead(cause) if beside => {
                Failure::NoNewConnections(cause.to_string())
            }
            ExchangeError::BeforeHead(cause) | ExchangeError::InBody(_, cause) => {
                Failure::Broken(cause.to_string())
            }
        }),
    }
}
