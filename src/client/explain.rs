//! `pollbal explain`: everything that is known about one node.

use std::fmt::Write;

use super::format::{ago, ahead, away, named, reason};
use super::http::{AdminClient, RESPONSE_TIMEOUT};
use super::status::{ramp, why};
use super::terminal::{self, Colors, Style};
use super::{CommandError, DONE, events};
use crate::api::{Answer, Explanation};
use crate::cli;
use crate::logging::count;
use crate::model::node::Origin;
use crate::model::text::printable;
use crate::model::weight::WeightSource;

pub(super) async fn explain(client: &AdminClient, args: &cli::Explain) -> Result<u8, CommandError> {
    let query = [("node", args.node.clone())];
    let response = client.get("/v1/explain", &query, RESPONSE_TIMEOUT).await?;
    if client.json {
        terminal::print_json(&response.json());
    } else {
        terminal::print(&text(&response.value, Colors::of_stdout()));
    }
    Ok(DONE)
}

fn text(explanation: &Explanation, colors: Colors) -> String {
    let now = &explanation.time;
    let node = &explanation.node;
    let mut text = String::new();
    let mut line = |style, line: &str| {
        text += &colors.paint(style, &printable(line));
        text.push('\n');
    };
    line(Style::Title, &named(&node.name, &node.node));
    line(Style::Plain, &format!("is        {}", state(explanation)));
    for given in &node.reasons {
        line(Style::Warning, &format!("disabled  {}", reason(given, now)));
    }
    if let Some(grant) = &node.grant {
        let (since, ends) = (ago(&grant.since, now), ahead(&grant.until, now));
        let leave = format!("leaving   granted {since}, ends {ends}");
        line(Style::Warning, &leave);
    }
    if let Some(weight) = weight(explanation) {
        line(Style::Plain, &format!("weight    {weight}"));
    }
    if let Some(ramp) = ramp(node, now) {
        line(Style::Plain, &format!("weight    {ramp}"));
    }
    let label = match explanation.origin {
        Origin::ServicesFile => "polled",
        Origin::Serf => {
            line(Style::Plain, "source    Serf");
            "polled"
        }
        Origin::SerfReported => {
            line(
                Style::Plain,
                "source    Serf, which says how it is: it is not polled",
            );
            "reported"
        }
    };
    line(Style::Plain, &format!("{label:9} {}", polled(explanation)));
    for one in &explanation.load_balancers {
        let mut text = format!("{:9} {}: {}", one.driver, one.address, one.text);
        if let Some(why) = &one.away {
            _ = write!(text, "; it is {}", away(why, now));
        }
        let style = if one.acked {
            Style::Plain
        } else {
            Style::Error
        };
        line(style, &text);
    }
    for (index, step) in explanation.comes_back.iter().enumerate() {
        let label = if index == 0 {
            "returns   after"
        } else {
            "          and after"
        };
        line(Style::Plain, &format!("{label} {step}"));
    }
    if !explanation.history.is_empty() {
        _ = writeln!(text, "\n{}", colors.paint(Style::Title, "history"));
    }
    for event in &explanation.history {
        text += &events::text(event, Some(now), colors);
    }
    text
}

/// The node's state and pool, since when, and why.
fn state(explanation: &Explanation) -> String {
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
    // Reasons and a leave are printed as separate lines.
    if node.reasons.is_empty() && node.grant.is_none() {
        let why = why(node, &explanation.time);
        if !why.is_empty() {
            _ = write!(text, ": {why}");
        }
    }
    text
}

/// The node's weight, and who gives it; nothing if it has the weight of its pool.
fn weight(explanation: &Explanation) -> Option<String> {
    let node = &explanation.node;
    let given_by = match (&node.weight_reason, node.weight_source) {
        (Some(given), _) => format!(": {}", reason(given, &explanation.time)),
        (None, WeightSource::Node) => ", announced by the node".to_owned(),
        (None, WeightSource::ServicesFile) => ", from the services file".to_owned(),
        (None, WeightSource::Pool | WeightSource::Override) => return None,
    };
    Some(format!("{}{given_by}", node.weight))
}

/// The result of the last poll, and when the next one is.
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
    let streak = match (explanation.answers, explanation.failures) {
        (0, 0) => String::new(),
        (0, failures) => format!(", {} in a row", count(failures as usize, "failure")),
        (1, _) => ", 1 success in a row".to_owned(),
        (successes, _) => format!(", {successes} successes in a row"),
    };
    let ago = ago(time, &explanation.time);
    format!("{ago}: {text}, after {took_ms:.1} ms{streak}; {next}")
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
                weight: 100,
                weight_source: WeightSource::Pool,
                weight_reason: None,
                ramp: None,
                next_ramp_ms: None,
                drained: Some(true),
            },
            origin: Origin::ServicesFile,
            answer: Some(Answer {
                text: "api serving v23".to_owned(),
                time: "2026-11-21T09:29:59.000Z".to_owned(),
                took_ms: 0.84,
                interval_ms: 1_000,
                next: "next poll within 1s".to_owned(),
            }),
            failures: 0,
            answers: 12,
            comes_back: vec![
                "`pollbal enable api-node-3 --reason kernel`".to_owned(),
                "the node announces that it serves (it does not now)".to_owned(),
            ],
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
is        disabled (api v23), since 3 min ago
disabled  kernel by ann, 3 min ago
polled    1 s ago: api serving v23, after 0.8 ms, 12 successes in a row; next poll within 1s
balancer  127.0.0.1:16000: removed, drained
returns   after `pollbal enable api-node-3 --reason kernel`
          and after the node announces that it serves (it does not now)

history
2026-11-21T09:27:00.000Z     3 min ago           api-node-3 is disabled: kernel by ann
";
        assert_eq!(text(&explanation(), Colors::none()), expected);
    }

    #[test]
    fn a_leave_beside_a_disable_is_shown_and_the_state_only_once() {
        let grant = Grant {
            since: BEFORE.to_owned(),
            until: "2026-11-21T09:37:00.000Z".to_owned(),
        };
        let mut granted = explanation();
        granted.node.grant = Some(grant);
        let leave = "leaving   granted 3 min ago, ends in 7 min\n";
        let both = format!("disabled  kernel by ann, 3 min ago\n{leave}polled    ");
        let shown = text(&granted, Colors::none());
        assert!(shown.contains(&both), "{shown}");
        granted.node.state = State::Leaving;
        granted.node.reasons.clear();
        let alone = format!("is        leaving (api v23), since 3 min ago\n{leave}polled    ");
        let shown = text(&granted, Colors::none());
        assert!(shown.contains(&alone), "{shown}");
    }

    #[test]
    fn a_node_that_was_not_polled_yet_is_explained_too() {
        let mut unpolled = explanation();
        unpolled.answer = None;
        unpolled.node.state = State::Awaited;
        unpolled.node.reasons.clear();
        unpolled.node.since = None;
        unpolled.node.why = Some("not polled yet".to_owned());
        let text = text(&unpolled, Colors::none());
        assert!(
            text.contains("is        awaited (api v23): not polled yet\npolled    not yet\n"),
            "{text}"
        );
    }
}
