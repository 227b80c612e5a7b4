//! Two hundred members at once: quickly right, without a gap for the clients, by socket and by pool file.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::client::{Traffic, no_more_requests};
use crate::common::nodes::{Node, addrs, wait_rounds};
use crate::common::perlbal::{Config, Perlbal};
use crate::common::pollbal::Pollbal;
use crate::common::relay::Relay;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, clock, eventually};

const NODES: usize = 200;

/// Within it every node is polled once.
const INTERVAL: Duration = Duration::from_millis(500);

/// What takes Perlbal as long is felt by its clients, and followed by a pause.
const FELT: Duration = Duration::from_millis(2);

/// No pause need be longer.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Number of measurements by which pollbal judges the way to Perlbal.
const ROUND_TRIPS: usize = 8;

/// From the last answer of a round to the last member.
const AFTER: Duration = Duration::from_millis(500);

fn config(perlbal: SocketAddrV4) -> Value {
    json!({ "perlbal": perlbal, "poll_interval": "500ms", "service_timeout": "5s" })
}

fn two_hundred(stage: &Stage, announcement: &str) -> Vec<Node> {
    stage.nodes(&[announcement; NODES])
}

fn announce(nodes: &[Node], line: &str) -> Instant {
    for node in nodes {
        node.announce(line);
    }
    Instant::now()
}

/// All members move to `website` and back, each time within one round of polls.
fn move_all(perlbal: &Perlbal, nodes: &[Node]) {
    for (from, to) in [("api", "website"), ("website", "api")] {
        let announced = announce(nodes, to);
        perlbal.wait_members_for(INTERVAL + AFTER, to, &addrs(nodes));
        let left = (INTERVAL + AFTER).saturating_sub(clock::counted_since(announced));
        perlbal.wait_members_for(left, from, &addrs([]));
    }
}

#[test]
fn two_hundred_members_change_in_one_round() {
    let stage = Stage::alone();
    let nodes = two_hundred(&stage, "api");
    let perlbal = Config::new().pool("api").pool("website").start(&stage);
    let _pollbal = Pollbal::start(&stage, &config(perlbal.management()));
    perlbal.wait_members("api", &addrs(&nodes));
    move_all(&perlbal, &nodes);
}

#[test]
fn two_hundred_members_of_pools_that_follow_files_change_in_one_round() {
    let stage = Stage::alone();
    let nodes = two_hundred(&stage, "api");
    let perlbal = Config::new()
        .nodefile_pool("api", &stage.pool_file("api"))
        .nodefile_pool("website", &stage.pool_file("website"))
        .start(&stage);
    let _pollbal = Pollbal::start(&stage, &config(perlbal.management()));
    perlbal.wait_members("api", &addrs(&nodes));
    move_all(&perlbal, &nodes);
    let lines: Vec<String> = nodes.iter().map(Node::pool_line).collect();
    becomes(SOON, "api.pool", &Some(lines), || stage.lines("api.pool"));
}

#[test]
fn two_hundred_members_are_back_within_a_second_of_perlbals_return() {
    let stage = Stage::alone();
    let nodes = two_hundred(&stage, "api");
    let mut perlbal = Config::new().start(&stage);
    let _pollbal = Pollbal::start(&stage, &config(perlbal.management()));
    perlbal.wait_members("api", &addrs(&nodes));
    perlbal.kill();
    perlbal.start();
    becomes(
        Duration::from_secs(1),
        "the members",
        &Some(addrs(&nodes)),
        || perlbal.members("api"),
    );
}

#[test]
fn at_start_a_pool_that_follows_its_file_gets_its_members_by_one_reading_of_it() {
    let stage = Stage::alone();
    let nodes = two_hundred(&stage, "api");
    // In memory: a disk that stalls is not waited for, and then the members are said one by one.
    let pools = tempfile::tempdir_in("/dev/shm").unwrap();
    let file = pools.path().join("api.pool");
    fs::write(&file, "").unwrap();
    let perlbal = Config::new().nodefile_pool("api", &file).start(&stage);
    let relay = Relay::before(&perlbal, &stage);
    let mut config = config(relay.addr());
    config["pool_directory"] = json!(pools.path());
    let _pollbal = Pollbal::start(&stage, &config);
    perlbal.wait_members("api", &addrs(&nodes));
    let said = relay.said();
    // By one command each they would be 200; who is late on a busy machine may be one of a few.
    let added = |line: &&String| line.starts_with("POOL api ADD");
    assert!(said.iter().filter(added).count() < 20, "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("SET api nodefile")));
}

/// Whether this many removals, or a reading of the file, were said, and the seal behind the last of them.
fn all_sealed(said: &[String], removals: usize) -> bool {
    let reload = |line: &String| line.starts_with("SET api nodefile");
    let removal = |line: &String| line.starts_with("POOL api REMOVE");
    let removed = said
        .iter()
        .filter(|line| removal(line))
        .collect::<BTreeSet<_>>();
    let last = said.iter().rposition(|line| reload(line) || removal(line));
    let seal = said.iter().rposition(|line| line == "SET web pool = api");
    (removed.len() >= removals || said.iter().any(reload)) && last < seal
}

/// Half of the members go in one plan, more than Perlbal reads at a time, while clients are served: the seal must hold
/// for the first of them as for the last.
fn half_of_them_go_in_one_plan(stage: &Stage, pool: Config) {
    let nodes = two_hundred(stage, "api");
    let perlbal = pool.service(stage, "web", "api").start(stage);
    let relay = Relay::before(&perlbal, stage);
    let _pollbal = Pollbal::start(stage, &config(relay.addr()));
    perlbal.wait_members("api", &addrs(&nodes));
    let traffic = Traffic::start(perlbal.service("web"), 32);
    let (going, staying) = nodes.split_at(NODES / 2);
    let since = Instant::now();
    traffic.wait_answers(1000);
    let busy = going
        .iter()
        .filter(|node| !node.arrivals_after(since).is_empty());
    assert!(
        busy.count() >= 5,
        "too few of the members that go are in use"
    );
    // What changes while the connection is away comes as one difference when it is back.
    relay.close();
    announce(going, "api leaving");
    wait_rounds(going, 2);
    let mark = relay.said().len();
    relay.open();
    // Not by the members alone: where Perlbal happens to read the file by itself they are right before the seal.
    eventually(SOON, "the removals are sealed", || {
        all_sealed(&relay.said()[mark..], going.len()).then_some(())
    });
    perlbal.wait_members("api", &addrs(staying));
    no_more_requests(traffic, going, 1000);
}

#[test]
fn a_hundred_members_that_go_at_once_get_no_more_requests() {
    let stage = Stage::alone();
    half_of_them_go_in_one_plan(&stage, Config::new().pool("api"));
}

#[test]
fn a_hundred_members_that_go_at_once_get_no_more_requests_where_the_pool_follows_its_file() {
    let stage = Stage::alone();
    let pool = Config::new().nodefile_pool("api", &stage.pool_file("api"));
    half_of_them_go_in_one_plan(&stage, pool);
}

/// How much longer each stretch of commands took that clients felt, and for how long Perlbal was left alone behind it.
fn pauses_after_long_stretches(relay: &Relay) -> Vec<(Duration, Duration)> {
    let stretches = relay.stretches();
    let long = stretches.windows(2).filter_map(|pair| {
        let [stretch, next] = *pair else {
            unreachable!("two at a time")
        };
        // Where nothing is received for longer than a pause, changes go out all the same.
        let is_long = stretch.delayed >= FELT && stretch.ended - stretch.began < LONGEST_PAUSE;
        is_long.then(|| (stretch.delayed, next.began - stretch.ended))
    });
    // From the first two it is learned that changes take long.
    long.skip(2).collect()
}

#[test]
fn perlbal_is_left_alone_for_as_long_as_commands_took_before_the_next_ones() {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["api"; 40]);
    let perlbal = Config::new().pool("api").pool("website").start(&stage);
    let relay = Relay::before(&perlbal, &stage);
    let _pollbal = Pollbal::start(&stage, &config(relay.addr()));
    perlbal.wait_members("api", &addrs(&nodes));

    // By then pollbal knows the way there and back, and does not take work for it. Some round trips are learned from other
    // answers; then the pings come a second apart.
    let is_ping = |line: &&String| *line == "VERBOSE on";
    eventually(SOON, "pollbal knows the way", || {
        (relay.said().iter().filter(is_ping).count() > ROUND_TRIPS).then_some(())
    });
    relay.delay(Duration::from_millis(5));
    // The slower the machine, the fewer stretches a move takes, and the more of them are too long to be judged.
    let long = eventually(2 * SOON, "enough took long", || {
        move_all(&perlbal, &nodes);
        let long = pauses_after_long_stretches(&relay);
        (long.len() >= 10).then_some(long)
    });
    // Less what cannot be distinguished from the way there and back. Anyone who does not run for a moment is heard later than it
    // spoke, or sends what it was to send before: no more than one in ten.
    let is_short =
        |(took, pause): &&(Duration, Duration)| *pause < *took.min(&LONGEST_PAUSE) * 3 / 4;
    let short = long.iter().filter(is_short).count();
    assert!(short * 10 <= long.len(), "{long:?}");
}

/// A pool that follows its file holds what the file held when Perlbal read it, which may be more than it was sent by
/// then.
#[test]
fn what_perlbal_read_of_a_newer_file_is_not_taken_for_someone_elses_change() {
    let stage = Stage::alone();
    let nodes = two_hundred(&stage, "api");
    let pools = tempfile::tempdir_in("/dev/shm").unwrap();
    let files = ["api", "website"].map(|pool| pools.path().join(format!("{pool}.pool")));
    for file in &files {
        fs::write(file, "").unwrap();
    }
    let perlbal = Config::new()
        .nodefile_pool("api", &files[0])
        .nodefile_pool("website", &files[1])
        .start(&stage);
    let relay = Relay::before(&perlbal, &stage);
    let mut config = config(relay.addr());
    config["pool_directory"] = json!(pools.path());
    let pollbal = Pollbal::start(&stage, &config);
    perlbal.wait_members("api", &addrs(&nodes));

    // Enough changes come meanwhile that the files are read for them.
    relay.delay(Duration::from_millis(40));
    let mark = relay.said().len();
    for (from, to) in [("api", "website"), ("website", "api")].repeat(3) {
        announce(&nodes, to);
        perlbal.wait_members(to, &addrs(&nodes));
        perlbal.wait_members(from, &addrs([]));
    }
    let said = &relay.said()[mark..];
    for pool in ["api", "website"] {
        let reload = format!("SET {pool} nodefile");
        assert!(
            said.iter().any(|line| line.starts_with(&reload)),
            "{said:?}"
        );
    }
    assert_eq!(pollbal.log_with(&["outside pollbal"]), [""; 0]);
}
