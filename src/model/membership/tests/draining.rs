//! Who drains: nodes that left a pool and still answer.

use super::overrides::word;
use super::*;

impl Bench {
    /// The last bytes of the addresses of the nodes that drain in `api`, each with its version and for how many
    /// seconds.
    fn draining(&mut self) -> Vec<(u8, Option<String>, u64)> {
        let now = self.now;
        let pools = self.whole();
        let draining = pools.pools["api"].draining.iter();
        let draining = draining.map(|member| {
            let number = member.node.addr.ipv4().unwrap().octets()[3];
            let version = member.version.as_ref().map(ToString::to_string);
            (number, version, now.duration_since(member.since).as_secs())
        });
        draining.collect()
    }

    fn drains(&mut self, number: u8) -> bool {
        self.draining().iter().any(|(other, ..)| *other == number)
    }
}

#[test]
fn a_node_that_leaves_is_idle_or_is_excluded_drains_where_it_was_a_member() {
    let mut bench = Bench::serving(rules(1, 1, 0), 5);
    bench.see(2, says("api serving v2"));
    assert_eq!(bench.draining(), []);
    bench.leave(4).unwrap();
    bench.see(1, says("api leaving"));
    bench.see(2, says(""));
    bench.disable(3, "work");
    let v2 = || Some("v2".to_owned());
    let expected = [(1, None, 1), (2, v2(), 0), (3, None, 0), (4, None, 2)];
    assert_eq!(bench.draining(), expected);
    assert_eq!(bench.members("api"), [5]);
    // Since it left, whatever it says meanwhile.
    bench.see(1, says(""));
    assert_eq!(bench.draining()[0], (1, None, 2));
}

#[test]
fn draining_ends_when_the_node_is_a_member_again_also_elsewhere() {
    let mut bench = Bench::serving(rules(1, 1, 0), 3);
    for number in [1, 2] {
        bench.see(number, says("api leaving"));
    }
    bench.disable(3, "work");
    bench.see(1, says("api"));
    bench.see(2, says("web"));
    assert!(!bench.drains(1) && !bench.drains(2));
    // Until it is one: the next poll decides.
    bench.enable(3, "work");
    assert!(bench.drains(3));
    bench.see(3, says("api"));
    assert_eq!(bench.draining(), []);
}

#[test]
fn a_node_that_moves_does_not_drain() {
    let mut bench = Bench::serving(rules(1, 1, 0), 2);
    bench.see(1, says("web"));
    assert_eq!(bench.draining(), []);
}

#[test]
fn draining_ends_when_the_node_fails_as_often_as_fall_says() {
    let mut bench = Bench::serving(rules(1, 2, 0), 3);
    bench.see(1, says("api leaving"));
    bench.disable(2, "work");
    for number in [1, 2] {
        bench.see(number, fails());
        assert!(bench.drains(number), "{number}");
        bench.see(number, fails());
        assert!(!bench.drains(number), "{number}");
        // What answers again is no member that leaves.
        bench.see(number, says("api leaving"));
        assert!(!bench.drains(number), "{number}");
    }
}

#[test]
fn a_member_that_fails_does_not_drain_also_if_an_order_removes_it() {
    let mut bench = Bench::serving(rules(1, 1, 0), 2);
    bench.see(1, fails());
    bench.freeze("work");
    bench.see(2, fails());
    bench.disable(2, "work");
    assert_eq!(bench.draining(), []);
}

#[test]
fn a_node_that_the_services_file_no_longer_lists_does_not_drain() {
    let mut bench = Bench::serving(rules(1, 1, 0), 3);
    bench.see(1, says("api leaving"));
    bench.membership.set_nodes(nodes(2..=2), bench.now);
    assert_eq!(bench.draining(), []);
}

#[test]
fn only_the_pool_in_which_a_node_drains_is_another_in_the_next_snapshot() {
    let mut bench = Bench::serving(rules(1, 1, 0), 3);
    bench.see(3, says("web"));
    let before = bench.whole();
    let changed = |bench: &mut Bench| {
        let pools = bench.membership.take_changed()?;
        let same = |pool: &str| Arc::ptr_eq(&pools.pools[pool], &before.pools[pool]);
        Some((same("api"), same("web"), pools.pools["api"].draining.len()))
    };
    bench.see(1, says("api leaving"));
    assert_eq!(changed(&mut bench), Some((false, true, 1)));
    bench.see(1, says("api leaving"));
    assert_eq!(changed(&mut bench), None);
    bench.see(1, fails());
    assert_eq!(changed(&mut bench), Some((false, true, 0)));
    bench.see(1, fails());
    assert_eq!(changed(&mut bench), None);
    // Ends in one pool since it is a member of the other.
    bench.see(2, says("api leaving"));
    bench.see(2, says("web"));
    assert_eq!(changed(&mut bench), Some((false, false, 0)));
    bench.membership.disable(
        &[addr(2)],
        &word("work"),
        &super::overrides::reason(None),
        bench.now,
    );
    assert_eq!(changed(&mut bench), Some((false, false, 0)));
}
