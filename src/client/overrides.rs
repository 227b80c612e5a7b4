//! The commands that send one request and print its response: `disable`, `enable`, `weight`, `nudge`, `freeze`, `thaw`,
//! `reload` and `members`.

use std::env;

use super::format::named;
use super::http::{AdminClient, ApiResponse, ClientError, RESPONSE_TIMEOUT};
use super::status::why;
use super::terminal;
use super::wait::{Goal, wait_and_print};
use super::{CommandError, DONE, FAILED};
use crate::api::{
    CancelLeave, Disable, Enable, Freeze, Members, Node, Nudge, Ordered, Reload, Reloaded, Until,
    Weigh,
};
use crate::cli;
use crate::logging::count;
use crate::model::text::printable;
use crate::model::time::millis;
use crate::model::weight::Weight;

/// Maximum number of nodes printed one by one; of more, only the number.
const MAX_NODES: usize = 20;

pub(super) async fn disable(client: &AdminClient, args: &cli::Disable) -> Result<u8, CommandError> {
    let request = Disable {
        nodes: args.nodes.clone(),
        reason: args.reason.to_string(),
        note: args.note.clone(),
        by: by(),
        for_ms: args.lasts.map(millis),
        force: args.force,
    };
    let response = client.post("/v1/disable", &request).await;
    let response = response.map_err(suggest_force)?;
    let result = print_or_wait(client, &response, &args.waiting, Until::Drained).await;
    result.map_err(|error| match error {
        CommandError::TimedOut { timeout, missing } => CommandError::TimedOut {
            timeout,
            missing: format!("{missing}. It remains disabled ({})", args.reason),
        },
        other => other,
    })
}

/// Adds to an error that protects a pool that `--force` would override it.
fn suggest_force(error: ClientError) -> ClientError {
    match error {
        ClientError::Rejected(mut error) if error.can_be_forced => {
            error.error = format!(
                "rejected, nothing changed: {}. Use --force to override",
                error.error
            );
            ClientError::Rejected(error)
        }
        other => other,
    }
}

pub(super) async fn enable(client: &AdminClient, args: &cli::Enable) -> Result<u8, CommandError> {
    let nodes = args.nodes.clone();
    let response = match &args.reason {
        Some(reason) => {
            let reason = reason.to_string();
            let by = by();
            let request = Enable {
                nodes,
                reason,
                by,
                ramp_ms: args.ramp.map(millis),
            };
            client.post("/v1/enable", &request).await
        }
        None => {
            client
                .post("/v1/cancel-leave", &CancelLeave { nodes, by: by() })
                .await
        }
    };
    print_or_wait(client, &response?, &args.waiting, Until::Serving).await
}

pub(super) async fn weight(client: &AdminClient, args: &cli::Weight) -> Result<u8, CommandError> {
    let (nodes, weight) = nodes_and_weight(args)?;
    let request = Weigh {
        nodes: nodes.to_vec(),
        weight,
        reason: args.reason.as_ref().map(ToString::to_string),
        note: args.note.clone(),
        by: by(),
        for_ms: args.lasts.map(millis),
    };
    let response: ApiResponse<Ordered> = client.post("/v1/weight", &request).await?;
    warn(&response.value.warnings);
    let weighed = response.value.nodes.iter().map(|node| {
        let line = format!("{}: weight {}", named(&node.name, &node.node), node.weight);
        printable(&line) + "\n"
    });
    let text = match response.value.nodes.len() {
        1..=MAX_NODES => weighed.collect(),
        _ => nodes_done(&response.value.nodes),
    };
    print(client, &response, &text);
    Ok(DONE)
}

/// The nodes, and the weight that they get, unless it is reset.
fn nodes_and_weight(args: &cli::Weight) -> Result<(&[String], Option<u16>), CommandError> {
    if args.reset {
        return Ok((&args.words, None));
    }
    let usage = |error: String| CommandError::Usage(error);
    match args.words.split_last() {
        Some((word, nodes)) if !nodes.is_empty() => {
            let weight: Weight = word
                .parse()
                .map_err(|error| usage(format!("{error} behind the nodes, found \"{word}\"")))?;
            Ok((nodes, Some(weight.get())))
        }
        _ => Err(usage(
            "expected nodes, and behind them a weight from 1 to 256".to_owned(),
        )),
    }
}

/// Prints the nodes, or with `--wait` waits for them.
async fn print_or_wait(
    client: &AdminClient,
    response: &ApiResponse<Ordered>,
    waiting: &cli::Waiting,
    until: Until,
) -> Result<u8, CommandError> {
    warn(&response.value.warnings);
    // A reason may be about nodes that are no longer listed.
    if !waiting.wait || response.value.nodes.is_empty() {
        print(client, response, &nodes(&response.value.nodes));
        return Ok(DONE);
    }
    let nodes: Vec<_> = response
        .value
        .nodes
        .iter()
        .map(|node| node.node.clone())
        .collect();
    let goal = Goal {
        nodes: &nodes,
        until,
        timeout: waiting.timeout,
    };
    wait_and_print(client, &goal).await
}

pub(super) async fn nudge(client: &AdminClient, args: &cli::Nudge) -> Result<u8, CommandError> {
    let request = Nudge {
        nodes: args.nodes.clone(),
    };
    let response: ApiResponse<Ordered> = client.post("/v1/nudge", &request).await?;
    warn(&response.value.warnings);
    let nodes = match response.value.nodes.len() {
        0 => "all nodes".to_owned(),
        number => count(number, "node"),
    };
    print(client, &response, &format!("{nodes}: polled now\n"));
    Ok(DONE)
}

pub(super) async fn freeze(client: &AdminClient, args: &cli::Freeze) -> Result<u8, CommandError> {
    let request = Freeze {
        reason: args.reason.to_string(),
        note: args.note.clone(),
        by: by(),
    };
    let response: ApiResponse<Ordered> = client.post("/v1/freeze", &request).await?;
    warn(&response.value.warnings);
    let text = format!(
        "frozen ({0}): failed nodes stay in until `pollbal thaw --reason {0}`\n",
        args.reason
    );
    print(client, &response, &text);
    Ok(DONE)
}

pub(super) async fn thaw(client: &AdminClient, args: &cli::Thaw) -> Result<u8, CommandError> {
    let request = Freeze {
        reason: args.reason.to_string(),
        note: None,
        by: by(),
    };
    let response: ApiResponse<Ordered> = client.post("/v1/thaw", &request).await?;
    warn(&response.value.warnings);
    let text = format!("freeze lifted ({})\n", args.reason);
    print(client, &response, &text);
    Ok(DONE)
}

pub(super) async fn reload(client: &AdminClient, args: &cli::Reload) -> Result<u8, CommandError> {
    let request = Reload {
        accept_removals: args.accept_removals,
    };
    let response: ApiResponse<Reloaded> = client.post("/v1/reload", &request).await?;
    warn(&response.value.warnings);
    let nodes = count(response.value.nodes, "node");
    print(client, &response, &format!("reloaded: {nodes}\n"));
    Ok(if response.value.applied { DONE } else { FAILED })
}

pub(super) async fn members(client: &AdminClient, args: &cli::Members) -> Result<u8, CommandError> {
    let query = [("pool", args.pool.to_string())];
    let response: ApiResponse<Members> =
        client.get("/v1/members", &query, RESPONSE_TIMEOUT).await?;
    let mut text = String::new();
    for member in &response.value.members {
        let version = member.version.as_deref().unwrap_or("-");
        let sorry = if member.sorry { "\tsorry" } else { "" };
        let name = printable(&member.name);
        let line = format!("{}\t{name}\t{version}{sorry}\n", member.node);
        text += &line;
    }
    print(client, &response, &text);
    Ok(DONE)
}

/// Prints the response, or with `--json` the response as it is.
fn print<T>(client: &AdminClient, response: &ApiResponse<T>, text: &str) {
    if client.json {
        terminal::print_json(&response.json());
    } else {
        terminal::print(text);
    }
}

/// The state of each node, one per line.
fn nodes(nodes: &[Node]) -> String {
    match nodes.len() {
        1..=MAX_NODES => nodes.iter().map(node).collect(),
        _ => nodes_done(nodes),
    }
}

/// For orders about no node that is listed, or about many.
fn nodes_done(nodes: &[Node]) -> String {
    match nodes.len() {
        0 => "done, for addresses that are no longer listed\n".to_owned(),
        number => format!("done: {}\n", count(number, "node")),
    }
}

fn node(node: &Node) -> String {
    let reasons: Vec<_> = node
        .reasons
        .iter()
        .map(|reason| reason.reason.as_str())
        .collect();
    // Names only: who gave the reason and when is no news to the user.
    let why = match (reasons.is_empty(), why(node, "")) {
        (false, _) => format!(" by {}", reasons.join(", ")),
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

/// The user to whom the order is attributed: with sudo, the one who ran it.
pub(super) fn by() -> Option<String> {
    ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .filter_map(|name| env::var(name).ok())
        .find(|name| !name.is_empty())
}
