//! Nodes that invent pools and versions, or change too often.

use super::*;

#[test]
fn a_node_that_uses_up_names_leaves_room_for_others_and_names_become_free() {
    let mut bench = Bench::new(
        Rules {
            max_undeclared: 4,
            ..folded(&[])
        },
        3,
    );
    bench.see(3, says("api"));
    for number in 0..50 {
        bench.see(1, says(&format!("evil{number}")));
    }
    assert!(matches!(
        bench.refusal(1),
        Some(JoinDenied::TooManyOfAddress(_))
    ));
    bench.see(2, says("web"));
    assert_eq!(bench.members("web"), [2]);
    bench.see(2, says("shop"));
    assert!(
        matches!(bench.refusal(2), Some(JoinDenied::TooMany(_))),
        "they stay a while"
    );
    bench.now += GRACE;
    bench.see(2, says("shop"));
    assert_eq!(bench.members("shop"), [2]);
    let pools = bench.whole().pools;
    assert!(pools.contains_key("evil0"), "still ours");
    bench.see(1, says("api"));
    assert_eq!(bench.members("api"), [1, 3], "known pools are open to it");
}

#[test]
fn no_number_of_invented_pools_fills_the_memory() {
    let mut bench = Bench::new(
        Rules {
            max_undeclared: 4,
            ..folded(&[])
        },
        2,
    );
    bench.see(2, says("api"));
    for number in 0..30 {
        bench.now += Duration::from_secs(700);
        bench.see(1, says(&format!("evil{number}")));
        assert_eq!(bench.refusal(1), None);
    }
    let pools = bench.whole().pools;
    // The one that was left just now is in use for a while.
    assert_eq!(pools.len(), 3 + 4, "those in use, and as many as may be");
    assert!(pools.contains_key("evil28") && !pools.contains_key("evil20"));
    assert_eq!(bench.membership.names.holders().len(), 7);
}

#[test]
fn one_that_only_says_that_it_leaves_invents_no_more_names_than_one_that_serves() {
    let rules = Rules {
        max_undeclared: 4,
        ..folded(&["web"])
    };
    let mut bench = Bench::new(rules, 2);
    bench.see(2, says("api"));
    for number in 0..25 {
        bench.see(1, says(&format!("evil{number} leaving v{number}")));
        bench.see(1, says(&format!("web leaving v{number}")));
    }
    let pools = bench.whole().pools;
    assert_eq!(pools.len(), 2 + 2, "api, web, and half of what may be");
    let versions = pools.values().map(|pool| pool.versions.len());
    let versions: usize = versions.sum();
    assert!((16..=20).contains(&versions), "{versions}");
}

#[test]
fn one_that_only_says_that_it_leaves_takes_no_name_from_anybody() {
    let mut bench = Bench::new(folded(&["api"]), 3);
    bench.see(1, says("api__v1"));
    for said in ["API leaving", "api leaving v1", "Api__v1 leaving"] {
        bench.see(2, says(said));
        bench.see(3, says(said));
    }
    assert_eq!(bench.members("api__v1"), [1]);
    assert_eq!(bench.whole().pools.len(), 2);
}

#[test]
fn versions_beyond_the_limit_have_no_version_pool_and_their_nodes_serve_all_the_same() {
    let mut rules = folded(&["api"]);
    let api = rules.declared.get_mut("api").unwrap();
    api.max_versions = 2;
    let mut bench = Bench::new(rules, 4);
    for number in 1..=4 {
        bench.see(number, says(&format!("api ok v{number}")));
    }
    assert_eq!(bench.members("api"), [1, 2, 3, 4]);
    assert_eq!(bench.versions("api").len(), 2);
    assert_eq!(
        bench.refusal_text(3),
        "version v3 of pool api would be one more than max_versions"
    );
    bench.see(2, says("api ok v1"));
    bench.now += GRACE;
    bench.see(4, says("api ok v4"));
    assert_eq!(bench.versions("api").len(), 2, "v2 was out of use");
    assert_eq!(bench.refusal(4), None);
}

#[test]
fn nodes_of_one_address_have_half_of_the_versions_at_most() {
    let mut rules = folded(&["api"]);
    rules.declared.get_mut("api").unwrap().max_versions = 10;
    let mut bench = Bench::new(rules, 2);
    let mut listed = nodes([1, 2]);
    let port = |port| Node::new(format!("10.0.0.1:{port}").parse().unwrap(), "port");
    listed.extend((100..110).map(port));
    bench.membership.set_nodes(listed, bench.now);
    bench.see(1, says(""));
    for port in 100..110 {
        bench.see_port(port, says(&format!("api ok v{port}")));
    }
    bench.see(2, says("api ok mine"));
    let versions = bench.versions("api");
    assert_eq!(versions.len(), 6, "{versions:?}");
    assert_eq!(versions[0].0, "mine");
}

#[test]
fn a_node_that_invents_versions_gets_some_and_then_some_now_and_then() {
    let mut bench = Bench::new(folded(&["api"]), 1);
    let mut remembered = |seconds: u32| {
        let before = bench.membership.names.introduced();
        for number in 0..seconds {
            bench.see(1, says(&format!("api ok {before}-{number}")));
            assert_eq!(bench.members("api"), [1]);
        }
        bench.membership.names.introduced() - before
    };
    let at_first = remembered(120);
    assert!((17..=21).contains(&at_first), "{at_first}");
    let later = remembered(600);
    assert!((18..=22).contains(&later), "{later}");
}

#[test]
fn one_that_changes_its_mind_too_often_waits_to_come_in_and_never_to_go_out() {
    let mut bench = Bench::new(folded(&["api", "web"]), 2);
    bench.see(2, says("api"));
    let mut joins = 0;
    for _ in 0..100 {
        bench.see(1, says("api"));
        joins += bench.members("api").len() - 1;
        bench.see(1, says("api leaving"));
        assert_eq!(bench.members("api"), [2]);
    }
    assert!((60..=66).contains(&joins), "{joins}: 30 and one each 6 s");
    bench.see(1, says("api"));
    for _ in 0..3 {
        bench.see(1, says("web"));
    }
    assert!(bench.members("api") == [2] && bench.members("web").is_empty());
    assert!(
        bench
            .refusal_text(1)
            .contains("too often: pool web has to wait"),
        "{}",
        bench.refusal_text(1)
    );
    bench.now += CHANGES.every;
    bench.see(1, says("web"));
    assert_eq!(bench.members("web"), [1]);
}

#[test]
fn one_that_swings_between_versions_stays_in_its_pool() {
    let mut bench = Bench::new(folded(&["api"]), 2);
    bench.see(2, says("api ok v1"));
    let mut versioned = 0;
    for number in 0..200 {
        let version = ["v1", "v2"][number % 2];
        bench.see(1, says(&format!("api ok {version}")));
        assert_eq!(bench.members("api"), [1, 2]);
        versioned += usize::from(bench.refusal(1).is_none());
    }
    assert!(
        (60..=66).contains(&versioned),
        "{versioned}: 30 and one each 6 s"
    );
}

#[test]
fn failures_are_no_change_of_mind() {
    let mut bench = Bench::new(folded(&["api"]), 2);
    bench.see(2, says("api"));
    for _ in 0..200 {
        bench.see(1, says("api ok v1"));
        assert_eq!(bench.versions("api"), [("v1".to_owned(), 1)]);
        bench.see(1, fails());
        assert_eq!(bench.members("api"), [2]);
    }
}
