//! Perlbal or `pollbal` dies, stands still or loses the connection while members change: afterwards all is right, and
//! in between nobody is removed who should be in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::common::client::{Traffic, failures};
use crate::common::nodes::{Node, addrs, wait_rounds};
use crate::common::perlbal::{Config, Perlbal};
use crate::common::pollbal::Pollbal;
use crate::common::relay::Relay;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, clock, eventually, stays};

/// From Perlbal's return to the right members.
const RETURN: Duration = Duration::from_secs(1);

/// Each announcement to its node.
fn announce(nodes: &[Node], lines: &[&str]) {
    for (node, line) in nodes.iter().zip(lines) {
        node.announce(line);
    }
}

/// A hook that leaves a file when the first sync is done, and the file.
fn ready_hook(stage: &Stage, name: &str) -> (Value, PathBuf) {
    let file = stage.path(name);
    (json!(["touch", file]), file)
}

#[test]
fn perlbal_restarted_under_change_is_right_within_a_second() {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["api", "api", "website", "website"]);
    let mut perlbal = Config::new()
        // What its configuration says is long out of date.
        .pool_with("api", &[stage.node_addr(9)])
        .nodefile_pool("website", &stage.pool_file("website"))
        .start(&stage);
    let _pollbal = Pollbal::start(&stage, &json!({ "perlbal": perlbal.management() }));
    perlbal.wait_members("api", &addrs(&nodes[..2]));

    let rounds = [
        (["api", "api leaving", "website", "website"], vec![0]),
        (["website", "api", "api", "website leaving"], vec![1, 2]),
        (["api", "api", "api", "api"], vec![0, 1, 2, 3]),
        (["api leaving", "website", "", "api serving v1"], vec![3]),
    ];
    for (lines, api) in rounds {
        perlbal.kill();
        announce(&nodes, &lines);
        wait_rounds(&nodes, 2);
        perlbal.start();
        let back = Instant::now();
        let members = addrs(api.iter().map(|index| &nodes[*index]));
        perlbal.wait_members_for(RETURN, "api", &members);
        let website = (0..4).filter(|index| lines[*index] == "website");
        let members = addrs(website.map(|index| &nodes[index]));
        perlbal.wait_members_for(
            RETURN.saturating_sub(clock::counted_since(back)),
            "website",
            &members,
        );
    }
}

/// Perlbal is away for so long, and a member leaves meanwhile; soon after its return all is right.
#[track_caller]
fn is_right_after(away: Duration) {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["api", "api"]);
    let mut perlbal = Config::new().start(&stage);
    let _pollbal = Pollbal::start(&stage, &json!({ "perlbal": perlbal.management() }));
    perlbal.wait_members("api", &addrs(&nodes));

    perlbal.kill();
    let gone = Instant::now();
    nodes[0].announce("api leaving");
    eventually(SOON, "the time has passed", || {
        (gone.elapsed() > away).then_some(())
    });
    perlbal.start();
    let members = Some(addrs(&nodes[1..]));
    becomes(RETURN, "the members", &members, || perlbal.members("api"));
}

#[test]
fn perlbal_that_took_two_seconds_to_restart_is_right_within_a_second() {
    is_right_after(Duration::from_secs(2));
}

#[test]
fn perlbal_that_was_gone_for_long_is_right_within_a_second() {
    is_right_after(Duration::from_secs(7));
}

#[test]
fn changes_go_on_while_perlbal_comes_back() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api"; 6]);
    let mut perlbal = Config::new().start(&stage);
    let config = json!({ "perlbal": perlbal.management(), "poll_interval": "50ms" });
    let _pollbal = Pollbal::start(&stage, &config);
    perlbal.wait_members("api", &addrs(&nodes));
    for round in 0..4_usize {
        // One leaves before the death, one while Perlbal is away, one while it is being filled.
        let changed = [round, round + 1, round + 2].map(|index| &nodes[index % 6]);
        changed[0].announce("api leaving");
        perlbal.kill();
        changed[1].announce("api leaving");
        perlbal.start();
        changed[2].announce("api leaving");
        let out: BTreeSet<_> = addrs(changed);
        let rest = addrs(nodes.iter().filter(|node| !out.contains(&node.addr())));
        perlbal.wait_members("api", &rest);
        for node in changed {
            node.announce("api");
        }
        perlbal.wait_members("api", &addrs(&nodes));
    }
}

#[test]
fn a_perlbal_that_is_not_there_yet_is_filled_when_it_comes() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "website"]);
    let mut perlbal = Config::new().start(&stage);
    perlbal.kill();
    let mut pollbal = Pollbal::start(&stage, &json!({ "perlbal": perlbal.management() }));
    // The files do not wait for Perlbal.
    becomes(SOON, "api.pool", &Some(vec![nodes[0].pool_line()]), || {
        stage.lines("api.pool")
    });
    pollbal.wait_log(&[&perlbal.management().to_string()]);
    pollbal.assert_alive();
    perlbal.start();
    perlbal.wait_members("api", &addrs(&nodes[..1]));
    perlbal.wait_members("website", &addrs(&nodes[1..]));
}

#[test]
fn a_perlbal_that_is_down_holds_back_no_other() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api"]);
    let mut first = Config::new().start(&stage);
    let mut second = Config::new().start(&stage);
    first.kill();
    let config = json!({ "perlbal": [
        first.management(),
        { "address": second.management(), "timeout": "1s" },
    ]});
    let _pollbal = Pollbal::start(&stage, &config);
    second.wait_members("api", &addrs(&nodes));
    nodes[0].announce("api leaving");
    second.wait_members("api", &addrs(&nodes[1..]));

    first.start();
    first.wait_members("api", &addrs(&nodes[1..]));
    second.kill();
    nodes[0].announce("api");
    first.wait_members("api", &addrs(&nodes));
}

#[test]
fn a_perlbal_that_stood_still_is_right_when_it_goes_on() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api", "api"]);
    let mut perlbal = Config::new().start(&stage);
    let config = json!({
        "perlbal": { "address": perlbal.management(), "timeout": "300ms" },
    });
    let pollbal = Pollbal::start(&stage, &config);
    perlbal.wait_members("api", &addrs(&nodes));
    let mark = pollbal.mark();
    perlbal.pause();
    nodes[0].announce("api leaving");
    // The command is on its way into a Perlbal that will run it when it wakes, long after it was given up.
    pollbal.wait_log_after(mark, &[&perlbal.management().to_string()]);
    nodes[1].announce("api leaving");
    nodes[0].announce("api");
    wait_rounds(&nodes, 2);
    perlbal.go_on();
    perlbal.wait_members("api", &addrs([&nodes[0], &nodes[2]]));
}

#[test]
fn a_connection_that_breaks_in_the_middle_of_an_answer_is_made_again() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "api", "website"]);
    let stranger = stage.node_addr(9);
    let members: Vec<_> = nodes[..2].iter().map(Node::addr).collect();
    let perlbal = Config::new()
        .pool_with("api", &members)
        .pool_with("website", &[stranger])
        .service(&stage, "web", "api")
        .start(&stage);
    let relay = Relay::before(&perlbal, &stage);
    // In the first word, in lines and between them; what was read so far must not be taken for all there is.
    let cuts = [0, 7, 20, 55, 120, 333];
    relay.limit(cuts);
    let mut pollbal = Pollbal::start(&stage, &json!({ "perlbal": relay.addr() }));
    let right = Some(addrs(&nodes[..2]));
    let all_cut = || relay.limits_left() == 0;
    stays(
        SOON * 3,
        "pool api",
        &right,
        || perlbal.members("api"),
        all_cut,
    );
    perlbal.wait_members("website", &addrs(&nodes[2..]));

    // And in the answers to a change.
    for cut in [0, 1, 3, 5] {
        relay.limit([cut]);
        nodes[0].announce("api leaving");
        relay.cut();
        perlbal.wait_members("api", &addrs(&nodes[1..2]));
        nodes[0].announce("api");
        perlbal.wait_members("api", &addrs(&nodes[..2]));
    }
    pollbal.assert_alive();
}

/// Everything that must be the same before and after: Perlbal's pools, the files and when they were written.
fn all_that_is(
    perlbal: &Perlbal,
    stage: &Stage,
) -> (Vec<String>, Vec<(String, String, SystemTime)>) {
    let mut reported = Vec::new();
    for pool in perlbal.pools() {
        reported.push(format!("{pool}: {:?}", perlbal.members(&pool)));
    }
    let file = |name: String| {
        let path = stage.pool_directory().join(&name);
        (name, read(&path), written(&path))
    };
    (reported, stage.files().into_iter().map(file).collect())
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn written(path: &Path) -> SystemTime {
    let metadata = fs::metadata(path).and_then(|file| file.modified());
    metadata.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[test]
fn nothing_changes_when_pollbal_is_killed_and_started_again() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api serving v1", "api", "website", "website", "api leaving"]);
    // A member that is slow to answer must not be out until it does.
    nodes[1].slow(Duration::from_millis(400));
    let perlbal = Config::new()
        .pool("api__v1")
        .nodefile_pool("website", &stage.pool_file("website"))
        .service(&stage, "web", "website")
        .start(&stage);
    let (hook, first_ready) = ready_hook(&stage, "first");
    let config = json!({ "perlbal": perlbal.management(), "post_init_hook": hook });
    let first = Pollbal::start(&stage, &config);
    perlbal.wait_members("api__v1", &addrs(&nodes[..1]));
    perlbal.wait_members("website", &addrs(&nodes[2..4]));
    eventually(SOON, "the first is ready", || {
        first_ready.exists().then_some(())
    });
    let traffic = Traffic::start(perlbal.service("web"), 4);
    traffic.wait_answers(20);

    let before = all_that_is(&perlbal, &stage);
    first.kill();
    assert_eq!(all_that_is(&perlbal, &stage), before, "killed");
    let (hook, second_ready) = ready_hook(&stage, "second");
    let config = json!({ "perlbal": perlbal.management(), "post_init_hook": hook });
    let _second = Pollbal::start(&stage, &config);
    let look = || all_that_is(&perlbal, &stage);
    stays(SOON, "pools and files", &before, look, || {
        second_ready.exists()
    });
    let polls = nodes[0].polls() + 5;
    stays(SOON, "pools and files", &before, look, || {
        nodes[0].polls() >= polls
    });
    assert_eq!(failures(&traffic.finish()), [""; 0]);
}

#[test]
fn pools_and_files_stay_as_they_are_when_pollbal_ends() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "website"]);
    let perlbal = Config::new().start(&stage);
    let (hook, quitting) = ready_hook(&stage, "quitting");
    let config = json!({ "perlbal": perlbal.management(), "pre_quit_hook": hook });
    let mut pollbal = Pollbal::start(&stage, &config);
    perlbal.wait_members("api", &addrs(&nodes[..1]));
    perlbal.wait_members("website", &addrs(&nodes[1..]));
    let files = ["api.pool", "disabled_services", "website.pool"];
    becomes(
        SOON,
        "the files",
        &files.map(str::to_owned).to_vec(),
        || stage.files(),
    );
    let before = all_that_is(&perlbal, &stage);
    assert!(!quitting.exists());
    assert_eq!(pollbal.terminate().code(), Some(0));
    assert!(quitting.exists(), "the hook ran before the end");
    assert_eq!(all_that_is(&perlbal, &stage), before);
}
