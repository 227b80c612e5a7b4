//! Membership against a simple reference, over random observations.

use super::*;

/// The same rules, said as simply as possible: a list and full scans.
struct Reference {
    rise: u32,
    fall: u32,
    min_members: usize,
    nodes: Vec<ReferenceNode>,
}

#[derive(Clone, Default)]
struct ReferenceNode {
    pool: Option<String>,
    /// A member since this step: would be out but for `min_members`.
    failing_since: Option<usize>,
    /// In no pool, and must rise.
    failed: bool,
    failures: u32,
    answers: u32,
}

impl Reference {
    fn see(&mut self, step: usize, node: usize, observation: &Observation) {
        let node = &mut self.nodes[node];
        match observation {
            Observation::Failed(_) => {
                (node.failures, node.answers) = (node.failures + 1, 0);
                if node.pool.is_some() && node.failures >= self.fall {
                    node.failing_since.get_or_insert(step);
                }
                node.failed = node.pool.is_none();
            }
            Observation::Announced(said) if said.status == Status::Serving => {
                (node.failures, node.answers) = (0, node.answers + 1);
                if !node.failed || node.answers >= self.rise {
                    node.pool = Some(said.pool.to_string());
                    (node.failing_since, node.failed) = (None, false);
                }
            }
            _ => *node = ReferenceNode::default(),
        }
        while let Some(node) = self.surplus() {
            self.nodes[node].pool = None;
            self.nodes[node].failing_since = None;
            self.nodes[node].failed = true;
        }
    }

    /// The longest failing node of a pool that can do without it.
    fn surplus(&self) -> Option<usize> {
        let count = |pool| self.nodes.iter().filter(|node| node.pool == pool).count();
        let spare = |node: &ReferenceNode| count(node.pool.clone()) > self.min_members;
        (0..self.nodes.len())
            .filter(|&node| self.nodes[node].failing_since.is_some() && spare(&self.nodes[node]))
            .min_by_key(|&node| self.nodes[node].failing_since)
    }

    fn members(&self, pool: &str) -> Vec<u8> {
        let nodes = (1u8..).zip(&self.nodes);
        let members = nodes.filter(|(_, node)| node.pool.as_deref() == Some(pool));
        members.map(|(number, _)| number).collect()
    }
}

fn observation() -> impl Strategy<Value = Observation> {
    prop_oneof![
        4 => Just(fails()),
        1 => Just(says("")),
        1 => Just(says("api leaving")),
        4 => Just(says("api")),
        1 => Just(says("api ok v2")),
        2 => Just(says("web")),
    ]
}

proptest! {
    #[test]
    fn a_snapshot_that_shares_what_did_not_change_is_whole(
        (rise, fall, min_members) in (1..3u32, 1..3u32, 0..3usize),
        rounds in proptest::collection::vec(
            (proptest::collection::vec((1..6u8, observation()), 0..6), any::<bool>()), 1..20,
        ),
    ) {
        let mut bench = Bench::serving(rules(rise, fall, min_members), 5);
        for (polls, fewer_nodes) in rounds {
            let before = bench.whole();
            for (node, observation) in polls {
                bench.see(node, observation);
            }
            let after = bench.membership.take_changed().unwrap_or(before);
            prop_assert_eq!(after, bench.whole());
            let nodes = nodes(if fewer_nodes { 1..=3 } else { 1..=5 });
            bench.membership.set_nodes(nodes, Instant::now());
        }
    }

    #[test]
    fn what_is_counted_of_a_pool_is_what_its_nodes_are(
        (rise, fall, min_members) in (1..3u32, 1..4u32, 0..3usize),
        rounds in proptest::collection::vec(
            (proptest::collection::vec((1..6u8, observation()), 0..6), any::<bool>(), 1..6u8),
            1..20,
        ),
    ) {
        let mut rules = rules(rise, fall, min_members);
        let api: PoolName = "api".parse().unwrap();
        rules.declared.insert(api.clone(), rules.undeclared.clone());
        let mut bench = Bench::serving(rules, 5);
        for (polls, freezes, disabled) in rounds {
            let before = bench.membership.pool_health();
            bench.membership.take_pool_health_changed();
            if freezes {
                bench.freeze("storm");
                bench.disable(disabled, "disk");
            } else {
                bench.membership.thaw(&overrides::word("storm"), &Note::default(), bench.now);
                bench.enable(disabled, "disk");
            }
            for (node, observation) in polls {
                bench.see(node, observation);
            }
            let levels = bench.membership.pool_health();
            prop_assert!(levels == before || bench.membership.take_pool_health_changed());
            let of_api: Vec<_> = bench
                .membership
                .views()
                .filter_map(|view| match view.state {
                    NodeState::Member(place, kept) if place.pool == api => Some((kept, view.failures)),
                    _ => None,
                })
                .collect();
            let serving = of_api.iter().filter(|(kept, _)| matches!(kept, Retention::Serving | Retention::Failing));
            prop_assert_eq!(levels[0].serving, serving.count());
            let answering = of_api.iter().filter(|(_, failures)| *failures == 0);
            let pool = &bench.membership.pools[&api];
            prop_assert_eq!((pool.members(), pool.answering()), (of_api.len(), answering.count()));
        }
    }

    #[test]
    fn membership_agrees_with_the_reference(
        (rise, fall, min_members) in (1..4u32, 1..4u32, 0..4usize),
        polls in proptest::collection::vec((0..5usize, observation()), 1..120),
    ) {
        let mut bench = Bench::new(rules(rise, fall, min_members), 5);
        let nodes = vec![ReferenceNode::default(); 5];
        let mut reference = Reference { rise, fall, min_members, nodes };
        let opening = (0..5).map(|node| (node, says("web")));
        for (step, (node, observation)) in opening.chain(polls).enumerate() {
            reference.see(step, node, &observation);
            bench.see(u8::try_from(node).unwrap() + 1, observation);
            if bench.membership.first_round_done {
                for pool in ["api", "web"] {
                    prop_assert_eq!(bench.members(pool), reference.members(pool));
                }
            }
        }
    }
}
