//! Pools and versions that come into use and go out of it.

use super::*;

#[test]
fn a_node_that_invents_pool_names_fills_nothing_and_floods_nothing() {
    let mut bench = Bench::new(rules(1, 1, 0), 2);
    bench.see(2, says("api"));
    let changes: Vec<_> = (0..50)
        .flat_map(|n| bench.see(1, says(&format!("evil{n}"))))
        .collect();
    let pools = bench.membership.take_changed().unwrap();
    assert_eq!(
        pools.pools.len(),
        3,
        "half of max_undeclared_pools, and api"
    );
    assert!(matches!(
        changes.last(),
        Some(Change::Left(
            _,
            _,
            OutReason::Refused(JoinDenied::TooManyOfAddress(_))
        ))
    ));
    assert_eq!(changes.len(), 3, "joined, moved, refused; then silence");
    bench.see(1, says("api"));
    assert_eq!(bench.members("api"), [1, 2], "pools that are known go on");
}

#[test]
fn only_listed_nodes_may_join_a_pool_with_a_list_and_undeclared_pools_can_be_refused() {
    let mut rules = rules(1, 1, 0);
    let listed = PoolRules {
        nodes: Some(vec!["10.0.0.2/31".parse().unwrap()]),
        ..rules.undeclared.clone()
    };
    rules.declared.insert("api".parse().unwrap(), listed);
    rules.accept_undeclared = false;
    let mut bench = Bench::new(rules, 3);
    assert!(matches!(
        &bench.see(1, says("api"))[..],
        [Change::RemainsOut(
            _,
            OutReason::Refused(JoinDenied::NotListed(_))
        )]
    ));
    bench.see(2, says("api"));
    assert!(matches!(
        &bench.see(3, says("web"))[..],
        [Change::RemainsOut(
            _,
            OutReason::Refused(JoinDenied::Undeclared(_))
        )]
    ));
    assert_eq!(bench.members("api"), [2]);
    bench.see(2, says("web"));
    assert_eq!(
        bench.members("api"),
        [0u8; 0],
        "it says itself that it is no member any more"
    );
}

#[test]
fn versions_are_remembered_when_nobody_serves_them_any_more_but_not_without_end() {
    let mut bench = Bench::new(rules(1, 1, 0), 2);
    bench.see(2, says("api ok kept"));
    for number in 1..=Pool::MAX_VERSIONS {
        // Slow enough for a node's limit.
        bench.now += Duration::from_secs(100);
        bench.see(1, says(&format!("api ok v{number}")));
    }
    let versions = bench.membership.take_changed().unwrap().pools["api"]
        .versions
        .clone();
    assert_eq!(versions.len(), Pool::MAX_VERSIONS);
    assert_eq!(versions[0].as_str(), "kept", "a member serves it");
    assert_eq!(
        versions[1].as_str(),
        "v2",
        "the oldest that no member serves went"
    );
}

#[test]
fn the_oldest_version_is_not_forgotten_as_soon_as_its_last_node_goes() {
    let mut bench = Bench::new(rules(1, 1, 0), 2);
    bench.see(1, says("api ok v1"));
    for number in 2..=Pool::MAX_VERSIONS {
        bench.now += Duration::from_secs(100);
        bench.see(2, says(&format!("api ok v{number}")));
    }
    let mut known_at = |version: &str| {
        bench.now += Duration::from_secs(100);
        bench.see(1, says(&format!("api ok {version}")));
        let versions = bench.whole().pools["api"].versions.clone();
        let versions = versions.iter().map(ToString::to_string);
        versions.collect::<BTreeSet<_>>()
    };
    let known = known_at("new");
    assert!(known.contains("v1") && !known.contains("v2"), "{known:?}");
    let known = known_at("newer");
    assert!(!known.contains("v1") && known.contains("new"), "{known:?}");
}
