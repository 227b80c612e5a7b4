//! The loop with the recorder's load balancer, while time is paused.

mod convergence;
mod replaced;
mod site;

use std::time::Duration;

use tokio::time::{Instant, advance};

use self::site::{Site, member, node};
use crate::drivers::recorder::backend::{MAX_MEMBERS, Place};
use crate::drivers::{Mode, PoolFilter, StatisticsError};
use crate::model::driver_status::PoolOwner;
use crate::model::ownership::OwnedThere;

const RESYNC: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_made_again_with_growing_delays_and_says_what_is_pending() {
    let mut site = Site::start("lost");
    site.snapshot(&[("web", &[1, 2])]).await;
    site.there().is_down = true;
    site.there().break_off();
    let status = site.until(|status| !status.connected).await;
    assert!(!status.in_sync);
    site.publish(&[("web", &[2, 3])]);
    let pending = |text: &str| text.ends_with("not applied since: -10.0.0.1:80, +10.0.0.3:80");
    let status = site
        .until(|status| {
            let outage = status.outage.as_ref();
            outage.is_some_and(|outage| pending(&outage.steady_text()))
        })
        .await;
    let text = status.outage.unwrap().steady_text();
    assert!(
        text.starts_with("not reachable (connection refused)"),
        "{text}"
    );
    let mut counts = Vec::new();
    for _ in 0..3 {
        let before = site.there().attempts;
        advance_slowly(Duration::from_secs(2)).await;
        counts.push(site.there().attempts - before);
    }
    // Every 0.3 to 0.5 s at last.
    assert!((4..=8).contains(&counts[2]), "{counts:?}");
    site.there().is_down = false;
    let begin = Instant::now();
    site.until(|status| status.in_sync).await;
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert_eq!(site.serving("web"), [2, 3]);
    let details = site.handle.details(PoolFilter::Differing).await.unwrap();
    assert_eq!(details.connection, "Recorder 1.0");
    assert_eq!(details.counters.connections, 2);
}

#[tokio::test(start_paused = true)]
async fn a_load_balancer_that_does_not_answer_in_time_is_connected_again() {
    let mut site = Site::start("silent");
    site.snapshot(&[("web", &[1])]).await;
    site.there().delay = Duration::from_secs(60);
    let status = site.until(|status| !status.connected).await;
    let text = status.outage.unwrap().steady_text();
    assert_eq!(text, "not answering (no complete response within 2s)");
    site.there().delay = Duration::ZERO;
    site.until(|status| status.in_sync).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_by_hand_is_corrected_at_the_next_resync() {
    let mut site = Site::start("by hand");
    let serial = site.snapshot(&[("web", &[1, 2])]).await;
    site.until(|status| status.observed == serial).await;
    site.there().members.remove(&member("web", 1));
    site.there()
        .members
        .insert(member("web", 9), Place::Serving);
    advance_slowly(RESYNC + Duration::from_secs(1)).await;
    assert_eq!(site.serving("web"), [1, 2]);
    // The node that someone added may still work on a request.
    site.until(|status| status.draining.is_empty() && status.in_sync)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_acknowledged_then_observed_and_its_removed_nodes_drain_before() {
    let mut site = Site::start("order");
    let first = site.snapshot(&[("web", &[1, 2])]).await;
    site.there().busy.insert(node(1));
    site.there().delay = Duration::from_millis(10);
    let second = site.publish(&[("web", &[2])]);
    let mut seen = Vec::new();
    while seen.last() != Some(&(second, second)) {
        let status = site.next_status().await;
        if status.acked >= second {
            assert!(status.draining.contains_key(&node(1)), "{status:?}");
        }
        seen.push((status.acked, status.observed));
        assert!(status.observed <= status.acked);
        assert!(!status.is_drained(node(1), second));
    }
    assert!(seen.contains(&(second, first)), "{seen:?}");
    assert!(site.there().reads >= 3);
}

#[tokio::test(start_paused = true)]
async fn the_first_read_of_a_connection_confirms_nothing_that_was_not_acknowledged_before() {
    let mut site = Site::start("confirms");
    let first = site.snapshot(&[("web", &[1, 2])]).await;
    site.there().is_down = true;
    site.there().break_off();
    site.until(|status| !status.connected).await;
    let second = site.publish(&[("web", &[2])]);
    site.there().delay = Duration::from_millis(10);
    site.there().is_down = false;
    let mut seen = Vec::new();
    while seen.last() != Some(&(second, second)) {
        let status = site.next_status().await;
        assert!(status.observed <= status.acked, "{status:?}");
        seen.push((status.acked, status.observed));
    }
    assert!(seen.contains(&(first, first)), "{seen:?}");
    assert!(seen.contains(&(second, first)), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn nodes_that_a_load_balancer_cannot_have_are_skipped_and_it_is_in_sync_without_them() {
    let mut site = Site::start("ipv4 only");
    site.snapshot(&[("web", &[0, 1])]).await;
    assert!(site.handle.status().skipped.contains(node(0)));
    assert_eq!(site.serving("web"), [1]);
    site.snapshot(&[("web", &[1])]).await;
    assert!(!site.handle.status().skipped.contains(node(0)));
}

#[tokio::test(start_paused = true)]
async fn a_removed_node_drains_until_it_is_idle_and_is_listed_until_then() {
    let mut site = Site::start("drains");
    site.snapshot(&[("web", &[1, 2])]).await;
    site.there().busy.insert(node(1));
    let serial = site.snapshot(&[("web", &[2])]).await;
    advance_slowly(Duration::from_secs(10)).await;
    assert!(!site.handle.status().is_drained(node(1), serial));
    let place = |site: &Site| site.there().members.get(&member("web", 1)).copied();
    assert_eq!(place(&site), Some(Place::Retired));
    site.there().busy.clear();
    let begin = Instant::now();
    site.until(|status| status.is_drained(node(1), serial))
        .await;
    assert!(begin.elapsed() <= Duration::from_secs(1));
    advance_slowly(Duration::from_secs(1)).await;
    assert_eq!(place(&site), None);
    let steps = site.there().steps.clone();
    assert_eq!(steps[2..], ["web -10.0.0.1:80", "web ~10.0.0.1:80"]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_an_earlier_run_began_goes_on() {
    let mut site = Site::new("earlier run");
    site.there()
        .members
        .insert(member("web", 1), Place::Retired);
    site.there().busy.insert(node(1));
    site.run(Mode::Live);
    let serial = site.snapshot(&[("web", &[2])]).await;
    advance_slowly(Duration::from_secs(5)).await;
    assert!(!site.handle.status().is_drained(node(1), serial));
    site.there().busy.clear();
    site.until(|status| status.is_drained(node(1), serial))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_rejected_step_is_a_problem_does_not_stop_the_rest_and_is_tried_again() {
    let mut site = Site::start("rejects");
    let first = site.snapshot(&[("web", &[1])]).await;
    site.there().rejects.insert("web +10.0.0.2:80".to_owned());
    let second = site.publish(&[("web", &[1, 2, 3]), ("www", &[4])]);
    let status = site.until(|status| status.settled == second).await;
    assert!(status.connected && !status.in_sync);
    assert_eq!(status.acked, first);
    assert_eq!(site.serving("web"), [1, 3]);
    assert_eq!(site.serving("www"), [4]);
    let details = site.handle.details(PoolFilter::Differing).await.unwrap();
    assert_eq!(
        details.problems,
        ["\"web +10.0.0.2:80\" was rejected: not today"]
    );
    assert_eq!(details.pools.len(), 1);
    assert!(details.counters.errors >= 1);
    // It is tried at each resync, and these become rarer.
    let errors = |details: crate::drivers::details::DriverDetails| details.counters.errors;
    advance_slowly(Duration::from_secs(60)).await;
    let tried = errors(site.handle.details(PoolFilter::Differing).await.unwrap());
    assert!((4..=12).contains(&tried), "{tried}");
    site.there().rejects.clear();
    let status = site.until(|status| status.in_sync).await;
    assert_eq!(status.acked, second);
    let details = site.handle.details(PoolFilter::Differing).await.unwrap();
    assert_eq!(details.problems, [""; 0]);
    assert_eq!(site.serving("web"), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_corrected_is_a_problem_until_it_is_over() {
    let mut site = Site::start("too many");
    let many: Vec<u8> = (1..=101).collect();
    let serial = site.publish(&[("web", &many)]);
    let status = site.until(|status| status.settled == serial).await;
    assert!(!status.in_sync);
    let details = site.handle.details(PoolFilter::Differing).await.unwrap();
    assert_eq!(details.problems, ["pool web has more than 100 members"]);
    assert_eq!(details.differences, "pool web has more than 100 members");
    assert_eq!(site.serving("web").len(), MAX_MEMBERS);
    site.snapshot(&[("web", &many[..100])]).await;
    site.until(|status| status.in_sync).await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_comes_during_a_batch_supersedes_the_batches_behind_it() {
    let mut site = Site::start("superseded");
    site.snapshot(&[("a", &[1])]).await;
    site.there().delay = Duration::from_millis(500);
    site.publish(&[("a", &[1, 2]), ("b", &[3]), ("c", &[4])]);
    advance_slowly(Duration::from_millis(600)).await;
    let last = site.publish(&[("a", &[1, 2]), ("c", &[5])]);
    site.until(|status| status.acked == last).await;
    let steps = site.there().steps.concat();
    assert!(steps.contains("c +10.0.0.5:80"), "{steps}");
    assert!(!steps.contains("c +10.0.0.4:80"), "{steps}");
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_snapshots_do_not_know_any_more_is_emptied_and_others_pools_are_left_alone() {
    let mut site = Site::new("forgotten");
    site.there()
        .members
        .insert(member("mine", 7), Place::Serving);
    site.run(Mode::Live);
    site.snapshot(&[("web", &[1]), ("old", &[2])]).await;
    let serial = site.snapshot(&[("web", &[1])]).await;
    assert_eq!(site.serving("old"), [0; 0]);
    assert_eq!(site.serving("mine"), [7]);
    let status = site.until(|status| status.observed == serial).await;
    let stray = &status.strays[&node(7)];
    assert_eq!((&*stray.pool, stray.owner), ("mine", PoolOwner::Other));
    assert!(!status.is_drained(node(7), serial));
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_not_carried_is_a_problem_but_what_is_carried_is_in_sync() {
    let mut site = Site::start("lacks");
    let serial = site.publish(&[("web", &[1, 2]), ("absent", &[3])]);
    let status = site.until(|status| status.settled == serial).await;
    assert!(!status.in_sync && status.carried_in_sync);
    let absent = "absent".parse().unwrap();
    assert_eq!(status.uncarried.pools, [absent].into());
    let details = site.handle.details(PoolFilter::Differing).await.unwrap();
    assert_eq!(details.problems, ["pool absent is missing there"]);
    site.there().is_down = true;
    site.there().break_off();
    let status = site.until(|status| !status.connected).await;
    assert!(!status.carried_in_sync);
    let absent = "absent".parse().ok();
    assert!(!status.carries(node(3), absent.as_ref()));
    assert!(
        status.carries(node(1), absent.as_ref()),
        "it is in another pool there"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pool_of_an_earlier_run_is_not_emptied_but_who_left_it_counts_as_draining() {
    let mut site = Site::new("former");
    site.there()
        .members
        .insert(member("old", 7), Place::Serving);
    site.there().busy.insert(node(8));
    let old = ("old".to_owned(), [node(8)].into());
    let owned = OwnedThere {
        started: None,
        pools: [old].into(),
    };
    site.run_after(owned, Mode::Live);
    let serial = site.snapshot(&[("web", &[1])]).await;
    let status = site.until(|status| status.observed == serial).await;
    assert!(!status.is_drained(node(8), serial));
    site.there().busy.clear();
    site.until(|status| status.is_drained(node(8), serial))
        .await;
    assert_eq!(site.serving("old"), [7]);
}

#[tokio::test(start_paused = true)]
async fn queries_are_answered_without_a_connection_and_during_a_slow_exchange() {
    let mut site = Site::new("queries");
    site.there().is_down = true;
    site.run(Mode::Live);
    let details = site.handle.details(PoolFilter::Differing).await.unwrap();
    assert_eq!(details.connection, "not reachable (connection refused)");
    let failed = site.handle.statistics(false).await.unwrap_err();
    assert_eq!(failed, StatisticsError::NotConnected);
    assert!(!site.handle.owned().await.unwrap().is_read);
    site.there().is_down = false;
    site.snapshot(&[("web", &[1])]).await;
    assert_eq!(site.handle.statistics(true).await.unwrap().len(), 1);
    let owned = site.handle.owned().await.unwrap();
    assert!(owned.is_read && owned.there.pools.contains_key("web"));
    site.there().delay = Duration::from_secs(1);
    site.publish(&[("web", &[1, 2])]);
    let begin = Instant::now();
    let filter = PoolFilter::Only(["web".parse().unwrap()].into());
    let details = site.handle.details(filter).await.unwrap();
    assert!(begin.elapsed() < Duration::from_millis(10));
    assert_eq!(
        (details.pools[0].sent, details.pools[0].observed),
        (Some(1), Some(1))
    );
    // One that waits for a connection which breaks is answered, too.
    let statistics = site.handle.statistics(false);
    site.there().break_off();
    assert_eq!(statistics.await.unwrap_err(), StatisticsError::NotConnected);
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_a_slow_exchange_at_once_and_leaves_what_is_owned() {
    let mut site = Site::start("stops");
    site.snapshot(&[("web", &[1])]).await;
    site.there().delay = Duration::from_millis(1_500);
    site.publish(&[("web", &[])]);
    advance_slowly(Duration::from_millis(100)).await;
    let begin = Instant::now();
    site.stop().await;
    assert!(begin.elapsed() < Duration::from_millis(10));
    let owned = site.handle.owned().await.unwrap();
    assert_eq!(owned.there.pools["web"], [node(1)].into());
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_prints_steps_and_comments_and_changes_nothing() {
    let mut site = Site::new("dry run");
    site.there()
        .members
        .insert(member("web", 1), Place::Serving);
    site.run(Mode::DryRun);
    site.snapshot(&[("web", &[2]), ("www", &[3])]).await;
    // Nobody drains in a dry run, so that what left is not listed any more at the next snapshot.
    for _ in 0..3 {
        site.snapshot(&[("web", &[2]), ("www", &[])]).await;
    }
    let expected = "hello\n# recorder dry run\nweb +10.0.0.2:80\nweb -10.0.0.1:80\nwww +10.0.0.3:80\n\
                    hello\n# recorder dry run\nweb ~10.0.0.1:80\nwww -10.0.0.3:80\n\
                    hello\n# recorder dry run\nwww ~10.0.0.3:80\n";
    assert_eq!(site.printed(), expected);
    assert_eq!(site.serving("web"), [1]);
    assert!(site.there().steps.is_empty());
}

/// Lets the driver do what is due meanwhile.
async fn advance_slowly(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        advance(Duration::from_millis(5)).await;
        tokio::task::yield_now().await;
    }
}
