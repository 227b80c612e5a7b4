//! Problems of pools.

use super::super::*;
use super::{balancer, begun, kinds, pool, verdict};
use crate::model::health::Health;
use crate::model::node_counts::tests::counts;

#[test]
fn a_pool_is_short_of_serving_members_or_has_none_but_a_sorry_server() {
    let mut system_status = SystemStatus {
        pools: vec![pool(1, 2, &[])],
        ..begun()
    };
    assert_eq!(kinds(&system_status), [Kind::PoolShort]);
    let short = &system_status.problems()[0];
    assert_eq!(
        (short.subject.as_str(), &short.pool),
        ("api", &"api".parse().ok())
    );
    assert!(
        short.text.contains('1') && short.text.contains('2'),
        "{}",
        short.text
    );
    system_status.pools = vec![pool(0, 1, &["10.0.0.9:80"])];
    assert_eq!(kinds(&system_status), [Kind::SorryServer, Kind::PoolShort]);
    assert!(system_status.problems()[0].text.contains("10.0.0.9:80"));
}

#[test]
fn a_pool_without_members_is_told_whatever_its_min_members() {
    let site = |level: PoolHealth, nodes: &[(&str, usize, usize)]| SystemStatus {
        pools: vec![level],
        nodes: counts(nodes),
        ..begun()
    };
    let text_of = |site: &SystemStatus| site.problems().remove(0).text;
    let all_down = site(pool(0, 0, &[]), &[("api", 0, 3)]);
    assert_eq!(kinds(&all_down), [Kind::PoolEmpty, Kind::NodesDown]);
    let text = "pool api has no members, requests to it wait (of its nodes: 3 failed)";
    assert_eq!(text_of(&all_down), text);
    let never = site(pool(0, 0, &[]), &[]);
    let text = "pool api has no members, requests to it wait (no node announces it)";
    assert_eq!(text_of(&never), text);
    let short = site(pool(0, 2, &[]), &[]);
    assert_eq!(kinds(&short), [Kind::PoolEmpty, Kind::PoolShort]);
    assert_eq!(short.problems()[1].alert, AlertPolicy::Covered);
    // A pool that nobody declared: as long as a node belongs to it.
    let undeclared = PoolHealth {
        declared: false,
        ..pool(0, 0, &[])
    };
    let served = site(undeclared.clone(), &[("api", 0, 1)]);
    assert_eq!(kinds(&served), [Kind::PoolEmpty, Kind::NodesDown]);
    assert_eq!(kinds(&site(undeclared, &[("web", 2, 0)])), []);
    // Members that min_members holds are members.
    let held = PoolHealth {
        members: 2,
        ..pool(0, 2, &[])
    };
    assert_eq!(kinds(&site(held, &[])), [Kind::PoolShort]);
}

#[test]
fn pools_are_judged_with_all_that_concerns_them() {
    let web = PoolHealth {
        pool: "web".parse().unwrap(),
        ..pool(0, 1, &[])
    };
    let site = SystemStatus {
        pools: vec![pool(2, 1, &[]), web],
        nodes: counts(&[("api", 2, 1), ("web", 0, 1)]),
        ..begun()
    };
    let only = |pool: &str| site.clone().only(&[pool.parse().unwrap()].into());
    let line = "DEGRADED: 1 of 3 nodes down (api 1/3)";
    assert_eq!(verdict(&only("api")).1, line);
    assert_eq!(verdict(&only("web")).0, Health::Critical);
    let lost = (balancer("127.0.0.1:16000"), DriverHealth::default());
    let lost = SystemStatus {
        drivers: [lost].into(),
        ..only("api")
    };
    assert_eq!(verdict(&lost).0, Health::Critical);
}

#[test]
fn a_pool_in_which_no_node_has_served_yet_is_not_empty_unless_it_is_declared() {
    let level = |declared, served| PoolHealth {
        declared,
        served,
        ..pool(0, 0, &[])
    };
    let of = |level| SystemStatus {
        pools: vec![level],
        nodes: counts(&[("api", 0, 1)]),
        ..begun()
    };
    let is_empty = |level| kinds(&of(level)).contains(&Kind::PoolEmpty);
    assert!(!is_empty(level(false, false)));
    assert!(is_empty(level(false, true)));
    assert!(is_empty(level(true, false)));
}

#[test]
fn of_a_pool_in_which_no_node_has_served_yet_it_is_told_that_its_members_stay() {
    let text_of = |sorry: &[&str]| {
        let unserved = PoolHealth {
            served: false,
            ..pool(0, 0, sorry)
        };
        let site = SystemStatus {
            pools: vec![unserved],
            nodes: counts(&[("api", 0, 1)]),
            ..begun()
        };
        site.problems().remove(0).text
    };
    let stay = "pool api has no members (of its nodes: 1 failed): no node has served in it yet; members that a \
                load balancer had before stay until one does, and without any, requests to it wait";
    assert_eq!(text_of(&[]), stay);
    let sorry = "pool api has no member (of its nodes: 1 failed): no node has served in it yet; members that a \
                 load balancer had before stay until one does, and without any, its sorry server is active: \
                 10.0.0.9:80";
    assert_eq!(text_of(&["10.0.0.9:80"]), sorry);
}

#[test]
fn nothing_is_resolved_while_nobody_serves_and_the_pools_nodes_are_only_down() {
    let nobody = |nodes: &[(&str, usize, usize)], pools| SystemStatus {
        pools,
        nodes: counts(nodes),
        ..begun()
    };
    let resolved = |site: SystemStatus| site.resolution(Kind::PoolEmpty, "api").resolved;
    let undeclared = || {
        vec![PoolHealth {
            declared: false,
            ..pool(0, 0, &[])
        }]
    };
    assert!(!resolved(nobody(&[("api", 0, 2)], undeclared())));
    assert!(!resolved(nobody(&[("", 0, 2)], undeclared())));
    assert!(!resolved(nobody(&[("", 0, 2)], Vec::new())));
    // They serve elsewhere, or are gone from the services file.
    assert!(resolved(nobody(&[("web", 2, 0)], undeclared())));
    assert!(resolved(nobody(&[("web", 2, 0)], Vec::new())));
    assert!(resolved(nobody(&[("", 0, 1)], vec![pool(1, 0, &[])])));
}
