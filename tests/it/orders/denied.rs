//! Orders that are denied, and that they change nothing.

use serde_json::json;

use crate::common::http::{get, post};
use crate::common::nodes::Node;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::website::Website;
use crate::common::{SOON, becomes};

#[test]
fn no_order_takes_a_pool_below_its_min_members_unless_it_is_forced() {
    let site = Website::start(Stage::new(), 3, &json!({}));
    let names: Vec<_> = site.nodes.iter().map(Node::name).collect();
    let two = json!({"nodes": names[..2], "reason": "kernel"});
    let refused = post(&site.stage, "/v1/disable", &two);
    assert_eq!(refused.status, 409);
    assert_eq!(
        refused.json()["error"],
        "disabling node-1, node-2 would leave website with 1 of 3 members (min_members 2)"
    );
    site.members_stay(&site.nodes);
    let mut forced = two.clone();
    forced["force"] = true.into();
    let done = post(&site.stage, "/v1/disable", &forced).json();
    let warning = "pool website is left with 1 of 3 members, 1 of them answering (min_members 2)";
    assert_eq!(done["warnings"], json!([warning]));
    site.wait_members(&site.nodes[2..]);
    let status = get(&site.stage, "/v1/status").json();
    assert_eq!(
        (&status["health"], &status["healthy"]),
        (&json!("critical"), &json!(false))
    );
    assert_eq!(status["pools"][0]["short"], true);
}

#[test]
fn the_last_serving_member_of_a_pool_goes_only_by_force_whatever_min_members_says() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website", "api", "api"]);
    let sorry = stage.free_addr();
    let config = json!({ "pools": { "api": { "sorry": [sorry] } } });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    nodes[1].fail(500);
    nodes[3].fail(500);
    let whereabouts = |node: &Node| {
        let reported = get(&stage, &format!("/v1/explain?node={}", node.name())).json();
        reported["node"]["state"].clone()
    };
    for failed in [&nodes[1], &nodes[3]] {
        becomes(SOON, "a failed node", &json!("failed"), || {
            whereabouts(failed)
        });
    }
    let disable = |names: &[&str], force: bool| {
        let order = json!({ "nodes": names, "reason": "kernel", "force": force });
        post(&stage, "/v1/disable", &order)
    };
    let both = ["node-1", "node-2", "node-3"];
    let refused = disable(&both, false);
    let said = "disabling node-1 would leave website with 0 of 1 members (min_members 0, requests would wait); \
                disabling node-3 would leave api with 0 of 1 members (min_members 0, its sorry server would serve)";
    assert_eq!(
        (refused.status, refused.json()),
        (409, json!({ "error": said, "can_be_forced": true }))
    );
    for node in [&nodes[0], &nodes[2]] {
        assert_eq!(whereabouts(node), "member");
    }
    // One that is out already is no loss.
    assert_eq!(disable(&["node-2"], false).status, 200);
    let warnings = &disable(&both, true).json()["warnings"];
    assert_eq!(
        *warnings,
        json!([
            "pool website has no member any more: requests wait until a node serves again",
            "pool api has no member any more: its sorry server answers until a node serves again",
        ])
    );
    // Nor is one that is renewed.
    assert_eq!(disable(&both, false).status, 200);
}

#[test]
fn what_is_wrong_is_refused_with_its_reason_and_changes_nothing() {
    let site = Website::start(Stage::new(), 3, &json!({}));
    for (path, body, status, words) in [
        (
            "disable",
            json!({"nodes": ["node-9"], "reason": "x"}),
            404,
            "node-9",
        ),
        (
            "disable",
            json!({"nodes": ["10.9.9.9:80"], "reason": "x"}),
            404,
            "not a listed node",
        ),
        (
            "disable",
            json!({"nodes": [], "reason": "x"}),
            400,
            "no node given",
        ),
        (
            "disable",
            json!({"nodes": ["node-1"], "reason": "two words"}),
            400,
            "a reason is a word",
        ),
        ("disable", json!({"nodes": ["node-1"]}), 400, "reason"),
        (
            "disable",
            json!({"nodes": ["node-1"], "reason": "x", "forced": true}),
            400,
            "forced",
        ),
        ("disable", json!(["node-1"]), 400, "invalid body"),
        ("freeze", json!({"reason": ""}), 400, "a reason is a word"),
        (
            "thaw",
            json!({"reason": "x"}),
            409,
            "there is no freeze \"x\"",
        ),
        ("nudge", json!({"nodes": ["node-9"]}), 404, "node-9"),
        ("explode", json!({}), 404, "/v1/explode"),
    ] {
        let reply = post(&site.stage, &format!("/v1/{path}"), &body);
        assert_eq!(reply.status, status, "{path} {body}: {}", reply.body);
        let error = reply.json()["error"].as_str().expect("an error").to_owned();
        assert!(error.contains(words), "{path} {body}: {error}");
    }
    for (path, status) in [
        ("status?nodes=1", 400),
        ("status?pool=nobody", 404),
        ("status?node=nobody", 404),
        ("explain", 400),
        ("wait?node=node-1&until=doomsday", 400),
        ("members?pool=a/b", 400),
        ("events?follow=perhaps", 400),
    ] {
        let reply = get(&site.stage, &format!("/v1/{path}"));
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
    }
    site.order("disable", &json!({"nodes": ["node-1"], "reason": "kernel"}));
    let other = post(
        &site.stage,
        "/v1/enable",
        &json!({"nodes": ["node-1"], "reason": "kernle"}),
    );
    assert_eq!(other.status, 409);
    assert!(
        other
            .body
            .contains(r#"not disabled for \"kernle\" (active reasons: kernel)"#),
        "{}",
        other.body
    );
    site.order("enable", &json!({"nodes": ["node-2"], "reason": "kernel"}));
}

#[test]
fn a_reload_answers_with_what_is_wrong_and_the_old_stays_active() {
    let site = Website::start(Stage::new(), 3, &json!({}));
    let reload = || post(&site.stage, "/v1/reload", &json!({}));
    assert_eq!(reload().json(), json!({"nodes": 3}));
    let mut config = site.config.clone();
    config["raise"] = 1.into();
    site.stage.write_config(&config);
    let refused = reload();
    assert_eq!(refused.status, 422);
    assert!(
        refused.body.contains("raise: unknown key"),
        "{}",
        refused.body
    );
    site.members_stay(&site.nodes);
    site.stage.write_config(&site.config);
    site.stage.list(&site.nodes[1..]);
    assert_eq!(reload().json(), json!({"nodes": 2}));
    site.wait_members(&site.nodes[1..]);
}
