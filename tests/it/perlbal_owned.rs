//! Which pools in Perlbal are pollbal's outlives its restarts: a member that left while nobody could tell Perlbal is
//! taken out, and no node is notified that it is gone as long as Perlbal has it in a pool.

mod names;
pub(crate) mod site;
mod versions;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::client::get as request;
use crate::common::http::{accept_removals, get};
use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::{Config, Perlbal};
use crate::common::pollbal::Pollbal;
use crate::common::relay::Relay;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, overlay, stays};
use site::{End, Site, nobody};

/// The last member of a declared pool leaves while Perlbal stands still, and pollbal is restarted.
fn the_last_member_leaves(how: End, keys: &Value, meanwhile: impl FnOnce(&Site)) {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let perlbal = Perlbal::with_service(&stage, "web", "website");
    let mut site = Site::start(stage, perlbal, keys);
    site.perlbal.wait_members("website", &addrs(&nodes));
    site.lose_perlbal();
    nodes[0].announce("website leaving");
    site.wait_empty("website.pool");
    site.end(how);
    meanwhile(&site);
    site.begin();
    // Not while Perlbal is not read.
    let answer = site.ask_leave(&nodes[0]);
    assert!(answer.starts_with("granted no connection"), "{answer}");
    site.perlbal.go_on();
    site.leave(&nodes[0], &["website"]);
    site.perlbal.wait_members("website", &nobody());
}

fn declared() -> Value {
    json!({ "pools": { "website": {} } })
}

#[test]
fn the_last_member_of_a_declared_pool_that_left_before_a_restart_is_taken_out() {
    for how in [End::Terminated, End::Killed] {
        the_last_member_leaves(how, &declared(), |_| {});
    }
}

#[test]
fn a_declared_pool_is_pollbals_without_a_state_file_and_without_pool_files() {
    let mut keys = declared();
    keys["state_file"] = json!("");
    the_last_member_leaves(End::Killed, &keys, |_| {});
    the_last_member_leaves(End::Terminated, &declared(), |site| {
        fs::remove_dir_all(site.stage.pool_directory()).expect("the files are there");
        // It may not even have been written yet.
        _ = fs::remove_file(site.stage.path("state.json"));
    });
}

#[test]
fn a_pool_that_only_nodes_declared_is_pollbals_though_its_file_is_gone() {
    let keys = json!({ "empty_pool_grace": "1ms" });
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "other"]);
    let perlbal = Perlbal::with_service(&stage, "web", "website");
    let mut site = Site::start(stage, perlbal, &keys);
    site.perlbal.wait_members("website", &addrs(&nodes[..1]));
    site.lose_perlbal();
    nodes[0].announce("website leaving");
    becomes(SOON, "the file", &None, || site.stage.lines("website.pool"));
    nodes[0].announce("");
    site.pollbal().wait_log(&["node-1", "idle"]);
    site.end(End::Killed);
    site.begin();
    site.perlbal.go_on();
    site.perlbal.wait_members("website", &nobody());
    site.leave(&nodes[0], &["website"]);
}

#[test]
fn perlbal_restarted_meanwhile_with_an_old_nodefile_loses_who_left() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let old = stage.path("old.nodes");
    let lines: Vec<String> = nodes.iter().map(Node::pool_line).collect();
    fs::write(&old, lines.join("\n")).expect("failed to write");
    let perlbal = Config::new()
        .nodefile_pool("website", Path::new(&old))
        .service(&stage, "web", "website")
        .start(&stage);
    let mut site = Site::start(stage, perlbal, &declared());
    site.perlbal.wait_members("website", &addrs(&nodes));
    site.perlbal.kill();
    nodes[0].announce("website leaving");
    nodes[1].announce("website leaving");
    site.wait_empty("website.pool");
    site.end(End::Terminated);
    site.perlbal.start();
    assert_eq!(site.perlbal.members("website"), Some(addrs(&nodes)));
    site.begin();
    for node in &nodes {
        site.leave(node, &["website"]);
    }
}

/// The names of the pools that the state file says are pollbal's.
fn owned(site: &Site) -> Vec<String> {
    let text = fs::read_to_string(site.stage.path("state.json")).unwrap_or_default();
    let state: Value = serde_json::from_str(&text).unwrap_or_default();
    let pools = state["owned"]["pools"].as_object();
    pools
        .map(|pools| pools.keys().cloned().collect())
        .unwrap_or_default()
}

#[test]
fn a_pool_that_is_declared_no_more_keeps_its_members_where_undeclared_pools_are_accepted_and_loses_them_elsewhere()
 {
    for accepts in [true, false] {
        let stage = Stage::new();
        let nodes = stage.nodes(&["website", "other"]);
        let perlbal = Config::new()
            .pool("website")
            .pool("other")
            .service(&stage, "web", "website")
            .start(&stage);
        let keys = json!({ "pools": { "website": {}, "other": {} }, "empty_pool_grace": "1ms" });
        let mut site = Site::start(stage, perlbal, &keys);
        site.perlbal.wait_members("website", &addrs(&nodes[..1]));
        site.perlbal.wait_members("other", &addrs(&nodes[1..]));
        let both = ["other", "website"].map(str::to_owned).to_vec();
        becomes(SOON, "what is pollbal's", &both, || owned(&site));

        // What cannot be said now is not forgotten.
        site.lose_perlbal();
        let mark = site.pollbal().mark();
        let keys = json!({ "pools": { "other": {} }, "accept_undeclared_pools": accepts });
        overlay(&mut site.config, &keys);
        site.stage.write_config(&site.config);
        // Where it refuses the pool's last member, a person says so.
        accept_removals(&site.stage);
        site.pollbal().wait_log_after(mark, &["info", "reloaded"]);
        let left = accepts
            || site
                .pollbal()
                .wait_log_after(mark, &["node-1", "website"])
                .contains("refused");
        assert!(left, "{:?}", site.pollbal().log());
        nodes[0].wait_polls(10);
        assert_eq!(owned(&site), both);

        site.perlbal.go_on();
        site.wait_in_sync();
        let members = if accepts {
            addrs(&nodes[..1])
        } else {
            nobody()
        };
        site.perlbal.wait_members("website", &members);
        site.perlbal.wait_members("other", &addrs(&nodes[1..]));
        let left = if accepts { both } else { both[..1].to_vec() };
        becomes(SOON, "what is pollbal's", &left, || owned(&site));
    }
}

/// As a crash may leave it: the state file was written when the node had just been removed from `website`.
fn state_says_that_it_may_get_requests(site: &Site, node: &Node) {
    let file = site.stage.path("state.json");
    let text = fs::read_to_string(&file).expect("pollbal wrote it");
    let mut state: Value = serde_json::from_str(&text).expect("it is JSON");
    let perlbals = state["owned"]["load_balancers"].as_object_mut();
    let there = perlbals.and_then(|perlbals| perlbals.values_mut().next());
    there.expect("a Perlbal is there")["pools"]["website"] = json!([node.addr()]);
    fs::write(&file, state.to_string()).expect("failed to write");
}

#[test]
fn who_left_before_a_crash_is_removed_once_more_only_if_perlbal_has_connections_to_it() {
    for is_connected in [false, true] {
        let stage = Stage::new();
        let nodes = stage.nodes(&["website", "api"]);
        let perlbal = Config::new()
            .pool("website")
            .pool("api")
            .service(&stage, "web", "website")
            .service(&stage, "rest", "api")
            .start(&stage);
        let relay = Relay::before(&perlbal, &stage);
        let mut site = Site::start(stage, perlbal, &json!({ "perlbal": relay.addr() }));
        site.perlbal.wait_members("website", &addrs(&nodes[..1]));
        site.perlbal.wait_members("api", &addrs(&nodes[1..]));
        site.wait_in_sync();
        site.end(End::Terminated);
        state_says_that_it_may_get_requests(&site, &nodes[1]);
        if is_connected {
            request(site.perlbal.service("rest"), "/").expect("it is served");
        }

        let before = relay.said().len();
        site.begin();
        site.wait_in_sync();
        let changes: Vec<_> = relay.said().split_off(before);
        let changes: Vec<_> = changes
            .into_iter()
            .filter(|line| line.starts_with("POOL ") || line.starts_with("SET "))
            .collect();
        let sealed = [
            format!("POOL website REMOVE {}", nodes[1].addr()),
            "SET web pool = website".to_owned(),
        ];
        assert_eq!(changes, if is_connected { &sealed[..] } else { &[] });
    }
}

/// Otherwise it would come back with what was known of it then.
#[test]
fn what_is_owned_in_a_perlbal_that_a_reload_takes_out_is_forgotten_for_good() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let perlbals = [0; 2].map(|_| Config::new().pool("website").start(&stage));
    let [first, second] = perlbals
        .each_ref()
        .map(|perlbal| perlbal.management().to_string());
    let pollbal = Pollbal::start(&stage, &json!({ "perlbal": [&first, &second] }));
    let owned = || {
        let text = fs::read_to_string(stage.path("state.json")).unwrap_or_default();
        let kept: Value = serde_json::from_str(&text).unwrap_or_default();
        let perlbals = kept["owned"]["load_balancers"].as_object().cloned();
        let names = perlbals.unwrap_or_default();
        names
            .into_iter()
            .map(|(name, _)| name)
            .collect::<BTreeSet<_>>()
    };
    let key = |address: &String| format!("perlbal {address}");
    let both = BTreeSet::from([key(&first), key(&second)]);
    becomes(SOON, "the Perlbals", &both, owned);

    stage.write_config(&json!({ "perlbal": &first }));
    pollbal.reload();
    let one = BTreeSet::from([key(&first)]);
    becomes(SOON, "the Perlbals", &one, owned);
    // What is owned changes, and is reported by the one that knows it.
    let members = |nodes: &[Node]| perlbals[0].wait_members("website", &addrs(nodes));
    stays(SOON, "the Perlbals", &one, owned, || {
        nodes[1].announce("website leaving");
        members(&nodes[..1]);
        nodes[1].announce("website");
        members(&nodes);
        nodes[1].polls() > 20
    });
}

#[test]
fn an_outage_of_an_undeclared_pool_is_as_critical_after_a_restart_as_before() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["api", "api", "api"]);
    let perlbal = Perlbal::with_service(&stage, "web", "api");
    // The empty pool's file is gone at once.
    let keys = json!({ "empty_pool_grace": "1ms" });
    let mut site = Site::start(stage, perlbal, &keys);
    site.perlbal.wait_members("api", &addrs(&nodes));
    nodes.iter_mut().for_each(Node::die);
    site.perlbal.wait_members("api", &nobody());
    becomes(SOON, "the file", &None, || site.stage.lines("api.pool"));
    for how in [End::Terminated, End::Killed] {
        site.wait_in_sync();
        site.wait_kept("last_in");
        site.end(how);
        site.begin();
        let health = || get(&site.stage, "/v1/status").json()["health"].clone();
        becomes(SOON, "health", &json!("critical"), health);
        let verdict = get(&site.stage, "/v1/status").json()["verdict"].to_string();
        assert!(verdict.contains("pool api has no members"), "{verdict}");
        assert!(verdict.contains("3 of 3 nodes down (api 3/3)"), "{verdict}");
    }
    nodes[1].revive();
    site.perlbal.wait_members("api", &addrs(&nodes[1..2]));
}
