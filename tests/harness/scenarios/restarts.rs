//! The load balancer and pollbal die, stand still and come back, one of them or both.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use crate::common::stays;
use crate::harness::node::polls;
use crate::harness::site::{DEADLINE, Site};
use crate::harness::world::{NODES, POOLS, Part};

use super::Scenario;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "balancer_killed_and_restarted",
        balancer_killed_and_restarted,
    ),
    Scenario::new("balancer_paused", balancer_paused),
    Scenario::new("balancer_reloaded_under_load", balancer_reloaded_under_load).with_reloads(),
    Scenario::new("pollbal_killed_and_restarted", pollbal_killed_and_restarted),
    Scenario::new(
        "pollbal_away_while_nodes_change",
        pollbal_away_while_nodes_change,
    ),
    Scenario::new("pollbal_paused", pollbal_paused),
    Scenario::new(
        "changes_by_hand_while_pollbal_is_away",
        changes_by_hand_while_pollbal_is_away,
    ),
    Scenario::new("both_restarted_at_once", both_restarted_at_once),
    Scenario::new(
        "everything_killed_and_restarted",
        everything_killed_and_restarted,
    ),
];

/// A node leaves while it is away.
fn balancer_killed_and_restarted(site: &mut Site) {
    site.start();
    site.accident(&POOLS, |site| {
        site.world.kill(Part::Balancer);
        site.announce(0, "status=leaving");
        site.wait_file("api.pool", &[1]);
        site.world.start(Part::Balancer);
        site.wait_balancer("api", &[1]);
        site.wait_balancer("website", &[2, 3]);
    });
    site.answered_only_by("api", &[1]);
    site.answered_only_by("website", &[2, 3]);
    site.announce(0, "status=serving");
    site.wait_pool("api", &[0, 1]);
    site.rush("api", &[0]);
}

/// Each new process begins without members; nodes change all the while.
fn balancer_reloaded_under_load(site: &mut Site) {
    site.start();
    let changes: [(_, _, &[usize], &[usize]); 4] = [
        (0, "leaving", &[1], &[2, 3]),
        (3, "leaving", &[1], &[2]),
        (0, "serving", &[0, 1], &[2]),
        (3, "serving", &[0, 1], &[2, 3]),
    ];
    for (node, status, api, website) in changes {
        site.accident(&POOLS, |site| {
            site.announce(node, &format!("status={status}"));
            site.reload();
            for (pool, members) in POOLS.into_iter().zip([api, website]) {
                site.wait_pool(pool, members);
                site.rush(pool, members);
            }
        });
        for (pool, members) in POOLS.into_iter().zip([api, website]) {
            site.answered_only_by(pool, members);
        }
    }
}

/// The files do not wait for it.
fn balancer_paused(site: &mut Site) {
    site.start();
    site.accident(&POOLS, |site| {
        site.world.pause(Part::Balancer);
        site.announce(0, "status=leaving");
        site.wait_file("api.pool", &[1]);
        site.announce(3, "pool=api");
        site.wait_file("api.pool", &[1, 3]);
        site.world.resume(Part::Balancer);
        site.wait_balancer("api", &[1, 3]);
        site.wait_balancer("website", &[2]);
    });
    site.answered_only_by("api", &[1, 3]);
    site.answered_only_by("website", &[2]);
}

/// Nothing changes in the load balancer and in the files, neither while pollbal is away nor when it is back.
fn pollbal_killed_and_restarted(site: &mut Site) {
    site.start();
    site.put_to_rest("website", 3);
    let before = (members(site), site.world.pool_files());
    let used = site.uses("api");
    site.world.kill(Part::Pollbal);
    site.wait_many_answers("api");
    let mark = site.log().len();
    site.world.start(Part::Pollbal);
    let log = || site.log().split_off(mark);
    let connected = format!("connected to {}", site.balancer().name());
    let look = || (members(site), site.world.pool_files());
    stays(DEADLINE, "pools and files", &before, look, || {
        log().contains("first round done") && log().contains(&connected)
    });
    let enough = polls(site.world.node_addr(0)) + 10;
    stays(DEADLINE, "pools and files", &before, look, || {
        polls(site.world.node_addr(0)) >= enough
    });
    let log = log();
    for word in [
        "wrote",
        "changed:",
        "joins",
        "leaves",
        "removed from",
        "ERROR",
    ] {
        assert!(!log.contains(word), "\"{word}\" in the second run's log");
    }
    // A member that was taken out and put in again, however shortly, would be counted again.
    let (used, now) = (used.expect("it answered"), site.uses("api"));
    let now = now.expect("it answers");
    let went_on = |(addr, uses): &(_, u64)| now.iter().any(|(a, n)| a == addr && n >= uses);
    assert!(used.iter().all(went_on), "uses: {used:?}, then {now:?}");
}

type Members = Vec<Result<BTreeSet<SocketAddrV4>, String>>;

/// The members of all pools in the load balancer.
fn members(site: &Site) -> Members {
    POOLS.map(|pool| site.members(pool)).to_vec()
}

/// Nothing happens until it is back; then all that changed meanwhile is observed at once.
fn pollbal_away_while_nodes_change(site: &mut Site) {
    site.start();
    let before = (members(site), site.world.pool_files());
    site.world.kill(Part::Pollbal);
    site.announce(0, "status=leaving");
    site.announce(1, "version=v99");
    site.rush("api", &[0]);
    // Nobody takes the dead one out: the load balancer goes on trying it, and requests wait meanwhile.
    site.accident(&["website"], |site| {
        site.world.kill(Part::Node(3));
        assert_eq!((members(site), site.world.pool_files()), before);
        site.world.start(Part::Pollbal);
        site.wait_pool("website", &[2]);
        site.rush("website", &[2]);
    });
    site.wait_pool("api", &[1]);
    site.wait_file("api.v99.pool", &[1]);
    site.wait_file("api.v24.pool", &[]);
    site.answered_only_by("api", &[1]);
    site.answered_only_by("website", &[2]);
}

/// As on a machine that is moved while it runs.
fn pollbal_paused(site: &mut Site) {
    site.start();
    let before = (members(site), site.world.pool_files());
    site.world.pause(Part::Pollbal);
    site.announce(0, "status=leaving");
    site.announce(3, "pool=api&version=v24");
    site.rush("api", &[0]);
    site.rush("website", &[3]);
    assert_eq!((members(site), site.world.pool_files()), before);
    site.world.resume(Part::Pollbal);
    site.wait_pool("api", &[1, 3]);
    site.wait_file("api.v24.pool", &[1, 3]);
    site.wait_pool("website", &[2]);
    site.answered_only_by("website", &[2]);
    site.answered_only_by("api", &[1, 3]);
}

/// An operator helps out by the management socket; when pollbal is back, the nodes' word counts again.
fn changes_by_hand_while_pollbal_is_away(site: &mut Site) {
    site.start();
    site.world.kill(Part::Pollbal);
    let [zero, three] = [0, 3].map(|node| site.world.node_addr(node));
    site.balancer().swap(&site.ask(), "api", zero, three);
    site.wait_balancer("api", &[1, 3]);
    site.world.start(Part::Pollbal);
    site.wait_pool("api", &[0, 1]);
    site.answered_only_by("api", &[0, 1]);
}

/// A node leaves and another comes while nobody looks.
fn both_restarted_at_once(site: &mut Site) {
    site.start();
    site.announce(3, "pool=");
    site.wait_pool("website", &[2]);
    site.accident(&POOLS, |site| {
        site.world.kill(Part::Balancer);
        site.world.kill(Part::Pollbal);
        site.announce(0, "status=leaving");
        site.announce(3, "pool=website");
        site.world.start(Part::Balancer);
        site.world.start(Part::Pollbal);
        site.wait_pool("api", &[1]);
        site.wait_pool("website", &[2, 3]);
    });
    site.answered_only_by("api", &[1]);
    site.answered_only_by("website", &[2, 3]);
}

/// As after a loss of power; the nodes take longer than the others.
fn everything_killed_and_restarted(site: &mut Site) {
    site.start();
    let nodes = (0..NODES.len()).map(Part::Node);
    site.accident(&POOLS, |site| {
        for part in [Part::Balancer, Part::Pollbal]
            .into_iter()
            .chain(nodes.clone())
        {
            site.world.kill(part);
        }
        site.world.start(Part::Balancer);
        site.world.start(Part::Pollbal);
        site.wait_pool("api", &[]);
        site.wait_pool("website", &[]);
        for node in nodes {
            site.world.start(node);
        }
        site.wait_pool("api", &[0, 1]);
        site.wait_pool("website", &[2, 3]);
        site.rush("api", &[0, 1]);
        site.rush("website", &[2, 3]);
    });
    site.answered_only_by("api", &[0, 1]);
    site.answered_only_by("website", &[2, 3]);
}
