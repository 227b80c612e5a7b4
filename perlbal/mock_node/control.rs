//! `POST /announce?…`: changes what the node says and how, while it runs. `GET /announce` shows it.
//!
//! Keys: `pool`, `status`, `version` (an empty value takes the word away; an empty pool makes the node idle), and one
//! of `slow=<ms>`, `hang`, `fail=<status>`, `prompt` for the way it answers polls.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use hyper::StatusCode;

use super::server::{Behaviour, State};

/// Applies all of the query or, if a part is not understood, nothing.
pub(crate) fn apply(state: &mut State, query: &str) -> Result<(), String> {
    let mut announcement = state.announcement.clone();
    let mut behaviour = state.behaviour;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "pool" => value.clone_into(&mut announcement.pool),
            "status" => value.clone_into(&mut announcement.status),
            "version" => value.clone_into(&mut announcement.version),
            "prompt" => behaviour = Behaviour::Prompt,
            "hang" => behaviour = Behaviour::Hang,
            "slow" => behaviour = Behaviour::Slow(milliseconds(value)?),
            "fail" => behaviour = Behaviour::Fail(status(value)?),
            _ => {
                return Err(format!(
                    "unknown key \"{key}\": use pool, status, version, slow, hang, fail or prompt"
                ));
            }
        }
    }
    state.announcement = announcement;
    state.behaviour = behaviour;
    Ok(())
}

/// What the node would answer now, and what it was asked so far, a line each; of other requests than polls, each
/// path.
pub(crate) fn show(state: &State) -> String {
    let State {
        announcement,
        behaviour,
        polls,
        requests,
        ..
    } = state;
    let paths = state.arrivals.iter().map(|arrival| arrival.path.as_str());
    let mut text = format!(
        "announcement {announcement}\nbehaviour {behaviour:?}\npolls {polls}\nrequests {requests}\n"
    );
    for path in paths.collect::<BTreeSet<_>>() {
        _ = writeln!(text, "path {path}");
    }
    text
}

fn milliseconds(value: &str) -> Result<Duration, String> {
    let number = value.parse().map(Duration::from_millis);
    number.map_err(|_| format!("slow=\"{value}\": write a number of milliseconds"))
}

fn status(value: &str) -> Result<StatusCode, String> {
    value
        .parse()
        .map_err(|_| format!("fail=\"{value}\": write an HTTP status such as 500"))
}
