//! Before a roll: who is to be rolled, and whether an earlier one has to be looked after first.

use super::super::ClientError;
use super::super::http::{ANSWER, Answer, Door};
use super::super::status::why;
use super::super::words::{named, reason};
use super::names::{Names, WayBack};
use super::note;
use super::plan::Target;
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
pub(super) async fn start(
    door: &Door,
    args: &cli::Roll,
    way_back: &WayBack,
) -> Result<Start, ClientError> {
    let query = [("pool", args.pool.to_string())];
    let members: Answer<Members> = door.get("/v1/members", &query, ANSWER).await?;
    let status: Answer<Status> = door.get("/v1/status", &[], ANSWER).await?;
    let names = names(door, &status.value, &members.value).await?;
    let broken = broken(&status.value, args, &names, way_back);
    if !broken.is_empty() {
        return Err(ClientError::Failed(broken.join("\n")));
    }
    let members = members.value.members.into_iter();
    let targets: Vec<_> = members
        .filter(|member| !member.sorry)
        .map(|member| Target::new(member, &names))
        .collect();
    if targets.is_empty() {
        let text = format!("pool {} has no members that could be rolled", args.pool);
        return Err(ClientError::Failed(text));
    }
    Ok(Start {
        targets,
        left_out: left_out(&status.value, args, &names),
    })
}

/// All names that are known there: those of other pools' members too, since a status tells only of nodes that are
/// not simply serving.
async fn names(door: &Door, status: &Status, members: &Members) -> Result<Names, ClientError> {
    let mut all = members.members.clone();
    let pools = status.pools.iter().map(|pool| &pool.name);
    for pool in pools.filter(|pool| **pool != members.pool) {
        let query = [("pool", pool.clone())];
        let answer: Result<Answer<Members>, _> = door.get("/v1/members", &query, ANSWER).await;
        match answer {
            Ok(answer) => all.extend(answer.value.members),
            // It has gone meanwhile.
            Err(error) if error.is_refusal() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let members = all.iter().filter(|member| !member.sorry);
    let members = members.map(|member| (member.node.as_str(), member.name.as_str()));
    let others = status.nodes.iter();
    let others = others.map(|node| (node.node.as_str(), node.name.as_str()));
    Ok(Names::new(members.chain(others)))
}

/// Nodes that a roll of this pool has left disabled, and what brings each back.
fn broken(status: &Status, args: &cli::Roll, names: &Names, way_back: &WayBack) -> Vec<String> {
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
            way_back.of(names.word(&node.name, &node.node))
        ))
    };
    status.nodes.iter().filter_map(told).collect()
}

/// Nodes of the pool that are out already.
fn left_out(status: &Status, args: &cli::Roll, names: &Names) -> Option<String> {
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
            let shown = names.shown(&node.name, &node.node);
            format!("{shown} ({}: {why})", node.word())
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
