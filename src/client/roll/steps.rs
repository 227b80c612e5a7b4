//! One node's way through a roll: out, at rest, the command, in, serving.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::super::http::{ANSWER, AWAY, Answer, AskError, persist};
use super::super::orders::by;
use super::super::wait::{self, Wanted};
use super::super::words::{exact, now, reason, took};
use super::command::{self, Trouble};
use super::plan::{Left, Outcome, Target};
use super::start::lost;
use super::{Site, note};
use crate::api::{
    Disable, Enable, Explanation, Node, Ordered, Progress, Reason, State, Step, Until,
};

/// How often a node that may not go yet asks again: others come back within moments.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How long the daemon holds an answer at most, so that what is waited for is seen.
const LOOK: Duration = Duration::from_secs(1);

/// Takes a node that was taken out through all further steps.
pub(super) async fn through(site: &Rc<Site>, target: &Target, began: Instant) -> Outcome {
    let failed = |why| Outcome::Failed {
        why,
        left: Left::Disabled,
    };
    site.step(target, Step::Disabled, "disabled");
    if let Err(why) = reach(site, target, Until::Rest).await {
        return failed(why);
    }
    site.step(target, Step::Command, "at rest; the command runs");
    match command::run(site, target).await {
        Ok(()) => {}
        Err(Trouble::NotRun(why)) => return give_back(site, target, why).await,
        Err(Trouble::Failed(why)) => return failed(why),
    }
    site.step(
        target,
        Step::Enabled,
        "the command is done; comes back to the pool",
    );
    match bring_back(site, target).await {
        Ok(None) => {}
        Ok(Some(others)) => return Outcome::PassedOver(others),
        Err(outcome) => return outcome,
    }
    if let Err(why) = reach(site, target, Until::Serving).await {
        return not_serving(site, target, why).await;
    }
    let took = took(began.elapsed());
    site.step(target, Step::Done, &format!("done, in {took}"));
    Outcome::Done
}

/// Disables the node as soon as its pool can do without it and no load balancer is away. While others of this roll are out
/// it waits for them, and their commands may take as long as they like; its own time begins when they are back.
pub(super) async fn take_out(site: &Rc<Site>, target: &Target) -> Result<(), Outcome> {
    let mut start = Instant::now();
    loop {
        let left = site.timeout.saturating_sub(start.elapsed());
        let why = match look(site, target, left).await? {
            Some(why) => why,
            None => match disable(site, target, left).await {
                Ok(answer) => return left_to_others(site, target, &answer.value).await,
                Err(error) if error.is_conflict() => error.to_string(),
                Err(error) => {
                    return Err(Outcome::Failed {
                        left: left_by(&error),
                        why: error.to_string(),
                    });
                }
            },
        };
        if site.plan.borrow().has_others(target) {
            start = Instant::now();
        } else if left.is_zero() {
            let timeout = exact(site.timeout);
            return Err(untouched(format!(
                "it could not be taken out within {timeout}: {why}"
            )));
        }
        let waits = format!("waits until it may go: {why}");
        site.step(target, Step::Waiting, &waits);
        tokio::select! {
            () = sleep(ASK_AGAIN.min(left)) => {}
            () = site.enough.cancelled() => return Err(Outcome::NotBegun),
        }
    }
}

fn untouched(why: String) -> Outcome {
    Outcome::Failed {
        why,
        left: Left::Untouched,
    }
}

/// How an order that failed leaves a node: without an answer, it may have been carried out.
fn left_by(error: &AskError) -> Left {
    if error.is_refusal() {
        Left::Untouched
    } else {
        Left::Unknown
    }
}

/// Looks before a node is taken out; gives what it has to wait for, if that is a load balancer. A node that is disabled by
/// this very word belongs to another roll, or was left out by one: it must not be brought back by this one.
async fn look(site: &Site, target: &Target, limit: Duration) -> Result<Option<String>, Outcome> {
    let told = explain(site, target, limit).await;
    let told = told.map_err(|error| untouched(error.to_string()))?;
    if let Some(given) = own_reason(site, &told.node) {
        return Err(untouched(format!(
            "it is being rolled, or was left out: {}",
            reason(given, &told.time)
        )));
    }
    let load_balancers = told.load_balancers.iter();
    let lost = lost(load_balancers.map(|one| (&one.address, &one.away)));
    Ok(lost
        .map(|(address, why)| format!("load balancer {address} is {} ({})", why.state, why.cause)))
}

async fn explain(site: &Site, target: &Target, limit: Duration) -> Result<Explanation, AskError> {
    let query = [("node", target.node.clone())];
    let told = persist(AWAY.min(limit), || {
        site.door.get("/v1/explain", &query, ANSWER)
    });
    let told: Answer<Explanation> = told.await?;
    Ok(told.value)
}

/// The reason of a node that has the word of this roll.
pub(super) fn own_reason<'a>(site: &Site, node: &'a Node) -> Option<&'a Reason> {
    let mut reasons = node.reasons.iter();
    reasons.find(|given| given.reason == site.word.as_str())
}

/// A node that others took out is theirs: it may be open on a table.
async fn left_to_others(
    site: &Rc<Site>,
    target: &Target,
    ordered: &Ordered,
) -> Result<(), Outcome> {
    let Some(others) = others(site, ordered) else {
        return Ok(());
    };
    bring_back(site, target).await?;
    Err(Outcome::PassedOver(others))
}

/// Why others keep the node out; none when they do not.
fn others(site: &Site, ordered: &Ordered) -> Option<String> {
    let node = ordered.nodes.first()?;
    let others = node
        .reasons
        .iter()
        .filter(|given| given.reason != site.word.as_str());
    let now = now();
    let mut why: Vec<_> = others.map(|given| reason(given, &now)).collect();
    if node.grant.is_some() {
        why.push("its leave, which it was granted".to_owned());
    }
    (!why.is_empty()).then(|| why.join("; "))
}

async fn disable(
    site: &Rc<Site>,
    target: &Target,
    limit: Duration,
) -> Result<Answer<Ordered>, AskError> {
    let order = Disable {
        nodes: vec![target.node.clone()],
        reason: site.word.to_string(),
        note: Some(note(&site.pool)),
        by: by(),
        for_ms: None,
        force: false,
    };
    persist(AWAY.min(limit), || site.door.post("/v1/disable", &order)).await
}

/// Takes the reason away; gives why others keep the node out.
async fn bring_back(site: &Rc<Site>, target: &Target) -> Result<Option<String>, Outcome> {
    let order = Enable {
        nodes: vec![target.node.clone()],
        reason: site.word.to_string(),
        by: by(),
    };
    let limit = AWAY.min(site.timeout);
    let answer = persist(limit, || site.door.post("/v1/enable", &order)).await;
    let answer: Answer<Ordered> = answer.map_err(|error| Outcome::Failed {
        left: if error.is_conflict() {
            // Someone took it away before.
            Left::Untouched
        } else {
            Left::Unknown
        },
        why: error.to_string(),
    })?;
    Ok(others(site, &answer.value))
}

/// The command could not be run, so nothing was done to the node: it comes back, and the roll ends.
async fn give_back(site: &Rc<Site>, target: &Target, why: String) -> Outcome {
    match bring_back(site, target).await {
        Ok(_) => untouched(format!("{why}; the node comes back")),
        Err(Outcome::Failed { why: also, left }) => Outcome::Failed {
            why: format!("{why}; {also}"),
            left,
        },
        Err(other) => other,
    }
}

/// Waits until the node has reached it; an error says where it is instead.
async fn reach(site: &Rc<Site>, target: &Target, until: Until) -> Result<(), String> {
    let nodes = [target.node.clone()];
    let wanted = Wanted {
        nodes: &nodes,
        until,
        timeout: site.timeout,
    };
    let mut told = false;
    let progress = wait::until(&site.door, &wanted, LOOK, |progress| {
        let text = format!("waits: {}", where_it_is(progress));
        // Told once; how long it takes is for the bar.
        if told {
            site.show(target, &text);
        } else {
            site.step(target, Step::Waiting, &text);
        }
        told = true;
    });
    let progress = progress.await.map_err(|error| error.to_string())?;
    if progress.done {
        return Ok(());
    }
    Err(format!(
        "not {} within {}: {}",
        wait::reached(until),
        exact(site.timeout),
        where_it_is(&progress)
    ))
}

/// Where the one node is.
fn where_it_is(progress: &Progress) -> &str {
    let node = progress.nodes.first();
    node.map_or("", |node| node.text.as_str())
}

/// A node did not come to serve everywhere in time. Where it is a member again and answers, what is missing is not its
/// own: it stays in, and a load balancer that is away gets it when that is back.
async fn not_serving(site: &Rc<Site>, target: &Target, why: String) -> Outcome {
    let told = explain(site, target, site.timeout).await;
    let serves = |node: &Node| node.state == State::Member && !node.failing;
    if told.is_ok_and(|told| serves(&told.node)) {
        return untouched(format!(
            "{why}; the node is in its pool again, and stays there"
        ));
    }
    keep_out(site, target, why).await
}

/// A node that does not come to serve is kept from doing so when nobody looks any more. It has failed, though others
/// keep it out too: they may have seen what its command did to it, and the next one would fare no better.
async fn keep_out(site: &Rc<Site>, target: &Target, why: String) -> Outcome {
    let left = match disable(site, target, site.timeout).await {
        Ok(_) => Left::Disabled,
        Err(error) => left_by(&error),
    };
    Outcome::Failed { why, left }
}
