//! One node's way through a roll: out, at rest, the command, in, serving.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::super::http::{AWAY, Answer, AskError, persist};
use super::super::orders::by;
use super::super::wait::{self, Wanted};
use super::super::words::{exact, now, reason, took};
use super::plan::{Outcome, Target};
use super::{Site, command, note};
use crate::api::{Disable, Enable, Ordered, Progress, Step, Until};

/// How often a node that may not go yet asks again: others come back within moments.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How long the daemon holds an answer at most, so that what is waited for is seen.
const LOOK: Duration = Duration::from_secs(1);

/// Takes the node through all steps.
pub(super) async fn through(site: &Rc<Site>, target: &Target) -> Outcome {
    let start = Instant::now();
    if let Err(outcome) = take_out(site, target).await {
        return outcome;
    }
    let failed = |why| Outcome::Failed {
        why,
        disabled: true,
    };
    site.step(target, Step::Disabled, "disabled");
    if let Err(why) = reach(site, target, Until::Rest).await {
        return failed(why);
    }
    site.step(target, Step::Command, "at rest; the command runs");
    if let Err(why) = command::run(site, target).await {
        return failed(why);
    }
    site.step(
        target,
        Step::Enabled,
        "the command is done; comes back to the pool",
    );
    if let Err(error) = bring_back(site, target).await {
        return failed(error.to_string());
    }
    if let Err(why) = reach(site, target, Until::Serving).await {
        return keep_out(site, target, why).await;
    }
    let took = took(start.elapsed());
    site.step(target, Step::Done, &format!("done, in {took}"));
    Outcome::Done
}

/// Disables the node as soon as its pool can do without it.
async fn take_out(site: &Rc<Site>, target: &Target) -> Result<(), Outcome> {
    let start = Instant::now();
    loop {
        let error = match disable(site, target).await {
            Ok(answer) => return left_to_others(site, target, &answer.value).await,
            Err(error) => error,
        };
        if !error.is_conflict() {
            return Err(untouched(error.to_string()));
        }
        if start.elapsed() >= site.timeout {
            let timeout = exact(site.timeout);
            return Err(untouched(format!(
                "it could not be taken out within {timeout}: {error}"
            )));
        }
        let waits = format!("waits until it may go: {error}");
        site.step(target, Step::Waiting, &waits);
        tokio::select! {
            () = sleep(ASK_AGAIN) => {}
            () = site.enough.cancelled() => return Err(Outcome::NotBegun),
        }
    }
}

fn untouched(why: String) -> Outcome {
    Outcome::Failed {
        why,
        disabled: false,
    }
}

/// A node that others took out is theirs: it may be open on a table.
async fn left_to_others(
    site: &Rc<Site>,
    target: &Target,
    ordered: &Ordered,
) -> Result<(), Outcome> {
    let Some(node) = ordered.nodes.first() else {
        return Ok(());
    };
    let others = node
        .reasons
        .iter()
        .filter(|given| given.reason != site.word.as_str());
    let now = now();
    let mut why: Vec<_> = others.map(|given| reason(given, &now)).collect();
    if node.grant.is_some() {
        why.push("it was granted leave".to_owned());
    }
    if why.is_empty() {
        return Ok(());
    }
    match bring_back(site, target).await {
        Ok(()) => Err(Outcome::PassedOver(why.join("; "))),
        Err(error) => Err(Outcome::Failed {
            why: error.to_string(),
            disabled: true,
        }),
    }
}

async fn disable(site: &Rc<Site>, target: &Target) -> Result<Answer<Ordered>, AskError> {
    let order = Disable {
        nodes: vec![target.node.clone()],
        reason: site.word.to_string(),
        note: Some(note(&site.pool)),
        by: by(),
        for_ms: None,
        force: false,
    };
    persist(AWAY, || site.door.post("/v1/disable", &order)).await
}

async fn bring_back(site: &Rc<Site>, target: &Target) -> Result<(), AskError> {
    let order = Enable {
        nodes: vec![target.node.clone()],
        reason: site.word.to_string(),
    };
    let answer = persist(AWAY, || site.door.post("/v1/enable", &order));
    let _: Answer<Ordered> = answer.await?;
    Ok(())
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
    let what = match until {
        Until::Rest => "at rest",
        Until::Serving => "serving",
    };
    Err(format!(
        "not {what} within {}: {}",
        exact(site.timeout),
        where_it_is(&progress)
    ))
}

/// Where the one node is.
fn where_it_is(progress: &Progress) -> &str {
    let node = progress.nodes.first();
    node.map_or("", |node| node.text.as_str())
}

/// A node that does not come to serve is kept from doing so when nobody looks any more.
async fn keep_out(site: &Rc<Site>, target: &Target, why: String) -> Outcome {
    let disabled = disable(site, target).await.is_ok();
    Outcome::Failed { why, disabled }
}
