//! `pollbal explain`: all that is known of one node.

use std::fmt::Write;

use super::http::{ANSWER, Door};
use super::status::why;
use super::terminal::{self, Paint, Tone};
use super::words::{ago, ahead, away, named, reason};
use super::{ClientError, DONE, events};
use crate::api::{Answer, Explanation};
use crate::cli;
use crate::logging::count;
use crate::model::text::printable;

pub(super) async fn explain(door: &Door, args: &cli::Explain) -> Result<u8, ClientError> {
    let query = [("node", args.node.clone())];
    let answer = door.get("/v1/explain", &query, ANSWER).await?;
    if door.json {
        terminal::print_json(&answer.pretty());
    } else {
        terminal::print(&text(&answer.value, Paint::of_stdout()));
    }
    Ok(DONE)
}

fn text(explanation: &Explanation, paint: Paint) -> String {
    let now = &explanation.time;
    let node = &explanation.node;
    let mut text = String::new();
    let mut line = |tone, line: &str| {
        text += &paint.tone(tone, &printable(line));
        text.push('\n');
    };
    line(Tone::Title, &named(&node.name, &node.node));
    line(Tone::Plain, &format!("is       {}", place(explanation)));
    for given in &node.reasons {
        line(Tone::Notable, &format!("out for  {}", reason(given, now)));
    }
    if let Some(grant) = &node.grant {
        let (since, ends) = (ago(&grant.since, now), ahead(&grant.until, now));
        let leave = format!("out for  a leave, granted {since}, ends {ends}");
        line(Tone::Notable, &leave);
    }
    line(Tone::Plain, &format!("polled   {}", polled(explanation)));
    for one in &explanation.load_balancers {
        let mut told = format!("{:8} {}: {}", one.driver, one.address, one.text);
        if let Some(why) = &one.away {
            _ = write!(told, "; it is {}", away(why, now));
        }
        let tone = if one.acked { Tone::Plain } else { Tone::Bad };
        line(tone, &told);
    }
    for step in &explanation.comes_back {
        line(Tone::Plain, &format!("comes back: {step}"));
    }
    if !explanation.history.is_empty() {
        _ = writeln!(text, "\n{}", paint.tone(Tone::Title, "what happened"));
    }
    for event in &explanation.history {
        text += &events::text(event, Some(now), paint);
    }
    text
}

/// Where it is, since when and why.
fn place(explanation: &Explanation) -> String {
    let node = &explanation.node;
    let mut text = node.word().to_owned();
    if let Some(pool) = &node.pool {
        _ = write!(text, " ({pool}");
        if let Some(version) = &node.version {
            _ = write!(text, " {version}");
        }
        text.push(')');
    }
    if let Some(since) = &node.since {
        _ = write!(text, ", since {}", ago(since, &explanation.time));
    }
    // Reasons and a leave have lines of their own.
    if node.reasons.is_empty() && node.grant.is_none() {
        let why = why(node, &explanation.time);
        if !why.is_empty() {
            _ = write!(text, ": {why}");
        }
    }
    text
}

/// What the last poll gave, and when the next is.
fn polled(explanation: &Explanation) -> String {
    let Some(answer) = &explanation.answer else {
        return "not yet".to_owned();
    };
    let Answer {
        text,
        time,
        took_ms,
        next,
        ..
    } = answer;
    let row = match (explanation.answers, explanation.failures) {
        (0, 0) => String::new(),
        (0, failures) => format!(", {} in a row", count(failures as usize, "failure")),
        (answers, _) => format!(", {} in a row", count(answers as usize, "good answer")),
    };
    let ago = ago(time, &explanation.time);
    format!("{ago}: {text}, after {took_ms:.1} ms{row}; {next}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Event, Grant, Node, NodeOnLoadBalancer, Reason, State};
    use crate::model::health::Health;

    const NOW: &str = "2026-11-21T09:30:00.000Z";
    const BEFORE: &str = "2026-11-21T09:27:00.000Z";

    fn explanation() -> Explanation {
        Explanation {
            time: NOW.to_owned(),
            health: Health::Ok,
            verdict: "OK: api-node-3 is disabled".to_owned(),
            node: Node {
                node: "10.0.0.3:8080".to_owned(),
                name: "api-node-3".to_owned(),
                state: State::Disabled,
                pool: Some("api".to_owned()),
                version: Some("v23".to_owned()),
                why: Some("disabled: kernel".to_owned()),
                since: Some(BEFORE.to_owned()),
                failing: false,
                reasons: vec![Reason {
                    reason: "kernel".to_owned(),
                    note: None,
                    by: Some("ann".to_owned()),
                    since: BEFORE.to_owned(),
                    until: None,
                }],
                grant: None,
                drained: Some(true),
            },
            answer: Some(Answer {
                text: "api serving v23".to_owned(),
                time: "2026-11-21T09:29:59.000Z".to_owned(),
                took_ms: 0.84,
                interval_ms: 1_000,
                next: "asked again within 1s".to_owned(),
            }),
            failures: 0,
            answers: 12,
            comes_back: vec!["pollbal enable api-node-3 --reason kernel".to_owned()],
            history: vec![Event {
                id: 3,
                time: BEFORE.to_owned(),
                level: "info".to_owned(),
                kind: "disabled".to_owned(),
                node: Some("10.0.0.3:8080".to_owned()),
                name: Some("api-node-3".to_owned()),
                pool: None,
                text: "api-node-3 is disabled: kernel by ann".to_owned(),
            }],
            load_balancers: vec![NodeOnLoadBalancer {
                driver: "balancer".to_owned(),
                address: "127.0.0.1:16000".to_owned(),
                text: "removed, drained".to_owned(),
                acked: true,
                drained: Some(true),
                away: None,
            }],
        }
    }

    #[test]
    fn a_node_is_explained_with_what_brings_it_back() {
        let expected = "\
api-node-3 (10.0.0.3:8080)
is       disabled (api v23), since 3 min ago
out for  kernel by ann, 3 min ago
polled   1 s ago: api serving v23, after 0.8 ms, 12 good answers in a row; asked again within 1s
balancer 127.0.0.1:16000: removed, drained
comes back: pollbal enable api-node-3 --reason kernel

what happened
2026-11-21T09:27:00.000Z     3 min ago           api-node-3 is disabled: kernel by ann
";
        assert_eq!(text(&explanation(), Paint::none()), expected);
    }

    #[test]
    fn a_leave_beside_a_disable_is_told_and_no_state_twice() {
        let grant = Grant {
            since: BEFORE.to_owned(),
            until: "2026-11-21T09:37:00.000Z".to_owned(),
        };
        let mut granted = explanation();
        granted.node.grant = Some(grant);
        let leave = "out for  a leave, granted 3 min ago, ends in 7 min\n";
        let both = format!("out for  kernel by ann, 3 min ago\n{leave}polled   ");
        let told = text(&granted, Paint::none());
        assert!(told.contains(&both), "{told}");
        granted.node.state = State::Leaving;
        granted.node.reasons.clear();
        let alone = format!("is       leaving (api v23), since 3 min ago\n{leave}polled   ");
        let told = text(&granted, Paint::none());
        assert!(told.contains(&alone), "{told}");
    }

    #[test]
    fn one_that_was_not_heard_yet_is_explained_too() {
        let mut unheard = explanation();
        unheard.answer = None;
        unheard.node.state = State::Awaited;
        unheard.node.reasons.clear();
        unheard.node.since = None;
        unheard.node.why = Some("not heard yet".to_owned());
        let text = text(&unheard, Paint::none());
        assert!(
            text.contains("is       awaited (api v23): not heard yet\npolled   not yet\n"),
            "{text}"
        );
    }
}
