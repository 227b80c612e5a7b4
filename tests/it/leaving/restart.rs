//! What a restart of pollbal leaves of a leave.

use std::fs;

use serde_json::{Value, json};

use super::A_WHILE;
use crate::common::http::{ask_from, get};
use crate::common::nodes::addrs;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::website::Website;
use crate::common::{SOON, stays};

#[test]
fn nobody_is_gone_before_pollbal_knows_its_nodes_again() {
    let mut site = Website::start(Stage::new(), 3, &json!({"service_timeout": "3s"}));
    site.leave(&site.nodes[0]);
    site.pollbal.kill();
    site.nodes[1].hang();
    site.pollbal = Pollbal::start(&site.stage, &site.config);
    site.pollbal.wait_log(&["connected to Perlbal"]);
    let reported = || {
        let explained = get(&site.stage, "/v1/explain?node=node-1").json();
        ["acked", "drained"].map(|key| explained["load_balancers"][0][key].clone())
    };
    let enough = site.nodes[2].polls() + A_WHILE;
    let no = [json!(false), json!(false)];
    stays(SOON, "reported, drained", &no, reported, || {
        site.nodes[2].polls() >= enough
    });
    assert_eq!(site.ask(&site.nodes[0], "POST", "/leave").word(), "granted");
    let answer = site.ask(&site.nodes[0], "POST", "/leave?wait=20s");
    assert_eq!(answer.ok(), "gone");
}

#[test]
fn a_leave_survives_a_restart_and_ends_with_its_time() {
    let mut site = Website::start(Stage::new(), 3, &json!({"leave_timeout": "3s"}));
    site.leave(&site.nodes[0]);
    site.pollbal.kill();
    site.pollbal = Pollbal::start(&site.stage, &site.config);
    site.pollbal.wait_log(&["first round done"]);
    assert_eq!(
        site.perlbal.members("website"),
        Some(addrs(&site.nodes[1..]))
    );
    site.pollbal.wait_log(&["node-1", "leave", "expired"]);
    site.wait_members(&site.nodes);
}

#[test]
fn a_leave_is_reported_only_when_the_state_file_holds_it() {
    let stage = Stage::new();
    let (listener, state_file) = (stage.free_addr(), stage.path("state.json"));
    let nodes = stage.nodes(&["website"; 2]);
    let config = json!({ "node_listen": listener, "state_file": state_file });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    let node = nodes[0].addr();
    let ask = |method| ask_from(*node.ip(), listener, method, "/leave");
    for _ in 0..20 {
        assert_ne!(ask("POST").word(), "wait");
        let text = fs::read_to_string(&state_file).unwrap();
        let kept: Value = serde_json::from_str(&text).unwrap();
        let granted = &kept["orders"]["granted"][node.to_string()];
        assert!(granted.is_object(), "{text}");
        assert_eq!(ask("DELETE").ok(), "stays");
    }
}
