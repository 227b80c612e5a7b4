//! When sorry servers serve a pool.

use super::*;
use crate::model::change::sorry_changes;

/// `api` with a sorry server at the address that ends in 99.
fn with_sorry(fall: u32, min_members: usize) -> Rules {
    let mut rules = rules(1, fall, min_members);
    let api = PoolRules {
        sorry: vec![PoolRules::sorry_server(addr(99))],
        ..rules.undeclared.clone()
    };
    rules.declared.insert(api_name(), api);
    rules
}

fn api_name() -> PoolName {
    "api".parse().unwrap()
}

/// The last bytes of the addresses of those who get the pool's requests.
fn serving(bench: &mut Bench, pool: &str) -> Vec<u8> {
    let pools = bench.whole();
    let serving = pools.pools[pool].recipients();
    serving
        .map(|(node, _)| node.addr.ipv4().unwrap().octets()[3])
        .collect()
}

#[test]
fn a_sorry_server_serves_while_and_only_while_the_pool_has_no_member() {
    let mut bench = Bench::new(with_sorry(1, 0), 3);
    bench.see(1, says("api serving v1"));
    bench.see(2, says("web"));
    assert_eq!(
        bench.membership.take_changed(),
        None,
        "node 3 is not polled"
    );
    bench.see(3, fails());
    assert_eq!(serving(&mut bench, "api"), [1]);
    bench.see(1, says("api leaving v1"));
    assert_eq!(serving(&mut bench, "api"), [99]);
    let pools = bench.whole();
    let api = &pools.pools["api"];
    assert!(api.members.is_empty() && api.by_version().is_empty());
    assert_eq!(pools.member_count(), 1, "it is no node");
    assert_eq!(pools.disabled.len(), 2, "nor out of a pool ever");
    bench.see(2, says("web leaving"));
    assert_eq!(serving(&mut bench, "web"), [0u8; 0], "it has none");
    bench.see(3, says("api"));
    assert_eq!(serving(&mut bench, "api"), [3]);
}

#[test]
fn sorry_servers_stand_by_whether_or_not_they_serve() {
    let mut bench = Bench::new(with_sorry(1, 0), 1);
    let standby = |bench: &mut Bench| bench.whole().pools["api"].standby.clone();
    for announcement in ["api", "api leaving", "api"] {
        bench.see(1, says(announcement));
        assert_eq!(standby(&mut bench), [PoolRules::sorry_server(addr(99))]);
    }
    bench.membership.set_rules(rules(1, 1, 0), bench.now);
    assert_eq!(standby(&mut bench), []);
}

#[test]
fn a_pool_that_no_node_announces_has_its_sorry_server_and_is_pollbals_also_when_that_goes() {
    let mut bench = Bench::new(with_sorry(1, 0), 1);
    bench.see(1, says("web"));
    assert_eq!(serving(&mut bench, "api"), [99]);
    assert!(bench.whole().pools["api"].announced);
    bench.membership.set_rules(rules(1, 1, 0), bench.now);
    let pools = bench.membership.take_changed().unwrap();
    let api = &pools.pools["api"];
    assert!(api.announced && !api.declared && api.recipients().next().is_none());
    bench.membership.set_rules(with_sorry(1, 0), bench.now);
    let pools = bench.membership.take_changed().unwrap();
    assert_eq!(pools.pools["api"].sorry.len(), 1, "at once");
}

#[test]
fn members_that_min_members_holds_keep_the_sorry_server_out() {
    let mut bench = Bench::serving(with_sorry(1, 1), 2);
    bench.see(1, fails());
    bench.see(2, fails());
    assert_eq!(serving(&mut bench, "api"), [2]);
    bench.see(2, says(""));
    assert_eq!(serving(&mut bench, "api"), [99]);
}

#[test]
fn a_sorry_server_that_an_earlier_run_left_is_taken_for_no_node() {
    let mut bench = Bench::new(with_sorry(2, 0), 2);
    // Node 2 is listed twice: as a node, and as a sorry server.
    let also = PoolRules::sorry_server(addr(2));
    let mut rules = Rules::clone(&bench.membership.rules);
    let api = rules.declared.get_mut(&api_name()).unwrap();
    api.sorry.push(also);
    bench.membership.set_rules(rules, bench.now);
    let place = Assignment {
        pool: api_name(),
        version: None,
    };
    let left = [99, 2].map(|number| (addr(number), place.clone()));
    bench.membership.adopt_previous(&place.pool, left);
    bench.see(1, says("api"));
    bench.see(2, fails());
    assert_eq!(serving(&mut bench, "api"), [1]);
}

#[test]
fn a_file_with_a_sorry_server_that_is_configured_no_more_proves_the_pool_ours() {
    let mut rules = rules(1, 1, 0);
    let declared = rules.undeclared.clone();
    rules.declared.insert(api_name(), declared);
    let mut bench = Bench::new(rules, 1);
    let place = Assignment {
        pool: api_name(),
        version: None,
    };
    bench
        .membership
        .adopt_previous(&api_name(), [(addr(99), place)]);
    bench.see(1, says("web"));
    assert_eq!(serving(&mut bench, "api"), [0u8; 0]);
    assert!(bench.whole().pools["api"].announced);
}

#[test]
fn a_sorry_server_is_told_once_when_it_comes_and_once_when_it_goes() {
    let mut bench = Bench::serving(with_sorry(1, 0), 1);
    let mut before = None;
    let mut changes = |bench: &mut Bench| {
        let now = bench.whole();
        let changes = sorry_changes(before.as_ref(), &now);
        before = Some(now);
        changes
    };
    assert_eq!(changes(&mut bench), []);
    bench.see(1, says("api leaving"));
    let sorry = vec![PoolRules::sorry_server(addr(99))];
    assert_eq!(
        changes(&mut bench),
        [Change::SorryOn(api_name(), sorry.clone())]
    );
    bench.see(1, fails());
    assert_eq!(changes(&mut bench), []);
    bench.see(1, says("api"));
    assert_eq!(changes(&mut bench), [Change::SorryOff(api_name(), 1)]);
    bench.see(1, says("api leaving"));
    assert_eq!(changes(&mut bench), [Change::SorryOn(api_name(), sorry)]);
    bench.membership.set_rules(rules(1, 1, 0), bench.now);
    assert_eq!(changes(&mut bench), [Change::SorryOff(api_name(), 0)]);
}

#[test]
fn of_a_pool_in_which_no_node_has_served_a_former_sorry_server_is_barred() {
    let mut bench = Bench::new(with_sorry(1, 0), 1);
    bench.see(1, says("web"));
    let barred = |bench: &mut Bench| bench.whole().pools["api"].barred.clone();
    assert_eq!(barred(&mut bench), [].into());
    let mut without = with_sorry(1, 0);
    without.declared.get_mut(&api_name()).unwrap().sorry.clear();
    bench.membership.set_rules(without, bench.now);
    assert_eq!(barred(&mut bench), [addr(99)].into());
    bench.membership.set_rules(with_sorry(1, 0), bench.now);
    assert_eq!(barred(&mut bench), [].into());
}
