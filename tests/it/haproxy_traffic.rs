//! Steady client traffic over kept-alive connections on both sides of a real `HAProxy` while members go and come: not one
//! request reaches a node later than 100 ms after its removal was answered, and no client notices anything.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::client::{Traffic, failures};
use crate::common::clock;
use crate::common::haproxy::{Config, Haproxy, slots};
use crate::common::nodes::{Node, addrs};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;

/// From `HAProxy`'s answer to the last request that may reach the node.
const LIMIT: Duration = Duration::from_millis(100);

const CLIENTS: usize = 20;

/// Two groups, of which one is out at any time; the rest stays, so that the backend is never empty.
const GROUP: usize = 50;
const STAY: usize = 2;
const ROUNDS: usize = 20;

struct Site<'a> {
    haproxy: &'a Haproxy,
    traffic: &'a Traffic,
}

/// A time in which a node must get no request.
struct Out<'a> {
    node: &'a Node,
    from: Instant,
    to: Instant,
}

impl Out<'_> {
    /// The requests that came all the same, by how late they were.
    fn late(&self) -> Vec<String> {
        let arrivals = self.node.arrivals_after(self.from).into_iter();
        let late = arrivals.filter(|arrival| arrival.at < self.to);
        let text = |at: Instant| format!("{} got one, {:?} late", self.node.name(), at - self.from);
        late.map(|arrival| text(arrival.at)).collect()
    }
}

/// Has this group leave, and the other one, which left the last time, come back.
fn swap<'a>(site: &Site<'_>, leaving: &'a [Node], coming: &[Node], stay: &[Node]) -> Vec<Out<'a>> {
    for node in coming {
        node.announce("web");
    }
    for node in leaving {
        node.announce("web leaving");
    }
    site.haproxy
        .wait_members("web", &addrs(coming.iter().chain(stay)));
    let from = clock::after(Instant::now(), LIMIT);
    site.traffic.wait_answers_after(from, 5 * CLIENTS);
    let to = Instant::now();
    let out = |node| Out { node, from, to };
    leaving.iter().map(out).collect()
}

/// A thousand removals.
fn roll(leave: &str) {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["web"; STAY + 2 * GROUP]);
    let haproxy = Config::new()
        .backend("web", &[&slots(STAY + 3 * GROUP)])
        .service(&stage, "www", "web")
        .start(&stage);
    let config = json!({
        "haproxy": { "socket": haproxy.socket(), "leave": leave },
        // A node that a busy machine keeps from answering must not count as failed.
        "service_timeout": "5s",
    });
    let pollbal = Pollbal::start(&stage, &config);
    haproxy.wait_members("web", &addrs(&nodes));
    let traffic = Traffic::start(haproxy.service("www"), CLIENTS);
    let site = Site {
        haproxy: &haproxy,
        traffic: &traffic,
    };
    let (stay, groups) = nodes.split_at(STAY);
    let (one, other) = groups.split_at(GROUP);
    let mut outs = Vec::new();
    for _ in 0..ROUNDS / 2 {
        outs.extend(swap(&site, one, other, stay));
        outs.extend(swap(&site, other, one, stay));
    }
    assert_eq!(failures(&traffic.finish()), [""; 0]);
    assert_eq!(outs.len(), 1_000);
    let late: Vec<String> = outs.iter().flat_map(Out::late).collect();
    assert_eq!(late, [""; 0]);
    let idle = nodes.iter().filter(|node| node.arrivals().is_empty());
    assert_eq!(idle.count(), 0, "each was used");
    for words in ["outside pollbal", "rejected", "no free slot"] {
        assert_eq!(pollbal.log_with(&[words]), [""; 0]);
    }
}

#[test]
fn after_a_thousand_removals_not_one_request_is_late_where_servers_drain() {
    roll("drain");
}

#[test]
fn after_a_thousand_removals_not_one_request_is_late_where_servers_are_in_maintenance() {
    roll("maint");
}
