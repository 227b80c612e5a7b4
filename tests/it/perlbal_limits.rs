//! How much pollbal takes from a management address: all that a large Perlbal says, and not what never ends.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::nodes::addrs;
use crate::common::perlbal::Perlbal;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, eventually, http};

/// More than pollbal has at any time with a few nodes, by far, and less than it would have by then without limits.
const MOST_MEMORY_KB: u64 = 90_000;

/// A Perlbal that answers until it is asked for one thing; what it says then does not end.
struct Endless {
    addr: SocketAddrV4,
    /// When it was asked, and when it was given up.
    asked: Arc<Mutex<Vec<[Instant; 2]>>>,
}

/// What it says.
struct Says {
    /// Its configuration.
    config: String,
    /// The command whose answer does not end, and what is said over and over.
    endless: (&'static str, Vec<u8>),
}

impl Endless {
    /// Its threads end when pollbal closes the connections, and with the test's process.
    fn start(addr: SocketAddrV4, says: Says) -> Self {
        let listener = TcpListener::bind(addr).expect("failed to listen");
        let asked = Arc::<Mutex<Vec<[Instant; 2]>>>::default();
        let times = Arc::clone(&asked);
        let says = Arc::new(says);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (times, says) = (Arc::clone(&times), Arc::clone(&says));
                thread::spawn(move || talk(&stream, &times, &says));
            }
        });
        Self { addr, asked }
    }
}

fn talk(mut stream: &TcpStream, asked: &Mutex<Vec<[Instant; 2]>>, says: &Says) {
    let (endless, text) = &says.endless;
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if line.trim_end() == *endless {
            let begin = Instant::now();
            while stream.write_all(text).is_ok() {}
            asked.lock().unwrap().push([begin, Instant::now()]);
            return;
        }
        let answer = match line.split(' ').next() {
            Some("UPTIME") => "starttime 1\r\nuptime 1\r\nversion 1.80\r\n.\r\n",
            Some("DUMPCONFIG") => &says.config,
            Some("BACKENDS" | "NODES" | "PENDING" | "SHOW") => ".\r\n",
            _ => "OK\r\n",
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn most_memory_kb(pollbal: &Pollbal) -> u64 {
    let path = format!("/proc/{}/status", pollbal.pid().as_raw_nonzero());
    let status = fs::read_to_string(path).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    number.expect("the most memory that it had")
}

/// An answer that does not end is given up with an error, costs little memory, and is asked for less and less often.
#[track_caller]
fn is_given_up(says: &[u8], excess: &str) {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api"]);
    let says = Says {
        config: String::new(),
        endless: ("DUMPCONFIG", says.to_vec()),
    };
    let endless = Endless::start(stage.free_addr(), says);
    let config = json!({ "perlbal": { "address": endless.addr, "timeout": "30s" } });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["error", "not usable", "the response to DUMPCONFIG", excess]);
    let times = eventually(3 * SOON, "it is asked again and again", || {
        let times = endless.asked.lock().unwrap().clone();
        (times.len() > 10).then_some(times)
    });
    let wait = |index: usize| times[index + 1][0] - times[index][1];
    // The tenth wait is a second, a fifth more or less; one that is only away is tried four times a second.
    assert!(wait(9) > Duration::from_millis(500), "{:?}", wait(9));
    let status = http::get(&stage, "/v1/status").json();
    assert_eq!(status["load_balancers"][0]["away"]["state"], "not usable");
    let memory = most_memory_kb(&pollbal);
    assert!(memory < MOST_MEMORY_KB, "{memory} kB");
    // It holds up nothing.
    nodes[0].announce("website");
    let line = Some(vec![nodes[0].pool_line()]);
    eventually(SOON, "website.pool", || {
        (stage.lines("website.pool") == line).then_some(())
    });
}

#[test]
fn a_line_that_does_not_end_is_given_up() {
    is_given_up(&vec![b'x'; 1 << 16], "a line has more than 256 KiB");
}

#[test]
fn long_lines_without_end_are_given_up() {
    let line = "x".repeat(50_000) + "\n";
    is_given_up(line.as_bytes(), "more than 16 MiB");
}

#[test]
fn short_lines_without_end_are_given_up() {
    is_given_up(b"x\nx\nx\nx\nx\nx\nx\nx\n", "more than 200000 lines");
}

#[test]
fn an_answer_without_end_is_given_up_although_nothing_of_it_is_kept() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let members = nodes
        .iter()
        .map(|node| format!("  POOL ADD website {}\r\n", node.addr()));
    let config = format!(
        "CREATE POOL website\r\n{}\r\nCREATE SERVICE web\r\n  SET pool = website\r\nOK\r\n",
        members.collect::<String>()
    );
    let request = "x".repeat(60_000);
    let client =
        format!("   11     0s Perlbal::ClientProxy(R): open to 127.0.0.1:5: {request}\r\n");
    let says = Says {
        config,
        endless: ("SOCKS", client.into_bytes()),
    };
    let endless = Endless::start(stage.free_addr(), says);
    let config = json!({ "perlbal": { "address": endless.addr, "timeout": "30s" } });
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["connected to Perlbal"]);
    nodes[0].announce("website leaving");
    pollbal.wait_log(&["error", "the response to SOCKS", "more than 64 MiB"]);
    let memory = most_memory_kb(&pollbal);
    assert!(memory < MOST_MEMORY_KB, "{memory} kB");
    eventually(SOON, "it is asked again", || {
        (endless.asked.lock().unwrap().len() > 1).then_some(())
    });
}

#[test]
fn long_requests_of_clients_cost_no_connection() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let perlbal = Perlbal::with_service(&stage, "web", "website");
    let pollbal = Pollbal::start(&stage, &json!({ "perlbal": perlbal.management() }));
    perlbal.wait_members("website", &addrs(&nodes));
    let since = Instant::now();
    let long = "x".repeat(60_000);
    let request = format!("GET /?wait=3000&long={long} HTTP/1.0\r\n\r\n");
    let clients: Vec<_> = (0..30)
        .map(|_| {
            let mut client = TcpStream::connect(perlbal.service("web")).unwrap();
            client.write_all(request.as_bytes()).unwrap();
            client
        })
        .collect();
    eventually(SOON, "a request under way", || {
        (!nodes[0].arrivals_after(since).is_empty()).then_some(())
    });
    // What it is about: they stand in the answer.
    let longest = perlbal.ask("SOCKS").iter().map(String::len).max();
    assert!(longest > Some(60_000), "{longest:?}");
    nodes[0].announce("website leaving");
    pollbal.wait_log(&[&nodes[0].addr().to_string(), " drained "]);
    drop(clients);
    assert_eq!(pollbal.log_with(&["cannot reach"]), [""; 0]);
}
