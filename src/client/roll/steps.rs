//! The steps of one node: disable, wait until drained, run the command, enable, wait until serving, and with `--ramp`
//! until it has its full weight.

use std::iter;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::super::format::{exact, now, reason, took};
use super::super::http::{ApiResponse, ClientError, MAX_AWAY, RESPONSE_TIMEOUT, retry_while_away};
use super::super::overrides::by;
use super::super::wait::{self, Goal};
use super::command::{self, CommandFailure};
use super::queue::{FinalState, Outcome, Target};
use super::select::lost;
use super::{Rollout, note};
use crate::api::{
    Disable, Enable, Explanation, Node, Ordered, Progress, Reason, State, Step, Until,
};
use crate::model::time::millis;

/// Delay before a node that may not be taken out yet is tried again: others come back within moments.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Maximum time for which the daemon delays a response. Short, so that the progress is shown.
const LONG_POLL: Duration = Duration::from_secs(1);

/// Runs all steps for a node after it was taken out.
pub(super) async fn finish(rollout: &Rc<Rollout>, target: &Target, started: Instant) -> Outcome {
    let failed = |why| Outcome::Failed {
        why,
        state: FinalState::Disabled,
    };
    rollout.step(target, Step::Disabled, "disabled");
    if let Err(why) = reach(rollout, target, Until::Drained, rollout.timeout).await {
        return failed(why);
    }
    rollout.step(target, Step::Command, "drained; running command");
    match command::run(rollout, target).await {
        Ok(()) => {}
        Err(CommandFailure::NotRun(why)) => return undo(rollout, target, why).await,
        Err(CommandFailure::Failed(why)) => return failed(why),
    }
    rollout.step(target, Step::Enabled, "command succeeded; re-enabling");
    match enable(rollout, target, rollout.ramp).await {
        Ok(None) => {}
        Ok(Some(others)) => return Outcome::Skipped(others),
        Err(outcome) => return outcome,
    }
    let full_weight = |ramp| (Until::FullWeight, rollout.timeout + ramp);
    let full_weight = rollout.ramp.map(full_weight);
    for (goal, limit) in iter::once((Until::Serving, rollout.timeout)).chain(full_weight) {
        if let Err(why) = reach(rollout, target, goal, limit).await {
            return not_serving(rollout, target, why).await;
        }
    }
    let took = took(started.elapsed());
    rollout.step(target, Step::Done, &format!("done, in {took}"));
    Outcome::Done
}

/// Disables the node as soon as its pool can spare it and every load balancer is connected. While other nodes of this
/// roll are out it waits for them, as long as their commands take; its own time limit starts when they are back.
pub(super) async fn take_out(rollout: &Rc<Rollout>, target: &Target) -> Result<(), Outcome> {
    let mut start = Instant::now();
    loop {
        let remaining = rollout.timeout.saturating_sub(start.elapsed());
        let why = match check(rollout, target, remaining).await? {
            Some(why) => why,
            None => match disable(rollout, target, remaining).await {
                Ok(response) => return check_others(rollout, target, &response.value).await,
                Err(error) if error.is_conflict() => error.to_string(),
                Err(error) => {
                    return Err(Outcome::Failed {
                        state: state_after(&error),
                        why: error.to_string(),
                    });
                }
            },
        };
        if rollout.queue.borrow().has_others(target) {
            start = Instant::now();
        } else if remaining.is_zero() {
            let timeout = exact(rollout.timeout);
            return Err(untouched(format!(
                "could not be taken out within {timeout}: {why}"
            )));
        }
        let waits = format!("waiting for its turn: {why}");
        rollout.step(target, Step::Waiting, &waits);
        tokio::select! {
            () = sleep(RETRY_INTERVAL.min(remaining)) => {}
            () = rollout.cancel.cancelled() => return Err(Outcome::NotStarted),
        }
    }
}

fn untouched(why: String) -> Outcome {
    Outcome::Failed {
        why,
        state: FinalState::Untouched,
    }
}

/// The state of a node after a request that failed: without a response, it may have been applied.
fn state_after(error: &ClientError) -> FinalState {
    if error.is_rejection() {
        FinalState::Untouched
    } else {
        FinalState::Unknown
    }
}

/// Checks a node before it is taken out; returns why it has to wait for a load balancer, if it has to. A node that is
/// already disabled for this roll's reason belongs to another roll, finished or not: this one must not enable it.
async fn check(
    rollout: &Rollout,
    target: &Target,
    limit: Duration,
) -> Result<Option<String>, Outcome> {
    let explanation = explain(rollout, target, limit).await;
    let explanation = explanation.map_err(|error| untouched(error.to_string()))?;
    if let Some(given) = own_reason(rollout, &explanation.node) {
        return Err(untouched(format!(
            "it is being rolled, or was left disabled by a roll: {}",
            reason(given, &explanation.time)
        )));
    }
    let load_balancers = explanation.load_balancers.iter();
    let lost = lost(load_balancers.map(|one| (&one.address, &one.away)));
    Ok(lost
        .map(|(address, why)| format!("load balancer {address} is {} ({})", why.state, why.cause)))
}

async fn explain(
    rollout: &Rollout,
    target: &Target,
    limit: Duration,
) -> Result<Explanation, ClientError> {
    let query = [("node", target.node.clone())];
    let response = retry_while_away(MAX_AWAY.min(limit), || {
        rollout.client.get("/v1/explain", &query, RESPONSE_TIMEOUT)
    });
    let response: ApiResponse<Explanation> = response.await?;
    Ok(response.value)
}

/// The node's reason with the name of this roll's reason.
pub(super) fn own_reason<'a>(rollout: &Rollout, node: &'a Node) -> Option<&'a Reason> {
    let mut reasons = node.reasons.iter();
    reasons.find(|given| given.reason == rollout.reason.as_str())
}

/// Leaves a node alone that is out for somebody else's reason, too: it may be under repair.
async fn check_others(
    rollout: &Rc<Rollout>,
    target: &Target,
    ordered: &Ordered,
) -> Result<(), Outcome> {
    let Some(others) = others(rollout, ordered) else {
        return Ok(());
    };
    enable(rollout, target, None).await?;
    Err(Outcome::Skipped(others))
}

/// Other reasons, or the leave, for which the node is out; `None` if there are none.
fn others(rollout: &Rollout, ordered: &Ordered) -> Option<String> {
    let node = ordered.nodes.first()?;
    let others = node
        .reasons
        .iter()
        .filter(|given| given.reason != rollout.reason.as_str());
    let now = now();
    let mut why: Vec<_> = others.map(|given| reason(given, &now)).collect();
    if node.grant.is_some() {
        why.push("a granted leave".to_owned());
    }
    (!why.is_empty()).then(|| why.join("; "))
}

async fn disable(
    rollout: &Rc<Rollout>,
    target: &Target,
    limit: Duration,
) -> Result<ApiResponse<Ordered>, ClientError> {
    let request = Disable {
        nodes: vec![target.node.clone()],
        reason: rollout.reason.to_string(),
        note: Some(note(&rollout.pool)),
        by: by(),
        for_ms: None,
        force: false,
    };
    retry_while_away(MAX_AWAY.min(limit), || {
        rollout.client.post("/v1/disable", &request)
    })
    .await
}

/// Removes this roll's reason; returns why the node stays out anyway, if it does. Otherwise it ramps up for that time, or
/// as the configuration says.
async fn enable(
    rollout: &Rc<Rollout>,
    target: &Target,
    ramp: Option<Duration>,
) -> Result<Option<String>, Outcome> {
    let request = Enable {
        nodes: vec![target.node.clone()],
        reason: rollout.reason.to_string(),
        by: by(),
        ramp_ms: ramp.map(millis),
    };
    let limit = MAX_AWAY.min(rollout.timeout);
    let response = retry_while_away(limit, || rollout.client.post("/v1/enable", &request)).await;
    let response: ApiResponse<Ordered> = response.map_err(|error| Outcome::Failed {
        state: if error.is_conflict() {
            // Somebody else removed the reason before.
            FinalState::Untouched
        } else {
            FinalState::Unknown
        },
        why: error.to_string(),
    })?;
    Ok(others(rollout, &response.value))
}

/// Enables a node whose command could not be run: nothing was done to it. The roll ends.
async fn undo(rollout: &Rc<Rollout>, target: &Target, why: String) -> Outcome {
    match enable(rollout, target, None).await {
        Ok(_) => untouched(format!("{why}; the node returns")),
        Err(Outcome::Failed { why: also, state }) => Outcome::Failed {
            why: format!("{why}; {also}"),
            state,
        },
        Err(other) => other,
    }
}

/// Waits until the node has reached the goal; an error says what is missing.
async fn reach(
    rollout: &Rc<Rollout>,
    target: &Target,
    until: Until,
    timeout: Duration,
) -> Result<(), String> {
    let nodes = [target.node.clone()];
    let goal = Goal {
        nodes: &nodes,
        until,
        timeout,
    };
    let mut printed = false;
    let progress = wait::until(&rollout.client, &goal, LONG_POLL, |progress| {
        let text = format!("waiting: {}", progress_text(progress));
        // Printed only once; the bar shows further changes.
        if printed {
            rollout.show(target, &text);
        } else {
            rollout.step(target, Step::Waiting, &text);
        }
        printed = true;
    });
    let progress = progress.await.map_err(|error| error.to_string())?;
    if progress.done {
        return Ok(());
    }
    Err(format!(
        "not {} within {}: {}",
        wait::reached(until),
        exact(timeout),
        progress_text(&progress)
    ))
}

/// What the only node is waiting for.
fn progress_text(progress: &Progress) -> &str {
    let node = progress.nodes.first();
    node.map_or("", |node| node.text.as_str())
}

/// Handles a node that did not serve in time. If it is a member again and its polls succeed, the cause is not the node,
/// for example a load balancer that is away: the node stays in. Otherwise it is disabled again.
async fn not_serving(rollout: &Rc<Rollout>, target: &Target, why: String) -> Outcome {
    let explanation = explain(rollout, target, rollout.timeout).await;
    let serves = |node: &Node| node.state == State::Member && !node.failing;
    if explanation.is_ok_and(|explanation| serves(&explanation.node)) {
        return untouched(format!(
            "{why}; the node is in its pool again and stays there"
        ));
    }
    disable_again(rollout, target, why).await
}

/// Disables a node that does not serve, so that it does not return unattended. It counts as failed even if it is out
/// for somebody else's reason, too: that may be the consequence of the command, which would do the same to the next
/// node.
async fn disable_again(rollout: &Rc<Rollout>, target: &Target, why: String) -> Outcome {
    let state = match disable(rollout, target, rollout.timeout).await {
        Ok(_) => FinalState::Disabled,
        Err(error) => state_after(&error),
    };
    Outcome::Failed { why, state }
}
