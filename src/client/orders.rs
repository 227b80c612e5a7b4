//! The short commands: an order or a question, and its answer.

use std::env;

use super::http::{ANSWER, Answer, AskError, Door};
use super::status::why;
use super::terminal;
use super::wait::{Wanted, for_people};
use super::words::named;
use super::{ClientError, DONE, FAILED};
use crate::api::{
    CancelLeave, Disable, Enable, Freeze, Members, Node, Nudge, Ordered, Reload, Reloaded, Until,
};
use crate::cli;
use crate::logging::count;
use crate::model::text::printable;

/// Of more nodes only the number is told.
const TOLD: usize = 20;

pub(super) async fn disable(door: &Door, args: &cli::Disable) -> Result<u8, ClientError> {
    let order = Disable {
        nodes: args.nodes.clone(),
        reason: args.reason.to_string(),
        note: args.note.clone(),
        by: by(),
        for_ms: args.lasts.map(millis),
        force: args.force,
    };
    let answer = door.post("/v1/disable", &order).await;
    let answer = answer.map_err(offering_force)?;
    let settled = settle(door, &answer, &args.waiting, Until::Rest).await;
    settled.map_err(|error| match error {
        ClientError::TimeOver { timeout, missing } => ClientError::TimeOver {
            timeout,
            missing: format!("{missing}; the order stands, by {}", args.reason),
        },
        other => other,
    })
}

/// Says of an order that is refused for the sake of a pool what would carry it out.
fn offering_force(error: AskError) -> AskError {
    match error {
        AskError::Refused(mut refusal) if refusal.can_be_forced => {
            refusal.error = format!(
                "refused, nothing changed: {}. --force overrides this",
                refusal.error
            );
            AskError::Refused(refusal)
        }
        other => other,
    }
}

pub(super) async fn enable(door: &Door, args: &cli::Enable) -> Result<u8, ClientError> {
    let nodes = args.nodes.clone();
    let answer = match &args.reason {
        Some(reason) => {
            let reason = reason.to_string();
            let by = by();
            door.post("/v1/enable", &Enable { nodes, reason, by }).await
        }
        None => {
            door.post("/v1/cancel-leave", &CancelLeave { nodes, by: by() })
                .await
        }
    };
    settle(door, &answer?, &args.waiting, Until::Serving).await
}

/// Tells what was ordered, and waits for it where that is asked for.
async fn settle(
    door: &Door,
    answer: &Answer<Ordered>,
    waiting: &cli::Waiting,
    until: Until,
) -> Result<u8, ClientError> {
    warn(&answer.value.warnings);
    // Orders outlive the nodes that they are about.
    if !waiting.wait || answer.value.nodes.is_empty() {
        tell(door, answer);
        return Ok(DONE);
    }
    let nodes: Vec<_> = answer
        .value
        .nodes
        .iter()
        .map(|node| node.node.clone())
        .collect();
    let wanted = Wanted {
        nodes: &nodes,
        until,
        timeout: waiting.timeout,
    };
    for_people(door, &wanted).await
}

pub(super) async fn nudge(door: &Door, args: &cli::Nudge) -> Result<u8, ClientError> {
    let order = Nudge {
        nodes: args.nodes.clone(),
    };
    let answer: Answer<Ordered> = door.post("/v1/nudge", &order).await?;
    warn(&answer.value.warnings);
    if door.json {
        terminal::print_json(&answer.pretty());
    } else {
        let who = match answer.value.nodes.len() {
            0 => "all nodes".to_owned(),
            number => count(number, "node"),
        };
        terminal::print(&format!("{who}: polled now\n"));
    }
    Ok(DONE)
}

pub(super) async fn freeze(door: &Door, args: &cli::Freeze) -> Result<u8, ClientError> {
    let order = Freeze {
        reason: args.reason.to_string(),
        note: args.note.clone(),
        by: by(),
    };
    let answer: Answer<Ordered> = door.post("/v1/freeze", &order).await?;
    let done = format!(
        "frozen by {0}: failures put nobody out until `pollbal thaw --reason {0}`\n",
        args.reason
    );
    site(door, &answer, &done);
    Ok(DONE)
}

pub(super) async fn thaw(door: &Door, args: &cli::Thaw) -> Result<u8, ClientError> {
    let order = Freeze {
        reason: args.reason.to_string(),
        note: None,
        by: by(),
    };
    let answer: Answer<Ordered> = door.post("/v1/thaw", &order).await?;
    site(
        door,
        &answer,
        &format!("no longer frozen by {}\n", args.reason),
    );
    Ok(DONE)
}

pub(super) async fn reload(door: &Door, args: &cli::Reload) -> Result<u8, ClientError> {
    let order = Reload {
        accept_removals: args.accept_removals,
    };
    let answer: Answer<Reloaded> = door.post("/v1/reload", &order).await?;
    warn(&answer.value.warnings);
    if door.json {
        terminal::print_json(&answer.pretty());
    } else {
        let nodes = count(answer.value.nodes, "node");
        terminal::print(&format!("reloaded: {nodes}\n"));
    }
    Ok(if answer.value.applied { DONE } else { FAILED })
}

pub(super) async fn members(door: &Door, args: &cli::Members) -> Result<u8, ClientError> {
    let query = [("pool", args.pool.to_string())];
    let answer: Answer<Members> = door.get("/v1/members", &query, ANSWER).await?;
    if door.json {
        terminal::print_json(&answer.pretty());
        return Ok(DONE);
    }
    let mut text = String::new();
    for member in &answer.value.members {
        let version = member.version.as_deref().unwrap_or("-");
        let sorry = if member.sorry { "\tsorry" } else { "" };
        let name = printable(&member.name);
        let line = format!("{}\t{name}\t{version}{sorry}\n", member.node);
        text += &line;
    }
    terminal::print(&text);
    Ok(DONE)
}

/// What concerns all of the site.
fn site(door: &Door, answer: &Answer<Ordered>, done: &str) {
    warn(&answer.value.warnings);
    if door.json {
        terminal::print_json(&answer.pretty());
    } else {
        terminal::print(done);
    }
}

fn tell(door: &Door, answer: &Answer<Ordered>) {
    if door.json {
        terminal::print_json(&answer.pretty());
    } else {
        terminal::print(&nodes(&answer.value.nodes));
    }
}

/// Where each of them is now.
fn nodes(nodes: &[Node]) -> String {
    if nodes.is_empty() {
        return "done, for what the services file does not list any more\n".to_owned();
    }
    if nodes.len() > TOLD {
        return format!("done: {}\n", count(nodes.len(), "node"));
    }
    nodes.iter().map(node).collect()
}

fn node(node: &Node) -> String {
    let words: Vec<_> = node
        .reasons
        .iter()
        .map(|reason| reason.reason.as_str())
        .collect();
    // When they were given is now, and by whom is known.
    let why = match (words.is_empty(), why(node, "")) {
        (false, _) => format!(" by {}", words.join(", ")),
        (true, why) if why.is_empty() => why,
        (true, why) => format!(": {why}"),
    };
    let line = format!("{}: {}{why}", named(&node.name, &node.node), node.word());
    printable(&line) + "\n"
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        terminal::warn(&format!("warning: {warning}"));
    }
}

/// Who gives an order: behind sudo, whoever said it.
pub(super) fn by() -> Option<String> {
    ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .filter_map(|name| env::var(name).ok())
        .find(|name| !name.is_empty())
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
