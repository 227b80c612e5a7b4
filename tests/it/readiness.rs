//! `/readyz`: which load balancers it waits for.

use serde_json::{Value, json};

use crate::common::nodes::addrs;
use crate::common::perlbal::{Config, Perlbal};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::wire::{dial_socket, get};
use crate::common::{SOON, eventually};

/// Waits until `/readyz` has this status and text.
#[track_caller]
fn wait_readyz(stage: &Stage, status: u16, text: &str) {
    eventually(SOON, text, || {
        let answer = get(dial_socket(&stage.admin_socket()), "/readyz");
        (answer.status == status && answer.body.contains(text)).then_some(())
    });
}

#[test]
fn it_waits_for_a_load_balancer_that_is_away_only_where_that_is_required() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let perlbal = Config::new().pool("website").start(&stage);
    let away = stage.free_addr().to_string();
    let config = |required: bool| -> Value {
        json!({ "perlbal": [
            { "address": perlbal.management() },
            { "address": away, "required": required },
        ]})
    };
    let optional = Pollbal::start(&stage, &config(false));
    optional.wait_log(&["first round done"]);
    wait_readyz(&stage, 200, "ready");
    drop(optional);

    let required = Pollbal::start(&stage, &config(true));
    required.wait_log(&["first round done"]);
    let text = format!("not ready: Perlbal {away} not reachable");
    wait_readyz(&stage, 503, &text);
}

#[test]
fn a_load_balancer_that_does_not_carry_a_pool_is_not_waited_for() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let perlbal = Perlbal::with_service(&stage, "web", "website");
    let other = Config::new().pool("legacy").start(&stage);
    let config = json!({ "perlbal": [
        { "address": perlbal.management() },
        { "address": other.management(), "create_pools": false },
    ]});
    let pollbal = Pollbal::start(&stage, &config);
    perlbal.wait_members("website", &addrs(&nodes));
    pollbal.wait_log(&["website", "create_pools"]);
    wait_readyz(&stage, 200, "ready");

    // Away, it is not waited for either by who asks whether a node is drained.
    let address = other.management();
    drop(other);
    wait_readyz(&stage, 503, &format!("not ready: Perlbal {address} "));
    nodes[0].announce("website leaving");
    eventually(SOON, "drained", || {
        let status = get(dial_socket(&stage.admin_socket()), "/v1/status?node=node-1");
        status.body.contains("\"drained\":true").then_some(())
    });
}
