//! Pools and versions that have one name in Perlbal: one of them has it, and goes on being kept right.

use serde_json::json;

use crate::common::http::{accept_removals, get};
use crate::common::nodes::{Node, addrs, wait_rounds};
use crate::common::perlbal::{Config, Perlbal};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes};

/// Waits until Perlbal and the pool file have these members.
#[track_caller]
fn wait_members(stage: &Stage, perlbal: &Perlbal, pool: &str, file: &str, nodes: &[&Node]) {
    perlbal.wait_members(pool, &addrs(nodes.iter().copied()));
    let lines = nodes.iter().map(|node| node.pool_line()).collect();
    becomes(SOON, file, &Some(lines), || stage.lines(file));
}

/// Why a node is not where it announces to be.
fn why(stage: &Stage, node: &Node) -> String {
    let explained = get(stage, &format!("/v1/explain?node={}", node.addr())).json();
    explained["node"]["why"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn another_spelling_of_a_declared_pool_or_of_a_version_takes_nothing_from_it() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api serving v1", "api serving v1", "API serving v1", "", ""]);
    let perlbal = Config::new().pool("api").pool("api__v1").start(&stage);
    let config = json!({ "perlbal": perlbal.management(), "pools": { "api": {} } });
    let pollbal = Pollbal::start(&stage, &config);
    let [a, b, other, capital, lying] = &nodes[..] else {
        unreachable!();
    };
    // Who is first has the name of a version pool.
    wait_members(&stage, &perlbal, "api__v1", "api.v1.pool", &[a, b]);
    capital.announce("api serving V1");
    lying.announce("api__v1");
    wait_rounds(&nodes, 3);
    wait_members(&stage, &perlbal, "api", "api.pool", &[a, b, capital]);
    wait_members(&stage, &perlbal, "api__v1", "api.v1.pool", &[a, b]);
    assert!(
        why(&stage, other).contains("pool API has the same name in Perlbal, `api`, as pool api")
    );
    assert!(
        why(&stage, lying).contains("as version v1 of pool api"),
        "{}",
        why(&stage, lying)
    );
    assert!(why(&stage, capital).contains("in no version pool: version V1 of pool api"));
    pollbal.wait_log(&["error", "node-3", "pool API", "as pool api"]);
    pollbal.wait_log(&[
        "warn",
        "node-4",
        "in no version pool",
        "version v1 of pool api",
    ]);

    b.announce("");
    wait_members(&stage, &perlbal, "api", "api.pool", &[a, capital]);
    wait_members(&stage, &perlbal, "api__v1", "api.v1.pool", &[a]);
    let files = ["api.pool", "api.v1.pool", "disabled_services"];
    becomes(SOON, "files", &files.map(str::to_owned).to_vec(), || {
        stage.files()
    });
    let pools: Vec<_> = perlbal.pools().into_iter().collect();
    assert_eq!(pools, ["api", "api__v1"]);
}

#[test]
fn of_undeclared_pools_the_first_has_the_name_over_reload_and_restart() {
    let stage = Stage::new();
    let first = stage.node(1, "a-b");
    stage.write_services(&[first.services_line()]);
    let perlbal = Config::new().pool("a_b").start(&stage);
    let config = json!({ "perlbal": perlbal.management() });
    let mut pollbal = Pollbal::start(&stage, &config);
    wait_members(&stage, &perlbal, "a_b", "a-b.pool", &[&first]);
    let second = stage.node(2, "A_B");
    // In front of the first one.
    stage.write_services(&[second.services_line(), first.services_line()]);
    pollbal.wait_log(&["error", "node-2", "pool A_B", "as pool a-b"]);
    pollbal.reload();
    pollbal.wait_log(&["reloaded"]);
    second.wait_polls(3);
    wait_members(&stage, &perlbal, "a_b", "a-b.pool", &[&first]);
    let never_out = |pollbal: &Pollbal| {
        assert_eq!(
            pollbal.log_with(&["node-1", "refused"]),
            Vec::<String>::new()
        );
    };
    never_out(&pollbal);

    pollbal.terminate();
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["error", "node-2", "pool A_B", "as pool a-b"]);
    second.wait_polls(3);
    wait_members(&stage, &perlbal, "a_b", "a-b.pool", &[&first]);
    never_out(&pollbal);

    // Declared, the other goes before it: a reload says which nodes that takes out, and does it when a person wants it so.
    stage.write_config(&json!({ "perlbal": perlbal.management(), "pools": { "A_B": {} } }));
    pollbal.reload();
    pollbal.wait_log(&["error", "members would be refused", "node-1", "as pool A_B"]);
    wait_members(&stage, &perlbal, "a_b", "a-b.pool", &[&first]);
    accept_removals(&stage);
    pollbal.wait_log(&["error", "node-1 removed from a-b", "as pool A_B"]);
    wait_members(&stage, &perlbal, "a_b", "A_B.pool", &[&second]);
}
