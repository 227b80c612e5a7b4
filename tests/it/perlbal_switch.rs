//! What an operator sets on Perlbal's console while pollbal does not look is not undone by what pollbal says then.

use std::net::SocketAddrV4;
use std::time::Instant;

use crate::common::client::{Traffic, failures, get, get_later, no_more_requests};
use crate::common::hole::Hole;
use crate::common::manager::Driven;
use crate::common::nodes::Node;
use crate::common::perlbal::{Config, Perlbal};
use crate::common::relay::Relay;
use crate::common::stage::Stage;
use crate::common::{SOON, eventually, runtime};

/// A Perlbal with the pools `blue` and `green`, of which its service `www` uses the first, and pollbal, which reads
/// everything there once a minute.
struct Site {
    driven: Driven,
    relay: Relay,
    perlbal: Perlbal,
    nodes: Vec<Node>,
    _stage: Stage,
}

impl Site {
    /// Two nodes in each pool, and all that is confirmed.
    fn start() -> Self {
        Self::with(2, &["www"])
    }

    /// This many nodes in pool `blue`, which these services use, and behind them two in pool `green`.
    fn with(blue: usize, services: &[&str]) -> Self {
        let stage = Stage::new();
        let mut config = Config::new().pool("blue").pool("green");
        for service in services {
            config = config.service(&stage, service, "blue");
        }
        let perlbal = config.start(&stage);
        let nodes = stage.nodes(&[vec!["blue"; blue], vec!["green"; 2]].concat());
        let relay = Relay::before(&perlbal, &stage);
        let driven = Driven::start(&stage, relay.addr());
        let mut site = Self {
            driven,
            relay,
            perlbal,
            nodes,
            _stage: stage,
        };
        let all: Vec<_> = (0..site.nodes.len()).collect();
        let (blue, green) = all.split_at(blue);
        let first = site.set_desired(blue, green, &[]);
        site.wait_confirmed(first);
        site
    }

    fn addrs(&self, which: &[usize]) -> Vec<SocketAddrV4> {
        which.iter().map(|at| self.nodes[*at].addr()).collect()
    }

    fn set_desired(&mut self, blue: &[usize], green: &[usize], out: &[usize]) -> u64 {
        let [blue, green, out] = [blue, green, out].map(|which| self.addrs(which));
        let pools = [("blue", &blue[..]), ("green", &green[..])];
        self.driven.set_desired_pools(&pools, &out, None)
    }

    /// Waits until a reading of everything has shown it, after which there is none for a minute.
    #[track_caller]
    fn wait_confirmed(&self, serial: u64) {
        self.driven.wait("it is confirmed", |status| {
            status.observed >= serial && status.in_sync
        });
    }

    /// What `SHOW SERVICE www` says of that.
    #[track_caller]
    fn shown(&self, key: &str) -> String {
        self.shown_of("www", key)
    }

    #[track_caller]
    fn shown_of(&self, service: &str, key: &str) -> String {
        let lines = self.perlbal.ask(&format!("SHOW SERVICE {service}"));
        let value = |line: &String| {
            let (name, value) = line.split_once(": ")?;
            (name.trim() == key).then(|| value.to_owned())
        };
        let found = lines.iter().find_map(value);
        found.unwrap_or_else(|| panic!("no {key}: {lines:?}"))
    }

    fn has_said(&self, line: &str) -> bool {
        self.relay.said().iter().any(|said| said == line)
    }

    /// Waits until `connect_ahead` is raised, from this value, behind the mark: by one for each connection that is
    /// being made in vain.
    #[track_caller]
    fn wait_poke(&self, mark: usize, from: u64) {
        let is_poke = |line: &String| {
            let set = line.strip_prefix("SET www connect_ahead = ");
            set.is_some_and(|to| to.parse::<u64>().expect("a number") > from)
        };
        eventually(SOON, "a poke", || {
            self.relay.said()[mark..].iter().any(is_poke).then_some(())
        });
    }
}

#[test]
fn a_switch_of_a_service_to_another_pool_outlives_a_removal_from_the_first() {
    let mut site = Site::start();
    site.perlbal.tell("SET www pool = green");
    let out = site.set_desired(&[1], &[2, 3], &[0]);
    site.driven.wait_acked(out);
    // Without this seal nothing was tried.
    assert!(site.has_said("SET www pool = blue"));
    assert_eq!(site.shown("pool"), "green");
    // And what pollbal knows of it serves the next removal: from the pool that is used now, with a seal, ...
    let mark = site.relay.said().len();
    let out = site.set_desired(&[1], &[3], &[0, 2]);
    site.driven.wait_acked(out);
    let said = site.relay.said().split_off(mark);
    assert!(said.iter().any(|line| line == "SET www pool = green"));
    // ... and from the other without.
    let out = site.set_desired(&[], &[3], &[0, 1, 2]);
    site.driven.wait_acked(out);
    let said = site.relay.said().split_off(mark);
    assert!(said.iter().all(|line| line != "SET www pool = blue"));
    assert_eq!(site.shown("pool"), "green");
    assert_eq!(
        get(site.perlbal.service("www"), "/").as_deref(),
        Ok("node-4")
    );
}

#[test]
fn no_client_notices_that_the_switch_is_undone_for_a_moment_though_the_first_pool_is_empty_then() {
    let mut site = Site::start();
    site.perlbal.tell("SET www pool = green");
    let traffic = Traffic::start(site.perlbal.service("www"), 12);
    traffic.wait_answers(100);
    let out = site.set_desired(&[], &[2, 3], &[0, 1]);
    site.driven.wait_acked(out);
    assert!(site.has_said("SET www pool = blue"));
    traffic.wait_answers_after(Instant::now(), 200);
    assert_eq!(failures(&traffic.finish()), [""; 0]);
    assert_eq!(site.shown("pool"), "green");
}

/// This many nodes in the first pool that `SHOW SERVICE`, which prints a line for each, would take Perlbal too long.
const MANY: usize = 60;

#[test]
fn a_switch_outlives_a_removal_from_a_large_pool_whose_other_services_are_sealed() {
    let mut site = Site::with(MANY, &["other", "www", "yet_another"]);
    let other = Traffic::start(site.perlbal.service("other"), 8);
    other.wait_answers(100);
    let is_used = |at: &usize| !site.nodes[*at].arrivals().is_empty();
    let goes = (0..MANY).find(is_used).expect("somebody answered");
    site.perlbal.tell("SET www pool = green");
    site.perlbal.tell("SET www connect_ahead = 3");
    let www = Traffic::start(site.perlbal.service("www"), 8);
    www.wait_answers(100);

    let stay: Vec<_> = (0..MANY).filter(|at| *at != goes).collect();
    let out = site.set_desired(&stay, &[MANY, MANY + 1], &[goes]);
    site.driven.wait_acked(out);
    let reported = Instant::now();
    // Without this seal nothing was tried.
    assert!(site.has_said("SET www pool = blue"));
    let pools = ["other", "www", "yet_another"].map(|service| site.shown_of(service, "pool"));
    assert_eq!(pools, ["blue", "green", "blue"]);
    // For a moment it is what it was before, as the pool is.
    eventually(SOON, "connect_ahead is set again", || {
        site.shown("connect-ahead").ends_with("/3").then_some(())
    });
    // Only of who uses a small pool now.
    let said = site.relay.said();
    let mut looks = said.iter().filter(|line| line.starts_with("SHOW SERVICE"));
    assert!(looks.all(|line| line == "SHOW SERVICE www"), "{said:?}");
    www.wait_answers_after(reported, 200);
    let answers = www.finish();
    assert_eq!(failures(&answers), [""; 0]);
    let green = [MANY, MANY + 1].map(|at| Ok(site.nodes[at].name().to_owned()));
    let mut later = answers.iter().filter(|one| one.sent > reported);
    assert!(later.all(|one| green.contains(&one.outcome)));
    no_more_requests(other, &site.nodes[goes..=goes], 200);
}

#[test]
fn connect_ahead_that_is_set_meanwhile_stays_when_an_empty_pool_gets_a_member() {
    let mut site = Site::start();
    let empty = site.set_desired(&[], &[2, 3], &[0, 1]);
    site.wait_confirmed(empty);
    site.perlbal.tell("SET www connect_ahead = 3");
    let filled = site.set_desired(&[0], &[2, 3], &[1]);
    site.driven.wait_acked(filled);
    assert!(site.has_said("SET www connect_ahead = 0"), "it is woken");
    let ahead = site.shown("connect-ahead");
    assert!(ahead.ends_with("/3"), "{ahead}");
}

#[test]
fn connect_ahead_that_is_set_while_a_node_vanishes_stays() {
    let mut site = Site::start();
    // So that each request needs a connection.
    site.perlbal.tell("SET www persist_backend = off");
    site.nodes[0].die();
    let _hole = Hole::at(site.nodes[0].addr());
    let goes = site.nodes[0].addr().to_string();
    eventually(SOON, "Perlbal connects to who vanished", || {
        get_later(site.perlbal.service("www"), "/");
        let lines = site.perlbal.ask("PENDING");
        lines.iter().any(|line| line.contains(&goes)).then_some(())
    });
    let out = site.set_desired(&[1], &[2, 3], &[0]);
    site.driven.wait_acked(out);
    site.wait_poke(0, 0);
    // Between the look at a service and the poke that follows it, pollbal cannot know of a change.
    let is_poke = |line: &str| line.starts_with("SET www connect_ahead = ");
    site.relay.while_idle_after(is_poke, || {
        site.perlbal.tell("SET www connect_ahead = 3");
    });
    site.wait_poke(0, 3);
    let ahead = site.shown("connect-ahead");
    assert!(ahead.ends_with("/3"), "{ahead}");
}

/// A request that takes its time at the node, and then an idle connection to it that would be used again.
#[track_caller]
fn use_connections_to(site: &Site, at: usize) {
    let traffic = Traffic::start(site.perlbal.service("www"), 4);
    traffic.wait_answers_of(site.nodes[at].name(), 5);
    assert_eq!(failures(&traffic.finish()), [""; 0]);
}

#[test]
fn who_leaves_a_pool_that_a_service_uses_since_a_moment_ago_gets_no_more_requests_once_it_is_drained()
 {
    let mut site = Site::start();
    site.perlbal.tell("SET www pool = green");
    use_connections_to(&site, 2);
    let goes = site.nodes[2].addr();
    let out = site.set_desired(&[0, 1], &[3], &[2]);
    site.driven.wait_drained(goes, out);
    let since = Instant::now();
    let traffic = Traffic::start(site.perlbal.service("www"), 4);
    traffic.wait_answers(200);
    assert_eq!(failures(&traffic.finish()), [""; 0]);
    assert_eq!(site.nodes[2].arrivals_after(since).len(), 0);
}

#[test]
fn who_moves_from_a_pool_that_a_service_uses_since_a_moment_ago_gets_no_more_requests_of_that() {
    let mut site = Site::start();
    site.perlbal.tell("SET www pool = green");
    use_connections_to(&site, 2);
    let moved = site.set_desired(&[0, 1, 2], &[3], &[]);
    site.wait_confirmed(moved);
    // What the reading has shown is planned by now, and sealed with the next change at the latest.
    let serial = site.set_desired(&[0, 1, 2], &[3], &[]);
    site.wait_confirmed(serial);
    let since = Instant::now();
    let traffic = Traffic::start(site.perlbal.service("www"), 4);
    traffic.wait_answers(200);
    assert_eq!(failures(&traffic.finish()), [""; 0]);
    assert_eq!(site.nodes[2].arrivals_after(since).len(), 0);
}

/// Takes a node, with a request under way, out of the pool `green`; it must not look drained before that has ended.
#[track_caller]
fn is_not_drained_before_its_request_has_ended(site: &mut Site, before: impl FnOnce(&mut Site)) {
    let answer = get_later(site.perlbal.service("www"), "/long?wait=2000");
    let at = eventually(SOON, "the request arrives", || {
        let is_long = |node: &Node| node.arrivals().iter().any(|one| one.path == "/long");
        site.nodes.iter().position(is_long)
    });
    before(site);
    let goes = site.nodes[at].addr();
    let stays: Vec<_> = [2, 3].into_iter().filter(|other| *other != at).collect();
    let out = site.set_desired(&[1], &stays, &[0, at]);
    site.driven.wait_drained(goes, out);
    assert!(answer.is_finished(), "drained with a request under way");
    let answer = runtime().block_on(answer).expect("the client panicked");
    assert_eq!(answer.as_deref(), Ok(site.nodes[at].name()));
}

#[test]
fn who_leaves_such_a_pool_with_a_request_under_way_is_not_drained() {
    let mut site = Site::start();
    site.perlbal.tell("SET www pool = green");
    is_not_drained_before_its_request_has_ended(&mut site, |_| {});
}

#[test]
fn nor_is_it_when_the_service_uses_another_pool_by_then() {
    let mut site = Site::start();
    site.perlbal.tell("CREATE POOL third");
    site.perlbal.tell("SET www pool = green");
    is_not_drained_before_its_request_has_ended(&mut site, |site| {
        site.perlbal.tell("SET www pool = third");
    });
}

#[test]
fn nor_is_it_when_the_service_is_back_on_its_pool_by_then() {
    let mut site = Site::start();
    site.perlbal.tell("SET www pool = green");
    is_not_drained_before_its_request_has_ended(&mut site, |site| {
        site.perlbal.tell("SET www pool = blue");
    });
}
