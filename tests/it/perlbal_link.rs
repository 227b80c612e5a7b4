//! A Perlbal behind a link on which answers take long: what is to be said goes out at once all the same.

use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::common::nodes::addrs;
use crate::common::perlbal::Perlbal;
use crate::common::pollbal::Pollbal;
use crate::common::relay::Relay;
use crate::common::stage::Stage;
use crate::common::{SOON, clock, eventually};

/// From a node's answer until the removal that it causes is on its way.
const AT_ONCE: Duration = Duration::from_millis(10);

/// How long responses are on their way at least, by the link's length or by an acknowledgement that comes 40 ms late.
const HELD_BACK: Duration = Duration::from_millis(30);

const REMOVALS: usize = 150;

/// Removes members again and again while everything is read all the time; gives how long each took to go out.
fn removals_take(lengthen: impl FnOnce(&Relay)) -> Vec<Duration> {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["api"; 10]);
    let perlbal = Perlbal::with_service(&stage, "web", "api");
    let way = Relay::before(&perlbal, &stage);
    lengthen(&way);
    // In memory, where a file belongs that is to be written at once.
    let memory = TempDir::with_prefix_in("pollbal-test-", "/dev/shm").expect("a directory");
    let config = json!({
        "pool_directory": memory.path(),
        "perlbal": { "address": way.addr(), "resync_interval": "100ms" },
        "poll_interval": "20ms",
    });
    let _pollbal = Pollbal::start(&stage, &config);
    perlbal.wait_members("api", &addrs(&nodes));
    let mut took = Vec::new();
    for removal in 0..REMOVALS {
        let node = &nodes[removal % nodes.len()];
        let since = Instant::now();
        node.announce("api leaving");
        let reported = node.wait_sent("api leaving", since);
        let line = format!("POOL api REMOVE {}", node.addr());
        let out = eventually(SOON, "the removal goes out", || way.said_when(&line, since));
        took.push(clock::counted_between(reported, out));
        let since = Instant::now();
        node.announce("api");
        let line = format!("POOL api ADD {}", node.addr());
        eventually(SOON, "it comes back", || way.said_when(&line, since));
    }
    perlbal.wait_members("api", &addrs(&nodes));
    took
}

/// No removal waits for a response that is under way, which would take it longer than that is held back; half of them go
/// out at once. In between is what a machine takes that others load.
fn assert_at_once(mut took: Vec<Duration>) {
    took.sort();
    let (half, slowest) = (took[REMOVALS / 2], took[REMOVALS - 1]);
    assert!(
        half < AT_ONCE && slowest < HELD_BACK,
        "half within {half:?}, all within {slowest:?}"
    );
}

#[test]
fn a_removal_goes_out_at_once_whatever_a_late_acknowledgement_holds_back() {
    assert_at_once(removals_take(Relay::acknowledge_late));
}

#[test]
fn a_removal_goes_out_at_once_over_a_long_way() {
    assert_at_once(removals_take(|link| link.lengthen(HELD_BACK)));
}
