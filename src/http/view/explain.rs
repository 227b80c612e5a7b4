//! All about one node.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use humantime::format_duration;

use super::health::Judgement;
use super::{earlier, node, time};
use crate::api;
use crate::api::event::event;
use crate::control::{NodeAtSerial, SelectedNodes};
use crate::model::announcement::Status;
use crate::model::change::OutReason;
use crate::model::event::Event;
use crate::model::health::Verdict;
use crate::model::node_view::{NodeState, NodeView};
use crate::model::observation::{Observation, Poll};
use crate::model::rollout_status::{DriverStatuses, NodeOnDriver};
use crate::model::rules::Rules;
use crate::model::time::Clock;

/// Explains a node of `nodes`, which goes by this word.
pub(crate) fn explanation(
    nodes: &SelectedNodes,
    seen: &NodeAtSerial,
    word: &str,
    history: &[Arc<Event>],
) -> api::Explanation {
    let view = &seen.view;
    let Verdict { health, line } = Judgement::of_nodes(iter::once(view)).verdict;
    api::Explanation {
        time: time(nodes.clock.today),
        health,
        verdict: line,
        node: node::node(&nodes.clock, &nodes.drivers, seen),
        answer: view.last.as_ref().map(|last| api::Answer {
            text: said(last),
            time: earlier(&nodes.clock, last.asked_at),
            took_ms: last.took.as_secs_f64() * 1_000.0,
            interval_ms: u64::try_from(nodes.poll_interval.as_millis()).unwrap_or(u64::MAX),
            next: next(&last.observation, nodes.poll_interval),
        }),
        failures: view.failures,
        answers: view.answers,
        comes_back: comes_back(view, word, &nodes.rules),
        history: history.iter().map(|happened| event(happened)).collect(),
        load_balancers: at_load_balancers(&nodes.clock, seen, &nodes.drivers),
    }
}

/// What a poll gave, in words.
fn said(poll: &Poll) -> String {
    match &poll.observation {
        Observation::Failed(failure) => failure.to_string(),
        Observation::Nothing => "answered with an empty body: it serves nothing".to_owned(),
        Observation::Announced(announcement) => {
            let status = match announcement.status {
                Status::Serving => "serving",
                Status::Leaving => "leaving",
            };
            let version = announcement.version.as_ref();
            let version = version.map_or(String::new(), |version| format!(" {version}"));
            format!("{} {status}{version}", announcement.pool)
        }
    }
}

/// When it is asked again: sooner than after the interval where `rise` or `fall` asks for more than one
/// answer, but one that hangs is mostly waited for instead.
fn next(last: &Observation, interval: Duration) -> String {
    let within = format!("asked again within {}", format_duration(interval));
    match last {
        Observation::Failed(failure) if failure.is_silence() => {
            format!("{within}; if it hangs on, less often, and as soon as it answers")
        }
        _ => within,
    }
}

/// What must happen for the node to be a member.
fn comes_back(view: &NodeView, who: &str, rules: &Rules) -> Vec<String> {
    let NodeState::Out(why) = &view.state else {
        return match view.state {
            NodeState::Unheard => vec!["it answers for the first time".to_owned()],
            _ => Vec::new(),
        };
    };
    let mut needs: Vec<_> = view
        .reasons
        .keys()
        .map(|word| format!("someone says `pollbal enable {who} --reason {word}`"))
        .collect();
    if let Some(grant) = &view.lease {
        let until = time(grant.until);
        let returns = if grant.was_away {
            "it serves again"
        } else {
            "it is away, which it was not yet, and serves again, or serves another version or pool"
        };
        needs.push(format!(
            "its leave ends: {returns}, it takes it back, someone says `pollbal enable {who} --leave`, or {until} comes"
        ));
    }
    needs.extend(match why {
        OutReason::Leaving | OutReason::Idle => {
            Some("it answers with a pool that it serves".to_owned())
        }
        OutReason::Failed(_) => Some(rises(view, rules)),
        OutReason::Refused(refusal) => Some(format!("what is in the way is changed: {refusal}")),
        OutReason::Awaited => Some("it answers the poll that is under way as serving".to_owned()),
        OutReason::Disabled(_) | OutReason::Granted => {
            is_away(view).then(|| "then it answers as serving, which it does not now".to_owned())
        }
    });
    needs
}

fn is_away(view: &NodeView) -> bool {
    let last = view.last.as_ref();
    last.is_some_and(|last| !last.observation.is_serving())
}

/// How many good answers a failed node still needs.
fn rises(view: &NodeView, rules: &Rules) -> String {
    let pool = node::place(view).map(|place| place.pool);
    let rise = pool.map_or(&rules.undeclared, |pool| rules.of(&pool)).rise;
    match rise {
        1 => "it answers properly, once".to_owned(),
        rise => format!(
            "it answers properly {rise} times in a row (`rise`), now {}",
            view.answers
        ),
    }
}

fn at_load_balancers(
    clock: &Clock,
    seen: &NodeAtSerial,
    drivers: &DriverStatuses,
) -> Vec<api::NodeOnLoadBalancer> {
    let member = matches!(seen.view.state, NodeState::Member(..));
    let each = drivers.each(&seen.view, seen.serial);
    each.map(|node| api::NodeOnLoadBalancer {
        driver: node.id.kind.key.to_owned(),
        address: node.id.address.to_string(),
        text: at_load_balancer(&node, member),
        acked: node.acked,
        drained: (!member).then_some(node.drained),
        away: super::load_balancer::away(clock, node.status),
    })
    .collect()
}

fn at_load_balancer(node: &NodeOnDriver<'_>, member: bool) -> String {
    if !node.status.connected {
        return "unknown (not connected)".to_owned();
    }
    let text = match (node.acked, member, node.drained, node.stray) {
        (false, ..) => "not acknowledged yet",
        (true, true, ..) => "active member",
        (true, false, true, _) => "removed, drained",
        (true, false, false, Some(stray)) => {
            return format!("removed, but {}", stray.text(&node.id.address));
        }
        (true, false, false, None) => "removed, still draining",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::driver_status::{DriverId, DriverKind, DriverStatus};
    use crate::model::observation::Failure;

    #[test]
    fn one_that_hangs_is_not_promised_to_be_asked_each_time() {
        let next = |last| next(&last, Duration::from_millis(1_500));
        assert_eq!(next(Observation::Nothing), "asked again within 1s 500ms");
        let refused = Observation::Failed(Failure::Status(503));
        assert_eq!(next(refused), "asked again within 1s 500ms");
        let hangs = next(Observation::Failed(Failure::Timeout));
        assert!(hangs.ends_with("; if it hangs on, less often, and as soon as it answers"));
    }

    #[test]
    fn without_a_connection_nothing_is_claimed() {
        let text = |connected, acked, drained| {
            let id = DriverId {
                kind: DriverKind {
                    key: "test",
                    name: "Test",
                },
                address: "127.0.0.1:16000".into(),
            };
            let status = DriverStatus {
                connected,
                ..DriverStatus::default()
            };
            let node = NodeOnDriver {
                id: &id,
                status: &status,
                acked,
                stray: None,
                drained,
            };
            at_load_balancer(&node, false)
        };
        assert_eq!(text(false, false, false), "unknown (not connected)");
        assert_eq!(text(true, false, false), "not acknowledged yet");
        assert_eq!(text(true, true, false), "removed, still draining");
        assert_eq!(text(true, true, true), "removed, drained");
    }
}
