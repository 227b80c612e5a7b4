//! Waiting until nodes are at rest, or serve.

use std::time::{Duration, Instant};

use super::http::{ANSWER, AWAY, Answer, AskError, Door, persist};
use super::terminal::{self, Spinner};
use super::{ClientError, DONE, pretty};
use crate::api::{NodeProgress, Progress, Until};
use crate::cli;
use crate::logging::count;
use crate::model::text::printable;

/// So many nodes fit into the head of a request.
const AT_A_TIME: usize = 100;

/// How long the daemon holds an answer at most: on a terminal what is waited for is to be seen.
const LOOK: Duration = Duration::from_secs(1);
const LONG_LOOK: Duration = Duration::from_secs(10);

/// The first time: most of what is waited for is so within moments, and else it is to be seen soon.
const FIRST_LOOK: Duration = Duration::from_millis(250);

/// So much longer than it is waited a daemon may take to answer that it is not so: one that says nothing
/// is not waited for beyond the time that was given.
const GRACE: Duration = Duration::from_secs(1);

/// Of those that are missing in the end so many are named.
const NAMED: usize = 10;

/// What is waited for.
pub(super) struct Wanted<'a> {
    /// By names or addresses.
    pub(super) nodes: &'a [String],
    pub(super) until: Until,
    pub(super) timeout: Duration,
}

pub(super) async fn command(door: &Door, args: &cli::Wait) -> Result<u8, ClientError> {
    let wanted = Wanted {
        nodes: &args.nodes,
        until: args.until.into(),
        timeout: args.timeout,
    };
    // Neither a daemon that is not there from the start nor a node that is not is waited for.
    let first = Look {
        hold: Duration::ZERO,
        left: wanted.timeout,
        again: false,
    };
    look(door, &wanted, first).await?;
    for_people(door, &wanted).await
}

/// Waits, tells on a terminal for what, and prints what came of it.
pub(super) async fn for_people(door: &Door, wanted: &Wanted<'_>) -> Result<u8, ClientError> {
    let spinner = Spinner::start();
    let hold = if spinner.is_hidden() { LONG_LOOK } else { LOOK };
    let progress = until(door, wanted, hold, |progress| {
        spinner.say(&so_far(progress, wanted.until));
    });
    let progress = progress.await?;
    drop(spinner);
    if door.json {
        terminal::print_json(&pretty(&progress));
    }
    if !progress.done {
        return Err(ClientError::TimeOver {
            timeout: wanted.timeout,
            missing: missing(&progress),
        });
    }
    if !door.json {
        let names: Vec<_> = progress
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        let who = if names.len() > NAMED {
            count(names.len(), "node")
        } else {
            names.join(", ")
        };
        let who = printable(&who);
        terminal::print(&format!("{}: {who}\n", reached(wanted.until)));
    }
    Ok(DONE)
}

/// Waits until all have reached it or the time is over. The daemon may be away for a while: what was ordered outlives it.
pub(super) async fn until(
    door: &Door,
    wanted: &Wanted<'_>,
    hold: Duration,
    mut say: impl FnMut(&Progress),
) -> Result<Progress, AskError> {
    let start = Instant::now();
    let left = || wanted.timeout.saturating_sub(start.elapsed());
    let mut next = FIRST_LOOK;
    loop {
        let is_last = left().is_zero();
        let patience = AWAY.min(left());
        let ask = || {
            let left = left();
            let next = Look {
                hold: next.min(left),
                left,
                again: true,
            };
            look(door, wanted, next)
        };
        let progress = persist(patience, ask).await?;
        if is_last || (progress.done && (is_whole(wanted) || next.is_zero())) {
            return Ok(progress);
        }
        if progress.done {
            // Of many, the first may have changed while the last were waited for.
            next = Duration::ZERO;
        } else {
            next = hold;
            say(&progress);
        }
    }
}

/// Whether all of them are asked about at once.
fn is_whole(wanted: &Wanted<'_>) -> bool {
    wanted.nodes.len() <= AT_A_TIME
}

/// A question how far they are.
struct Look {
    /// The answer comes when they have reached it, or after this.
    hold: Duration,
    /// So much time is left in all.
    left: Duration,
    /// They were asked about before: a node that is not in the services file any more is told as such;
    /// else it is refused.
    again: bool,
}

async fn look(door: &Door, wanted: &Wanted<'_>, ask: Look) -> Result<Progress, AskError> {
    let start = Instant::now();
    let rest = |time: Duration| time.saturating_sub(start.elapsed());
    let mut all = Progress {
        done: true,
        nodes: Vec::new(),
    };
    for nodes in wanted.nodes.chunks(AT_A_TIME) {
        // When some have not reached it in time, it is only asked where the others are.
        let (hold, left) = (rest(ask.hold), rest(ask.left));
        let progress = look_at(door, nodes, wanted.until, Look { hold, left, ..ask }).await?;
        all.done &= progress.done;
        all.nodes.extend(progress.nodes);
    }
    Ok(all)
}

async fn look_at(
    door: &Door,
    nodes: &[String],
    until: Until,
    ask: Look,
) -> Result<Progress, AskError> {
    let mut query: Vec<_> = nodes.iter().map(|node| ("node", node.clone())).collect();
    let word = match until {
        Until::Rest => "rest",
        Until::Serving => "serving",
    };
    query.push(("until", word.to_owned()));
    query.push(("timeout_ms", ask.hold.as_millis().to_string()));
    if ask.again {
        query.push(("again", "true".to_owned()));
    }
    let limit = (ask.left + GRACE).min(ask.hold + ANSWER);
    let answer: Answer<Progress> = door.get("/v1/wait", &query, limit).await?;
    Ok(answer.value)
}

pub(super) fn reached(until: Until) -> &'static str {
    match until {
        Until::Rest => "at rest",
        Until::Serving => "serving",
    }
}

/// `2 of 3 at rest; waiting for node-3: 1 busy connection in 127.0.0.1:16000`.
fn so_far(progress: &Progress, until: Until) -> String {
    let done = progress.nodes.iter().filter(|node| node.done).count();
    let mut text = format!(
        "{done} of {} {}; waiting for ",
        progress.nodes.len(),
        reached(until)
    );
    let mut left = progress.nodes.iter().filter(|node| !node.done);
    if let Some(first) = left.next() {
        text += &where_it_is(first);
    }
    match left.count() {
        0 => text,
        more => text + &format!(", and {more} more"),
    }
}

/// Who has not reached it, and where they are.
fn missing(progress: &Progress) -> String {
    let left: Vec<_> = progress.nodes.iter().filter(|node| !node.done).collect();
    let mut parts: Vec<_> = left
        .iter()
        .take(NAMED)
        .map(|node| where_it_is(node))
        .collect();
    if left.len() > NAMED {
        parts.push(format!("{} more", left.len() - NAMED));
    }
    parts.join("; ")
}

fn where_it_is(node: &NodeProgress) -> String {
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
    fn the_line_says_how_many_are_there_and_who_is_not() {
        let two = progress(&[true, true, false]);
        assert_eq!(
            so_far(&two, Until::Rest),
            "2 of 3 at rest; waiting for node-3: 1 busy connection in 127.0.0.1:16000"
        );
        let none = progress(&[false, false, false]);
        let text = so_far(&none, Until::Serving);
        assert!(text.starts_with("0 of 3 serving; waiting for node-1: "));
        assert!(text.ends_with(", and 2 more"), "{text}");
    }

    #[test]
    fn of_many_that_are_missing_some_are_named() {
        let text = missing(&progress(&[false; 12]));
        assert!(
            text.contains("node-10: ") && text.ends_with("; 2 more"),
            "{text}"
        );
        assert!(!text.contains("node-11"), "{text}");
    }
}
