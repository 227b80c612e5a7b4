//! Which node speaks: by its address, and where several have one, by its port.

use std::net::SocketAddrV4;

use serde_json::json;

use super::A_WHILE;
use crate::common::http::ask_from;
use crate::common::nodes::addrs;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::website::Website;
use crate::common::{SOON, becomes, eventually, stays};

#[test]
fn a_node_speaks_for_itself_alone() {
    let site = Website::start(Stage::new(), 3, &json!({}));
    let [one, two, _] = &site.nodes[..] else {
        panic!("three nodes");
    };
    for path in ["/leave", "/nudge"] {
        let path = format!("{path}?node={}", two.addr());
        let refused = site.ask(one, "POST", &path);
        assert_eq!(refused.status, 403, "{}", refused.body);
        assert!(refused.body.contains("only for itself"), "{}", refused.body);
    }
    let stranger = ask_from(site.stage.ip(200), site.node_listener, "POST", "/leave");
    assert_eq!(stranger.status, 403, "{}", stranger.body);
    assert_eq!(site.ask(one, "POST", "/leave?port=1").status, 404);
    // Seconds for one, milliseconds for another.
    for wait in ["soon", "2"] {
        let path = format!("/leave?wait={wait}");
        let refused = site.ask(one, "POST", &path);
        assert_eq!(refused.status, 400, "{}", refused.body);
        assert!(refused.body.contains("such as 30s"), "{}", refused.body);
    }
    assert_eq!(
        site.ask(one, "GET", "/v1/status").status,
        404,
        "nothing else is here"
    );
    let polls = one.polls() + A_WHILE;
    let observed = || site.perlbal.members("website");
    let members = Some(addrs(&site.nodes));
    stays(SOON, "the members", &members, observed, || {
        one.polls() >= polls
    });
    let own = format!("/leave?node={}&port={}", one.name(), one.addr().port());
    assert_eq!(site.ask(one, "POST", &own).status, 200);
}

#[test]
fn a_node_may_call_itself_by_a_name_that_others_have_too() {
    let stage = Stage::new();
    let listener = stage.free_addr();
    let nodes = [stage.node(1, "website"), stage.node(2, "website")];
    let beside = SocketAddrV4::new(stage.ip(2), stage.free_addr().port());
    let twin = |addr: SocketAddrV4| format!("{} {} # twin", addr.ip(), addr.port());
    stage.write_services(&[nodes[0].addr(), nodes[1].addr(), beside].map(twin));
    let pollbal = Pollbal::start(
        &stage,
        &json!({ "node_listen": listener, "poll_interval": "1h" }),
    );
    pollbal.wait_log(&["first round done"]);
    let ask = |host, path| ask_from(stage.ip(host), listener, "POST", path);
    let polls = nodes[1].polls();
    let one = nodes[0].polls() + 1;
    assert_eq!(ask(1, "/nudge?node=twin").ok(), "polled now");
    eventually(SOON, "the node is polled", || {
        (nodes[0].polls() == one).then_some(())
    });
    assert_eq!(ask(1, "/leave?node=twin").status, 200);
    let several = ask(2, "/nudge?node=twin");
    assert_eq!(several.status, 404, "{}", several.body);
    assert!(
        several.body.contains(&beside.to_string()),
        "{}",
        several.body
    );
    assert_eq!(nodes[1].polls(), polls, "nobody else is polled");
}

#[test]
fn of_several_nodes_at_one_address_the_port_tells_which_leaves() {
    let stage = Stage::new();
    let listener = stage.free_addr();
    let first = stage.node(1, "website");
    let second = SocketAddrV4::new(stage.ip(1), stage.free_addr().port());
    // Another one serves, so that the pool can do without it.
    let other = stage.node(2, "website");
    let lines = [
        first.services_line(),
        format!("{second} # beside-it"),
        other.services_line(),
    ];
    stage.write_services(&lines);
    let pollbal = Pollbal::start(&stage, &json!({"node_listen": listener}));
    // A pool that was never written would have no file when its last member is gone.
    pollbal.wait_log(&["wrote website.pool"]);
    let ask = |path: &str| ask_from(stage.ip(1), listener, "POST", path);
    let which = ask("/leave");
    assert_eq!(which.status, 400);
    assert!(
        which.body.contains("select one with ?port="),
        "{}",
        which.body
    );
    assert_eq!(ask("/nudge").status, 200, "both are asked");
    let port = first.addr().port();
    assert_eq!(ask(&format!("/leave?port={port}&wait=5s")).status, 200);
    let left = Some(vec![other.pool_line()]);
    becomes(SOON, "the pool file", &left, || stage.lines("website.pool"));
}
