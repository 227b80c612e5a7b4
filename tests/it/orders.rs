//! What people order at the admin socket: who is out, for which reasons, and what failures count for.

mod denied;

use std::fs;

use serde_json::{Value, json};

use crate::common::http::{get, post};
use crate::common::nodes::{Node, addrs};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::website::Website;
use crate::common::{SOON, becomes, eventually, stays};

/// Number of polls of a node.
const A_WHILE: u64 = 5;

impl Website {
    #[track_caller]
    fn order(&self, what: &str, body: &Value) {
        let reply = post(&self.stage, &format!("/v1/{what}"), body);
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(reply.json()["warnings"], json!([]));
    }

    #[track_caller]
    fn members_stay<'a>(&self, nodes: impl IntoIterator<Item = &'a Node>) {
        let members = Some(addrs(nodes));
        let last = self.nodes.last().expect("there are nodes");
        let polls = last.polls() + A_WHILE;
        let observed = || self.perlbal.members("website");
        stays(SOON, "the members", &members, observed, || {
            last.polls() >= polls
        });
    }

    fn explain(&self, node: &Node) -> Value {
        get(&self.stage, &format!("/v1/explain?node={}", node.name())).json()
    }

    /// Crashes pollbal and starts it again.
    fn restart(mut self) -> Self {
        self.pollbal.kill();
        self.pollbal = Pollbal::start(&self.stage, &self.config);
        self.pollbal.wait_log(&["first round done"]);
        self
    }
}

#[test]
fn a_node_with_two_reasons_is_out_until_both_are_gone() {
    let site = Website::start(Stage::new(), 4, &json!({}));
    let node = site.nodes[0].name();
    site.order(
        "disable",
        &json!({"nodes": [node], "reason": "kernel", "note": "6.1", "by": "ann"}),
    );
    site.order("disable", &json!({"nodes": [node], "reason": "disk"}));
    site.wait_members(&site.nodes[1..]);
    site.order("enable", &json!({"nodes": [node], "reason": "kernel"}));
    site.members_stay(&site.nodes[1..]);
    let reported = site.explain(&site.nodes[0]);
    assert_eq!(reported["node"]["state"], "disabled");
    assert_eq!(reported["node"]["reasons"][0]["reason"], "disk");
    let back = reported["comes_back"].as_array().expect("a list");
    assert!(
        back[0]
            .as_str()
            .is_some_and(|line| line.contains("pollbal enable node-1 --reason disk"))
    );
    site.order("enable", &json!({"nodes": [node], "reason": "disk"}));
    site.wait_members(&site.nodes);
    let texts: Vec<_> = site.explain(&site.nodes[0])["history"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| event["kind"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        texts,
        [
            "joined", "disabled", "left", "disabled", "enabled", "enabled", "joined"
        ]
    );
}

#[test]
fn a_reason_is_renewed_by_the_user_who_gave_it_and_by_nobody_else() {
    let site = Website::start(Stage::new(), 4, &json!({}));
    let node = site.nodes[0].name();
    let order = |what: &str, body: Value| {
        let reply = post(&site.stage, &format!("/v1/{what}"), &body);
        (reply.status, reply.json())
    };
    let kernel = |by: &str, note: &str, time: Option<u64>| json!({ "nodes": [node], "reason": "kernel", "note": note, "by": by, "for_ms": time });
    assert_eq!(
        order("disable", kernel("ann", "open on the table", None)).0,
        200
    );
    let (status, refused) = order("disable", kernel("bob", "", Some(1)));
    let said = "node-1 is already disabled: kernel by ann: \"open on the table\"; use a different --reason";
    assert_eq!((status, refused), (409, json!({ "error": said })));
    let (_, renewed) = order(
        "disable",
        kernel("ann", "screwed together", Some(3_600_000)),
    );
    let reason = &renewed["nodes"][0]["reasons"][0];
    assert_eq!(reason["note"], "screwed together");
    assert!(reason["until"].is_string(), "{renewed}");

    let storm = |by: &str| json!({ "reason": "storm", "note": "net split", "by": by });
    assert_eq!(order("freeze", storm("ann")).0, 200);
    let (status, refused) = order("freeze", storm("bob"));
    let said = "already frozen: storm by ann: \"net split\"; use a different --reason";
    assert_eq!((status, refused), (409, json!({ "error": said })));
    assert_eq!(order("freeze", storm("ann")).0, 200);

    // Everybody may take it back, and who did is reported.
    order("thaw", json!({ "reason": "storm", "by": "bob" }));
    order(
        "enable",
        json!({ "nodes": [node], "reason": "kernel", "by": "bob" }),
    );
    site.wait_members(&site.nodes);
    let events = get(&site.stage, "/v1/events").json();
    let texts = events["events"].as_array().unwrap().iter();
    let texts: Vec<_> = texts.filter_map(|event| event["text"].as_str()).collect();
    for reported in [
        "node-1 is disabled: kernel by ann: \"screwed together\", until 2",
        "freeze storm lifted by bob",
        "node-1 re-enabled (kernel removed by bob)",
    ] {
        assert!(
            texts.iter().any(|text| text.starts_with(reported)),
            "{reported}: {texts:#?}"
        );
    }
}

#[test]
fn an_order_is_answered_when_perlbal_is_updated_soon_after_and_a_wait_reports_a_drained_node() {
    let site = Website::start(Stage::new(), 4, &json!({"poll_interval": "60s"}));
    let node = site.nodes[0].name();
    site.order("disable", &json!({"nodes": [node], "reason": "kernel"}));
    let rest = get(
        &site.stage,
        &format!("/v1/wait?node={node}&until=drained&timeout_ms=10000"),
    );
    assert_eq!(rest.json()["done"], true, "{}", rest.body);
    assert_eq!(
        site.perlbal.members("website"),
        Some(addrs(&site.nodes[1..]))
    );
    // Without waiting for the next turn: it is asked at once.
    site.order("enable", &json!({"nodes": [node], "reason": "kernel"}));
    let back = get(
        &site.stage,
        &format!("/v1/wait?node={node}&until=serving&timeout_ms=10000"),
    );
    assert_eq!(back.json()["done"], true, "{}", back.body);
    assert_eq!(site.perlbal.members("website"), Some(addrs(&site.nodes)));
}

#[test]
fn a_disabled_node_that_fails_stays_out_until_it_answers_well() {
    let mut site = Website::start(Stage::new(), 4, &json!({}));
    let node = site.nodes[0].name().to_owned();
    site.order("disable", &json!({"nodes": [node], "reason": "kernel"}));
    site.wait_members(&site.nodes[1..]);
    site.nodes[0].die();
    site.order("enable", &json!({"nodes": [node], "reason": "kernel"}));
    site.members_stay(&site.nodes[1..]);
    site.nodes[0].revive();
    site.wait_members(&site.nodes);
}

#[test]
fn a_reason_with_a_time_ends_by_itself() {
    let site = Website::start(Stage::new(), 3, &json!({}));
    let node = site.nodes[0].name();
    site.order(
        "disable",
        &json!({"nodes": [node], "reason": "kernel", "for_ms": 700}),
    );
    site.wait_members(&site.nodes[1..]);
    site.wait_members(&site.nodes);
    site.pollbal
        .wait_log(&["node-1", "re-enabled (kernel expired)"]);
}

#[test]
fn while_it_is_frozen_failures_remove_nobody_and_leaving_counts() {
    let mut site = Website::start(Stage::new(), 4, &json!({}));
    site.order("freeze", &json!({"reason": "storm", "by": "ann"}));
    site.nodes[0].die();
    site.nodes[1].announce("website leaving");
    let in_still = [0, 2, 3].map(|node| site.nodes[node].addr());
    site.perlbal.wait_members("website", &in_still.into());
    let polls = site.nodes[3].polls() + A_WHILE;
    let observed = || site.perlbal.members("website");
    let over = || site.nodes[3].polls() >= polls;
    stays(SOON, "the members", &Some(in_still.into()), observed, over);
    let status = get(&site.stage, "/v1/status").json();
    assert_eq!(status["frozen"][0]["reason"], "storm");
    assert_eq!(
        post(&site.stage, "/v1/thaw", &json!({"reason": "calm"})).status,
        409
    );
    site.order("thaw", &json!({"reason": "storm"}));
    site.wait_members(&site.nodes[2..]);
}

#[test]
fn a_restart_changes_nothing_of_what_was_ordered() {
    let mut site = Website::start(Stage::new(), 5, &json!({}));
    let node = site.nodes[0].name().to_owned();
    site.order(
        "disable",
        &json!({"nodes": [node], "reason": "kernel", "note": "6.1", "by": "ann"}),
    );
    site.order("freeze", &json!({"reason": "storm"}));
    site.wait_members(&site.nodes[1..]);
    let before = site.explain(&site.nodes[0])["node"]["reasons"].clone();
    site.nodes[1].die();
    let mut site = site.restart();
    site.members_stay(&site.nodes[1..]);
    assert_eq!(site.explain(&site.nodes[0])["node"]["reasons"], before);
    site.order("thaw", &json!({"reason": "storm"}));
    site.wait_members(&site.nodes[2..]);
    site.order("enable", &json!({"nodes": [node], "reason": "kernel"}));
    site.nodes[1].revive();
    site.wait_members(&site.nodes);
    let site = site.restart();
    site.members_stay(&site.nodes);
}

#[test]
fn a_state_file_that_is_not_understood_is_set_aside_and_said() {
    let site = Website::start(Stage::new(), 3, &json!({}));
    site.order(
        "disable",
        &json!({"nodes": [site.nodes[0].name()], "reason": "kernel"}),
    );
    let file = site.stage.path("state.json");
    eventually(SOON, "the state file is written", || {
        file.exists().then_some(())
    });
    let torn = fs::read_to_string(&file)
        .expect("failed to read the state file")
        .replace("kernel", "ker nel");
    fs::write(&file, &torn).expect("failed to break the state file");
    let site = site.restart();
    site.pollbal
        .wait_log(&["ERROR", "failed to understand", "state.json"]);
    site.wait_members(&site.nodes);
    let aside = fs::read_to_string(site.stage.path("state.json.broken"));
    assert_eq!(aside.expect("it is set aside"), torn);
}

#[test]
fn a_nudge_has_a_node_asked_at_once() {
    let site = Website::start(Stage::new(), 3, &json!({"poll_interval": "60s"}));
    site.nodes[0].announce("website leaving");
    site.order("nudge", &json!({"nodes": [site.nodes[0].name()]}));
    site.wait_members(&site.nodes[1..]);
    site.nodes[0].announce("website serving v2");
    site.nodes[1].announce("website serving v2");
    site.order("nudge", &json!({}));
    site.wait_members(&site.nodes);
    becomes(SOON, "the version pool", &Some(2), || {
        Some(site.stage.lines("website.v2.pool")?.len())
    });
}

#[test]
fn status_shows_pools_nodes_and_perlbal_as_desired_sent_and_observed() {
    let site = Website::start(Stage::new(), 3, &json!({}));
    let pool = || {
        get(&site.stage, "/v1/status?pool=website").json()["load_balancers"][0]["pools"][0].clone()
    };
    becomes(SOON, "all three agree", &json!(true), || {
        pool()["same"].clone()
    });
    // The connection's first reading and the pool files may take a moment longer.
    becomes(SOON, "what is wrong", &json!([]), || {
        get(&site.stage, "/v1/status").json()["site_problems"].clone()
    });
    let status = get(&site.stage, "/v1/status").json();
    assert_eq!(status["healthy"], true, "{status}");
    assert_eq!(status["nodes"], json!([]), "all serve");
    assert_eq!(
        status["pools"][0]["versions"],
        json!([{"version": "v1", "members": 3}])
    );
    assert_eq!(
        (&pool()["desired"], &pool()["sent"], &pool()["observed"]),
        (&json!(3), &json!(3), &json!(3))
    );
    assert_eq!(
        get(&site.stage, "/v1/status?of=website").json()["nodes"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
    assert_eq!(
        get(&site.stage, "/v1/status?of=node-2").json()["nodes"][0]["name"],
        "node-2"
    );
    let members = get(&site.stage, "/v1/members?pool=website").json();
    assert_eq!(members["members"][1]["name"], "node-2");
}

#[test]
fn nobody_is_taken_out_before_it_is_known_whom_pools_need() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    nodes[1].hang();
    let config = json!({ "pools": { "website": { "min_members": 2 } }, "service_timeout": "30s" });
    let _pollbal = Pollbal::start(&stage, &config);
    nodes[0].wait_polls(A_WHILE);
    let mut disable = json!({ "nodes": ["node-1"], "reason": "kernel" });
    let refused = post(&stage, "/v1/disable", &disable);
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(
        refused.body.contains("not every node has been polled yet"),
        "{}",
        refused.body
    );
    disable["force"] = json!(true);
    assert_eq!(post(&stage, "/v1/disable", &disable).status, 200);
}

#[test]
fn a_pool_is_not_short_because_of_a_node_that_has_not_failed_often_enough() {
    let site = Website::start(Stage::new(), 2, &json!({ "fall": 100 }));
    site.nodes[0].fail(500);
    eventually(SOON, "a failure", || {
        let status = get(&site.stage, "/v1/status?pool=website").json();
        (status["counts"]["failing"] == 1).then_some(())
    });
    let status = get(&site.stage, "/v1/status?pool=website").json();
    let pool = &status["pools"][0];
    assert_eq!(
        (&pool["serving"], &pool["short"]),
        (&json!(2), &json!(false))
    );
}
