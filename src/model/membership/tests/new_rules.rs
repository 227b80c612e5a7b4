//! Whom other rules would refuse, before they take effect.

use super::admission::folded;
use super::*;

/// Nodes 1 and 2 in `Api`, 3 in `web`; 4 is out.
fn bench() -> Bench {
    let mut bench = Bench::new(folded(&[]), 4);
    for (number, pool) in [(1, "Api"), (2, "Api"), (3, "web")] {
        bench.see(number, says(pool));
    }
    bench.see(4, says("Api leaving"));
    bench
}

/// The last bytes of the addresses of the members that would be refused, and why.
fn refused(bench: &Bench, rules: &Rules) -> Vec<(u8, JoinDenied)> {
    let refused = bench.membership.refused_by(rules).into_iter();
    refused
        .map(|(node, _, why)| (node.addr.ipv4().unwrap().octets()[3], why))
        .collect()
}

#[test]
fn the_same_rules_refuse_nobody() {
    assert_eq!(refused(&bench(), &folded(&[])), []);
}

#[test]
fn members_that_a_list_does_not_have_would_be_refused() {
    let mut rules = folded(&["Api", "web"]);
    let api: PoolName = "Api".parse().unwrap();
    let nodes = vec!["10.0.0.1/32".parse().unwrap()];
    rules.declared.get_mut(&api).unwrap().nodes = Some(nodes);
    assert_eq!(refused(&bench(), &rules), [(2, JoinDenied::NotListed(api))]);
}

#[test]
fn members_of_pools_that_are_declared_no_more_would_be_refused() {
    let mut rules = folded(&["Api"]);
    rules.accept_undeclared = false;
    let web = "web".parse().unwrap();
    assert_eq!(
        refused(&bench(), &rules),
        [(3, JoinDenied::Undeclared(web))]
    );
}

#[test]
fn members_whose_pools_name_another_declared_one_has_would_be_refused() {
    let refused = refused(&bench(), &folded(&["api"]));
    let numbers: Vec<_> = refused.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2]);
    for (_, why) in refused {
        assert!(matches!(why, JoinDenied::NameTaken(_)), "{why}");
    }
}
