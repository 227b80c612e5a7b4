//! Sorry servers of a real `HAProxy`: they stand by as `backup` servers, to which it turns by itself; where none can be
//! added, they get slots while the pool has no member.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::client::{Traffic, failures, get, get_later};
use crate::common::haproxy::{Config, Haproxy, Server, slots, sorry_name};
use crate::common::nodes::{Node, addrs, wait_rounds};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, clock, eventually, run, runtime};

const CLIENTS: usize = 8;

/// A request that `HAProxy` has sent already arrives within this time.
const UNDER_WAY: Duration = Duration::from_millis(100);

/// The line by which `HAProxy` notices by itself that a node is dead, as docs/haproxy.md has it.
fn checked() -> &'static str {
    let lines = include_str!("../../docs/haproxy.md").lines();
    let mut lines = lines.filter(|line| line.contains(" on-error mark-down"));
    lines.next().expect("it is documented").trim()
}

fn config(haproxy: &Haproxy, sorry: &[&Node]) -> Value {
    let sorry: Vec<_> = sorry.iter().map(|sorry| sorry.addr()).collect();
    json!({
        "haproxy": { "socket": haproxy.socket(), "resync_interval": "300ms" },
        "pools": { "web": { "sorry": sorry } },
    })
}

/// Where `web` has slots for three nodes besides these lines.
fn web(stage: &Stage, lines: &[&str]) -> Haproxy {
    let slots = slots(3);
    let lines: Vec<_> = lines.iter().copied().chain([&*slots]).collect();
    Config::new()
        .backend("web", &lines)
        .service(stage, "www", "web")
        .start(stage)
}

/// What a sorry server has that stands by.
fn standing_by(sorry: &Node) -> Server {
    Server {
        addr: sorry.addr().to_string(),
        state: "ready",
        weight: 100,
    }
}

/// Waits until these sorry servers stand by, and no others.
#[track_caller]
fn wait_standby(haproxy: &Haproxy, sorry: &[&Node]) {
    let expected = sorry.iter().map(|sorry| {
        let name = sorry_name(sorry.addr().into());
        (name, standing_by(sorry))
    });
    becomes(SOON, "the sorry servers", &expected.collect(), || {
        haproxy.standby("web")
    });
}

#[test]
fn no_client_notices_how_a_sorry_server_comes_and_goes() {
    let stage = Stage::new();
    let (nodes, sorry) = (stage.nodes(&["web", "web"]), stage.node(9, ""));
    let haproxy = web(&stage, &[]);
    let pollbal = Pollbal::start(&stage, &config(&haproxy, &[&sorry]));
    haproxy.wait_members("web", &addrs(&nodes));
    wait_standby(&haproxy, &[&sorry]);
    let traffic = Traffic::start(haproxy.service("www"), CLIENTS);
    for _ in 0..3 {
        for node in &nodes {
            traffic.wait_answers_of(node.name(), 10);
        }
        nodes[0].announce("web leaving");
        haproxy.wait_members("web", &addrs(&nodes[1..]));
        let (alone, mark) = (Instant::now(), pollbal.mark());
        traffic.wait_answers_after(alone, 10);
        assert_eq!(sorry.arrivals_after(alone).len(), 0, "there is a member");
        nodes[1].announce("web leaving");
        traffic.wait_answers_of("node-9", 5 * CLIENTS);
        // The log says who gets requests, as for nodes.
        let (came, went) = (format!("+{}", sorry.addr()), nodes[1].addr().to_string());
        pollbal.wait_log_after(mark, &["web", &came, &went]);

        nodes[0].announce("web");
        haproxy.wait_members("web", &addrs(&nodes[..1]));
        let since = clock::after(Instant::now(), UNDER_WAY);
        nodes[1].announce("web");
        haproxy.wait_members("web", &addrs(&nodes));
        traffic.wait_answers_after(since, 10 * CLIENTS);
        assert_eq!(sorry.arrivals_after(since).len(), 0, "there are members");
    }
    assert_eq!(failures(&traffic.finish()), [""; 0]);
    assert_eq!(sorry.polls(), 0, "it is no node");
    for words in ["outside pollbal", "rejected"] {
        assert_eq!(pollbal.log_with(&[words]), [""; 0]);
    }
}

#[test]
fn without_pollbal_requests_to_nodes_that_died_are_served_by_the_sorry_server() {
    let stage = Stage::new();
    let (mut nodes, sorry) = (stage.nodes(&["web", "web"]), stage.node(9, ""));
    let haproxy = web(&stage, &[checked()]);
    let pollbal = Pollbal::start(&stage, &config(&haproxy, &[&sorry]));
    haproxy.wait_members("web", &addrs(&nodes));
    wait_standby(&haproxy, &[&sorry]);
    pollbal.kill();
    let service = haproxy.service("www");
    for _ in 0..4 {
        assert_ne!(get(service, "/").as_deref(), Ok("node-9"));
    }
    for node in &mut nodes {
        node.die();
    }
    for _ in 0..10 {
        assert_eq!(get(service, "/").as_deref(), Ok("node-9"));
    }
    // One is back: HAProxy's own checks find it.
    nodes[0].revive();
    eventually(SOON, "the node serves", || {
        let answer = get(service, "/").expect("every request is served");
        (answer == "node-1").then_some(())
    });
    for _ in 0..4 {
        assert_eq!(get(service, "/").as_deref(), Ok("node-1"));
    }
}

#[test]
fn a_reload_replaces_sorry_servers_also_while_they_serve() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web leaving"]);
    let sorry = [stage.node(8, ""), stage.node(9, "")];
    let haproxy = web(&stage, &[]);
    let pollbal = Pollbal::start(&stage, &config(&haproxy, &[&sorry[0]]));
    wait_standby(&haproxy, &[&sorry[0]]);
    let traffic = Traffic::start(haproxy.service("www"), CLIENTS);
    traffic.wait_answers_of("node-8", 10);
    for round in 0..4 {
        let now = &sorry[(round + 1) % 2];
        stage.write_config(&config(&haproxy, &[now]));
        pollbal.reload();
        traffic.wait_answers_of(now.name(), 5 * CLIENTS);
        wait_standby(&haproxy, &[now]);
    }
    stage.write_config(&config(&haproxy, &[&sorry[0], &sorry[1]]));
    pollbal.reload();
    wait_standby(&haproxy, &[&sorry[0], &sorry[1]]);
    assert_eq!(failures(&traffic.finish()), [""; 0]);
    nodes[0].announce("web");
    haproxy.wait_members("web", &addrs(&nodes));
    // None, and the pool is not even declared any more.
    stage.write_config(&json!({ "haproxy": haproxy.socket() }));
    pollbal.reload();
    wait_standby(&haproxy, &[]);
    assert_eq!(pollbal.log_with(&["outside pollbal"]), [""; 0]);
    assert_eq!(pollbal.log_with(&["rejected"]), [""; 0]);
}

#[test]
fn a_sorry_server_stands_by_again_after_a_restart_of_haproxy_and_one_of_pollbal() {
    let stage = Stage::new();
    let (nodes, sorry) = (stage.nodes(&["web"]), stage.node(9, ""));
    let mut haproxy = web(&stage, &[]);
    let config = config(&haproxy, &[&sorry]);
    let mut pollbal = Pollbal::start(&stage, &config);
    haproxy.wait_members("web", &addrs(&nodes));
    for restart in [false, true] {
        wait_standby(&haproxy, &[&sorry]);
        if restart {
            haproxy.kill();
            haproxy.start();
        } else {
            haproxy.reload();
        }
        wait_standby(&haproxy, &[&sorry]);
        haproxy.wait_members("web", &addrs(&nodes));
    }
    pollbal.terminate();
    let before = haproxy.servers("web");
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["connected to HAProxy"]);
    wait_rounds(&nodes, 5);
    assert_eq!(haproxy.servers("web"), before);
    assert_eq!(pollbal.log_with(&["outside pollbal"]), [""; 0]);
}

#[test]
fn what_a_hand_changes_about_a_sorry_server_is_put_right() {
    let stage = Stage::new();
    let (nodes, sorry) = (stage.nodes(&["web"]), stage.node(9, ""));
    let haproxy = web(&stage, &[]);
    let pollbal = Pollbal::start(&stage, &config(&haproxy, &[&sorry]));
    haproxy.wait_members("web", &addrs(&nodes));
    wait_standby(&haproxy, &[&sorry]);
    let place = format!("web/{}", sorry_name(sorry.addr().into()));
    for change in [
        format!("set server {place} state maint"),
        format!("set server {place} state drain"),
        format!("set server {place} weight 7"),
        format!("set server {place} addr 192.0.2.1 port 81"),
        format!("set server {place} state maint; del server {place}"),
    ] {
        let mark = pollbal.mark();
        let _ = haproxy.ask(&change);
        pollbal.wait_log_after(mark, &["HAProxy was changed outside pollbal", &place]);
        wait_standby(&haproxy, &[&sorry]);
    }
    haproxy.wait_members("web", &addrs(&nodes));
}

#[test]
fn an_operators_own_backup_is_left_alone_and_is_asked_first() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web"]);
    let [own, sorry] = [8, 9].map(|number| stage.node(number, ""));
    let line = format!("server backup {} backup", own.addr());
    let haproxy = web(&stage, &[&line]);
    let with_sorry = config(&haproxy, &[&sorry]);
    let pollbal = Pollbal::start(&stage, &with_sorry);
    haproxy.wait_members("web", &addrs(&nodes));
    wait_standby(&haproxy, &[&sorry]);
    nodes[0].announce("web leaving");
    haproxy.wait_members("web", &addrs([]));
    let service = haproxy.service("www");
    assert_eq!(get(service, "/").as_deref(), Ok("node-8"));
    haproxy.tell("set server web/backup state maint");
    let stopped = haproxy.server("web", "backup");
    assert_eq!(get(service, "/").as_deref(), Ok("node-9"));
    // Neither a resync nor a reload without sorry servers changes it.
    wait_rounds(&nodes, 5);
    stage.write_config(&config(&haproxy, &[]));
    pollbal.reload();
    wait_standby(&haproxy, &[]);
    assert_eq!(haproxy.server("web", "backup"), stopped);
}

#[test]
fn where_no_server_can_be_added_sorry_servers_get_slots_while_there_is_no_member() {
    let stage = Stage::new();
    let (nodes, sorry) = (stage.nodes(&["web"]), stage.node(9, ""));
    let is_static = web(&stage, &["balance source"]);
    let dynamic = web(&stage, &[]);
    let mut config = config(&dynamic, &[&sorry]);
    config["haproxy"] = json!([
        is_static.socket(),
        { "socket": dynamic.socket(), "servers": "slots" },
    ]);
    let pollbal = Pollbal::start(&stage, &config);
    let both = [&is_static, &dynamic];
    for _ in 0..2 {
        for haproxy in both {
            haproxy.wait_members("web", &addrs(&nodes));
        }
        nodes[0].announce("web leaving");
        for haproxy in both {
            haproxy.wait_members("web", &addrs([&sorry]));
            let answer = get(haproxy.service("www"), "/");
            assert_eq!(answer.as_deref(), Ok("node-9"));
        }
        nodes[0].announce("web");
    }
    for haproxy in both {
        haproxy.wait_members("web", &addrs(&nodes));
        wait_standby(haproxy, &[]);
    }
    for words in ["outside pollbal", "rejected", "no servers can be added"] {
        assert_eq!(pollbal.log_with(&[words]), [""; 0]);
    }
}

#[test]
fn a_node_that_stands_in_for_another_pool_is_not_drained_before_it_is_relieved() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "api"]);
    let haproxy = Config::new()
        .backend("web", &[&slots(3)])
        .backend("api", &[&slots(3)])
        .service(&stage, "www", "web")
        .service(&stage, "rest", "api")
        .start(&stage);
    let _pollbal = Pollbal::start(&stage, &config(&haproxy, &[&nodes[1]]));
    haproxy.wait_members("web", &addrs(&nodes[..1]));
    haproxy.wait_members("api", &addrs(&nodes[1..]));
    wait_standby(&haproxy, &[&nodes[1]]);
    nodes[0].announce("web leaving");
    haproxy.wait_members("web", &addrs([]));
    for service in ["www", "rest"] {
        let answer = get(haproxy.service(service), "/");
        assert_eq!(answer.as_deref(), Ok("node-2"), "{service}");
    }
    let request = get_later(haproxy.service("www"), "/?wait=3000");
    eventually(SOON, "the node is busy for web", || {
        (nodes[1].arrivals().len() == 3).then_some(())
    });

    nodes[1].announce("api leaving");
    haproxy.wait_members("api", &addrs([]));
    assert!(why_not_drained(&stage).contains("it serves as sorry server of pool web"));
    nodes[0].announce("web");
    haproxy.wait_members("web", &addrs(&nodes[..1]));
    assert!(why_not_drained(&stage).contains("still draining"));
    let mut waiting = Pollbal::begin(&stage, &["wait", "node-2", "--until", "drained"]);
    let answer = runtime().block_on(request).expect("a client panicked");
    assert_eq!(answer.as_deref(), Ok("node-2"));
    assert!(waiting.wait_end(SOON).success());
}

/// Why the second node is not drained.
fn why_not_drained(stage: &Stage) -> String {
    let socket = stage.admin_socket();
    let socket = socket.to_str().expect("a path of ASCII");
    let line = ["wait", "node-2", "--until", "drained", "--timeout", "200ms"];
    let ended = run::pollbal(&[&line[..], &["--socket", socket]].concat());
    String::from_utf8_lossy(&ended.stderr).into_owned()
}
