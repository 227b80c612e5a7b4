//! A hundred reloads of a real `HAProxy`, by its master, under load while nodes change: it is right soon after each, and no
//! request fails.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::client::{Traffic, failures};
use crate::common::haproxy::{Config, Haproxy, kept_slots, slots};
use crate::common::nodes::{Node, addrs};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, clock, eventually};

const RELOADS: usize = 100;

/// From the new process's first answer.
const LIMIT: Duration = Duration::from_secs(1);

/// Clients whose requests fail if nobody serves.
const CLIENTS: usize = 4;

/// These change in turn; the one behind them stays.
const CHANGING: usize = 3;
const STEADY: u8 = 4;

/// The addresses of those nodes, as `HAProxy` has them.
fn addresses(nodes: &[Node], is_one: impl Fn(usize) -> bool) -> BTreeSet<String> {
    let nodes = nodes.iter().enumerate();
    let nodes = nodes.filter(|(number, _)| is_one(*number));
    nodes.map(|(_, node)| node.addr().to_string()).collect()
}

/// Reloads it again and again; `is_kept` if a new process begins with what the last one had.
fn reload_often(stage: &Stage, mut haproxy: Haproxy, config: &Value, is_kept: bool) {
    let nodes = stage.nodes(&["web"; CHANGING + 1]);
    let pollbal = Pollbal::start(stage, config);
    haproxy.wait_members("web", &addrs(&nodes));
    let traffic = Traffic::start_unkept(haproxy.service("www"), CLIENTS);
    let mut is_out = [false; CHANGING + 1];
    for round in 0..RELOADS {
        let changes = round % CHANGING;
        is_out[changes] = !is_out[changes];
        let line = if is_out[changes] {
            "web leaving"
        } else {
            "web"
        };
        let announce = || nodes[changes].announce(line);
        // Before the new process takes over, or before pollbal has noticed it.
        if round % 2 == 0 {
            announce();
        }
        haproxy.reload();
        let (answered, pid) = (Instant::now(), haproxy.pid().expect("it answers"));
        let members = || haproxy.members_at(pid, "web");
        if is_kept {
            // What changed last may not have been kept in time.
            let last = (round + CHANGING - 1) % CHANGING;
            let is_steady = |node: usize| !is_out[node] && node != changes && node != last;
            let kept = addresses(&nodes, is_steady);
            let members = members().expect("it answers");
            assert!(
                kept.is_subset(&members),
                "round {round}: {kept:?}, {members:?}"
            );
        }
        if round % 2 == 1 {
            announce();
        }
        let expected = addresses(&nodes, |node| !is_out[node]);
        becomes(SOON, "its members", &Some(expected), members);
        let took = clock::counted_since(answered);
        assert!(took < LIMIT, "round {round}: right after {took:?}");
    }
    assert_eq!(failures(&traffic.finish()), [""; 0]);
    for words in ["cannot reach", "outside pollbal", "rejected"] {
        assert_eq!(pollbal.log_with(&[words]), [""; 0]);
    }
    eventually(SOON, "the processes that were replaced end", || {
        (!haproxy.has_replaced()).then_some(())
    });
}

#[test]
fn a_hundred_reloads_are_right_soon_while_a_backup_serves_meanwhile() {
    let stage = Stage::new();
    let own = format!("server backup {} backup", stage.node_addr(STEADY));
    let haproxy = Config::new()
        .master()
        .backend("web", &[&own, &slots(CHANGING + 3)])
        .service(&stage, "www", "web")
        .start(&stage);
    let config = json!({ "haproxy": haproxy.socket() });
    reload_often(&stage, haproxy, &config, false);
}

#[test]
fn a_hundred_reloads_with_a_state_file_are_right_at_once() {
    let stage = Stage::new();
    let file = stage.path("haproxy.state");
    let haproxy = Config::new()
        .master()
        .state_file(file.clone())
        .backend("web", &[&kept_slots(CHANGING + 3)])
        .service(&stage, "www", "web")
        .start(&stage);
    let config = json!({ "haproxy": { "socket": haproxy.socket(), "state_file": file } });
    reload_often(&stage, haproxy, &config, true);
}
