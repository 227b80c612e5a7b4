//! The text of the page; tests/it/page.rs opens it in a browser.

use std::cell::Cell;
use std::hint::black_box;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::fixtures::{self, events, node};
use super::render::{About, NodeTable, Page, SCRIPT, STYLE};
use crate::api::{Explanation, Ramp, State, Status};
use crate::model::health::Health;

fn page(status: &Status, about: About) -> String {
    let events = events(50);
    let page = Page {
        host: "lb1",
        status,
        listed: &listed(status, about),
        about,
        events: &events,
    };
    page.document().expect("the page is made")
}

fn listed(status: &Status, about: About) -> NodeTable {
    NodeTable::of(status.nodes.iter(), about, Clone::clone)
}

fn site(status: &Status) -> String {
    page(status, About::Site { all: false })
}

#[test]
fn the_first_word_is_the_verdict() {
    let quiet = site(&fixtures::quiet());
    assert!(quiet.contains("<title>OK: 52 nodes: 52 in pools · lb1 · pollbal</title>"));
    assert!(quiet.contains("class=\"verdict good\""));
    let night = site(&fixtures::night());
    assert!(night.contains(
        "<title>CRITICAL: pool shop has no members, its sorry server is acti… · lb1 · pollbal</title>"
    ));
    assert!(night.contains("class=\"verdict bad\""));
    for part in [
        "<p class=\"line\">CRITICAL: pool shop has no members, its sorry server is active; pool images",
        "<li>Balancer 10.0.9.2:8065 unreachable</li>",
        "<li>/etc/pollbal.services was rejected; the last good list stays active <small>",
    ] {
        assert!(night.contains(part), "{part} is missing in {night}");
    }
    let mut degraded = fixtures::quiet();
    (degraded.health, degraded.site_health) = (Health::Degraded, Health::Degraded);
    degraded.verdict = "DEGRADED: frozen (storm)".to_owned();
    let degraded = site(&degraded);
    assert!(degraded.contains("<title>DEGRADED: frozen (storm) · lb1 · pollbal</title>"));
    assert!(degraded.contains("class=\"verdict warning\"") && degraded.contains("fill='orange'"));
}

#[test]
fn a_page_of_a_node_is_green_only_where_it_and_all_are_well() {
    let mut status = fixtures::quiet();
    let mut explained = fixtures::explanation();
    let verdict = |status: &Status, explained: &Explanation| {
        let text = page(status, About::Node(explained));
        let class = text.split("class=\"verdict ").nth(1).unwrap();
        class.split(' ').next().unwrap().to_owned()
    };
    assert_eq!(verdict(&status, &explained), "good");
    explained.health = Health::Degraded;
    explained.verdict = "DEGRADED: web-0005 is down: connection refused".to_owned();
    assert_eq!(verdict(&status, &explained), "warning");
    explained.health = Health::Ok;
    status.site_health = Health::Critical;
    assert_eq!(verdict(&status, &explained), "bad");
}

#[test]
fn reasons_are_shown_whole() {
    let text = site(&fixtures::night());
    for part in [
        "<b>network</b> by <bdi>ann</bdi>: “<bdi>switch sw3 flaps, all racks of hall B</bdi>”",
        "<b>kernel</b> by <bdi>ann</bdi>: “<bdi>new kernel, reboot under way</bdi>”, <time",
        r#"<b>disk</b> by <bdi>ann</bdi>, <time datetime="2026-07-29T22:40:00Z">3 h 23 min ago</time>, ends <time"#,
        "leave ends <time",
        "10.0.0.250:80 is active",
        "10.0.0.99:8080: <b>disk</b> by <bdi>ann</bdi>: “<bdi>sent away</bdi>”",
        "<code>pollbal enable 10.0.0.99:8080 --reason disk</code> removes it",
        "</time>, before the last change</small>",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn a_node_says_what_brings_it_back() {
    let text = page(&fixtures::night(), About::Node(&fixtures::explanation()));
    for part in [
        "<title>web-0005 · OK: web-0005 is disabled · lb1 · pollbal</title>",
        "All: CRITICAL: pool shop has no members",
        r#"<h2 id="node-is"><bdi>web-0005</bdi> "#,
        "“<bdi>api serving v23</bdi>”",
        "took 3.2 ms; next poll within 3s",
        "<code>pollbal enable web-0005 --reason disk</code>",
        "removed, drained",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn a_member_that_ramps_up_is_shown_with_its_weight_at_present_and_its_full_weight() {
    let ramp = Some(Ramp {
        weight: 35,
        since: fixtures::NOW.to_owned(),
        until: "2026-07-30T02:03:24.567Z".to_owned(),
    });
    let mut status = fixtures::quiet();
    status.nodes = vec![node(1, State::Member, "")];
    status.nodes[0].ramp.clone_from(&ramp);
    let mut explained = fixtures::explanation();
    explained.node.ramp = ramp;
    for text in [site(&status), page(&status, About::Node(&explained))] {
        assert!(text.contains("35 of 100, full <time"), "{text}");
        assert!(text.contains(">in 20 s</time>"), "{text}");
    }
}

/// A text that would be an element, or leave the attribute that it is in.
const HOSTILE: &str = r#""'><script>alert(1)</script>"#;

/// In every text of a state, wherever the page may show it.
fn hostile<T: serde::Serialize + serde::de::DeserializeOwned>(state: &T) -> T {
    let mut value = serde_json::to_value(state).expect("a state is JSON");
    spoil(&mut value);
    serde_json::from_value(value).expect("a state it still is")
}

fn spoil(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::String(text) => text.push_str(HOSTILE),
        Value::Array(values) => values.iter_mut().for_each(spoil),
        // Where a node is, and how well, stays one of its words.
        Value::Object(fields) => fields
            .iter_mut()
            .filter(|(key, _)| {
                let words = [
                    "state",
                    "severity",
                    "health",
                    "site_health",
                    "weight_source",
                    "origin",
                ];
                !words.contains(&key.as_str())
            })
            .for_each(|(_, value)| spoil(value)),
        _ => {}
    }
}

#[test]
fn no_text_from_outside_becomes_markup() {
    let (status, explained) = (
        hostile(&fixtures::night()),
        hostile(&fixtures::explanation()),
    );
    let events: Vec<_> = events(8).iter().map(hostile).collect();
    let abouts = [
        About::Site { all: true },
        About::Pool {
            name: HOSTILE,
            all: false,
        },
        About::Node(&explained),
        About::Nothing(HOSTILE),
    ];
    for about in abouts {
        let page = Page {
            host: HOSTILE,
            status: &status,
            listed: &listed(&status, about),
            about,
            events: &events,
        };
        let text = page.document().expect("the page is made");
        assert_eq!(text.matches("<script").count(), 1, "in {text}");
        assert!(!text.contains(r#""'>"#), "in {text}");
        assert!(text.contains("&#60;script&#62;"), "in {text}");
    }
}

#[test]
fn nothing_in_it_needs_more_than_the_policy_allows() {
    let text = page(&fixtures::night(), About::Node(&fixtures::explanation()));
    assert!(text.contains(&format!("<style>{STYLE}</style>")));
    assert!(text.contains(&format!("<script>{SCRIPT}</script>")));
    let markup = text.replace(STYLE, "").replace(SCRIPT, "");
    for forbidden in [" style=", " onclick=", " onload=", " src=", "javascript:"] {
        assert!(!markup.contains(forbidden), "{forbidden} in {markup}");
    }
    // The name of SVG in the icon is an address that nobody requests.
    let addresses: Vec<_> = text
        .match_indices("http:")
        .chain(text.match_indices("https:"))
        .collect();
    assert_eq!(addresses.len(), 1, "{addresses:?}");
    for end in ["</style", "</script", "<!--"] {
        assert!(!STYLE.contains(end) && !SCRIPT.contains(end));
    }
}

/// What this thread has had of the processor: others use the machine too.
fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a time is not negative")
}

#[test]
fn ten_thousand_nodes_that_are_out_make_a_short_page_at_once() {
    let status = fixtures::all_out(10_000);
    // The least that it takes: each node is converted.
    let begun = spent();
    let copied = black_box(status.nodes.clone());
    let copying = spent().saturating_sub(begun);
    drop(copied);
    let begun = spent();
    let text = site(&status);
    let took = spent().saturating_sub(begun);
    assert!(text.len() < 100_000, "{} bytes", text.len());
    assert!(took < 3 * copying, "{took:?}, a copy {copying:?}");
    assert!(
        text.contains("<b>10,000</b> <span class=\"chip ordered\">disabled</span> maintenance")
    );
    assert!(text.contains(r#"<a href="?all=1">9,900 more</a>"#));
    let all = page(&status, About::Site { all: true });
    assert_eq!(all.matches("<tr id=\"n").count(), 10_000);
    // Without the script it is not loaded every moment.
    assert!(all.contains(r#"http-equiv="refresh" content="60""#));
}

#[test]
fn a_big_pool_is_cut_to_its_first_nodes_too_and_no_other_is_looked_at() {
    let status = fixtures::all_out(10_000);
    let about = |all| About::Pool { name: "api", all };
    let text = page(&status, about(false));
    assert_eq!(text.matches("<tr id=\"n").count(), 100);
    assert!(text.contains(r#"<a href="?pool=api&#38;all=1">9,900 more</a></p>"#));
    assert!(text.contains(r#"http-equiv="refresh" content="5""#));
    let all = page(&status, about(true));
    assert_eq!(all.matches("<tr id=\"n").count(), 10_000);
    assert!(all.contains(r#"http-equiv="refresh" content="60""#));
    let converted = Cell::new(0);
    NodeTable::of(status.nodes.iter(), about(false), |node| {
        converted.set(converted.get() + 1);
        node.clone()
    });
    assert_eq!(converted.get(), 100);
}

#[test]
fn a_pool_that_only_rejected_nodes_announce_is_shown_empty() {
    let mut status = fixtures::quiet();
    status.pools.clear();
    status.nodes = vec![node(
        8,
        State::Refused,
        "refused: pool test is not declared",
    )];
    let about = About::Pool {
        name: "test",
        all: false,
    };
    let text = page(&status, about);
    assert!(text.contains("Nobody is in this pool, and it is not declared."));
    assert!(!text.contains("There is no pool yet"));
    assert!(text.contains("web-0008"));
}

#[test]
fn few_nodes_are_not_summed_up() {
    assert!(!site(&fixtures::night()).contains("class=\"reasons\""));
}

#[test]
fn a_state_without_anything_is_shown_too() {
    let mut status = fixtures::quiet();
    status.pools.clear();
    status.load_balancers.clear();
    status.first_round_done = false;
    status.nodes = vec![crate::api::Node {
        pool: None,
        version: None,
        since: None,
        drained: None,
        ..node(1, State::Awaited, "not polled yet")
    }];
    let about = About::Site { all: false };
    let page = Page {
        host: "",
        status: &status,
        listed: &listed(&status, about),
        about,
        events: &[],
    };
    let text = page.document().expect("the page is made");
    assert!(text.contains("There is no pool yet"));
    assert!(text.contains("No load balancer is driven"));
    assert!(text.contains("None since the start"));
    assert!(text.contains("<title>OK: 52 nodes: 52 in pools · pollbal</title>"));
}
