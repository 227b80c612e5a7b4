//! Before a roll: who is to be rolled, and whether an earlier one has to be looked after first.

use super::super::ClientError;
use super::super::http::{ANSWER, Answer, Door};
use super::super::status::why;
use super::super::words::{named, reason};
use super::plan::Target;
use super::{note, way_back};
use crate::api::{Members, Node, State, Status};
use crate::cli;

/// Of more nodes only the number is told.
const NAMED: usize = 10;

/// Who is rolled, and who of the pool is not.
pub(super) struct Start {
    pub(super) targets: Vec<Target>,
    /// For people; none when all of the pool are.
    pub(super) left_out: Option<String>,
}

/// Asks who is in the pool, and who was.
pub(super) async fn start(door: &Door, args: &cli::Roll) -> Result<Start, ClientError> {
    let query = [("pool", args.pool.to_string())];
    let members: Answer<Members> = door.get("/v1/members", &query, ANSWER).await?;
    let status: Answer<Status> = door.get("/v1/status", &[], ANSWER).await?;
    let broken = broken(&status.value, args);
    if !broken.is_empty() {
        return Err(ClientError::Failed(broken.join("\n")));
    }
    let members = members.value.members.into_iter();
    let targets: Vec<_> = members
        .filter(|member| !member.sorry)
        .map(Target::from)
        .collect();
    if targets.is_empty() {
        let text = format!("pool {} has no members that could be rolled", args.pool);
        return Err(ClientError::Failed(text));
    }
    Ok(Start {
        targets,
        left_out: left_out(&status.value, args),
    })
}

/// Nodes that a roll of this pool has left disabled, and what brings each back.
fn broken(status: &Status, args: &cli::Roll) -> Vec<String> {
    let note = note(&args.pool);
    let told = |node: &Node| {
        // Its note tells of which pool a node is that says nothing any more.
        let given = node.reasons.iter().find(|given| {
            let of_pool = node.pool.as_deref() == Some(args.pool.as_str());
            given.reason == args.reason.as_str() && (of_pool || given.note.as_ref() == Some(&note))
        })?;
        Some(format!(
            "{} is being rolled, or was left out, by {}; if no roll runs any more: see to it, then bring it back: {}",
            named(&node.name, &node.node),
            reason(given, &status.time),
            way_back(
                &node.name,
                &node.node,
                &args.reason,
                args.door.socket.as_deref()
            )
        ))
    };
    status.nodes.iter().filter_map(told).collect()
}

/// Nodes of the pool that are out already.
fn left_out(status: &Status, args: &cli::Roll) -> Option<String> {
    let out: Vec<_> = status
        .nodes
        .iter()
        .filter(|node| {
            node.state != State::Member && node.pool.as_deref() == Some(args.pool.as_str())
        })
        .collect();
    let mut told: Vec<_> = out
        .iter()
        .take(NAMED)
        .map(|node| {
            let why = why(node, &status.time);
            format!("{} ({}: {why})", node.name, node.word())
        })
        .collect();
    if out.len() > NAMED {
        told.push(format!("{} more", out.len() - NAMED));
    }
    (!out.is_empty()).then(|| {
        format!(
            "not rolled, since they are out already: {}",
            told.join(", ")
        )
    })
}
