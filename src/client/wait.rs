//! `pollbal wait` and `--wait`: wait until nodes are drained, or serve, or do so with their full weight.

use std::time::{Duration, Instant};

use super::http::{
    AdminClient, ApiResponse, ClientError, MAX_AWAY, RESPONSE_TIMEOUT, retry_while_away,
};
use super::terminal::{self, Spinner};
use super::{CommandError, DONE, json_for_stdout};
use crate::api::{NodeProgress, Progress, Until};
use crate::cli;
use crate::logging::count;
use crate::model::text::printable;

/// Maximum number of nodes that fit into the head of a request.
const MAX_NODES_PER_REQUEST: usize = 100;

/// Maximum time for which the daemon delays a response. Shorter on a terminal, which shows what is waited for.
const LONG_POLL: Duration = Duration::from_secs(1);
const LONG_POLL_UNSHOWN: Duration = Duration::from_secs(10);

/// The same for the first response: most goals are reached within moments, otherwise the wait is shown soon.
const FIRST_LONG_POLL: Duration = Duration::from_millis(250);

/// Maximum time after the timeout for the daemon to respond that the goal was not reached: a daemon that does not
/// respond must not extend the timeout by more.
const GRACE: Duration = Duration::from_secs(1);

/// Maximum number of nodes named.
const MAX_NAMES: usize = 10;

/// What to wait for.
pub(super) struct Goal<'a> {
    /// Names or addresses.
    pub(super) nodes: &'a [String],
    pub(super) until: Until,
    pub(super) timeout: Duration,
}

pub(super) async fn command(client: &AdminClient, args: &cli::Wait) -> Result<u8, CommandError> {
    let goal = Goal {
        nodes: &args.nodes,
        until: args.until.into(),
        timeout: args.timeout,
    };
    // Without retries: neither a daemon that is not running nor a node that is not listed from the start is waited for.
    let first = Probe {
        long_poll: Duration::ZERO,
        remaining: goal.timeout,
        again: false,
    };
    probe_all(client, &goal, first).await?;
    wait_and_print(client, &goal).await
}

/// Waits, showing on a terminal for what, and prints the result.
pub(super) async fn wait_and_print(
    client: &AdminClient,
    goal: &Goal<'_>,
) -> Result<u8, CommandError> {
    let spinner = Spinner::start();
    let long_poll = if spinner.is_hidden() {
        LONG_POLL_UNSHOWN
    } else {
        LONG_POLL
    };
    let progress = until(client, goal, long_poll, |progress| {
        spinner.set_message(&partial_progress(progress, goal.until));
    });
    let progress = progress.await?;
    drop(spinner);
    if client.json {
        terminal::print_json(&json_for_stdout(&progress));
    }
    if !progress.done {
        return Err(CommandError::TimedOut {
            timeout: goal.timeout,
            missing: missing(&progress),
        });
    }
    if !client.json {
        let names: Vec<_> = progress
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        let nodes = if names.len() > MAX_NAMES {
            count(names.len(), "node")
        } else {
            names.join(", ")
        };
        let nodes = printable(&nodes);
        terminal::print(&format!("{}: {nodes}\n", reached(goal.until)));
    }
    Ok(DONE)
}

/// Waits until all nodes have reached the goal or it times out, and calls `on_progress` meanwhile. The daemon may be
/// away for a while: reasons survive its restart.
pub(super) async fn until(
    client: &AdminClient,
    goal: &Goal<'_>,
    long_poll: Duration,
    mut on_progress: impl FnMut(&Progress),
) -> Result<Progress, ClientError> {
    let start = Instant::now();
    let remaining = || goal.timeout.saturating_sub(start.elapsed());
    let mut next_long_poll = FIRST_LONG_POLL;
    loop {
        let is_last = remaining().is_zero();
        let send = || {
            let remaining = remaining();
            let probe = Probe {
                long_poll: next_long_poll.min(remaining),
                remaining,
                again: true,
            };
            probe_all(client, goal, probe)
        };
        let progress = retry_while_away(MAX_AWAY.min(remaining()), send).await?;
        if is_last || (progress.done && (is_one_request(goal) || next_long_poll.is_zero())) {
            return Ok(progress);
        }
        if progress.done {
            // With several requests, the first nodes may have changed while the last were waited for.
            next_long_poll = Duration::ZERO;
        } else {
            next_long_poll = long_poll;
            on_progress(&progress);
        }
    }
}

/// Whether one request covers all nodes.
fn is_one_request(goal: &Goal<'_>) -> bool {
    goal.nodes.len() <= MAX_NODES_PER_REQUEST
}

/// A request for the progress of nodes.
struct Probe {
    /// The daemon responds when they have reached the goal, or after this time.
    long_poll: Duration,
    /// Time until the goal times out.
    remaining: Duration,
    /// Whether this is a repeated request: a node that is no longer listed is then part of the progress; in a first
    /// request it is an error.
    again: bool,
}

async fn probe_all(
    client: &AdminClient,
    goal: &Goal<'_>,
    probe: Probe,
) -> Result<Progress, ClientError> {
    let start = Instant::now();
    let remaining_of = |time: Duration| time.saturating_sub(start.elapsed());
    let mut all = Progress {
        done: true,
        nodes: Vec::new(),
    };
    for nodes in goal.nodes.chunks(MAX_NODES_PER_REQUEST) {
        // Once the time has passed, the rest are only queried.
        let next = Probe {
            long_poll: remaining_of(probe.long_poll),
            remaining: remaining_of(probe.remaining),
            ..probe
        };
        let progress = probe_some(client, nodes, goal.until, next).await?;
        all.done &= progress.done;
        all.nodes.extend(progress.nodes);
    }
    Ok(all)
}

async fn probe_some(
    client: &AdminClient,
    nodes: &[String],
    until: Until,
    probe: Probe,
) -> Result<Progress, ClientError> {
    let mut query: Vec<_> = nodes.iter().map(|node| ("node", node.clone())).collect();
    let until = match until {
        Until::Drained => "drained",
        Until::Serving => "serving",
        Until::FullWeight => "full-weight",
    };
    query.push(("until", until.to_owned()));
    query.push(("timeout_ms", probe.long_poll.as_millis().to_string()));
    if probe.again {
        query.push(("again", "true".to_owned()));
    }
    let limit = (probe.remaining + GRACE).min(probe.long_poll + RESPONSE_TIMEOUT);
    let response: ApiResponse<Progress> = client.get("/v1/wait", &query, limit).await?;
    Ok(response.value)
}

pub(super) fn reached(until: Until) -> &'static str {
    match until {
        Until::Drained => "drained",
        Until::Serving => "serving",
        Until::FullWeight => "at full weight",
    }
}

/// `2 of 3 drained; waiting for node-3: 1 busy connection in 127.0.0.1:16000`.
fn partial_progress(progress: &Progress, until: Until) -> String {
    let done = progress.nodes.iter().filter(|node| node.done).count();
    let mut text = format!(
        "{done} of {} {}; waiting for ",
        progress.nodes.len(),
        reached(until)
    );
    let mut missing = progress.nodes.iter().filter(|node| !node.done);
    if let Some(first) = missing.next() {
        text += &progress_text(first);
    }
    match missing.count() {
        0 => text,
        more => text + &format!(", and {more} more"),
    }
}

/// The nodes that have not reached the goal, and what is missing.
fn missing(progress: &Progress) -> String {
    let missing: Vec<_> = progress.nodes.iter().filter(|node| !node.done).collect();
    let mut parts: Vec<_> = missing
        .iter()
        .take(MAX_NAMES)
        .map(|node| progress_text(node))
        .collect();
    if missing.len() > MAX_NAMES {
        parts.push(format!("{} more", missing.len() - MAX_NAMES));
    }
    parts.join("; ")
}

fn progress_text(node: &NodeProgress) -> String {
    format!("{}: {}", node.name, node.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done: &[bool]) -> Progress {
        let node = |(number, done): (usize, &bool)| NodeProgress {
            node: format!("10.0.0.{number}:80"),
            name: format!("node-{number}"),
            done: *done,
            text: "1 busy connection in 127.0.0.1:16000".to_owned(),
        };
        Progress {
            done: done.iter().all(|done| *done),
            nodes: (1..).zip(done).map(node).collect(),
        }
    }

    #[test]
    fn the_line_has_how_many_reached_the_goal_and_a_node_that_did_not() {
        let two = progress(&[true, true, false]);
        assert_eq!(
            partial_progress(&two, Until::Drained),
            "2 of 3 drained; waiting for node-3: 1 busy connection in 127.0.0.1:16000"
        );
        let none = progress(&[false, false, false]);
        let text = partial_progress(&none, Until::Serving);
        assert!(text.starts_with("0 of 3 serving; waiting for node-1: "));
        assert!(text.ends_with(", and 2 more"), "{text}");
    }

    #[test]
    fn of_many_missing_nodes_some_are_named() {
        let text = missing(&progress(&[false; 12]));
        assert!(
            text.contains("node-10: ") && text.ends_with("; 2 more"),
            "{text}"
        );
        assert!(!text.contains("node-11"), "{text}");
    }
}
