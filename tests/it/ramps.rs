//! Members that come back rise to their weight, as a real `HAProxy` shows it.

use std::fs;
use std::net::SocketAddrV4;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::haproxy::{Config, Haproxy, slots};
use crate::common::http::get;
use crate::common::nodes::{Node, addrs};
use crate::common::pollbal::Pollbal;
use crate::common::run::{pollbal, stderr, stdout};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, perlbal};

/// The weights of a ramp of three seconds, and the first ones of a longer one.
const OF_THREE: [u32; 4] = [17, 50, 84, 100];
const FIRST: u32 = 5;

/// A site with two nodes at an `HAProxy`.
struct Site {
    pollbal: Pollbal,
    haproxy: Haproxy,
    nodes: Vec<Node>,
    config: Value,
    stage: Stage,
}

impl Site {
    /// With these keys beside those that it needs.
    fn start(stage: Stage, keys: &Value) -> Self {
        let nodes = stage.nodes(&["web", "web"]);
        let haproxy = Config::new().backend("web", &[&slots(3)]).start(&stage);
        let mut config = json!({ "haproxy": haproxy.socket() });
        crate::common::overlay(&mut config, keys);
        let pollbal = Pollbal::start(&stage, &config);
        haproxy.wait_members("web", &addrs(&nodes));
        Self {
            pollbal,
            haproxy,
            nodes,
            config,
            stage,
        }
    }

    /// A node's weight at `HAProxy`, if it gets requests there.
    fn weight(&self, node: usize) -> Option<u32> {
        weight(&self.haproxy, self.nodes[node].addr())
    }

    /// Follows a node's weight from where it is until it is 100; gives the weights that were seen.
    fn follow(&self, node: usize) -> Vec<u32> {
        let mut seen = Vec::new();
        eventually(SOON + SOON, "the node has its full weight", || {
            let weight = self.weight(node)?;
            if seen.last() != Some(&weight) {
                seen.push(weight);
            }
            (weight == 100).then_some(())
        });
        seen
    }

    #[track_caller]
    fn wait_weight(&self, node: usize, weight: Option<u32>) {
        becomes(SOON, "the weight", &weight, || self.weight(node));
    }

    fn command(&self, arguments: &[&str]) -> (i32, String, String) {
        let socket = self.stage.admin_socket();
        let socket = ["--socket", socket.to_str().unwrap()];
        let output = pollbal(&[&arguments[..1], &socket, &arguments[1..]].concat());
        let code = output.status.code().expect("the command ends by itself");
        (code, stdout(&output), stderr(&output))
    }

    /// What a command prints that ends well.
    #[track_caller]
    fn tell(&self, arguments: &[&str]) -> String {
        let (code, out, error) = self.command(arguments);
        assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}: {out}");
        out
    }

    /// The events of this kind, oldest first.
    fn events(&self, kind: &str) -> Vec<String> {
        let events = get(&self.stage, "/v1/events").json();
        let events = events["events"].as_array().expect("a list").iter();
        let events = events.filter(|event| event["kind"] == kind);
        let text = |event: &Value| event["text"].as_str().unwrap().to_owned();
        events.map(text).collect()
    }

    fn node(&self, node: usize) -> Value {
        let name = self.nodes[node].name();
        get(&self.stage, &format!("/v1/explain?node={name}")).json()["node"].take()
    }
}

fn weight(haproxy: &Haproxy, node: SocketAddrV4) -> Option<u32> {
    let node = node.to_string();
    let servers = haproxy.servers("web");
    let mut ready = servers.values().filter(|server| server.state == "ready");
    Some(ready.find(|server| server.addr == node)?.weight)
}

#[test]
fn a_member_that_comes_back_rises_in_steps_and_a_perlbal_beside_it_has_it_at_once() {
    let stage = Stage::new();
    let perlbal = perlbal::Config::new()
        .pool("web")
        .service(&stage, "www", "web")
        .start(&stage);
    let keys = json!({
        "perlbal": perlbal.management(),
        "pools": { "web": { "ramp": "3s", "ramp_after": "0s" } },
    });
    let site = Site::start(stage, &keys);
    let weights = [0, 1].map(|node| site.weight(node));
    assert_eq!(weights, [Some(100); 2], "the first round ramps nothing");
    assert_eq!(site.node(0)["ramp"], Value::Null);
    site.nodes[0].announce("web leaving");
    perlbal.wait_members("web", &addrs(&site.nodes[1..]));
    site.tell(&["wait", "node-1", "--until", "drained"]);

    site.nodes[0].announce("web");
    let began = eventually(SOON, "the node is back", || {
        site.weight(0).map(|_| Instant::now())
    });
    perlbal.wait_members("web", &addrs(&site.nodes));
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
    command
        .args(["wait", "node-1", "--until", "full-weight", "--socket"])
        .arg(site.stage.admin_socket());
    let mut waiting = Pollbal::spawn(command, site.stage.admin_socket());
    assert_eq!(
        site.tell(&["wait", "node-1", "--until", "serving"]),
        "serving: node-1\n"
    );
    let node = site.node(0);
    assert_eq!(node["weight"], 100, "{node}");
    assert!(
        OF_THREE[..3].contains(&number(&node["ramp"]["weight"])),
        "{node}"
    );
    let status = site.command(&["status"]).1;
    assert!(status.contains(" of 100, full in "), "{status}");
    assert!(waiting.has_ended().is_none(), "it rises still");

    let seen = site.follow(0);
    assert!(seen.is_sorted() && seen[0] < 100, "{seen:?}");
    assert!(
        seen.iter().all(|weight| OF_THREE.contains(weight)),
        "{seen:?}"
    );
    let took = began.elapsed();
    assert!(took > Duration::from_millis(2_500), "{took:?}");
    assert!(waiting.wait_end(SOON).success());
    assert_eq!(waiting.stdout(), ["at full weight: node-1"]);
    assert_eq!(
        site.events("ramp-started"),
        ["node-1 ramps up to weight 100 in web for 3s"]
    );
    assert_eq!(
        site.events("ramp-over"),
        ["node-1 has reached its weight 100 in web"]
    );
    assert_eq!(site.weight(1), Some(100));
    assert_eq!(site.pollbal.log_with(&["outside pollbal"]), [""; 0]);
}

fn number(value: &Value) -> u32 {
    let number = value.as_u64().and_then(|number| number.try_into().ok());
    number.unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_failure_ends_a_ramp_and_the_next_return_begins_it_again() {
    let keys = json!({ "ramp": "40s", "ramp_after": "1h" });
    let mut site = Site::start(Stage::new(), &keys);
    site.tell(&["disable", "node-1", "--reason", "kernel", "--wait"]);
    let enable = ["enable", "node-1", "--reason", "kernel"];
    site.tell(&[&enable[..], &["--ramp", "10s"]].concat());
    site.wait_weight(0, Some(15));
    assert_eq!(site.events("ramp-started").len(), 1);
    site.nodes[0].die();
    site.wait_weight(0, None);
    site.nodes[0].revive();
    site.wait_weight(0, Some(FIRST));
    let events = site.events("ramp-started");
    assert!(events[1].ends_with(" for 40s"), "{events:?}");
    assert_eq!(site.events("ramp-over"), [""; 0]);
    // One that was out for a moment only, and had its weight.
    site.nodes[1].die();
    site.wait_weight(1, None);
    site.nodes[1].revive();
    let first = eventually(SOON, "the node is back", || site.weight(1));
    assert_eq!(first, 100);
}

#[test]
fn enable_decides_on_the_ramp_of_the_next_return_which_explain_shows() {
    let keys = json!({ "ramp": "1m", "ramp_after": "0s" });
    let site = Site::start(Stage::new(), &keys);
    site.command(&[
        "disable", "node-1", "node-2", "--reason", "kernel", "--force",
    ]);
    let (code, _, error) =
        site.command(&["enable", "node-1", "--reason", "kernel", "--ramp", "100ms"]);
    assert_eq!(code, 64);
    assert!(
        error.contains("expected 0s for none, or at least 1s"),
        "{error}"
    );
    site.nodes[0].announce("web leaving");
    site.tell(&["enable", "node-1", "--reason", "kernel", "--ramp", "0s"]);
    site.tell(&["enable", "node-2", "--reason", "kernel"]);
    site.wait_weight(1, Some(FIRST));
    assert_eq!(site.node(0)["next_ramp_ms"], 0);
    let explained = site.tell(&["explain", "node-1"]);
    assert!(
        explained.contains("\nweight    100 as soon as it returns\n"),
        "{explained}"
    );
    site.nodes[0].announce("web");
    let first = eventually(SOON, "the node is back", || site.weight(0));
    assert_eq!(first, 100);
    assert_eq!(site.node(0)["next_ramp_ms"], Value::Null);
}

/// Waits until the state file has the ramp.
fn wait_saved(stage: &Stage) {
    eventually(SOON, "the ramp is saved", || {
        let text = fs::read_to_string(stage.path("state.json"));
        let saved: Value = serde_json::from_str(&text.ok()?).ok()?;
        let rising = &saved["nodes"]["ramps"]["rising"];
        rising
            .as_object()
            .is_some_and(|rising| !rising.is_empty())
            .then_some(())
    });
}

/// Ends pollbal by this signal in the middle of a ramp, and checks that the next run goes on with it.
fn restart_in_a_ramp(signal: Signal) {
    let keys = json!({ "ramp": "8s", "ramp_after": "0s" });
    let mut site = Site::start(Stage::new(), &keys);
    site.nodes[0].announce("");
    site.wait_weight(0, None);
    site.nodes[0].announce("web");
    let began = eventually(SOON, "the node is back", || {
        site.weight(0).map(|_| Instant::now())
    });
    wait_saved(&site.stage);
    let before = eventually(SOON, "a step", || site.weight(0).filter(|now| *now > 7));
    site.pollbal.signal(signal);
    site.pollbal.wait_end(SOON);
    site.pollbal = Pollbal::start(&site.stage, &site.config);
    let seen = site.follow(0);
    assert!(
        seen.is_sorted() && (before..100).contains(&seen[0]),
        "{before}, {seen:?}"
    );
    let took = began.elapsed();
    assert!(took > Duration::from_secs(7), "{took:?}: {seen:?}");
    eventually(SOON, "the ramp is over", || {
        (site.events("ramp-over").len() == 1).then_some(())
    });
    assert_eq!(
        site.events("ramp-started"),
        [""; 0],
        "it was the last run's"
    );
    assert_eq!(site.weight(1), Some(100));
}

#[test]
fn a_restart_of_pollbal_goes_on_with_a_ramp() {
    restart_in_a_ramp(Signal::TERM);
}

#[test]
fn pollbal_killed_and_started_again_goes_on_with_a_ramp() {
    restart_in_a_ramp(Signal::KILL);
}

#[test]
fn a_reload_of_haproxy_in_a_ramp_skips_nothing_of_it() {
    let keys = json!({ "ramp": "8s", "ramp_after": "0s" });
    let mut site = Site::start(Stage::new(), &keys);
    site.nodes[0].announce("");
    site.wait_weight(0, None);
    site.nodes[0].announce("web");
    let before = eventually(SOON, "a step", || site.weight(0).filter(|now| *now > 7));
    site.haproxy.reload();
    let seen = site.follow(0);
    assert!(
        seen.is_sorted() && (before..100).contains(&seen[0]),
        "{before}, {seen:?}"
    );
    assert_eq!(site.events("ramp-started").len(), 1);
    assert_eq!(site.pollbal.log_with(&["outside pollbal"]), [""; 0]);
}

#[test]
fn a_roll_with_a_ramp_takes_the_next_node_when_the_last_has_its_weight() {
    let site = Site::start(Stage::new(), &json!({}));
    let rolled = site.tell(&["roll", "web", "--ramp", "2s", "--", "true"]);
    assert!(rolled.contains("rolled 2 of 2 nodes"), "{rolled}");
    let events = get(&site.stage, "/v1/events").json();
    let events = events["events"].as_array().expect("a list").iter();
    let events = events.filter_map(|event| {
        let kind = event["kind"].as_str()?;
        let is_step = ["disabled", "ramp-started", "ramp-over"].contains(&kind);
        is_step.then(|| format!("{} {kind}", event["name"].as_str().unwrap_or_default()))
    });
    assert_eq!(
        events.collect::<Vec<_>>(),
        ["node-1", "node-2"]
            .map(|node| {
                ["disabled", "ramp-started", "ramp-over"].map(|kind| format!("{node} {kind}"))
            })
            .concat()
    );
}
