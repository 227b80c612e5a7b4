//! All about one node.

use std::sync::Arc;

use super::{earlier, node, time};
use crate::api;
use crate::api::event::event;
use crate::asks::{Nodes, Perlbals, Seen};
use crate::model::announcement::Status;
use crate::model::change::Out;
use crate::model::journal::Event;
use crate::model::observation::{Observation, Poll};
use crate::model::rules::Rules;
use crate::model::view::{NodeState, NodeView};

/// Explains a node of `nodes`.
pub(crate) fn explanation(nodes: &Nodes, seen: &Seen, history: &[Arc<Event>]) -> api::Explanation {
    let view = &seen.view;
    api::Explanation {
        time: time(nodes.moment.today),
        node: node::node(&nodes.moment, &nodes.perlbals, seen),
        answer: view.last.as_ref().map(|last| api::Answer {
            text: said(last),
            time: earlier(&nodes.moment, last.asked_at),
            took_ms: last.took.as_secs_f64() * 1_000.0,
            interval_ms: u64::try_from(nodes.poll_interval.as_millis()).unwrap_or(u64::MAX),
        }),
        failures: view.failures,
        answers: view.answers,
        comes_back: comes_back(view, &nodes.rules),
        history: history.iter().map(|happened| event(happened)).collect(),
        perlbals: in_perlbals(seen, &nodes.perlbals),
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

/// What must happen for the node to be a member.
fn comes_back(view: &NodeView, rules: &Rules) -> Vec<String> {
    let NodeState::Out(why) = &view.state else {
        return match view.state {
            NodeState::Unheard => vec!["it answers for the first time".to_owned()],
            _ => Vec::new(),
        };
    };
    let mut needs: Vec<_> = view
        .reasons
        .keys()
        .map(|word| {
            format!(
                "someone says `pollbal enable {} --reason {word}`",
                view.node.name
            )
        })
        .collect();
    if let Some(grant) = &view.grant {
        let until = time(grant.until);
        needs.push(format!(
            "its leave ends: it is away and serves again, it takes it back, or {until} comes"
        ));
    }
    needs.extend(match why {
        Out::Leaving | Out::Idle => Some("it answers with a pool that it serves".to_owned()),
        Out::Failed(_) => Some(rises(view, rules)),
        Out::Refused(refusal) => Some(format!("what is in the way is changed: {refusal}")),
        Out::Awaited => Some("it answers the poll that is under way as serving".to_owned()),
        Out::Disabled(_) | Out::Granted => {
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

fn in_perlbals(seen: &Seen, perlbals: &Perlbals) -> Vec<api::NodeInPerlbal> {
    let member = matches!(seen.view.state, NodeState::Member(..));
    let each = perlbals.each(seen);
    each.map(|(address, told, rest)| api::NodeInPerlbal {
        address: address.to_owned(),
        text: match (told, member, rest) {
            (false, ..) => "not told yet".to_owned(),
            (true, true, _) => "told, a member".to_owned(),
            (true, false, true) => "told, at rest".to_owned(),
            (true, false, false) => "told, not at rest".to_owned(),
        },
        told,
        at_rest: (!member).then_some(rest),
    })
    .collect()
}
