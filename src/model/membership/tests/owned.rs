//! Which pools, and versions of them, are pollbal's.

use super::*;
use crate::model::time::Timestamp;
use crate::model::words;

/// The versions of a pool that is pollbal's; nothing where it is not.
fn owned(bench: &mut Bench, pool: &str) -> Option<Vec<String>> {
    let pools = bench.whole();
    let pool = pools.pools.get(pool).filter(|pool| pool.announced)?;
    Some(pool.versions.iter().map(ToString::to_string).collect())
}

fn declaring(pool: &str) -> Rules {
    let mut rules = rules(1, 1, 0);
    let declared = rules.undeclared.clone();
    rules.declared.insert(pool.parse().unwrap(), declared);
    rules
}

#[test]
fn a_declared_pool_is_owned_from_the_start_and_one_that_is_declared_later_from_then_on() {
    let mut bench = Bench::new(declaring("web"), 1);
    bench.see(1, says("api"));
    assert_eq!(owned(&mut bench, "web"), Some(Vec::new()));
    bench.membership.set_rules(declaring("shop"), bench.now);
    for pool in ["web", "shop"] {
        assert_eq!(owned(&mut bench, pool), Some(Vec::new()), "{pool}");
    }
}

#[test]
fn an_earlier_runs_pool_without_a_node_is_owned_and_empty_with_its_versions() {
    let mut bench = Bench::new(rules(1, 1, 0), 1);
    let versions = ["v1", "v2"].map(|version| version.parse().unwrap());
    assert!(bench.membership.own(&"old".parse().unwrap(), versions));
    bench.see(1, says("api"));
    let versions = vec!["v1".to_owned(), "v2".to_owned()];
    assert_eq!(owned(&mut bench, "old"), Some(versions));
    assert!(bench.whole().pools["old"].members.is_empty());
}

#[test]
fn an_earlier_runs_pool_that_is_not_accepted_any_more_is_not_owned() {
    let mut rules = declaring("web");
    rules.accept_undeclared = false;
    let mut bench = Bench::new(rules, 1);
    assert!(!bench.membership.own(&"old".parse().unwrap(), []));
    bench.see(1, says("web"));
    assert_eq!(owned(&mut bench, "old"), None);
}

#[test]
fn a_node_that_leaves_from_the_first_poll_on_claims_its_pool_and_version() {
    let mut bench = Bench::new(rules(1, 1, 0), 2);
    bench.see(1, says("web leaving v1"));
    bench.see(2, says("api"));
    assert_eq!(owned(&mut bench, "web"), Some(vec!["v1".to_owned()]));
    bench.see(1, says("web leaving v2"));
    let versions = vec!["v1".to_owned(), "v2".to_owned()];
    assert_eq!(owned(&mut bench, "web"), Some(versions));
    assert_eq!(bench.membership.take_changed(), None, "nothing changed");
    bench.see(1, says("web leaving v2"));
    assert_eq!(bench.membership.take_changed(), None, "it is known");
}

#[test]
fn a_node_that_orders_keep_out_claims_the_pool_that_it_would_serve_in() {
    let mut bench = Bench::new(rules(1, 1, 0), 2);
    bench.see(1, Observation::Nothing);
    bench.see(2, says("api"));
    let now = (bench.now, Timestamp::from_millis(0));
    let granted = bench
        .membership
        .leave(addr(1), Duration::from_secs(60), now);
    assert!(granted.is_ok());
    bench.see(1, says("web leaving"));
    assert_eq!(owned(&mut bench, "web"), Some(Vec::new()));
}

#[test]
fn by_leaving_no_node_claims_a_pool_in_which_it_may_not_serve() {
    let mut strict = declaring("web");
    strict.accept_undeclared = false;
    let mut bench = Bench::new(strict, 1);
    bench.see(1, says("api leaving"));
    assert_eq!(owned(&mut bench, "api"), None);

    let mut few = rules(1, 1, 0);
    few.max_undeclared = 1;
    let mut bench = Bench::new(few, 2);
    bench.see(1, says("api"));
    bench.see(2, says("web leaving"));
    assert_eq!(owned(&mut bench, "web"), None);
}

#[test]
fn a_node_that_has_yet_to_answer_more_often_claims_nothing_before() {
    let mut bench = Bench::new(rules(2, 1, 0), 2);
    bench.see(1, fails());
    bench.see(2, fails());
    bench.see(1, says("web"));
    assert_eq!(owned(&mut bench, "web"), None, "it would be empty there");
    bench.see(1, says("web"));
    assert_eq!(owned(&mut bench, "web"), Some(Vec::new()));
}

/// An earlier run's pool `api`, whose nodes were out at its end.
fn restarted(count: u8, last: &[u8]) -> Bench {
    let mut bench = Bench::new(rules(1, 1, 0), count);
    let api: PoolName = "api".parse().unwrap();
    assert!(bench.membership.own(&api, []));
    let last = last.iter().map(|number| addr(*number)).collect();
    bench.membership.remember_pools(&[(api, last)].into());
    bench
}

#[test]
fn nodes_that_were_down_before_a_restart_count_in_their_pool_until_they_speak_of_another() {
    let mut bench = restarted(3, &[1, 2]);
    for number in 1..=3 {
        bench.see(number, fails());
    }
    let down = |bench: &Bench| {
        let counts = bench.membership.node_counts();
        counts.share(crate::model::node_counts::Counts::down, "down")
    };
    let text = "3 of 3 nodes down (api 2/2, 1 of no known pool)";
    assert_eq!(down(&bench), text);
    bench.see(2, says("web leaving"));
    bench.see(2, fails());
    let text = "3 of 3 nodes down (api 1/1, web 1/1, 1 of no known pool)";
    assert_eq!(down(&bench), text);
}

#[test]
fn where_nodes_were_last_is_in_the_snapshot_until_they_are_members_again() {
    let mut bench = restarted(3, &[1, 2]);
    bench.see(1, fails());
    bench.see(2, says("web"));
    bench.see(3, says("web"));
    let last = |bench: &mut Bench| {
        let last = bench.whole().last_in;
        let pools = last.iter();
        let pools = pools.map(|(pool, addrs)| (pool.to_string(), addrs.len()));
        pools.collect::<Vec<_>>()
    };
    assert_eq!(last(&mut bench), [("api".to_owned(), 1)]);
    bench.see(3, fails());
    let both = [("api".to_owned(), 1), ("web".to_owned(), 1)];
    assert_eq!(last(&mut bench), both);
    bench.see(1, says("api"));
    assert_eq!(last(&mut bench), both[1..]);
}

#[test]
fn a_pool_served_when_a_node_did_or_an_earlier_run_had_it_and_not_by_a_claim() {
    let mut bench = restarted(3, &[]);
    bench.see(1, says("canary leaving"));
    bench.disable(2, "new");
    bench.see(2, says("canary"));
    bench.see(3, says("web"));
    let levels = bench.membership.pool_health();
    let served: Vec<_> = levels
        .iter()
        .map(|level| (level.pool.as_str(), level.served))
        .collect();
    assert_eq!(served, [("api", true), ("canary", false), ("web", true)]);
}

/// The names of a pool in which no node has served.
fn unserved(bench: &mut Bench, pool: &str) -> Vec<Option<String>> {
    let pools = bench.whole();
    let names = pools.pools[pool].unserved.iter();
    names
        .map(|version| version.as_ref().map(ToString::to_string))
        .collect()
}

#[test]
fn a_name_is_unserved_until_a_node_serves_there_or_an_earlier_run_is_known_to_have() {
    let mut bench = Bench::new(declaring("web"), 3);
    let [shop, api]: [PoolName; 2] = ["shop", "api"].map(|name| name.parse().unwrap());
    bench.membership.own(&shop, ["v1".parse().unwrap()]);
    let place = Assignment {
        pool: api.clone(),
        version: None,
    };
    bench.membership.adopt_previous(&api, [(addr(3), place)]);
    bench.membership.adopt_previous(&"web".parse().unwrap(), []);
    bench.see(1, says("canary leaving v1"));
    bench.see(2, fails());
    bench.see(3, says("api leaving v2"));
    let v = |version: &str| Some(version.to_owned());
    assert_eq!(
        unserved(&mut bench, "web"),
        [None],
        "a file of its own says nothing"
    );
    assert_eq!(unserved(&mut bench, "canary"), [None, v("v1")]);
    assert_eq!(unserved(&mut bench, "shop"), []);
    assert_eq!(unserved(&mut bench, "api"), [v("v2")]);
    bench.see(2, says("web serving v3"));
    bench.see(2, says("web"));
    assert_eq!(unserved(&mut bench, "web"), []);
}

/// Who is known to be out of `web`, to which nobody was let in.
fn out_of_web(bench: &mut Bench) -> Vec<u8> {
    let (pools, web) = (bench.whole(), "web".parse().unwrap());
    let out = |number: &u8| words::is_out(&pools.words, addr(*number), &web, None);
    (1..=9).filter(out).collect()
}

#[test]
fn who_said_so_or_is_out_by_order_is_known_to_be_out_though_it_fails_since() {
    let mut bench = Bench::new(declaring("web"), 6);
    bench.see(1, fails());
    bench.see(2, says("web leaving"));
    bench.see(3, says(""));
    bench.see(4, says("api"));
    bench.disable(5, "disk");
    bench.see(5, fails());
    bench.see(6, fails());
    assert_eq!(out_of_web(&mut bench), [2, 3, 4, 5]);
    for number in 2..=4 {
        bench.see(number, fails());
    }
    bench.enable(5, "disk");
    assert_eq!(out_of_web(&mut bench), [2, 3, 4, 5]);
    bench.membership.take_changed();
    let now = (bench.now, Timestamp::from_millis(0));
    let minute = Duration::from_secs(60);
    assert!(bench.membership.leave(addr(6), minute, now).is_ok());
    let changed = bench.membership.take_changed();
    assert!(changed.is_some(), "load balancers are updated");
    assert_eq!(out_of_web(&mut bench), [2, 3, 4, 5, 6]);
}

#[test]
fn who_is_refused_is_out_and_who_has_yet_to_answer_more_often_is_not() {
    let mut strict = declaring("web");
    strict.undeclared.rise = 2;
    let web = strict.declared.get_mut("web").unwrap();
    (web.rise, web.nodes) = (2, Some(vec!["10.0.0.2/32".parse().unwrap()]));
    let mut bench = Bench::new(strict, 2);
    bench.see(1, fails());
    bench.see(2, fails());
    bench.see(1, says("web"));
    bench.see(2, says("web"));
    assert_eq!(out_of_web(&mut bench), [1]);
}

#[test]
fn a_node_that_only_another_pools_list_has_is_barred_though_it_fails() {
    let mut listing = declaring("web");
    let block = |block: &str| Some(vec![block.parse().unwrap()]);
    listing.declared.get_mut("web").unwrap().nodes = block("10.0.0.1/32");
    let mut api = listing.undeclared.clone();
    api.nodes = block("10.0.0.2/32");
    listing.declared.insert("api".parse().unwrap(), api);
    let mut bench = Bench::new(listing, 3);
    (1..=3).for_each(|number| _ = bench.see(number, fails()));
    assert_eq!(bench.whole().pools["web"].barred, [addr(2)].into());
}
