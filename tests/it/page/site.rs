//! A small site with the status listener open.

use std::net::SocketAddrV4;

use serde_json::{Value, json};

use crate::common::http::{Reply, ask_from, get, post};
use crate::common::nodes::Node;
use crate::common::perlbal::Perlbal;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, eventually};

/// Nodes, a real Perlbal, and a pollbal whose status listener listening.
pub(crate) struct Site {
    pollbal: Option<Pollbal>,
    pub(crate) perlbal: Perlbal,
    pub(crate) nodes: Vec<Node>,
    config: Value,
    pub(crate) listener: SocketAddrV4,
    pub(crate) stage: Stage,
}

impl Site {
    /// Nodes `node-1` and on with these announcements.
    pub(crate) fn start(announcements: &[&str]) -> Self {
        Self::start_with(announcements, &json!({}))
    }

    /// The same with these pools in the configuration.
    pub(crate) fn start_with(announcements: &[&str], pools: &Value) -> Self {
        let stage = Stage::new();
        let nodes = stage.nodes(announcements);
        Self::run(stage, nodes, &[], pools)
    }

    /// The same beside this many that are dead, `dead-1` and on.
    pub(crate) fn start_beside_dead(announcements: &[&str], count: u8) -> Self {
        let stage = Stage::new();
        let nodes = stage.nodes(announcements);
        let dead: Vec<_> = (1..=count)
            .map(|number| format!("{} # dead-{number}", stage.node_addr(number + 50)))
            .collect();
        Self::run(stage, nodes, &dead, &json!({}))
    }

    /// The same beside this many members of `api` that are dead, and held by its `min_members`.
    pub(crate) fn start_beside_held(announcements: &[&str], count: usize) -> Self {
        let stage = Stage::new();
        let nodes = (250 - announcements.len()..250).zip(announcements);
        let nodes: Vec<_> = nodes
            .zip(1..)
            .map(|((host, announcement), number)| {
                let addr = stage.node_addr(u8::try_from(host).expect("a host"));
                Node::start(addr, &format!("node-{number}"), announcement)
            })
            .collect();
        let dead = stage.write_dead_members("api", count);
        let pools = json!({ "api": { "min_members": count } });
        // Each of them is a connection that fails, each time.
        Self::run_every("10s", stage, nodes, &dead, &pools)
    }

    /// Nodes that serve `api`, and all have the same name.
    pub(crate) fn start_named(name: &str, count: u8) -> Self {
        let stage = Stage::new();
        let node = |number| Node::start(stage.node_addr(number), name, "api serving v23");
        let nodes = (1..=count).map(node).collect();
        Self::run(stage, nodes, &[], &json!({}))
    }

    /// In the middle of a deploy, on a bad day.
    pub(crate) fn at_night() -> Self {
        let stage = Stage::new();
        let mut said = vec![("api", "api serving v24"); 7];
        said.extend([("api", "api serving v23"); 3]);
        said.push(("api", "api leaving v23"));
        said.extend([("web", "website serving 2026-07-29"); 6]);
        said.extend([
            ("images", "images serving r7"),
            ("images", "images serving r7"),
            ("spare", ""),
        ]);
        let nodes: Vec<_> = (1..)
            .zip(said)
            .map(|(number, (name, said))| {
                Node::start(stage.node_addr(number), &format!("{name}-{number}"), said)
            })
            .collect();
        let pools =
            json!({ "api": { "min_members": 6 }, "website": {}, "images": { "min_members": 3 } });
        let dead = format!("{} # images-21", stage.node_addr(21));
        let site = Self::run(stage, nodes, &[dead], &pools);
        site.disable("api-10", "kernel", "reboot into 6.1.140, back by noon");
        site.nodes[4].fail(503);
        site.wait_event("api-5 removed from");
        site.freeze("network", "switch sw3 flaps, failures say nothing");
        site.nodes[5].fail(503);
        site.wait(|status| status["counts"]["failing"] == 1);
        site
    }

    fn run(stage: Stage, nodes: Vec<Node>, others: &[String], pools: &Value) -> Self {
        Self::run_every("100ms", stage, nodes, others, pools)
    }

    fn run_every(
        interval: &str,
        stage: Stage,
        nodes: Vec<Node>,
        others: &[String],
        pools: &Value,
    ) -> Self {
        let lines = nodes.iter().map(Node::services_line);
        let lines: Vec<_> = lines.chain(others.iter().cloned()).collect();
        stage.write_services(&lines);
        let perlbal = Perlbal::with_service(&stage, "web", "api");
        let listener = stage.free_addr();
        let config = json!({
            "perlbal": perlbal.management(),
            "poll_interval": interval,
            "pools": pools,
            "status_listen": listener,
        });
        let mut site = Self {
            pollbal: None,
            perlbal,
            nodes,
            config,
            listener,
            stage,
        };
        site.restart();
        site
    }

    pub(crate) fn stop(&mut self) {
        if let Some(pollbal) = self.pollbal.take() {
            pollbal.kill();
        }
    }

    /// Starts pollbal and waits until all is as expected.
    pub(crate) fn restart(&mut self) {
        let pollbal = Pollbal::start(&self.stage, &self.config);
        pollbal.wait_log(&["status listener"]);
        self.pollbal = Some(pollbal);
        self.wait(|status| {
            let load_balancers = status["load_balancers"].as_array();
            let in_sync = |all: &Vec<Value>| all.iter().all(|one| one["in_sync"] == true);
            status["first_round_done"] == true && load_balancers.is_some_and(in_sync)
        });
    }

    #[track_caller]
    fn wait(&self, so: impl Fn(&Value) -> bool) {
        eventually(6 * SOON, "all is as expected", || {
            so(&get(&self.stage, "/v1/status").json()).then_some(())
        });
    }

    /// Waits until an event is reported that has these words.
    #[track_caller]
    pub(crate) fn wait_event(&self, words: &str) {
        eventually(SOON, words, || {
            get(&self.stage, "/v1/events")
                .body
                .contains(words)
                .then_some(())
        });
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listener)
    }

    /// Asks the status listener without a browser.
    pub(crate) fn ask(&self, path: &str) -> Reply {
        ask_from(self.stage.ip(1), self.listener, "GET", path)
    }

    #[track_caller]
    pub(crate) fn disable(&self, node: &str, reason: &str, words: &str) {
        self.order(
            "disable",
            &json!({ "nodes": [node], "reason": reason, "note": words, "by": "ann" }),
        );
    }

    #[track_caller]
    pub(crate) fn freeze(&self, reason: &str, words: &str) {
        self.order(
            "freeze",
            &json!({ "reason": reason, "note": words, "by": "ann" }),
        );
    }

    /// Has a node polled now.
    #[track_caller]
    pub(crate) fn nudge(&self, node: &str) {
        self.order("nudge", &json!({ "nodes": [node] }));
    }

    #[track_caller]
    fn order(&self, what: &str, body: &Value) {
        let reply = post(&self.stage, &format!("/v1/{what}"), body);
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
}
