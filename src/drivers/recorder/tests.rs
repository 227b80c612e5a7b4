//! A kind of load balancer that the rest of pollbal has never heard of is configured, checked, driven
//! and shown like any other.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::load_balancer::Shared;
use crate::check::check;
use crate::config::Config;
use crate::daemon::{Options, run};
use crate::drivers::steps::StepPrinter;
use crate::drivers::{Deps, DriverHandle, Mode, Snapshot};
use crate::model::node::Node;
use crate::model::pools::{Member, Pool, Pools};

/// A node that announces the pool `web` for ever.
fn start_node() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // What was asked is read, so that closing does not reset the connection.
            let mut request = [0; 1_024];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut request) {
                    Ok(1..) => {}
                    _ => break,
                }
            }
            _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 11\r\n\r\nweb serving");
        }
    });
    addr
}

/// A configuration of a site with one node and one recorder.
fn write_config(directory: &TempDir, name: &str, node: SocketAddr, status: SocketAddr) -> PathBuf {
    let path = |file: &str| directory.path().join(file);
    let services = format!("{} {} # node-1\n", node.ip(), node.port());
    fs::write(path("services"), services).unwrap();
    let config = json!({
        "services_file": path("services"),
        "pool_directory": path("pool"),
        "admin_socket": path("admin.sock"),
        "state_file": "",
        "status_listen": status.to_string(),
        "poll_interval": "50ms",
        "recorder": name,
    });
    fs::write(path("config.json"), config.to_string()).unwrap();
    path("config.json")
}

fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn get(addr: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(addr).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut response = String::new();
    stream.read_to_string(&mut response).ok()?;
    Some(response)
}

/// Waits until the response has all of these texts.
fn wait(addr: SocketAddr, path: &str, texts: &[&str]) {
    let begin = Instant::now();
    loop {
        let response = get(addr, path).unwrap_or_default();
        if texts.iter().all(|text| response.contains(text)) {
            return;
        }
        let waited = begin.elapsed();
        assert!(
            waited < Duration::from_secs(20),
            "{path}: {texts:?} in {response}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

fn start_daemon(runtime: &Runtime, config: &Path) {
    runtime.spawn(run(Options {
        config: config.to_owned(),
        mode: Mode::Live,
        once: false,
        accept_removals: false,
    }));
}

/// In a process of its own: a daemon has signal handlers, and notices pauses of its whole process.
#[test]
fn a_new_kind_of_load_balancer_is_configured_checked_driven_and_shown() {
    const NAME: &str = "drivers::recorder::tests::a_new_kind_of_load_balancer_is_configured_checked_driven_and_shown";
    const ALONE: &str = "POLLBAL_TEST_ALONE";
    if env::var_os(ALONE).is_some() {
        return show_a_new_kind();
    }
    let program = env::current_exe().unwrap();
    let alone = Command::new(program)
        .args([NAME, "--exact"])
        .env(ALONE, "1")
        .output();
    let alone = alone.unwrap();
    assert!(
        alone.status.success(),
        "{}",
        String::from_utf8_lossy(&alone.stdout)
    );
}

fn show_a_new_kind() {
    let directory = TempDir::new().unwrap();
    let (node, status) = (start_node(), free_addr());
    let config = write_config(&directory, "shown", node, status);

    let checked = check(&config).unwrap();
    for line in [
        "recorder shown: steps are kept in memory\n",
        "warning: recorder shown: nobody is served by it\n",
    ] {
        assert!(checked.contains(line), "{line} in {checked}");
    }

    let runtime = Runtime::new().unwrap();
    start_daemon(&runtime, &config);
    wait(
        status,
        "/v1/status",
        &[
            "\"driver\":\"recorder\",\"address\":\"shown\",\"connected\":true",
            "Recorder 1.0",
        ],
    );
    wait(status, "/readyz", &["\r\n\r\nready\n"]);
    wait(status, "/", &["shown", "Recorder 1.0"]);
    let metrics = [
        "pollbal_lb_in_sync{driver=\"recorder\",address=\"shown\"} 1\n",
        "pollbal_lb_commands_total{driver=\"recorder\",address=\"shown\",command=\"step\"} 1\n",
        "recorder_members{address=\"shown\"} 1\n",
    ];
    wait(status, "/metrics", &metrics);
    let explained = format!("/v1/explain?node={node}");
    wait(
        status,
        &explained,
        &["\"driver\":\"recorder\"", "active member"],
    );
    assert_eq!(Shared::at("shown").lock().steps, [format!("web +{node}")]);
    runtime.shutdown_background();
}

#[test]
fn a_dry_run_prints_its_steps_and_takes_none() {
    let (config, errors) = Config::from_value(&json!({ "recorder": "dry" }));
    assert!(errors.is_empty(), "{errors:?}");
    let (sender, printed) = std::sync::mpsc::channel();
    let steps = StepPrinter::new(move |pieces| {
        // The test may be over.
        _ = sender.send(pieces.concat());
    });
    let node = Arc::new(Node::new("10.0.0.1:80".parse().unwrap(), ""));
    let version = None;
    let web = Pool {
        members: vec![Member::new(node, version)],
        ..Pool::default()
    };
    let pools = Pools {
        pools: [("web".parse().unwrap(), Arc::new(web))].into(),
        ..Pools::default()
    };
    let snapshot = Snapshot {
        serial: 1,
        pools: Arc::new(pools),
        current_files: Arc::default(),
        cause: None,
    };
    let desired = watch::Sender::new(Some(snapshot));
    let settings = &config.drivers[0];
    let stop = CancellationToken::new();
    let (handle, io) = DriverHandle::new(&**settings, desired.subscribe(), steps, stop);
    let runtime = Runtime::new().unwrap();
    runtime.spawn(settings.build(Deps::default()).run(io, Mode::DryRun));
    let limit = Duration::from_secs(20);
    let printed = printed.recv_timeout(limit).unwrap();
    assert_eq!(printed, "hello\n# recorder dry\nweb +10.0.0.1:80\n");
    assert!(Shared::at("dry").lock().steps.is_empty());
    drop(handle);
}
