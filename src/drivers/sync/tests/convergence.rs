//! Whatever snapshots, changes by hand and broken connections come, the load balancer ends in sync.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::time::sleep;

use super::site::{Site, member, node, pools};
use crate::drivers::Snapshot;
use crate::drivers::recorder::backend::{Desired, Place, Recorder, Step};
use crate::drivers::recorder::load_balancer::Shared;
use crate::drivers::sync::{Backend, Member, Plan};

const POOLS: [&str; 3] = ["a", "b", "c"];

/// The nodes of each pool; a pool that is not listed is not known.
type Content = Vec<(&'static str, Vec<u8>)>;

#[derive(Clone, Debug)]
enum Event {
    Snapshot(Content),
    ByHand(&'static str, u8, Option<Place>),
    BreakOff,
    BreakAfter(usize),
    Down(bool),
    Busy(u8, bool),
    Reject(&'static str, u8),
    Delay(u64),
    Wait(u64),
}

fn content() -> impl Strategy<Value = Content> {
    let pool = prop::option::of(prop::collection::btree_set(1u8..6, 0..5));
    prop::array::uniform3(pool).prop_map(|pools| {
        let known = POOLS.into_iter().zip(pools);
        let known = known.filter_map(|(name, nodes)| Some((name, nodes?.into_iter().collect())));
        known.collect()
    })
}

fn event() -> impl Strategy<Value = Event> {
    let pool = || prop::sample::select(&POOLS[..]);
    let place = prop::option::of(prop::sample::select(&[Place::Serving, Place::Retired][..]));
    prop_oneof![
        4 => content().prop_map(Event::Snapshot),
        2 => (pool(), 1u8..6, place).prop_map(|(pool, node, place)| Event::ByHand(pool, node, place)),
        1 => Just(Event::BreakOff),
        1 => (0usize..4).prop_map(Event::BreakAfter),
        1 => any::<bool>().prop_map(Event::Down),
        1 => (1u8..6, any::<bool>()).prop_map(|(node, is)| Event::Busy(node, is)),
        1 => (pool(), 1u8..6).prop_map(|(pool, node)| Event::Reject(pool, node)),
        1 => (0u64..300).prop_map(Event::Delay),
        4 => (0u64..3_000).prop_map(Event::Wait),
    ]
}

fn as_slices(content: &Content) -> Vec<(&'static str, &[u8])> {
    content
        .iter()
        .map(|(name, nodes)| (*name, &nodes[..]))
        .collect()
}

async fn play(site: &mut Site, events: Vec<Event>) {
    for event in events {
        match event {
            Event::Snapshot(content) => _ = site.publish(&as_slices(&content)),
            Event::ByHand(pool, number, place) => {
                let members = &mut site.there().members;
                match place {
                    Some(place) => _ = members.insert(member(pool, number), place),
                    None => _ = members.remove(&member(pool, number)),
                }
            }
            Event::BreakOff => site.there().break_off(),
            Event::BreakAfter(steps) => site.there().breaks_after = Some(steps),
            Event::Down(is_down) => site.there().is_down = is_down,
            Event::Busy(number, true) => _ = site.there().busy.insert(node(number)),
            Event::Busy(number, false) => _ = site.there().busy.remove(&node(number)),
            Event::Reject(pool, number) => {
                let step = format!("{pool} -{}", node(number));
                site.there().rejects.insert(step);
            }
            Event::Delay(millis) => site.there().delay = Duration::from_millis(millis),
            Event::Wait(millis) => sleep(Duration::from_millis(millis)).await,
        }
    }
}

async fn converge(address: &str, events: Vec<Event>, last: Content) -> Result<(), TestCaseError> {
    let mut site = Site::start(address);
    play(&mut site, events).await;
    {
        let mut there = site.there();
        (there.is_down, there.breaks_after, there.delay) = (false, None, Duration::ZERO);
        there.rejects.clear();
        there.busy.clear();
    }
    let serial = site.publish(&as_slices(&last));
    // Two resyncs: one finds what was changed by hand, the other what was rejected.
    sleep(Duration::from_secs(65)).await;
    let status = site.handle.status();
    prop_assert!(status.connected && status.in_sync, "{status:?}");
    prop_assert_eq!(
        (status.settled, status.acked, status.observed),
        (serial, serial, serial)
    );
    prop_assert!(status.draining.is_empty(), "{status:?}");
    for (pool, numbers) in &last {
        prop_assert_eq!(&site.serving(pool), numbers);
    }
    let known: BTreeSet<_> = last.iter().map(|(name, _)| *name).collect();
    let ours = |(pool, _): &&Member| known.contains(&**pool);
    let there = site.there().members.clone();
    let retired = there.iter().filter(|(_, place)| **place == Place::Retired);
    prop_assert_eq!(retired.map(|(member, _)| member).find(ours), None);
    site.stop().await;
    Ok(())
}

fn desired(content: &Content) -> Desired {
    let recorder = Recorder(Shared::default());
    let snapshot = Snapshot {
        serial: 1,
        pools: pools(&as_slices(content)).into(),
        current_files: std::sync::Arc::default(),
        cause: None,
    };
    recorder.desired(&snapshot, &BTreeSet::new()).0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_the_load_balancer_ends_in_sync(
        events in prop::collection::vec(event(), 0..30),
        last in content(),
        case in any::<u64>(),
    ) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(converge(&format!("random {case}"), events, last))?;
    }

    #[test]
    fn a_plan_leads_from_any_state_to_the_desired_one(before in content(), after in content()) {
        let mut actual = BTreeMap::default();
        let run = |plan: Plan<Step>, actual: &mut _| {
            let steps: Vec<_> = plan.batches.into_iter().flatten().collect();
            for step in &steps {
                Recorder::apply(actual, step);
            }
            steps.len()
        };
        let none = BTreeSet::new();
        run(Recorder::plan(&desired(&before), &actual, &none), &mut actual);
        let desired = desired(&after);
        run(Recorder::plan(&desired, &actual, &none), &mut actual);
        let mut there = Recorder::actual_members(&actual);
        there.retain(|pool, _| desired.members.contains_key(pool));
        let mut filled = desired.members.clone();
        filled.retain(|_, nodes| !nodes.is_empty());
        prop_assert_eq!(there, filled);
        // What was removed is drained, and is not listed any more.
        run(Recorder::plan(&desired, &actual, &none), &mut actual);
        prop_assert_eq!(run(Recorder::plan(&desired, &actual, &none), &mut actual), 0);
    }
}
