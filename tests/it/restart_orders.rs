//! pollbal ends and starts again while all that it keeps is active at once: a node is out for two reasons, one has a
//! leave, and a freeze holds in one that fails. Nothing of it is lost, nothing changes in between, and no client
//! notices.

use crate::commands::site as commands;
use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::client::{Traffic, failures};
use crate::common::http::{Asked, ask_from};
use crate::common::nodes::{Node, addrs, wait_rounds};
use crate::common::perlbal::{Config, Members, Perlbal, RENEWED};
use crate::common::pollbal::Pollbal;
use crate::common::relay::Relay;
use crate::common::run::{stderr, stdout};
use crate::common::stage::Stage;
use crate::common::{Ends, SOON, becomes, eventually, stays};

const CLIENTS: usize = 12;

/// Number of polls of a node.
const A_WHILE: u64 = 5;

/// A restart and all that is waited for behind it take far less.
const WATCHED: Duration = Duration::from_secs(60);

/// The response to the third node as long as the second has its leave.
const WAIT: &str = "wait others of pool website are leaving already: node-2";

/// A pool file's, or none where there is no such file.
type Lines = Option<BTreeSet<String>>;

struct Site {
    listener: SocketAddrV4,
    config: Value,
    /// Between pollbal and Perlbal.
    relay: Relay,
    perlbal: Perlbal,
    nodes: [Node; 6],
    stage: Stage,
}

impl Site {
    /// Six nodes that serve `website`, two of which it needs, of which one may leave at a time.
    fn new() -> Self {
        let stage = Stage::new();
        let nodes = stage.nodes(&["website serving v1"; 6]);
        let Ok(nodes) = nodes.try_into() else {
            panic!("six nodes");
        };
        let perlbal = Config::new()
            .pool("website")
            .service_with(&stage, "web", "website", &RENEWED)
            .start(&stage);
        let relay = Relay::before(&perlbal, &stage);
        let listener = stage.free_addr();
        let config = json!({
            "perlbal": relay.addr(),
            "pools": { "website": { "min_members": 2 } },
            "max_leaving": 1,
            "node_listen": listener,
            // A node that a busy machine keeps from answering must not count as failed.
            "service_timeout": "5s",
        });
        Self {
            listener,
            config,
            relay,
            perlbal,
            nodes,
            stage,
        }
    }

    fn start(&self) -> Pollbal {
        Pollbal::start(&self.stage, &self.config)
    }

    /// Steady clients, whose requests reach each node.
    fn traffic(&self) -> Traffic {
        let traffic = Traffic::start(self.perlbal.service("web"), CLIENTS);
        for node in &self.nodes {
            traffic.wait_answers_of(node.name(), 5);
        }
        traffic
    }

    /// Runs a command that succeeds without a warning.
    #[track_caller]
    fn tell(&self, arguments: &[&str]) {
        let socket = self.stage.admin_socket();
        let output = commands::ask(socket.to_str().unwrap(), arguments);
        let (code, said) = (output.status.code(), stderr(&output));
        assert_eq!((code, said.as_str()), (Some(0), ""), "{arguments:?}");
    }

    /// What a command prints as JSON; its exit code says no more than that a node fails.
    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let socket = self.stage.admin_socket();
        let output = commands::ask(
            socket.to_str().unwrap(),
            &[arguments, &["--json"][..]].concat(),
        );
        let text = stdout(&output);
        serde_json::from_str(&text).unwrap_or_else(|why| panic!("{arguments:?}: {why}: {text}"))
    }

    fn explain(&self, node: &Node) -> Value {
        self.json(&["explain", node.name()])
    }

    /// What a node is answered at the node listener.
    #[track_caller]
    fn ask(&self, node: &Node, method: &str, path: &str) -> String {
        ask_from(*node.addr().ip(), self.listener, method, path)
            .ok()
            .to_owned()
    }

    /// A request to leave that is held until its answer changes.
    fn ask_held(&self, node: &Node) -> Asked {
        Asked::from(*node.addr().ip(), self.listener, "POST", "/leave?wait=60s")
    }

    /// Asks to leave until nothing comes to the node any more; it has not to wait for others.
    #[track_caller]
    fn leave(&self, node: &Node) {
        let answer = || self.ask(node, "POST", "/leave?wait=5s");
        eventually(3 * SOON, "the node is gone", || match answer().as_str() {
            "gone" => Some(()),
            other => {
                assert!(other.starts_with("granted"), "{other}");
                None
            }
        });
    }

    /// Puts the first out for two reasons, lets the second leave, and freezes the last, which fails from then on.
    fn order_all(&self) {
        let [out, leaving, .., failing] = &self.nodes;
        self.tell(&["disable", out.name(), "--reason", "deploy"]);
        self.tell(&["disable", out.name(), "--reason", "disk", "--wait"]);
        self.tell(&["freeze", "--reason", "storm"]);
        failing.fail(500);
        self.wait_failures(failing);
        self.leave(leaving);
        self.wait_members(&self.nodes[2..]);
        becomes(SOON, "everything is sent", &true, || self.is_in_sync());
        self.wait_unconnected(&[out, leaving]);
        let given = &self.explain(out)["node"]["reasons"];
        assert_eq!(given.as_array().map(Vec::len), Some(2), "{given}");
    }

    /// Waits until Perlbal has closed its last idle connection to each of these nodes. Anyone who is in no pool and has
    /// some is removed and sealed once more by a pollbal that starts.
    #[track_caller]
    fn wait_unconnected(&self, nodes: &[&Node]) {
        let open = || {
            let lines = self.perlbal.ask("BACKENDS");
            let is_to = |line: &str, node: &Node| line.starts_with(&format!("{} ", node.addr()));
            let open = |node: &&&Node| lines.iter().any(|line| is_to(line, node));
            nodes.iter().filter(open).count()
        };
        becomes(SOON, "nodes that are out and connected", &0, open);
    }

    /// Waits until this pollbal has noticed that the node fails.
    #[track_caller]
    fn wait_failures(&self, node: &Node) {
        becomes(SOON, "the node fails", &true, || {
            self.explain(node)["failures"].as_u64() > Some(0)
        });
    }

    /// All that was ordered, with its times: what status tells of it, and explain of each.
    fn orders(&self) -> Value {
        let [out, leaving, ..] = &self.nodes;
        let status = self.json(&["status"]);
        let of = |node: &Value| json!([node["name"], node["reasons"], node["grant"]]);
        let nodes = status["nodes"].as_array().expect("a list");
        json!({
            "frozen": status["frozen"],
            "not serving": nodes.iter().map(of).collect::<Vec<_>>(),
            "out": of(&self.explain(out)["node"]),
            "leaving": of(&self.explain(leaving)["node"]),
        })
    }

    fn is_in_sync(&self) -> bool {
        let status = self.json(&["status"]);
        let perlbal = &status["load_balancers"][0];
        [
            &status["first_round_done"],
            &status["files"]["in_sync"],
            &perlbal["connected"],
            &perlbal["in_sync"],
        ]
        .iter()
        .all(|is_so| **is_so == true)
    }

    /// Ends pollbal by `end`, starts it again, and waits until it has polled its nodes and has nothing left to tell.
    fn restart(&self, pollbal: Pollbal, end: impl FnOnce(Pollbal)) -> Pollbal {
        end(pollbal);
        let pollbal = self.start();
        pollbal.wait_log(&["first round done"]);
        becomes(SOON, "everything is sent", &true, || self.is_in_sync());
        self.wait_failures(&self.nodes[5]);
        wait_rounds(&self.nodes, A_WHILE);
        pollbal
    }

    /// The members in Perlbal, and in the file from which it would take them.
    fn members(&self) -> (Members, Lines) {
        let lines = self.stage.lines("website.pool");
        let lines = lines.map(|lines| lines.into_iter().collect());
        (self.perlbal.members("website"), lines)
    }

    #[track_caller]
    fn wait_members<'a>(&self, nodes: impl IntoIterator<Item = &'a Node>) {
        becomes(SOON, "the members", &all(nodes), || self.members());
    }

    /// Watches that these are the members, from before something is done until after it.
    fn members_stay_while<'a, T>(
        &self,
        nodes: impl IntoIterator<Item = &'a Node>,
        what: impl FnOnce() -> T,
    ) -> T {
        let members = all(nodes);
        let (begun, done) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let look = || {
                    let observed = self.members();
                    begun.store(true, Ordering::Relaxed);
                    observed
                };
                let over = || done.load(Ordering::Relaxed);
                stays(WATCHED, "the members", &members, look, over);
            });
            let end = Ends(&done);
            eventually(SOON, "the first look", || {
                begun.load(Ordering::Relaxed).then_some(())
            });
            let value = what();
            drop(end);
            watch.join().expect("the members changed");
            value
        })
    }

    /// Restarts pollbal while the third node waits to leave. Neither who is in nor what was ordered changes, and
    /// nothing comes to those who are out.
    fn restart_changes_nothing(
        &self,
        traffic: &Traffic,
        pollbal: Pollbal,
        end: impl FnOnce(Pollbal),
    ) -> Pollbal {
        let [out, leaving, others @ ..] = &self.nodes;
        assert_eq!(self.ask(&others[0], "POST", "/leave"), WAIT);
        let held = self.ask_held(&others[0]);
        // Behind it in the listener's queue.
        assert_eq!(self.ask(leaving, "POST", "/leave"), "gone");
        let (orders, before, drained) = (self.orders(), self.relay.said(), Instant::now());
        assert!(!changes(&before).is_empty(), "the relay hears of changes");

        let pollbal = self.members_stay_while(others, || {
            let pollbal = self.restart(pollbal, end);
            traffic.wait_answers_after(Instant::now(), 10 * CLIENTS);
            pollbal
        });

        let since = &self.relay.said()[before.len()..];
        assert_eq!(changes(since), [""; 0]);
        for node in [out, leaving] {
            assert_eq!(node.arrivals_after(drained).len(), 0, "{}", node.name());
        }
        assert_eq!(held.until_it_ends(), "", "it received nothing");
        assert_eq!(self.orders(), orders);
        pollbal
    }

    /// The second is gone still, and the third waits for it as before, until the second takes its leave back.
    fn take_leave_back(&self) {
        let [_, leaving, third, others @ ..] = &self.nodes;
        assert_eq!(self.ask(leaving, "POST", "/leave?wait=20s"), "gone");
        assert_eq!(self.ask(third, "POST", "/leave"), WAIT);
        let held = self.ask_held(third);
        thread::scope(|scope| {
            let waits = scope.spawn(|| held.reply());
            // It holds, as long as the second is away.
            let polls = third.polls() + A_WHILE;
            let over = || third.polls() >= polls;
            stays(SOON, "the answer", &false, || waits.is_finished(), over);
            assert_eq!(self.ask(leaving, "DELETE", "/leave"), "stays");
            let answer = waits.join().expect("no answer");
            // The latter where its grant takes longer to be written than Perlbal to be updated.
            assert!(["granted", "gone"].contains(&answer.word()), "{answer:?}");
        });
        self.leave(third);
        self.wait_members([leaving].into_iter().chain(others));
        assert_eq!(self.ask(third, "DELETE", "/leave"), "stays");
        self.wait_members(&self.nodes[1..]);
    }

    /// The first node is out as long as one of its reasons is left.
    fn take_reasons_back(&self) {
        let (out, others) = (&self.nodes[0], &self.nodes[1..]);
        self.members_stay_while(others, || {
            self.tell(&["enable", out.name(), "--reason", "deploy"]);
            wait_rounds(&self.nodes, A_WHILE);
        });
        let left = &self.explain(out)["node"]["reasons"];
        assert_eq!(left[0]["reason"], "disk");
        self.tell(&["enable", out.name(), "--reason", "disk"]);
        self.wait_members(&self.nodes);
    }

    /// Until then the failing one was a member; now its failures count.
    fn thaw(&self) {
        let [others @ .., failing] = &self.nodes;
        assert_eq!(self.explain(failing)["node"]["state"], "member");
        self.tell(&["thaw", "--reason", "storm"]);
        self.wait_members(others);
    }
}

/// These nodes, as [`Site::members`] gives them.
fn all<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> (Members, Lines) {
    let nodes: Vec<&Node> = nodes.into_iter().collect();
    let lines = nodes.iter().map(|node| node.pool_line()).collect();
    (Some(addrs(nodes)), Some(lines))
}

/// What was said to Perlbal to change a pool. It shows a change also that was undone before anybody looked.
fn changes(said: &[String]) -> Vec<&String> {
    let begins = ["POOL ", "CREATE POOL "];
    said.iter()
        .filter(|line| begins.iter().any(|begin| line.starts_with(begin)))
        .collect()
}

/// All is ordered before pollbal ends by `end`, and taken back, one by one, when it is there again.
fn all_orders_outlive(end: impl FnOnce(Pollbal)) {
    let site = Site::new();
    let pollbal = site.start();
    site.wait_members(&site.nodes);
    let traffic = site.traffic();
    site.order_all();
    let _pollbal = site.restart_changes_nothing(&traffic, pollbal, end);
    site.take_leave_back();
    site.take_reasons_back();
    site.thaw();
    for node in &site.nodes[..2] {
        traffic.wait_answers_of(node.name(), 1);
    }
    assert_eq!(failures(&traffic.finish()), [""; 0]);
}

#[test]
fn reasons_a_leave_and_a_freeze_outlive_the_end_of_pollbal_and_no_client_notices() {
    all_orders_outlive(|mut pollbal| assert_eq!(pollbal.terminate().code(), Some(0)));
}

#[test]
fn reasons_a_leave_and_a_freeze_outlive_a_crash_of_pollbal_and_no_client_notices() {
    all_orders_outlive(Pollbal::kill);
}
