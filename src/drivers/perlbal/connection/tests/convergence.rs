//! Whatever snapshots come, whatever a hand at Perlbal's console does, and however often the connection breaks: Perlbal
//! becomes what is desired, and nodes that are out get no requests.

use proptest::prelude::*;

use super::*;

const POOLS: [&str; 2] = ["api", "web"];
/// A pool that is not pollbal's.
const FOREIGN: &str = "mine";

/// What happens.
#[derive(Clone, Debug)]
enum Event {
    /// The nodes of each of our pools change.
    Desired([BTreeSet<u8>; 2]),
    /// A hand adds a node.
    Added(usize, u8),
    /// A hand removes a node, and does not seal that.
    Removed(usize, u8),
    /// A hand gives a service a pool. What a hand has switched there and back before it was read, nobody can know.
    Switched(usize, usize),
    /// A change is rejected, until the end.
    Rejected(usize, u8),
    /// Time passes.
    Passed(u64),
    /// The connection breaks, before what was written last was answered.
    Broken,
    /// Perlbal is restarted with what its configuration says.
    Restarted,
}

fn nodes() -> impl Strategy<Value = BTreeSet<u8>> {
    proptest::collection::btree_set(1..=ALL, 0..=usize::from(ALL))
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => [nodes(), nodes()].prop_map(Event::Desired),
        1 => (0..2usize, 1..=ALL).prop_map(|(pool, node)| Event::Added(pool, node)),
        1 => (0..2usize, 1..=ALL).prop_map(|(pool, node)| Event::Removed(pool, node)),
        1 => (0..2usize, 0..3usize).prop_map(|(service, pool)| Event::Switched(service, pool)),
        1 => (0..2usize, 1..=ALL).prop_map(|(pool, node)| Event::Rejected(pool, node)),
        4 => (0..2_000u64).prop_map(Event::Passed),
        1 => Just(Event::Broken),
        1 => Just(Event::Restarted),
    ]
}

fn configured() -> Perlbal {
    let (one, two) = (addr(1), addr(2));
    Perlbal::with(&[("api", &[&one, &two]), ("web", &[]), (FOREIGN, &[])])
}

/// Of what happened, what the end is judged by.
struct Course {
    serial: u64,
    desired: [BTreeSet<u8>; 2],
    /// Nodes that a hand has put in a pool: who had requests then is not known to pollbal.
    by_hand: BTreeSet<u8>,
    /// A hand has switched a service.
    is_switched: bool,
}

impl Course {
    fn snapshot(&self) -> Snapshot {
        let [api, web] = self.desired.clone().map(Vec::from_iter);
        snapshot(self.serial, &[("api", &api), ("web", &web)])
    }
}

fn pool_name(number: usize) -> &'static str {
    POOLS.get(number).copied().unwrap_or(FOREIGN)
}

/// Lets what happens happen while a connection lasts; returns what is left of it when that ends.
fn live(
    simulation: &mut Simulation<'_>,
    course: &mut Course,
    events: &mut impl Iterator<Item = Event>,
) -> Option<Event> {
    for event in events {
        match event {
            Event::Desired(desired) => {
                course.serial += 1;
                course.desired = desired;
                simulation.set_desired(course.snapshot());
                simulation.run(Duration::ZERO);
            }
            Event::Added(pool, node) => {
                course.by_hand.insert(node);
                let line = format!("POOL {} ADD {}", POOLS[pool], addr(node));
                simulation.perlbal.run(&line);
            }
            Event::Removed(pool, node) => {
                let line = format!("POOL {} REMOVE {}", POOLS[pool], addr(node));
                simulation.perlbal.run(&line);
            }
            Event::Switched(service, pool) => {
                if course.is_switched {
                    simulation.run(RESYNC_INTERVAL);
                }
                course.is_switched = true;
                let service = format!("{}_service", POOLS[service]);
                simulation.perlbal.switch(&service, pool_name(pool));
            }
            Event::Rejected(pool, node) => {
                let line = format!("POOL {} ADD {}", POOLS[pool], addr(node));
                simulation.perlbal.rejects.insert(line);
            }
            Event::Passed(millis) => simulation.run(Duration::from_millis(millis)),
            end @ (Event::Broken | Event::Restarted) => return Some(end),
        }
        simulation.perlbal.serve_clients();
    }
    None
}

fn check(simulation: &mut Simulation<'_>, course: &Course) -> Result<(), TestCaseError> {
    for (name, desired) in POOLS.iter().zip(&course.desired) {
        let desired: Vec<_> = desired.iter().map(|node| addr(*node)).collect();
        prop_assert_eq!(simulation.perlbal.members(name), desired, "pool {}", name);
    }
    prop_assert!(simulation.perlbal.members(FOREIGN).is_empty(), "not ours");
    // Each connection is used twice: a removed member's is closed by then, or will be used for ever.
    simulation.perlbal.serve_clients();
    simulation.perlbal.serve_clients();
    for (name, service) in &simulation.perlbal.services {
        let pool = service.pool.clone().unwrap_or_default();
        if pool == FOREIGN {
            continue;
        }
        let members = simulation.perlbal.members(&pool);
        for node in service.connections.keys() {
            let by_hand = course.by_hand.iter().any(|number| addr(*number) == *node);
            let served = members.contains(&node.as_str());
            prop_assert!(
                served || by_hand,
                "{} serves at {}, which is out of {}",
                node,
                name,
                pool
            );
        }
    }
    prop_assert!(simulation.is_in_sync());
    let state = &mut *simulation.connection.state;
    prop_assert_eq!(state.acked_serial, course.serial);
    prop_assert_eq!(state.confirmed_serial, course.serial);
    prop_assert_eq!(state.draining.all().count(), 0);
    prop_assert!(state.strays.is_empty() || !course.by_hand.is_empty());
    Ok(())
}

fn converges(events: Vec<Event>) -> Result<(), TestCaseError> {
    let site = Site::default();
    let mut now = Instant::now();
    let mut state = State::new(now);
    let mut perlbal = configured();
    let mut course = Course {
        serial: 1,
        desired: [[1, 2].into(), BTreeSet::new()],
        by_hand: BTreeSet::new(),
        is_switched: false,
    };
    let mut events = events.into_iter();
    loop {
        let first = Some(course.snapshot());
        let mut simulation = Simulation::connect(&site, &mut state, perlbal, first, now);
        let ended = live(&mut simulation, &mut course, &mut events);
        let Some(ended) = ended else {
            simulation.perlbal.rejects.clear();
            // Long enough for the delays after several mismatches, none of which is longer than a resync.
            simulation.run(8 * RESYNC_INTERVAL);
            return check(&mut simulation, &course);
        };
        now = simulation.now + 100 * MILLI;
        perlbal = match ended {
            Event::Restarted => Perlbal {
                started: simulation.perlbal.started + 1,
                ..configured()
            },
            _ => simulation.perlbal.clone(),
        };
        let closed_at = simulation.now;
        simulation.connection.close(closed_at);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn perlbal_becomes_what_is_desired(events in proptest::collection::vec(event(), 0..25)) {
        converges(events)?;
    }
}
