//! Before a roll: selects the nodes to roll, and rejects a roll that cannot complete or that another one has left
//! unfinished.

use std::collections::HashSet;

use super::super::CommandError;
use super::super::format::{away, named, reason};
use super::super::http::{AdminClient, ApiResponse, RESPONSE_TIMEOUT};
use super::super::status::why;
use super::labels::{Labels, RecoveryHint};
use super::note;
use super::queue::Target;
use crate::api::{Away, Members, Node, State, Status};
use crate::cli;

/// Maximum number of nodes named; of more, only the number is shown.
const MAX_NAMES: usize = 10;

/// The nodes to roll, and those of the pool that are not rolled.
pub(super) struct Selection {
    pub(super) targets: Vec<Target>,
    pub(super) out: AlreadyOut,
}

/// Nodes of the pool that are out from the start, so are not rolled.
#[derive(Default)]
pub(super) struct AlreadyOut(Vec<OutNode>);

struct OutNode {
    shown: String,
    why: String,
}

impl AlreadyOut {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The message about these nodes before the roll; `None` if there are none.
    pub(super) fn note(&self) -> Option<String> {
        let nodes = self.list(|node| format!("{} ({})", node.shown, node.why))?;
        Some(format!("not rolled, already out: {nodes}"))
    }

    /// Their part of the summary at the end.
    pub(super) fn summary(&self) -> Option<String> {
        let nodes = self.list(|node| node.shown.clone())?;
        Some(match self.len() {
            1 => format!("1 was already out and was not rolled: {nodes}"),
            many => format!("{many} were already out and were not rolled: {nodes}"),
        })
    }

    fn list(&self, text: impl Fn(&OutNode) -> String) -> Option<String> {
        let mut nodes: Vec<_> = self.0.iter().take(MAX_NAMES).map(text).collect();
        if self.len() > MAX_NAMES {
            nodes.push(format!("{} more", self.len() - MAX_NAMES));
        }
        (!nodes.is_empty()).then(|| nodes.join(", "))
    }
}

/// Selects the members of the pool, unless the roll cannot complete.
pub(super) async fn select(
    client: &AdminClient,
    args: &cli::Roll,
    recovery: &RecoveryHint,
) -> Result<Selection, CommandError> {
    let query = [("pool", args.pool.to_string())];
    let members: ApiResponse<Members> = client.get("/v1/members", &query, RESPONSE_TIMEOUT).await?;
    let status: ApiResponse<Status> = client.get("/v1/status", &[], RESPONSE_TIMEOUT).await?;
    let load_balancers = status.value.load_balancers.iter();
    if let Some((address, why)) = lost(load_balancers.map(|one| (&one.address, &one.away))) {
        let why = away(why, &status.value.time);
        return Err(CommandError::Failed(format!(
            "rejected, nothing changed: load balancer {address} is {why}, so it is unknown whether nodes are drained there; \
             fix that first, or remove it from the configuration"
        )));
    }
    let labels = labels(client, &status.value, &members.value).await?;
    let unfinished = unfinished(&status.value, args, &labels, recovery);
    if !unfinished.is_empty() {
        return Err(CommandError::Failed(unfinished.join("\n")));
    }
    let members = members.value.members.into_iter();
    let targets: Vec<_> = members
        .filter(|member| !member.sorry)
        .map(|member| Target::new(member, &labels))
        .collect();
    if targets.is_empty() {
        let text = format!("pool {} has no members to roll", args.pool);
        return Err(CommandError::Failed(text));
    }
    let out = already_out(&status.value, args, &targets, &labels);
    if let Some(why) = impossible(&status.value, args, targets.len(), out.len()) {
        return Err(CommandError::Failed(why));
    }
    Ok(Selection { targets, out })
}

/// A load balancer that is not connected: no node is known to be drained there, so the next one would stay out for as
/// long as that lasts, without its command being run. One that was never connected does not count: it may be in a
/// moment.
pub(super) fn lost<'a>(
    mut load_balancers: impl Iterator<Item = (&'a String, &'a Option<Away>)>,
) -> Option<(&'a str, &'a Away)> {
    load_balancers.find_map(|(address, away)| {
        let why = away.as_ref().filter(|why| !why.state.is_empty())?;
        Some((address.as_str(), why))
    })
}

/// Why the pool can never spare a member; `None` if it can, also if only once nodes that are out return.
fn impossible(status: &Status, args: &cli::Roll, members: usize, out: usize) -> Option<String> {
    let pool = status.pools.iter();
    let pool = pool.filter(|pool| pool.name == args.pool.as_str());
    let min_members = pool.map(|pool| pool.min_members).next()?;
    // The daemon protects a pool's last serving member, too.
    (members + out <= min_members.max(1)).then(|| {
        let (pool, remaining) = (&args.pool, members - 1);
        format!(
            "rejected, nothing changed: rolling {pool} would leave it with {remaining} of {members} members \
             (min_members {min_members}); add a node first, or take one out manually: \
             `pollbal disable NODE --reason TAG --force --wait`"
        )
    })
}

/// Labels for all nodes. The members of other pools are requested, too, since the status lists only nodes that are not
/// in service.
async fn labels(
    client: &AdminClient,
    status: &Status,
    members: &Members,
) -> Result<Labels, CommandError> {
    let mut all = members.members.clone();
    let pools = status.pools.iter().map(|pool| &pool.name);
    for pool in pools.filter(|pool| **pool != members.pool) {
        let query = [("pool", pool.clone())];
        let response: Result<ApiResponse<Members>, _> =
            client.get("/v1/members", &query, RESPONSE_TIMEOUT).await;
        match response {
            Ok(response) => all.extend(response.value.members),
            // The pool has disappeared meanwhile.
            Err(error) if error.is_rejection() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let members = all.iter().filter(|member| !member.sorry);
    let members = members.map(|member| (member.node.as_str(), member.name.as_str()));
    let others = status.nodes.iter();
    let others = others.map(|node| (node.node.as_str(), node.name.as_str()));
    Ok(Labels::new(members.chain(others)))
}

/// The nodes that another roll of this pool has disabled, and the command that brings each back.
fn unfinished(
    status: &Status,
    args: &cli::Roll,
    labels: &Labels,
    recovery: &RecoveryHint,
) -> Vec<String> {
    let note = note(&args.pool);
    let text = |node: &Node| {
        // The note has the pool of a node that no longer announces one.
        let given = node.reasons.iter().find(|given| {
            let of_pool = node.pool.as_deref() == Some(args.pool.as_str());
            given.reason == args.reason.as_str() && (of_pool || given.note.as_ref() == Some(&note))
        })?;
        Some(format!(
            "{} is being rolled, or was left disabled by a roll: {}; if no roll is running, check the node, then bring it \
             back: {}",
            named(&node.name, &node.node),
            reason(given, &status.time),
            recovery.command(labels.argument(&node.name, &node.node))
        ))
    };
    status.nodes.iter().filter_map(text).collect()
}

fn already_out(
    status: &Status,
    args: &cli::Roll,
    targets: &[Target],
    labels: &Labels,
) -> AlreadyOut {
    // A target may have been removed since the members were requested.
    let rolled: HashSet<_> = targets.iter().map(|target| target.node.as_str()).collect();
    let out = status.nodes.iter().filter(|node| {
        let of_pool = node.pool.as_deref() == Some(args.pool.as_str());
        of_pool && node.state != State::Member && !rolled.contains(node.node.as_str())
    });
    AlreadyOut(
        out.map(|node| OutNode {
            shown: labels.shown(&node.name, &node.node),
            why: format!("{}: {}", node.word(), why(node, &status.time)),
        })
        .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_some_of_the_nodes_that_were_out_from_the_start() {
        let out = |nodes: usize| {
            let node = |number| OutNode {
                shown: format!("node-{number}"),
                why: "failed: 500".to_owned(),
            };
            AlreadyOut((1..=nodes).map(node).collect())
        };
        assert_eq!((out(0).summary(), out(0).note()), (None, None));
        let one = "1 was already out and was not rolled: node-1";
        assert_eq!(out(1).summary().as_deref(), Some(one));
        let note = "not rolled, already out: node-1 (failed: 500)";
        assert_eq!(out(1).note().as_deref(), Some(note));
        let many = out(12).summary().unwrap();
        assert!(
            many.starts_with("12 were already out and were not rolled: node-1, node-2, "),
            "{many}"
        );
        assert!(many.ends_with(", node-10, 2 more"), "{many}");
    }
}
