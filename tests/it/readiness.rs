//! `/readyz`: which load balancers it waits for.

use serde_json::{Value, json};

use crate::common::perlbal::Config;
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
