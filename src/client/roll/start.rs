//! Before a roll: who is to be rolled, and whether an earlier one has to be looked after first.

use std::collections::HashSet;

use super::super::ClientError;
use super::super::http::{ANSWER, Answer, Door};
use super::super::status::why;
use super::super::words::{away, named, reason};
use super::names::{Names, WayBack};
use super::note;
use super::plan::Target;
use crate::api::{Away, Members, Node, State, Status};
use crate::cli;

/// Of more nodes only the number is told.
const NAMED: usize = 10;

/// Who is rolled, and who of the pool is not.
pub(super) struct Start {
    pub(super) targets: Vec<Target>,
    pub(super) out: Out,
}

/// Nodes of the pool that are out from the start, and so are not rolled.
#[derive(Default)]
pub(super) struct Out(Vec<OutNode>);

struct OutNode {
    shown: String,
    why: String,
}

impl Out {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// For people, before it begins; none when there are none.
    pub(super) fn note(&self) -> Option<String> {
        let told = self.told(|node| format!("{} ({})", node.shown, node.why))?;
        Some(format!("not rolled, since they are out already: {told}"))
    }

    /// The same in the end.
    pub(super) fn sum(&self) -> Option<String> {
        let told = self.told(|node| node.shown.clone())?;
        Some(match self.len() {
            1 => format!("1 was out from the start and is left out: {told}"),
            many => format!("{many} were out from the start and are left out: {told}"),
        })
    }

    fn told(&self, one: impl Fn(&OutNode) -> String) -> Option<String> {
        let mut told: Vec<_> = self.0.iter().take(NAMED).map(one).collect();
        if self.len() > NAMED {
            told.push(format!("{} more", self.len() - NAMED));
        }
        (!told.is_empty()).then(|| told.join(", "))
    }
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
    let load_balancers = status.value.load_balancers.iter();
    if let Some((address, why)) = lost(load_balancers.map(|one| (&one.address, &one.away))) {
        let why = away(why, &status.value.time);
        return Err(ClientError::Failed(format!(
            "refused, nothing changed: load balancer {address} is {why}, so that no node could be seen drained there; \
             see to it first, or take it out of the configuration"
        )));
    }
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
    let out = out(&status.value, args, &targets, &names);
    if let Some(why) = impossible(&status.value, args, targets.len(), out.len()) {
        return Err(ClientError::Failed(why));
    }
    Ok(Start { targets, out })
}

/// A load balancer that is away: there nothing is known of nodes, so that the next one would be out for as long as it is, and
/// the command would not run. One that was never connected yet may be there in a moment.
pub(super) fn lost<'a>(
    mut load_balancers: impl Iterator<Item = (&'a String, &'a Option<Away>)>,
) -> Option<(&'a str, &'a Away)> {
    load_balancers.find_map(|(address, away)| {
        let why = away.as_ref().filter(|why| !why.state.is_empty())?;
        Some((address.as_str(), why))
    })
}

/// Why the pool can never do without one of its members; nothing when it can, or may be able to when
/// those come back that are out.
fn impossible(status: &Status, args: &cli::Roll, members: usize, out: usize) -> Option<String> {
    let pool = status.pools.iter();
    let pool = pool.filter(|pool| pool.name == args.pool.as_str());
    let min_members = pool.map(|pool| pool.min_members).next()?;
    // The daemon lets nobody take a pool's last member either.
    (members + out <= min_members.max(1)).then(|| {
        let (pool, left) = (&args.pool, members - 1);
        format!(
            "refused, nothing changed: rolling {pool} would leave it with {left} of {members} members \
             (min_members {min_members}); add a node first, or take one out by hand: \
             `pollbal disable NODE --reason WORD --force --wait`"
        )
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
            "{} is being rolled, or was left out: {}; if no roll runs any more: see to it, then bring it back: {}",
            named(&node.name, &node.node),
            reason(given, &status.time),
            way_back.of(names.word(&node.name, &node.node))
        ))
    };
    status.nodes.iter().filter_map(told).collect()
}

fn out(status: &Status, args: &cli::Roll, targets: &[Target], names: &Names) -> Out {
    // One may have gone out since its pool told of its members.
    let rolled: HashSet<_> = targets.iter().map(|target| target.node.as_str()).collect();
    let out = status.nodes.iter().filter(|node| {
        let of_pool = node.pool.as_deref() == Some(args.pool.as_str());
        of_pool && node.state != State::Member && !rolled.contains(node.node.as_str())
    });
    Out(out
        .map(|node| OutNode {
            shown: names.shown(&node.name, &node.node),
            why: format!("{}: {}", node.word(), why(node, &status.time)),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_names_some_of_those_that_were_out_from_the_start() {
        let out = |nodes: usize| {
            let node = |number| OutNode {
                shown: format!("node-{number}"),
                why: "failed: 500".to_owned(),
            };
            Out((1..=nodes).map(node).collect())
        };
        assert_eq!((out(0).sum(), out(0).note()), (None, None));
        let one = "1 was out from the start and is left out: node-1";
        assert_eq!(out(1).sum().as_deref(), Some(one));
        let note = "not rolled, since they are out already: node-1 (failed: 500)";
        assert_eq!(out(1).note().as_deref(), Some(note));
        let many = out(12).sum().unwrap();
        assert!(
            many.starts_with("12 were out from the start and are left out: node-1, node-2, "),
            "{many}"
        );
        assert!(many.ends_with(", node-10, 2 more"), "{many}");
    }
}
