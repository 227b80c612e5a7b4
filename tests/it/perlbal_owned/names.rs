//! Who may take a pool's name, and when its members are pollbal's.

use serde_json::json;

use super::site::{End, Site, nobody};
use crate::common::http::{accept_removals, get, post};
use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::Config;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes};

/// The first polls fail, as before the network is up, where nothing is left of a run before.
#[test]
fn members_of_a_declared_pool_stay_until_a_node_serves_there_though_all_polls_fail() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["website", "website", "website leaving"]);
    let stranger = stage.free_addr();
    let members: Vec<_> = nodes.iter().map(Node::addr).chain([stranger]).collect();
    let perlbal = Config::new()
        .pool_with("website", &members)
        .service(&stage, "web", "website")
        .start(&stage);
    nodes[..2].iter_mut().for_each(Node::die);
    let keys = json!({ "pools": { "website": { "min_members": 2 } } });
    let mut site = Site::start(stage, perlbal, &keys);
    // Who says that it leaves goes, and only that.
    let mut stay = addrs(&nodes[..2]);
    stay.insert(stranger);
    site.perlbal.wait_members("website", &stay);
    site.wait_in_sync();
    let remark = "pool website: no node serves in it yet; members that were there stay";
    let remarks =
        || get(&site.stage, "/v1/status").json()["load_balancers"][0]["problems"].to_string();
    becomes(SOON, "the remark", &true, || remarks().contains(remark));
    // One that is down is not gone, and one that is granted leave is.
    let explained = site.explained(&nodes[0]).to_string();
    assert!(
        explained.contains("in which no node serves yet"),
        "{explained}"
    );
    assert_eq!(site.pollbal().log_with(&[remark]).len(), 1);
    // Nor does a restart make anything of it, with the files that pollbal made for the pool.
    for how in [End::Terminated, End::Killed] {
        site.end(how);
        site.begin();
        site.wait_in_sync();
        assert_eq!(site.perlbal.members("website"), Some(stay.clone()));
    }
    site.leave(&nodes[2], &["website"]);
    nodes[0].revive();
    site.perlbal.wait_members("website", &addrs(&nodes[..1]));
    becomes(SOON, "no remark", &false, || {
        let status = get(&site.stage, "/v1/status").json();
        status["load_balancers"][0]["problems"]
            .to_string()
            .contains(remark)
    });
}

#[test]
fn a_hand_filled_pool_that_a_reload_declares_stays_until_its_nodes_announce_it() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "", "api"]);
    let stranger = stage.free_addr();
    let perlbal = Config::new()
        .pool("api")
        .pool_with("web", &[nodes[0].addr(), nodes[1].addr(), stranger])
        .service(&stage, "on_web", "web")
        .start(&stage);
    let site = Site::start(stage, perlbal, &json!({}));
    let mut config = site.config.clone();
    config["pools"] = json!({ "web": {} });
    site.stage.write_config(&config);
    site.pollbal().reload();
    // These two have said that they serve elsewhere, and nothing.
    site.perlbal.wait_members("web", &[stranger].into());
    site.wait_in_sync();
    assert_eq!(site.perlbal.members("web"), Some([stranger].into()));
    nodes[2].announce("web");
    site.perlbal.wait_members("web", &addrs(&nodes[2..]));
}

#[test]
fn a_node_that_claims_a_pool_that_pollbal_never_had_takes_only_itself_out() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "static leaving v1", "web"]);
    let hand = [0; 2].map(|_| stage.free_addr());
    let pool = |node: &Node| [node.addr(), hand[0], hand[1]];
    let perlbal = Config::new()
        .pool_with("static", &pool(&nodes[1]))
        .pool_with("static__v1", &pool(&nodes[1]))
        .service(&stage, "on_static", "static")
        .service(&stage, "on_v1", "static__v1")
        .start(&stage);
    let site = Site::start(stage, perlbal, &json!({}));
    for pool in ["static", "static__v1"] {
        site.perlbal.wait_members(pool, &hand.into());
    }
    site.leave(&nodes[1], &["static", "static__v1"]);
    let empty = get(&site.stage, "/v1/status").json()["verdict"].to_string();
    assert!(!empty.contains("static has no members"), "{empty}");
}

/// A slip of case: the nodes announce `API`, which has the same name in Perlbal.
#[test]
fn a_declared_pool_takes_the_name_of_a_serving_one_only_when_a_person_accepts_that() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["API serving v1", "API serving v1", "web"]);
    let perlbal = Config::new()
        .pool("api")
        .pool("api__v1")
        .service(&stage, "on_api", "api")
        .service(&stage, "on_v1", "api__v1")
        .start(&stage);
    let site = Site::start(stage, perlbal, &json!({}));
    let pools = ["api", "api__v1"];
    for pool in pools {
        site.perlbal.wait_members(pool, &addrs(&nodes[..2]));
    }
    let mut config = site.config.clone();
    config["pools"] = json!({ "api": {} });
    site.stage.write_config(&config);
    let refused = post(&site.stage, "/v1/reload", &json!({}));
    assert!(
        refused
            .body
            .contains("pool API would lose all its 2 members"),
        "{}",
        refused.body
    );
    nodes[0].wait_polls(2);
    site.wait_in_sync();
    for pool in pools {
        assert_eq!(site.perlbal.members(pool), Some(addrs(&nodes[..2])));
    }
    accept_removals(&site.stage);
    for pool in pools {
        site.perlbal.wait_members(pool, &nobody());
    }
}
