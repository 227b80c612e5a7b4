//! Nodes of one address that invent a name at each poll: nobody else waits for that.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::clock::counted_between;
use crate::common::http::ask_from;
use crate::common::nodes::addrs;
use crate::common::perlbal::Config;
use crate::common::pollbal::Pollbal;
use crate::common::process::peak_memory;
use crate::common::raw_node::{Answer, RawNode, Reply};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes};

const INVENTORS: usize = 60;

/// More files than the invented ones that an address may have in a minute would be a leak.
const FILES: usize = 200;

/// From a node's answer until Perlbal has it.
const LIMIT: Duration = Duration::from_millis(100);

/// This many nodes at one address, each of which says another thing at each poll.
fn inventors(
    stage: &Stage,
    said: impl Fn(u16, u64) -> String + Clone + Send + Sync + 'static,
) -> Vec<RawNode> {
    let inventor = |number: usize| {
        let (addr, said) = (stage.free_addr(), said.clone());
        let says = Answer::says(move |poll| Reply::Body(said(addr.port(), poll)));
        RawNode::start(addr, &format!("inventor-{number}"), says)
    };
    (0..INVENTORS).map(inventor).collect()
}

#[test]
fn sixty_nodes_that_invent_a_version_at_each_poll_hold_up_nobody() {
    let stage = Stage::alone();
    let inventors = inventors(&stage, |port, poll| format!("api serving v{port}-{poll}"));
    let good = stage.node(1, "website serving v1");
    let mut lines: Vec<_> = inventors.iter().map(RawNode::services_line).collect();
    lines.push(good.services_line());
    stage.write_services(&lines);
    let perlbal = Config::new().pool("api").pool("website").start(&stage);
    let config = json!({
        "perlbal": perlbal.management(),
        "pools": { "api": {}, "website": {} },
        "poll_interval": "50ms",
        "service_timeout": "5s",
    });
    let pollbal = Pollbal::start(&stage, &config);
    for inventor in &inventors {
        inventor.wait_polls(40);
    }
    let mut took = Vec::new();
    for round in 0..20 {
        let serves = round % 2 == 1;
        let line = ["website leaving v1", "website serving v1"][round % 2];
        let since = Instant::now();
        good.announce(line);
        let reported = good.wait_sent(line, since);
        let members = if serves { addrs([&good]) } else { addrs([]) };
        perlbal.wait_members("website", &members);
        took.push(counted_between(reported, Instant::now()));
        let file = if serves {
            vec![good.pool_line()]
        } else {
            vec![]
        };
        becomes(SOON, "the pool file", &Some(file), || {
            stage.lines("website.pool")
        });
        let files = stage.files().len();
        assert!(files <= FILES, "{files} files");
    }
    took.sort();
    assert!(took[took.len() * 9 / 10] < LIMIT, "{took:?}");
    let members = stage.lines("api.pool").unwrap_or_default();
    assert_eq!(members.len(), INVENTORS, "they serve all the same");
    let refused = pollbal.log_with(&["inventor-", "in no version pool"]);
    assert!(!refused.is_empty());
    let peak = peak_memory(pollbal.pid());
    assert!(peak < 80 * 1024, "{peak} KiB");
}

#[test]
fn one_that_is_nudged_all_the_time_is_polled_some_times_a_second_and_once_more_in_the_end() {
    const NUDGES: usize = 40;
    let stage = Stage::new();
    let node = stage.node(1, "website");
    stage.write_services(&[node.services_line()]);
    let listener = stage.free_addr();
    let config = json!({ "node_listen": listener.to_string(), "poll_interval": "1h" });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    let (begin, before) = (Instant::now(), node.polls());
    for _ in 1..NUDGES {
        assert_eq!(
            ask_from(stage.ip(1), listener, "POST", "/nudge").word(),
            "polled"
        );
    }
    let polls = node.polls() - before;
    let seconds = begin.elapsed().as_secs() + 1;
    assert!(polls <= 10 + 5 * seconds, "{polls} polls in {seconds} s");
    assert!(polls >= 5, "{polls} polls");
    node.announce("");
    ask_from(stage.ip(1), listener, "POST", "/nudge");
    becomes(SOON, "the last nudge is received", &Some(vec![]), || {
        stage.lines("website.pool")
    });
}

#[test]
fn sixty_nodes_that_invent_a_pool_at_each_poll_leave_room_for_others() {
    let stage = Stage::new();
    let inventors = inventors(&stage, |port, poll| format!("evil-{port}-{poll}"));
    let good = stage.node(1, "website");
    let mut lines: Vec<_> = inventors.iter().map(RawNode::services_line).collect();
    lines.push(good.services_line());
    stage.write_services(&lines);
    let perlbal = Config::new().start(&stage);
    let config = json!({ "perlbal": perlbal.management(), "max_undeclared_pools": 20, "service_timeout": "5s" });
    let _pollbal = Pollbal::start(&stage, &config);
    for inventor in &inventors {
        inventor.wait_polls(10);
    }
    perlbal.wait_members("website", &addrs([&good]));
    good.announce("shop");
    perlbal.wait_members("shop", &addrs([&good]));
    let invented = perlbal.pools().len() - 2;
    assert!(invented <= 10, "{invented} pools were made in Perlbal");
    let files = stage.files().len();
    assert!(files <= 15, "{files} files");
}
