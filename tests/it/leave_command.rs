//! `pollbal leave`, on nodes behind two load balancers, each with a pollbal of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::client::{Traffic, failures};
use crate::common::nodes::{Node, addrs, wait_rounds};
use crate::common::perlbal::{Config, Perlbal, RENEWED};
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, eventually, stays};

const CLIENTS: usize = 8;

/// All nodes, one after another.
const ALL: Duration = Duration::from_secs(60);

/// Says that the node may be stopped, and goes on when it was. It gives up by itself, should the test be gone.
const COMMAND: &str = "touch at-$0; for i in $(seq 1000); do if [ -e go-$0 ]; then exit 5; fi; sleep 0.02; done; exit 99";

/// A load balancer with its pollbal.
struct Balancer {
    listener: SocketAddrV4,
    _pollbal: Pollbal,
    perlbal: Perlbal,
}

impl Balancer {
    fn start(stage: &Stage, listener: SocketAddrV4, min_members: usize) -> Self {
        let name = listener.port();
        let perlbal = Config::new()
            .pool("website")
            .service_with(stage, "web", "website", &RENEWED)
            .start(stage);
        let config = json!({
            "perlbal": perlbal.management(),
            "node_listen": listener,
            "admin_socket": stage.path(&format!("{name}.sock")),
            "pool_directory": stage.path(&format!("{name}.pools")),
            "state_file": stage.path(&format!("{name}.json")),
            "pools": { "website": { "min_members": min_members } },
            // A node that a busy machine keeps from answering must not count as failed.
            "service_timeout": "5s",
        });
        let pollbal = Pollbal::start(stage, &config);
        pollbal.wait_log(&["first round done"]);
        Self {
            listener,
            _pollbal: pollbal,
            perlbal,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.listener)
    }

    #[track_caller]
    fn wait_members<'a>(&self, nodes: impl IntoIterator<Item = &'a Node>) {
        self.perlbal.wait_members("website", &addrs(nodes));
    }
}

struct Site {
    balancers: [Balancer; 2],
    nodes: Vec<Node>,
    stage: Stage,
}

impl Site {
    /// Nodes behind two load balancers, in the order in which they are asked, that need this many of them.
    fn start(nodes: usize, min_members: [usize; 2]) -> Self {
        let stage = Stage::new();
        let nodes = stage.nodes(&vec!["website"; nodes]);
        let mut listeners = [stage.free_addr(), stage.free_addr()];
        listeners.sort_by_key(ToString::to_string);
        let balancers =
            [0, 1].map(|index| Balancer::start(&stage, listeners[index], min_members[index]));
        for balancer in &balancers {
            balancer.wait_members(&nodes);
        }
        Self {
            balancers,
            nodes,
            stage,
        }
    }

    /// Begins a leave from this address, with these arguments behind the load balancers.
    fn leave_from(&self, from: Ipv4Addr, urls: &[String], arguments: &[&str]) -> Pollbal {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
        command
            .current_dir(self.stage.dir())
            .args(["leave", "--from", &from.to_string()])
            .args(urls)
            .args(arguments);
        Pollbal::spawn(command, self.stage.path("no configuration"))
    }

    fn leave(&self, node: &Node, urls: &[String], arguments: &[&str]) -> Pollbal {
        self.leave_from(*node.addr().ip(), urls, arguments)
    }

    /// Both, the one that is asked last first.
    fn urls(&self) -> [String; 2] {
        let [first, last] = &self.balancers;
        [last.url(), first.url()]
    }

    fn file(&self, what: &str, node: &Node) -> std::path::PathBuf {
        self.stage.path(&format!("{what}-{}", node.name()))
    }
}

fn touch(file: &Path) {
    fs::write(file, "").unwrap();
}

#[test]
fn nodes_that_leave_at_once_go_one_by_one_and_no_client_notices() {
    const NODES: usize = 4;
    let site = Site::start(NODES, [NODES - 1; 2]);
    let traffic = site
        .balancers
        .each_ref()
        .map(|balancer| Traffic::start(balancer.perlbal.service("web"), CLIENTS));
    for (traffic, node) in traffic
        .iter()
        .flat_map(|one| site.nodes.iter().map(move |node| (one, node)))
    {
        traffic.wait_answers_of(node.name(), 3);
    }
    let urls = site.urls();
    let reversed = [urls[1].clone(), urls[0].clone()];
    let mut leaves: Vec<_> = site
        .nodes
        .iter()
        .enumerate()
        // Whatever order each is given.
        .map(|(number, node)| {
            let urls = if number % 2 == 0 { &urls } else { &reversed };
            Some(site.leave(node, urls, &["--", "sh", "-c", COMMAND, node.name()]))
        })
        .collect();
    for _ in 0..NODES {
        let at = |index: &usize| {
            leaves[*index].is_some() && site.file("at", &site.nodes[*index]).exists()
        };
        let index = eventually(ALL, "a node may be stopped", || (0..NODES).find(at));
        let rest = Instant::now();
        let node = &site.nodes[index];
        for traffic in &traffic {
            traffic.wait_answers_after(rest, 10 * CLIENTS);
        }
        assert_eq!(
            node.arrivals_after(rest).len(),
            0,
            "requests to {}",
            node.name()
        );
        let running = (0..NODES).filter(at).count();
        assert_eq!(running, 1, "one at a time");
        // It stops, and comes back; then it is the next one's turn.
        node.announce("");
        wait_rounds(std::slice::from_ref(node), 6);
        touch(&site.file("go", node));
        let mut leave = leaves[index].take().expect("it was not observed before");
        // The command took the place of the program.
        assert_eq!(leave.wait_end(SOON).code(), Some(5));
        node.announce("website");
    }
    for balancer in &site.balancers {
        balancer.wait_members(&site.nodes);
    }
    for traffic in traffic {
        assert_eq!(failures(&traffic.finish()), [""; 0]);
    }
}

#[test]
fn it_tells_how_far_it_is_and_ends_well_without_a_command() {
    let site = Site::start(2, [1, 1]);
    let [first, last] = site.balancers.each_ref().map(Balancer::url);
    let mut leave = site.leave(&site.nodes[0], &site.urls(), &[]);
    assert_eq!(leave.wait_end(SOON).code(), Some(0));
    leave.wait_log(&["requesting leave in this order, which must be the same on every node"]);
    for url in [&first, &last] {
        leave.wait_log(&[url, "gone: drained"]);
    }
    let log = leave.log();
    let position = |url: &str| {
        log.iter()
            .position(|line| line.contains(&format!("{url}: g")))
    };
    assert!(position(&first) < position(&last), "{log:?}");
    assert_eq!(leave.stdout(), [""; 0]);
    for balancer in &site.balancers {
        balancer.wait_members(&site.nodes[1..]);
    }

    // Asked once more it is gone already, and JSON says the same.
    let mut leave = site.leave(&site.nodes[0], &[first.clone(), last], &["--json"]);
    assert_eq!(leave.wait_end(SOON).code(), Some(0));
    let answers = leave.stdout();
    let reported: Vec<Value> = answers
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(reported.len(), 2, "{reported:?}");
    assert_eq!(
        (&reported[0]["load_balancer"], &reported[0]["answer"]),
        (&json!(first), &json!("gone"))
    );
}

#[test]
fn what_was_granted_is_taken_back_when_another_does_not_let_it_go() {
    // The one that is asked last needs all of them.
    let site = Site::start(2, [1, 2]);
    let [first, last] = &site.balancers;
    for (end, code) in [("timeout", 1), ("INT", 130), ("TERM", 143)] {
        let timeout = if end == "timeout" { "1s" } else { "1h" };
        let mut leave = site.leave(
            &site.nodes[0],
            &site.urls(),
            &["--timeout", timeout, "--", "false"],
        );
        first.wait_members(&site.nodes[1..]);
        leave.wait_log(&[
            &last.url(),
            "waiting: it would leave website with 1 of 2 members",
        ]);
        match end {
            "INT" => leave.signal(Signal::INT),
            "TERM" => leave.signal(Signal::TERM),
            _ => {}
        }
        assert_eq!(leave.wait_end(SOON).code(), Some(code), "{end}");
        leave.wait_log(&[&first.url(), "cancelled: the node stays"]);
        first.wait_members(&site.nodes);
        last.wait_members(&site.nodes);
    }
}

#[test]
fn a_load_balancer_that_is_dead_is_reported_and_passed_over_if_that_is_asked_for() {
    let site = Site::start(2, [1, 1]);
    let [alive, _] = &site.balancers;
    let dead = format!("http://{}", site.stage.free_addr());
    let urls = [alive.url(), dead.clone()];
    let mut leave = site.leave(&site.nodes[0], &urls, &["--timeout", "2s", "--", "true"]);
    leave.wait_log(&[&dead, "no response: Connection refused"]);
    assert_eq!(leave.wait_end(SOON).code(), Some(1));
    leave.wait_log(&["timed out after 2s", &dead]);
    alive.wait_members(&site.nodes);

    let command = ["--skip-dead=1s", "--", "sh", "-c", "exit 5"];
    let mut leave = site.leave(&site.nodes[0], &urls, &command);
    assert_eq!(leave.wait_end(SOON).code(), Some(5));
    leave.wait_log(&[&dead, "skipped"]);
    alive.wait_members(&site.nodes[1..]);
}

#[test]
fn a_load_balancer_is_not_passed_over_because_the_command_stood_still() {
    let site = Site::start(1, [1, 1]);
    let dead = format!("http://{}", site.stage.free_addr());
    let mut leave = site.leave(
        &site.nodes[0],
        std::slice::from_ref(&dead),
        &["--skip-dead=3s"],
    );
    leave.wait_log(&[&dead, "no response"]);
    let watch = |millis: u64| {
        let (begun, time) = (Instant::now(), Duration::from_millis(millis));
        let passed_over = || leave.log_with(&["skipped"]);
        let over = || begun.elapsed() >= time;
        stays(SOON, "skipped", &Vec::new(), passed_over, over);
    };
    leave.signal(Signal::STOP);
    watch(4_000);
    leave.signal(Signal::CONT);
    watch(1_500);
    leave.wait_log(&[&dead, "skipped"]);
    leave.wait_end(SOON);
}

#[test]
fn who_is_no_node_is_refused_and_a_command_that_is_not_there_is_no_reason_to_stay_away() {
    let site = Site::start(2, [1, 1]);
    let [first, _] = &site.balancers;
    let foreign = site.stage.ip(99);
    let mut leave = site.leave_from(foreign, &[first.url()], &["--", "true"]);
    assert_eq!(leave.wait_end(SOON).code(), Some(1));
    leave.wait_log(&[&first.url(), "403"]);
    assert_eq!(leave.log_with(&["cancelled"]), [""; 0]);

    // Nobody is asked for the sake of a command that is not there.
    for (command, code) in [("/nowhere/stop", 127), ("/etc/passwd", 126)] {
        let mut leave = site.leave(&site.nodes[0], &[first.url()], &["--", command]);
        assert_eq!(leave.wait_end(SOON).code(), Some(code));
        leave.wait_log(&["failed to run", command]);
        assert_eq!(leave.log_with(&[&first.url()]), [""; 0]);
    }
    // Only when it is run it turns out that its interpreter is missing.
    let script = site.stage.path("stop");
    fs::write(&script, "#!/nowhere/sh\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    let mut leave = site.leave(&site.nodes[0], &[first.url()], &["--", script]);
    assert_eq!(leave.wait_end(SOON).code(), Some(127));
    leave.wait_log(&["failed to run", script]);
    leave.wait_log(&[&first.url(), "cancelled"]);
    first.wait_members(&site.nodes);

    for (arguments, code) in [
        (&["https://lb1:8099"][..], 64),
        (&["http://"], 64),
        (&[], 64),
    ] {
        let urls: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        let mut leave = site.leave(&site.nodes[0], &urls, &[]);
        assert_eq!(leave.wait_end(SOON).code(), Some(code), "{arguments:?}");
    }
}
