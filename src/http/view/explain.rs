//! All about one node.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use humantime::format_duration;

use super::health::Judgement;
use super::{earlier, node, time};
use crate::api;
use crate::api::event::event;
use crate::control::{NodeAtSerial, Perlbals, Place, SelectedNodes};
use crate::model::announcement::Status;
use crate::model::change::OutReason;
use crate::model::event::Event;
use crate::model::health::Verdict;
use crate::model::node_view::{NodeState, NodeView};
use crate::model::observation::{Observation, Poll};
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
        node: node::node(&nodes.clock, &nodes.perlbals, seen),
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
        perlbals: in_perlbals(&nodes.clock, seen, &nodes.perlbals),
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

fn in_perlbals(clock: &Clock, seen: &NodeAtSerial, perlbals: &Perlbals) -> Vec<api::NodeInPerlbal> {
    let member = matches!(seen.view.state, NodeState::Member(..));
    let each = perlbals.each(seen);
    each.map(|place| api::NodeInPerlbal {
        address: place.address.to_owned(),
        text: in_perlbal(&place, member),
        told: place.told,
        at_rest: (!member).then_some(place.rest),
        away: super::perlbal::away(clock, place.standing),
    })
    .collect()
}

fn in_perlbal(place: &Place<'_>, member: bool) -> String {
    if !place.connected {
        return "no connection, so it is not known".to_owned();
    }
    let text = match (place.told, member, place.rest, place.stray) {
        (false, ..) => "not told yet",
        (true, true, ..) => "told, a member",
        (true, false, true, _) => "told, at rest",
        (true, false, false, Some(stray)) => return format!("told, {}", stray.text(place.address)),
        (true, false, false, None) => "told, not at rest",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::perlbal::standing::Standing;
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
    fn where_there_is_no_connection_that_is_told_rather_than_what_is_not_known() {
        let text = |connected, told, rest| {
            let address = "127.0.0.1:16000";
            let place = Place {
                address,
                standing: &Standing::default(),
                connected,
                told,
                stray: None,
                rest,
            };
            in_perlbal(&place, false)
        };
        assert_eq!(
            text(false, false, false),
            "no connection, so it is not known"
        );
        assert_eq!(text(true, false, false), "not told yet");
        assert_eq!(text(true, true, false), "told, not at rest");
        assert_eq!(text(true, true, true), "told, at rest");
    }
}
