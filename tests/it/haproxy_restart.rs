//! A real `HAProxy` that is killed, restarted or reloaded, and pollbal's own restart: both are right soon, and no node is
//! drained before it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::client::{Traffic, failures, get, get_later};
use crate::common::haproxy::{Config, Haproxy, slots, sorry_name};
use crate::common::nodes::{Node, addrs};
use crate::common::perlbal;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{Ends, SOON, clock, eventually, run, runtime};

fn config(haproxy: &Haproxy) -> Value {
    json!({ "haproxy": haproxy.socket() })
}

fn web(stage: &Stage, count: usize) -> Haproxy {
    Config::new()
        .backend("web", &[&slots(count)])
        .service(stage, "www", "web")
        .start(stage)
}

/// Waits until a request is in progress at each of these nodes.
#[track_caller]
fn wait_busy(nodes: &[Node]) {
    eventually(SOON, "each is busy", || {
        let mut nodes = nodes.iter();
        nodes.all(|node| !node.arrivals().is_empty()).then_some(())
    });
}

#[test]
fn an_haproxy_that_was_killed_is_right_soon_after_its_restart() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web"]);
    let mut haproxy = web(&stage, 3);
    let pollbal = Pollbal::start(&stage, &config(&haproxy));
    haproxy.wait_members("web", &addrs(&nodes));
    haproxy.kill();
    pollbal.wait_log(&["ERROR", "cannot reach HAProxy"]);
    nodes[0].announce("web leaving");
    pollbal.wait_log(&["ERROR", "HAProxy is", "not applied since: -node-1"]);
    let restarted = Instant::now();
    haproxy.start();
    haproxy.wait_members("web", &addrs(&nodes[1..]));
    let took = clock::counted_since(restarted);
    assert!(took < Duration::from_secs(2), "{took:?}");
    get(haproxy.service("www"), "/").expect("it serves");
    assert_eq!(pollbal.log_with(&["outside pollbal"]), [""; 0]);
}

#[test]
fn reloads_under_load_while_nodes_change_end_in_what_nodes_say() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web", "web"]);
    // What is declared serves after a reload until pollbal notices it: nobody would be lost.
    let own = format!("server own {} backup", nodes[2].addr());
    let mut haproxy = Config::new()
        .backend("web", &[&own, &slots(3)])
        .service(&stage, "www", "web")
        .start(&stage);
    let pollbal = Pollbal::start(&stage, &config(&haproxy));
    haproxy.wait_members("web", &addrs(&nodes));
    let service = haproxy.service("www");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients = [0; 4].map(|_| {
            scope.spawn(|| {
                let mut answers = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    answers.push(get(service, "/?wait=4"));
                }
                answers
            })
        });
        let ends = Ends(&stop);
        for (round, line) in ["web leaving", "web", "web leaving", "web", ""]
            .iter()
            .enumerate()
        {
            nodes[0].announce(line);
            haproxy.reload();
            let expected = if round % 2 == 0 {
                &nodes[1..]
            } else {
                &nodes[..]
            };
            let reloaded = Instant::now();
            haproxy.wait_members("web", &addrs(expected));
            let took = clock::counted_since(reloaded);
            assert!(took < Duration::from_secs(2), "{took:?}");
        }
        drop(ends);
        let answers = clients.map(|client| client.join().expect("a client panicked"));
        let answers = answers.into_iter().flatten();
        let failed: Vec<String> = answers.filter_map(Result::err).collect();
        assert_eq!(failed, [""; 0]);
    });
    assert!(
        !pollbal
            .log_with(&["INFO", "HAProxy was restarted or reloaded"])
            .is_empty()
    );
    assert_eq!(pollbal.log_with(&["cannot reach"]), [""; 0]);
    assert_eq!(pollbal.log_with(&["outside pollbal"]), [""; 0]);
    eventually(SOON, "the processes that were replaced end", || {
        (!haproxy.has_replaced()).then_some(())
    });
}

#[test]
fn a_node_is_not_drained_before_the_process_that_was_replaced_is_done_with_it() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web"]);
    let mut haproxy = web(&stage, 3);
    let pollbal = Pollbal::start(&stage, &config(&haproxy));
    haproxy.wait_members("web", &addrs(&nodes));
    let requests = [0, 1].map(|_| get_later(haproxy.service("www"), "/?wait=4000"));
    wait_busy(&nodes);
    let mark = pollbal.mark();
    haproxy.reload();
    pollbal.wait_log_after(mark, &["connected to HAProxy"]);
    haproxy.wait_members("web", &addrs(&nodes));
    nodes[0].announce("web leaving");
    haproxy.wait_members("web", &addrs(&nodes[1..]));
    let addr = nodes[0].addr().to_string();
    let waiting = Pollbal::begin(&stage, &["wait", "node-1", "--until", "drained"]);
    nodes[0].wait_polls(5);
    assert!(haproxy.has_replaced());
    assert_eq!(pollbal.log_with(&[&addr, "drained"]), [""; 0]);
    for request in requests {
        runtime()
            .block_on(request)
            .unwrap()
            .expect("it ends normally");
    }
    pollbal.wait_log(&[&addr, "drained"]);
    let mut waiting = waiting;
    assert!(waiting.wait_end(SOON).success());
    eventually(SOON, "the process that was replaced ends", || {
        (!haproxy.has_replaced()).then_some(())
    });
}

#[test]
fn another_run_of_pollbal_adopts_what_is_there() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web", "web"]);
    let haproxy = web(&stage, 4);
    let mut pollbal = Pollbal::start(&stage, &config(&haproxy));
    haproxy.wait_members("web", &addrs(&nodes));
    let requests = [0, 1, 2].map(|_| get_later(haproxy.service("www"), "/?wait=3000"));
    wait_busy(&nodes);
    let leaving = haproxy.server_of("web", nodes[0].addr());
    nodes[0].announce("web leaving");
    haproxy.wait_members("web", &addrs(&nodes[1..]));
    let before = haproxy.servers("web");
    assert!(pollbal.terminate().success());
    assert_eq!(haproxy.servers("web"), before, "stopping changes nothing");

    let pollbal = Pollbal::start(&stage, &config(&haproxy));
    pollbal.wait_log(&["connected to HAProxy"]);
    let mut waiting = Pollbal::begin(&stage, &["wait", "node-1", "--until", "drained"]);
    nodes[1].wait_polls(3);
    let others = |servers: std::collections::BTreeMap<_, _>| {
        let mut servers = servers;
        servers.remove(&leaving);
        servers
    };
    assert_eq!(others(haproxy.servers("web")), others(before));
    assert!(waiting.has_ended().is_none(), "a request is in progress");
    for request in requests {
        runtime()
            .block_on(request)
            .unwrap()
            .expect("it ends normally");
    }
    assert!(waiting.wait_end(SOON).success());
    eventually(SOON, "the slot is free", || {
        (haproxy.server("web", &leaving).addr == "127.0.0.1:1").then_some(())
    });
}

/// Waits until nodes have got this many slow requests.
#[track_caller]
fn wait_slow(nodes: &[Node], count: usize) {
    eventually(SOON, "slow requests are in progress", || {
        let arrivals = nodes.iter().flat_map(Node::arrivals);
        let slow = arrivals.filter(|arrival| arrival.path.starts_with("/slow"));
        (slow.count() >= count).then_some(())
    });
}

/// Nodes take slots from each other while requests are in progress.
fn hand_over(leave: &str) {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web", ""]);
    let haproxy = web(&stage, 2);
    let config = json!({ "haproxy": { "socket": haproxy.socket(), "leave": leave } });
    let pollbal = Pollbal::start(&stage, &config);
    haproxy.wait_members("web", &addrs(&nodes[..2]));
    let traffic = Traffic::start(haproxy.service("www"), 8);
    let mut out = 2;
    // Each round another node takes the slot of the one that leaves, which is the only one that can be free.
    for round in 0..9 {
        let leaves = (out + 1 + round % 2) % 3;
        traffic.wait_answers_of(nodes[leaves].name(), 5);
        // Their connections are idle only when the node has long left.
        let slow = [0; 4].map(|_| get_later(haproxy.service("www"), "/slow?wait=300"));
        wait_slow(&nodes, 4 * (round + 1));
        nodes[leaves].announce("web leaving");
        nodes[out].announce("web");
        let members: Vec<&Node> = (0..3)
            .filter(|node| *node != leaves)
            .map(|node| &nodes[node])
            .collect();
        haproxy.wait_members("web", &addrs(members));
        let since = Instant::now();
        for request in slow {
            let ended = runtime().block_on(request).expect("a client panicked");
            ended.expect("it ends normally");
        }
        traffic.wait_answers_of(nodes[out].name(), 100);
        assert_eq!(
            nodes[leaves].arrivals_after(since).len(),
            0,
            "round {round}"
        );
        out = leaves;
    }
    let record = traffic.finish();
    assert_eq!(failures(&record), [""; 0]);
    assert_eq!(pollbal.log_with(&["outside pollbal"]), [""; 0]);
    assert_eq!(pollbal.log_with(&["rejected"]), [""; 0]);
}

#[test]
fn a_slot_that_gets_another_node_sends_no_request_to_the_one_before() {
    hand_over("drain");
}

#[test]
fn a_slot_that_gets_another_node_sends_none_to_the_one_before_also_with_leave_maint() {
    hand_over("maint");
}

#[test]
fn a_node_is_gone_when_it_is_drained_at_every_load_balancer() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web"]);
    let balancers = [web(&stage, 3), web(&stage, 3)];
    let perlbal = perlbal::Config::new()
        .pool("web")
        .service(&stage, "www", "web")
        .start(&stage);
    let config = json!({
        "haproxy": balancers.each_ref().map(Haproxy::socket),
        "perlbal": perlbal.management(),
    });
    let pollbal = Pollbal::start(&stage, &config);
    for haproxy in &balancers {
        haproxy.wait_members("web", &addrs(&nodes));
    }
    perlbal.wait_members("web", &addrs(&nodes));
    // Only the second one has requests in progress.
    let requests = [0, 1].map(|_| get_later(balancers[1].service("www"), "/?wait=2500"));
    wait_busy(&nodes);
    nodes[0].announce("web leaving");
    let mut waiting = Pollbal::begin(&stage, &["wait", "node-1", "--until", "drained"]);
    let addr = nodes[0].addr().to_string();
    pollbal.wait_log(&[&addr, "drained"]);
    perlbal.wait_members("web", &addrs(&nodes[1..]));
    for haproxy in &balancers {
        haproxy.wait_members("web", &addrs(&nodes[1..]));
    }
    assert!(waiting.has_ended().is_none(), "a request is in progress");
    for request in requests {
        runtime()
            .block_on(request)
            .unwrap()
            .expect("it ends normally");
    }
    assert!(waiting.wait_end(SOON).success());
}

#[test]
fn what_a_dry_run_prints_has_the_daemons_effect_when_it_is_piped_into_the_socket() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    let stage = Stage::new();
    let nodes = stage.nodes(&[
        "web serving v1",
        "web serving v2",
        "web",
        "api",
        "web leaving",
    ]);
    let own = format!("server own {}", nodes[4].addr());
    let sorry = stage.free_addr();
    let config = |haproxy: &Haproxy| {
        let mut config = config(haproxy);
        config["pools"] = json!({ "web": { "sorry": [sorry] } });
        config
    };
    let make = || {
        Config::new()
            .backend(
                "web",
                &[&own, "server-template pb 1-4 127.0.0.1:1 disabled"],
            )
            .backend("web.v2", &[&slots(2)])
            .backend("api", &[])
            .start(&stage)
    };
    let (piped, driven) = (make(), make());
    let before = piped.servers("web");
    let printed = Pollbal::run(&stage, &config(&piped), &["--dry-run", "--once"]).stdout;
    assert_eq!(piped.servers("web"), before);
    assert!(printed.contains("\nset server web/pb1 addr "), "{printed}");
    let sorry = format!("\nadd server web/{} {sorry} ", sorry_name(sorry.into()));
    assert!(printed.contains(&sorry), "{printed}");
    let mut stream = UnixStream::connect(piped.socket()).unwrap();
    stream.write_all(printed.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream.read_to_string(&mut String::new()).unwrap();

    let _pollbal = Pollbal::start(&stage, &config(&driven));
    for backend in ["web", "web.v2", "api"] {
        let effect = piped.servers(backend);
        crate::common::becomes(SOON, backend, &effect, || driven.servers(backend));
    }
    let status = run::pollbal(&["status", "--socket", stage.admin_socket().to_str().unwrap()]);
    assert!(
        run::stdout(&status).contains("HAProxy"),
        "{}",
        run::stdout(&status)
    );
}
