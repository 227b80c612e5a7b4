//! What is reported to the service manager: ready when nodes are polled and files are written, a status, signs of life.

mod watchdog;

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::{self};

use rustix::process::Signal;
use serde_json::json;

use crate::common::nodes::{addrs, wait_rounds};
use crate::common::notify::{self, Notify};
use crate::common::perlbal::Config;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, stays};

const READY: &str = "READY=1";
const RELOADING: &str = "RELOADING=1";
const STOPPING: &str = "STOPPING=1";
const WATCHDOG: &str = "WATCHDOG=1";

#[track_caller]
fn wait_status(notify: &Notify, status: &str) {
    becomes(SOON, "the status", &Some(status.to_owned()), || {
        notify.status()
    });
}

#[test]
fn it_is_ready_when_each_node_has_answered_or_failed_once() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api", "website", "api leaving"]);
    nodes[1].fail(500);
    nodes[2].hang();
    let notify = Notify::listen(&stage);
    let config = json!({ "pools": { "api": {}, "other": {} }, "service_timeout": "1h" });
    let _pollbal = notify.start(&stage, &config, &[], &[]);
    wait_status(&notify, "waiting for the first answer of 4 nodes");
    let waiting = [&nodes[0], &nodes[1], &nodes[3]].map(|node| node.polls() + 3);
    stays(
        SOON,
        "not ready",
        &0,
        || notify.with(READY).len(),
        || {
            let polled = [&nodes[0], &nodes[1], &nodes[3]].into_iter().zip(waiting);
            polled
                .into_iter()
                .all(|(node, enough)| node.polls() >= enough)
        },
    );
    // The hanging poll ends with its node's connections.
    let mut nodes = nodes;
    nodes[2].die();
    notify.wait(READY, 1);
    assert_eq!(stage.lines("api.pool"), Some(vec![nodes[0].pool_line()]));
    assert_eq!(stage.lines("other.pool"), Some(vec![]));
    wait_status(&notify, "1 of 4 nodes in 1 pool");
    nodes[1].recover();
    wait_status(&notify, "2 of 4 nodes in 1 pool");
    nodes[2].recover();
    nodes[2].revive();
    wait_status(&notify, "3 of 4 nodes in 2 pools");

    // Sent on a change only.
    let reported = notify.messages().len();
    wait_rounds(&nodes, 5);
    assert_eq!(
        notify.messages().len(),
        reported,
        "{:#?}",
        notify.messages()
    );
}

#[test]
fn a_sorry_server_is_counted_among_neither_nodes_nor_members() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "website"]);
    let notify = Notify::listen(&stage);
    let config = json!({ "pools": { "api": { "sorry": [stage.free_addr()] } } });
    let pollbal = notify.start(&stage, &config, &[], &[]);
    wait_status(&notify, "2 of 2 nodes in 2 pools");
    nodes[0].announce("");
    wait_status(&notify, "1 of 2 nodes in 1 pool, sorry server in 1 pool");
    pollbal.wait_log(&["wrote api.pool: 1 sorry server"]);
}

#[test]
fn a_start_that_takes_long_asks_for_more_time() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["website", "website"]);
    nodes[1].hang();
    let notify = Notify::listen(&stage);
    let config = json!({ "service_timeout": "1h" });
    let variables = [("WATCHDOG_USEC", "200000")];
    let _pollbal = notify.start(&stage, &config, &[], &variables);
    let more = notify.wait("EXTEND_TIMEOUT_USEC=200000", 3);
    assert_eq!(more.value("WATCHDOG"), Some("1"));
    nodes[1].die();
    let ready = notify.wait(READY, 1);
    notify.wait(WATCHDOG, notify.with(WATCHDOG).len() + 3);
    let asked = notify.with("EXTEND_TIMEOUT_USEC=200000");
    assert!(asked.iter().all(|message| message.at <= ready.at));
}

#[test]
fn it_is_ready_though_a_perlbal_is_down() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let notify = Notify::listen(&stage);
    let config = json!({ "perlbal": stage.free_addr() });
    let pollbal = notify.start(&stage, &config, &[], &[]);
    notify.wait(READY, 1);
    pollbal.wait_log(&["error", "cannot reach perlbal"]);
}

#[test]
fn it_is_ready_without_nodes_as_soon_as_the_declared_files_exist() {
    let stage = Stage::new();
    let node = stage.node(1, "website");
    let notify = Notify::listen(&stage);
    let config = json!({ "pools": { "website": {} } });
    let pollbal = notify.start(&stage, &config, &[], &[]);
    notify.wait(READY, 1);
    assert_eq!(stage.lines("website.pool"), Some(vec![]));
    let services = stage.services_file();
    wait_status(
        &notify,
        &format!("{} lists no nodes yet", services.display()),
    );
    // A configuration that is changed before there are nodes holds at once.
    stage.write_config(&json!({ "pools": { "website": {}, "api": {} } }));
    pollbal.reload();
    notify.wait(READY, 2);
    pollbal.wait_log(&["info", "reloaded: 0 nodes"]);
    assert_eq!(stage.lines("api.pool"), Some(vec![]));
    stage.list(&[node]);
    wait_status(&notify, "0 of 1 node in 0 pools");
}

#[test]
fn it_is_ready_at_last_though_its_files_cannot_be_written() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    // Not even root makes a directory where a file is.
    fs::write(stage.pool_directory(), "").unwrap();
    let perlbal = Config::new().pool("website").start(&stage);
    let notify = Notify::listen(&stage);
    let config = json!({ "perlbal": perlbal.management() });
    let pollbal = notify.start(&stage, &config, &[], &[]);
    becomes(SOON, "Perlbal's members", &Some(addrs(&nodes)), || {
        perlbal.members("website")
    });
    assert!(notify.with(READY).is_empty());
    eventually(3 * SOON, "it counts as ready", || notify.with(READY).pop());
    wait_status(
        &notify,
        "1 of 1 node in 1 pool; pool files cannot be written, see the log",
    );
    pollbal.wait_log(&["warn", "counts as ready", "not written"]);
    fs::remove_file(stage.pool_directory()).unwrap();
    wait_status(&notify, "1 of 1 node in 1 pool");
}

#[test]
fn a_reload_is_reported_and_ends_when_its_files_are_written() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let notify = Notify::listen(&stage);
    let pollbal = notify.start(&stage, &json!({}), &[], &[]);
    notify.wait(READY, 1);
    stage.write_config(&json!({ "pools": { "new": {} } }));
    pollbal.reload();
    let reloading = notify.wait(RELOADING, 1);
    let since: u64 = reloading
        .value("MONOTONIC_USEC")
        .and_then(|time| time.parse().ok())
        .expect("the time of the reload");
    assert!(since > 0);
    let ready = notify.wait(READY, 2);
    assert!(ready.at >= reloading.at);
    assert_eq!(stage.lines("new.pool"), Some(vec![]));

    stage.write_config(&json!({ "rise": 0 }));
    pollbal.reload();
    notify.wait(RELOADING, 2);
    notify.wait(READY, 3);
    wait_status(
        &notify,
        "1 of 1 node in 1 pool; the last reload was rejected, see the log",
    );
    stage.write_config(&json!({}));
    pollbal.reload();
    notify.wait(RELOADING, 3);
    notify.wait(READY, 4);
    wait_status(&notify, "1 of 1 node in 1 pool");
}

#[test]
fn a_reload_before_it_is_ready_makes_it_ready_no_sooner() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["website", "website"]);
    nodes[1].hang();
    let notify = Notify::listen(&stage);
    let config = json!({ "service_timeout": "1h" });
    let pollbal = notify.start(&stage, &config, &[], &[]);
    becomes(SOON, "polls of the hanging node", &1, || nodes[1].polls());
    pollbal.reload();
    pollbal.wait_log(&["info", "reloaded"]);
    wait_rounds(&nodes[..1], 3);
    assert!(notify.with(READY).is_empty());
    nodes[1].die();
    notify.wait(READY, 1);
    assert!(notify.with(RELOADING).is_empty());
}

#[test]
fn the_end_is_reported_at_its_beginning() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let notify = Notify::listen(&stage);
    let hook = json!({ "pre_quit_hook": ["sleep", "100"] });
    let mut pollbal = notify.start(&stage, &hook, &[], &[]);
    notify.wait(READY, 1);
    pollbal.signal(Signal::TERM);
    notify.wait(STOPPING, 1);
    pollbal.assert_alive();
    assert_eq!(pollbal.wait_end(SOON).code(), Some(0));
    assert_eq!(notify.status().as_deref(), Some("ending"));
}

#[test]
fn a_hook_cannot_speak_for_pollbal() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let notify = Notify::listen(&stage);
    let variables = [("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "1")];
    let hook = json!({ "post_init_hook": ["sh", "-c", "env | sed 's/^/variable /'; echo all"] });
    let pollbal = notify.start(&stage, &hook, &[], &variables);
    pollbal.wait_log(&["post_init_hook: all"]);
    // Others are handed down.
    assert!(!pollbal.log_with(&["variable path="]).is_empty());
    for variable in ["variable notify_socket", "variable watchdog_"] {
        let reported = pollbal.log_with(&[variable]);
        assert!(reported.is_empty(), "{reported:?}");
    }
}

#[test]
fn neither_a_dry_run_nor_a_single_round_is_a_service() {
    for argument in ["--dry-run", "--once"] {
        let stage = Stage::new();
        let nodes = stage.nodes(&["website"]);
        let notify = Notify::listen(&stage);
        let mut pollbal = notify.start(
            &stage,
            &json!({}),
            &[argument],
            &[("WATCHDOG_USEC", "2000")],
        );
        if argument == "--once" {
            assert_eq!(pollbal.wait_end(SOON).code(), Some(0));
        } else {
            pollbal.wait_stdout(&["website.pool"]);
            wait_rounds(&nodes, 5);
            assert_eq!(pollbal.terminate().code(), Some(0));
        }
        assert!(notify.messages().is_empty(), "{:#?}", notify.messages());
    }
}

#[test]
fn a_socket_that_is_gone_is_reported_once_and_is_no_reason_to_end() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let notify = Notify::listen(&stage);
    fs::remove_file(stage.path("notify")).unwrap();
    let variables = [("WATCHDOG_USEC", "20000")];
    let mut pollbal = notify.start(&stage, &json!({}), &[], &variables);
    pollbal.wait_log(&["warn", "failed to notify the service manager"]);
    wait_rounds(&nodes, 10);
    assert_eq!(pollbal.log_with(&["service manager"]).len(), 1);
    assert_eq!(
        stage.lines("website.pool"),
        Some(vec![nodes[0].pool_line()])
    );
    assert_eq!(pollbal.terminate().code(), Some(0));
}

#[test]
fn a_service_manager_that_does_not_read_holds_nobody_up() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    // Its queue fills up.
    let socket = stage.path("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    let variables = [("WATCHDOG_USEC", "2000")];
    let mut pollbal = notify::start(&socket, &stage, &json!({}), &[], &variables);
    pollbal.wait_log(&["warn", "service manager does not read"]);
    nodes[0].announce("api");
    becomes(SOON, "api.pool", &Some(vec![nodes[0].pool_line()]), || {
        stage.lines("api.pool")
    });
    assert_eq!(pollbal.log_with(&["service manager"]).len(), 1);
    nodes[0].announce("");
    becomes(SOON, "api.pool", &Some(vec![]), || stage.lines("api.pool"));

    // When it reads again, it gets the present state.
    let mut message = [0; 1024];
    let reported = (0..10_000).any(|_| {
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..length]).contains("STATUS=0 of 1 node in 0 pools")
    });
    assert!(reported);
    drop(manager);
    assert_eq!(pollbal.terminate().code(), Some(0));
}

#[test]
fn a_service_manager_may_listen_at_a_name_that_is_no_file() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let name = format!("pollbal-test-{}-{}", process::id(), stage.ip(1));
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let socket = PathBuf::from(format!("@{name}"));
    let mut pollbal = notify::start(&socket, &stage, &json!({}), &[], &[]);
    let wait = |line: &str| loop {
        let mut message = [0; 1024];
        let length = manager.recv(&mut message).expect(line);
        let text = String::from_utf8_lossy(&message[..length]);
        if text.lines().any(|reported| reported == line) {
            return;
        }
    };
    wait("STATUS=1 of 1 node in 1 pool");
    wait(READY);
    assert!(pollbal.terminate().success());
    wait(STOPPING);
    assert!(pollbal.log_with(&["service manager"]).is_empty());
}
