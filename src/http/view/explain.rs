//! Everything about one node: the response to `GET /v1/explain`.

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
use crate::sources::serf;

/// Explains a node of `nodes`, which goes by this word.
pub(crate) fn explanation(
    nodes: &SelectedNodes,
    entry: &NodeAtSerial,
    word: &str,
    history: &[Arc<Event>],
) -> api::Explanation {
    let view = &entry.view;
    let Verdict { health, line } = Judgement::of_nodes(iter::once(view)).verdict;
    api::Explanation {
        time: time(nodes.clock.today),
        health,
        verdict: line,
        node: node::node(&nodes.clock, &nodes.drivers, entry),
        origin: view.node.origin,
        answer: view.last.as_ref().map(|last| api::Answer {
            text: outcome_text(last),
            time: earlier(&nodes.clock, last.asked_at),
            took_ms: last.took.as_secs_f64() * 1_000.0,
            interval_ms: u64::try_from(nodes.poll_interval.as_millis()).unwrap_or(u64::MAX),
            next: if view.node.is_polled() {
                next(&last.observation, nodes.poll_interval)
            } else {
                format!("Serf is asked every {}", format_duration(serf::INTERVAL))
            },
        }),
        failures: view.failures,
        answers: view.answers,
        comes_back: comes_back(view, word, &nodes.rules),
        history: history.iter().map(|happened| event(happened)).collect(),
        load_balancers: at_load_balancers(&nodes.clock, entry, &nodes.drivers),
    }
}

/// The outcome of a poll, as text.
fn outcome_text(poll: &Poll) -> String {
    match &poll.observation {
        Observation::Failed(failure) => failure.to_string(),
        Observation::Nothing => "empty body: it serves nothing".to_owned(),
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

/// When the next poll is, at the latest: sooner if `rise` or `fall` needs more than one; later for a node that hangs.
fn next(last: &Observation, interval: Duration) -> String {
    let within = format!("next poll within {}", format_duration(interval));
    match last {
        Observation::Failed(failure) if failure.is_silence() => {
            format!("{within}; backs off while it keeps hanging")
        }
        _ => within,
    }
}

/// What must happen before the node is a member again; each step continues "returns after".
fn comes_back(view: &NodeView, who: &str, rules: &Rules) -> Vec<String> {
    let NodeState::Out(why) = &view.state else {
        return match view.state {
            NodeState::Awaited => vec!["its first successful poll".to_owned()],
            _ => Vec::new(),
        };
    };
    let mut needs: Vec<_> = view
        .reasons
        .keys()
        .map(|word| format!("`pollbal enable {who} --reason {word}`"))
        .collect();
    if let Some(grant) = &view.lease {
        let until = time(grant.until);
        let returns = if grant.was_away {
            "serves again"
        } else {
            "has gone away and serves again, changes version or pool"
        };
        needs.push(format!(
            "its leave ends: when the node {returns}, cancels it, on `pollbal enable {who} --leave`, or at {until}"
        ));
    }
    needs.extend(match why {
        OutReason::Leaving | OutReason::Idle if view.node.is_polled() => {
            Some("the node announces a pool that it serves".to_owned())
        }
        OutReason::Leaving | OutReason::Idle => {
            Some("it is alive in Serf and announces a pool that it serves".to_owned())
        }
        OutReason::Failed(_) => Some(rises(view, rules)),
        OutReason::Refused(refusal) => Some(format!("its rejection must be resolved: {refusal}")),
        OutReason::Awaited => Some("the poll in progress, if the node serves".to_owned()),
        OutReason::Disabled(_) | OutReason::Granted => {
            is_away(view).then(|| "the node announces that it serves (it does not now)".to_owned())
        }
    });
    needs
}

fn is_away(view: &NodeView) -> bool {
    let last = view.last.as_ref();
    last.is_some_and(|last| !last.observation.is_serving())
}

/// The successful polls that a failed node needs.
fn rises(view: &NodeView, rules: &Rules) -> String {
    let pool = node::place(view).map(|place| place.pool);
    let rise = pool.map_or(&rules.undeclared, |pool| rules.of(&pool)).rise;
    match rise {
        1 => "its next successful poll".to_owned(),
        rise => format!(
            "{rise} successful polls in a row (rise), {} so far",
            view.answers
        ),
    }
}

fn at_load_balancers(
    clock: &Clock,
    entry: &NodeAtSerial,
    drivers: &DriverStatuses,
) -> Vec<api::NodeOnLoadBalancer> {
    let member = matches!(entry.view.state, NodeState::Member(..));
    let each = drivers.each(&entry.view, entry.serial);
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
    if member && node.skipped {
        return "skipped (cannot serve IPv6 nodes)".to_owned();
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
    fn a_node_that_hangs_is_not_promised_a_poll_per_interval() {
        let next = |last| next(&last, Duration::from_millis(1_500));
        assert_eq!(next(Observation::Nothing), "next poll within 1s 500ms");
        let failed = Observation::Failed(Failure::Status(503));
        assert_eq!(next(failed), "next poll within 1s 500ms");
        let hangs = next(Observation::Failed(Failure::Timeout(Duration::from_secs(
            1,
        ))));
        assert!(hangs.ends_with("; backs off while it keeps hanging"));
    }

    #[test]
    fn without_a_connection_the_state_is_unknown() {
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
                skipped: false,
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
