//! What is wrong with a real `HAProxy`, or with what is at its socket, is reported and put right, and holds up nothing
//! else.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::common::haproxy::{Config, Haproxy, slots};
use crate::common::nodes::addrs;
use crate::common::pollbal::Pollbal;
use crate::common::run;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually};

fn config(haproxy: &Haproxy) -> Value {
    json!({ "haproxy": { "socket": haproxy.socket(), "resync_interval": "300ms" } })
}

/// What `pollbal status` says.
fn status(stage: &Stage) -> String {
    let socket = stage.admin_socket();
    let socket = socket.to_str().expect("a path of ASCII");
    run::stdout(&run::pollbal(&["status", "--socket", socket]))
}

#[test]
fn what_a_hand_changes_on_the_socket_is_put_right_with_a_warning() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web"]);
    let haproxy = Config::new()
        .backend("web", &[&slots(3), "server backup 127.0.0.1:2 backup"])
        .start(&stage);
    let pollbal = Pollbal::start(&stage, &config(&haproxy));
    haproxy.wait_members("web", &addrs(&nodes));
    let [one, two] = [0, 1].map(|node: usize| haproxy.server_of("web", nodes[node].addr()));
    let right = haproxy.server("web", &one);
    for change in ["state maint", "state drain", "weight 7"] {
        let mark = pollbal.mark();
        haproxy.tell(&format!("set server web/{one} {change}"));
        let correction = match change {
            "weight 7" => "weight 100",
            _ => "state ready",
        };
        let command = format!("set server web/{one} {correction}");
        pollbal.wait_log_after(mark, &["HAProxy was changed outside pollbal", &command]);
        becomes(SOON, "it is put right", &right, || {
            haproxy.server("web", &one)
        });
    }
    // A node that gets requests twice, and one that nobody knows.
    let stranger = "192.0.2.1:81";
    for (slot, addr) in [("pb3", "192.0.2.1 port 81"), (&*two, "192.0.2.1 port 81")] {
        let _ = haproxy.ask(&format!("set server web/{slot} addr {addr}"));
        haproxy.tell(&format!("set server web/{slot} state ready"));
    }
    haproxy.wait_members("web", &addrs(&nodes));
    let servers = haproxy.servers("web");
    let strangers = servers.values().filter(|server| server.addr == stranger);
    assert!(
        strangers
            .map(|server| server.state)
            .all(|state| state == "maint")
    );
    // What is the operator's stays as it was set.
    haproxy.tell("set server web/backup state maint");
    let reads = nodes[0].polls() + 10;
    eventually(SOON, "it is polled", || {
        (nodes[0].polls() > reads).then_some(())
    });
    assert_eq!(haproxy.server("web", "backup").state, "maint");
}

#[test]
fn a_missing_backend_is_one_problem_that_says_what_to_write_until_it_is_there() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "api serving v1"]);
    let mut haproxy = Config::new().backend("web", &[&slots(3)]).start(&stage);
    let pollbal = Pollbal::start(&stage, &config(&haproxy));
    haproxy.wait_members("web", &addrs(&nodes[..1]));
    let problem = "backend api is missing in HAProxy: write `backend api` with the line `server-template pb 1-50 127.0.0.1:1 disabled` into haproxy.cfg and reload HAProxy";
    pollbal.wait_log(&["ERROR", problem]);
    eventually(SOON, "the status", || {
        status(&stage).contains(problem).then_some(())
    });
    assert_eq!(pollbal.log_with(&["is missing in HAProxy"]).len(), 1);
    let with_api = format!("backend api\n  {}\nbackend web", slots(3));
    haproxy.reload_with("backend web", &with_api);
    haproxy.wait_members("api", &addrs(&nodes[1..]));
    pollbal.wait_log(&["resolved", "backend api is missing"]);
}

#[test]
fn slots_that_do_not_suffice_are_a_problem_until_there_are_more() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web", "web"]);
    let mut haproxy = Config::new().backend("web", &[&slots(2)]).start(&stage);
    let pollbal = Pollbal::start(&stage, &config(&haproxy));
    haproxy.wait_members("web", &addrs(&nodes[..2]));
    let problem = "backend web has no free slot for 1 node: raise the number in its line `server-template pb 1-…`";
    pollbal.wait_log(&["ERROR", problem]);
    // As soon as one is free, or there are more.
    nodes[0].announce("");
    haproxy.wait_members("web", &addrs(&nodes[1..]));
    pollbal.wait_log(&["resolved", "no free slot"]);
    nodes[0].announce("web");
    haproxy.reload_with("pb 1-2", "pb 1-3");
    haproxy.wait_members("web", &addrs(&nodes));
}

#[test]
fn a_static_algorithm_that_takes_no_servers_is_one_problem_until_it_is_another() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web", "api"]);
    let mut haproxy = Config::new()
        .backend("web", &["balance source"])
        .backend("api", &[&slots(2)])
        .start(&stage);
    let pollbal = Pollbal::start(&stage, &config(&haproxy));
    haproxy.wait_members("api", &addrs(&nodes[2..]));
    let problem = "no servers can be added to backend web, as its balancing algorithm is static: write `balance roundrobin` or `server-template pb";
    pollbal.wait_log(&["ERROR", problem]);
    eventually(SOON, "the status", || {
        let status = status(&stage);
        (status.contains(problem) && !status.contains("rejected")).then_some(())
    });
    haproxy.reload_with("balance source", "balance leastconn");
    haproxy.wait_members("web", &addrs(&nodes[..2]));
    pollbal.wait_log(&["resolved", "no servers can be added to backend web"]);
    assert_eq!(pollbal.log_with(&["ERROR", problem]).len(), 1);
}

#[test]
fn a_socket_below_admin_is_reported_with_what_to_write() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web"]);
    let mut haproxy = Config::new()
        .level("operator")
        .backend("web", &[&slots(2)])
        .start(&stage);
    let pollbal = Pollbal::start(&stage, &config(&haproxy));
    let line = format!(
        "write `stats socket {} level admin`",
        haproxy.socket().display()
    );
    pollbal.wait_log(&["ERROR", "the socket's level is \"operator\"", &line]);
    haproxy.reload_with("level operator", "level admin");
    haproxy.wait_members("web", &addrs(&nodes));
}

#[test]
fn a_socket_whose_connections_are_all_in_use_is_reported_and_used_once_one_is_free() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web"]);
    let haproxy = Config::new().backend("web", &[&slots(2)]).start(&stage);
    let used = [0; 10].map(|_| {
        let mut stream = UnixStream::connect(haproxy.socket()).unwrap();
        stream.write_all(b"prompt\n").unwrap();
        let mut answer = [0; 3];
        stream.read_exact(&mut answer).unwrap();
        stream
    });
    let config = json!({ "haproxy": { "socket": haproxy.socket(), "timeout": "300ms" } });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["ERROR", "not answering", "`stats maxconn`"]);
    drop(used);
    haproxy.wait_members("web", &addrs(&nodes));
}

/// What a peer does that is no `HAProxy`.
#[derive(Clone, Copy, Debug)]
enum Hostile {
    Garbage,
    Endless,
    HalfLines,
    Prompts,
    Closes,
    Silent,
    /// Right at first, then with names that part commands.
    Names,
    /// Right at first, then with a table of a row with many short fields.
    Row,
    /// Right at first, then with a table of many short rows.
    Rows,
}

/// What a right `HAProxy` answers to `show info`.
const INFO: &str = "Version: 2.6\nPid: 1\nStopping: 0\n\n> ";

const STATE_HEADER: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port\n";

/// Listens on that path and does it on each connection; counts them.
fn listen(path: &Path, what: Hostile) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(path).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let connections = Arc::clone(&count);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            connections.fetch_add(1, Ordering::Relaxed);
            thread::spawn(move || misbehave(stream, what));
        }
    });
    count
}

/// Ends with an error when pollbal has closed the connection.
fn misbehave(mut stream: UnixStream, what: Hostile) -> std::io::Result<()> {
    let mut buffer = [0; 4_096];
    while stream.read(&mut buffer)? > 0 {
        match what {
            Hostile::Garbage => stream.write_all(b"\xff\xfe\x00; rm -rf\n\n> ")?,
            Hostile::Endless => loop {
                stream.write_all(&[b'x'; 4_096])?;
            },
            Hostile::HalfLines => stream.write_all(b"\n> \n> adm")?,
            Hostile::Prompts => stream.write_all(&b"\n> ".repeat(1_000))?,
            Hostile::Closes => return Ok(()),
            Hostile::Silent => {}
            Hostile::Names | Hostile::Row | Hostile::Rows => {
                stream.write_all(format!("\n> \n> admin\n\n> {INFO}").as_bytes())?;
                if stream.read(&mut buffer)? == 0 {
                    return Ok(());
                }
                let [row, stat] = match what {
                    Hostile::Names => [
                        "3 web;shutdown 1 pb1 10.0.0.1 2 0 1 80".to_owned(),
                        String::new(),
                    ],
                    Hostile::Row => [" ".repeat(8 << 20), String::new()],
                    _ => [String::new(), "a\n".repeat(4 << 20)],
                };
                let tables = format!("{STATE_HEADER}{row}\n\n> # pxname\n{stat}\n> # x\n\n> ");
                stream.write_all(format!("{INFO}{tables}{INFO}").as_bytes())?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_hostile_peer_at_the_socket_harms_nothing() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web"]);
    let haproxy = Config::new().backend("web", &[&slots(3)]).start(&stage);
    let all = [
        Hostile::Garbage,
        Hostile::Endless,
        Hostile::HalfLines,
        Hostile::Prompts,
        Hostile::Closes,
        Hostile::Silent,
        Hostile::Names,
    ];
    let mut sockets = vec![json!(haproxy.socket())];
    let mut counts = Vec::new();
    for what in all {
        let path = stage.path(&format!("{what:?}.sock"));
        counts.push((what, listen(&path, what)));
        sockets.push(json!({ "socket": path, "timeout": "200ms" }));
    }
    let mut pollbal = Pollbal::start(&stage, &json!({ "haproxy": sockets }));
    haproxy.wait_members("web", &addrs(&nodes));
    for (what, count) in &counts {
        eventually(SOON, &format!("{what:?} is tried again"), || {
            (count.load(Ordering::Relaxed) >= 2).then_some(())
        });
        let path = stage.path(&format!("{what:?}.sock"));
        pollbal.wait_log(&["ERROR", "cannot reach HAProxy", &path.display().to_string()]);
    }
    nodes[0].announce("web leaving");
    haproxy.wait_members("web", &addrs(&nodes[1..]));
    pollbal.assert_alive();
    let memory = crate::common::process::peak_memory(pollbal.pid());
    assert!(memory < 300 * 1_024, "{memory} KiB");
    // A log line has none of what they say.
    assert!(!pollbal.log().join("").contains('\u{fffd}'));
    drop(fs::remove_file(stage.path("Garbage.sock")));
}

#[test]
fn long_tables_fill_no_memory() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web"]);
    let haproxy = Config::new().backend("web", &[&slots(1)]).start(&stage);
    let hostile = [("row.sock", Hostile::Row), ("rows.sock", Hostile::Rows)];
    let mut sockets = vec![json!(haproxy.socket())];
    for (name, what) in hostile {
        let path = stage.path(name);
        listen(&path, what);
        sockets.push(json!({ "socket": path, "timeout": "10s" }));
    }
    let pollbal = Pollbal::start(&stage, &json!({ "haproxy": sockets }));
    for (name, _) in hostile {
        pollbal.wait_log(&["ERROR", "`show servers state` is not understood", name]);
    }
    haproxy.wait_members("web", &addrs(&nodes));
    let memory = crate::common::process::peak_memory(pollbal.pid());
    assert!(memory < 80 * 1_024, "{memory} KiB");
}
