//! Names that fall on one, and limits of what nodes may announce.

mod inventors;

use super::*;
use crate::model::naming::{Naming, Namings, Scheme};
use crate::model::rules::{CHANGES, JoinDenied};

const GRACE: Duration = Duration::from_secs(60);

/// Names at a load balancer that knows fewer characters.
const FOLDED: Scheme = Scheme {
    place: "Balancer",
    of_pool: |pool| fold(pool.as_str()),
    of_version: |pool, version| format!("{pool}__{}", fold(version.as_str())),
};

fn fold(text: &str) -> String {
    text.to_lowercase()
        .replace(|c: char| !c.is_alphanumeric(), "_")
}

/// Rules by which names may meet; these pools are declared.
pub(super) fn folded(declared: &[&str]) -> Rules {
    let rules = rules(1, 1, 0);
    let pool = |pool: &&str| (pool.parse().unwrap(), rules.undeclared.clone());
    Rules {
        declared: declared.iter().map(pool).collect(),
        max_undeclared: 100,
        namings: [Naming::new(FOLDED, [])].into_iter().collect(),
        ..rules
    }
}

impl Bench {
    /// A node at another port of the first node's address.
    fn see_port(&mut self, port: u16, observation: Observation) -> Vec<Change> {
        let addr = format!("10.0.0.1:{port}").parse().unwrap();
        let poll = Poll::at(self.now, observation);
        self.membership.observe(addr, poll, self.now)
    }

    /// The versions that have members, with their number.
    fn versions(&mut self, pool: &str) -> Vec<(String, usize)> {
        let pools = self.whole();
        let by_version = pools.pools[pool].by_version();
        let versions = by_version.into_iter();
        versions
            .map(|(version, members)| (version.to_string(), members.len()))
            .collect()
    }

    /// Why the node is in no pool, or in no version pool.
    fn refusal(&self, number: u8) -> Option<JoinDenied> {
        let view = self.membership.view(addr(number)).unwrap();
        match view.state {
            NodeState::Out(OutReason::Refused(refusal)) => Some(refusal),
            _ => view.unversioned,
        }
    }

    fn refusal_text(&self, number: u8) -> String {
        self.refusal(number)
            .map_or(String::new(), |refusal| refusal.to_string())
    }
}

#[test]
fn a_node_that_announces_a_name_of_a_declared_pool_is_refused_and_the_pool_goes_on() {
    let mut bench = Bench::new(folded(&["api"]), 4);
    bench.see(3, says("API"));
    assert!(
        bench.refusal_text(3).starts_with(
            "pool API has the same name in Balancer, `api`, as pool api, which goes before it"
        ),
        "{}, though nobody is in api",
        bench.refusal_text(3)
    );
    bench.see(1, says("api"));
    bench.see(2, says("api"));
    bench.see(4, says("Api leaving"));
    bench.see(2, fails());
    assert_eq!(bench.members("api"), [1]);
    assert_eq!(bench.whole().pools.len(), 1);
}

#[test]
fn of_two_undeclared_pools_of_one_name_the_first_has_it_until_it_is_out_of_use() {
    for (first, second) in [("api", "API"), ("a-b", "a_b"), ("API", "api")] {
        let mut bench = Bench::new(folded(&[]), 2);
        bench.see(1, says(first));
        bench.see(2, says(second));
        assert!(matches!(bench.refusal(2), Some(JoinDenied::NameTaken(_))));
        bench.see(1, says(""));
        bench.see(2, says(second));
        assert!(bench.refusal(2).is_some(), "{first} may be back soon");
        bench.now += GRACE;
        bench.see(2, says(second));
        assert_eq!(bench.members(second), [2]);
        assert!(!bench.whole().pools.contains_key(first));
        bench.see(1, says(first));
        assert!(
            bench
                .refusal_text(1)
                .contains(&format!("as pool {second},"))
        );
    }
}

#[test]
fn a_version_pool_of_a_declared_pool_goes_before_an_undeclared_pool() {
    let mut bench = Bench::new(folded(&["api"]), 3);
    bench.see(1, says("api__v1"));
    bench.see(2, says("api"));
    bench.see(3, says("api"));
    assert_eq!(bench.members("api__v1"), [1]);
    let changes = bench.see(2, says("api ok v1"));
    assert!(
        matches!(
            &changes[..],
            [Change::Left(node, _, OutReason::Refused(_)), Change::Moved(..)] if node.addr == addr(1)
        ),
        "{changes:?}"
    );
    assert_eq!(bench.versions("api"), [("v1".to_owned(), 1)]);
    assert!(!bench.whole().pools.contains_key("api__v1"));
    bench.see(1, says("api__v1"));
    assert!(bench.refusal_text(1).contains("as version v1 of pool api,"));
    bench.see(1, says("api__v2"));
    assert_eq!(bench.members("api__v2"), [1]);
}

#[test]
fn between_undeclared_pools_a_version_pool_has_its_name_if_it_was_first() {
    let mut bench = Bench::new(folded(&[]), 2);
    bench.see(1, says("api ok v1"));
    bench.see(2, says("api__v1"));
    assert!(matches!(bench.refusal(2), Some(JoinDenied::NameTaken(_))));
    let mut bench = Bench::new(folded(&[]), 2);
    bench.see(2, says("api__v1"));
    let changes = bench.see(1, says("api ok v1"));
    assert!(matches!(
        &changes[..],
        [Change::Joined(..), Change::Unversioned(..)]
    ));
    assert_eq!(bench.members("api"), [1], "only its version has no name");
    assert!(bench.versions("api").is_empty());
    assert!(bench.see(1, says("api ok v1")).is_empty(), "reported once");
}

#[test]
fn of_two_versions_of_one_name_the_second_is_in_the_pool_but_in_no_version_pool() {
    let mut bench = Bench::new(folded(&["api"]), 3);
    bench.see(1, says("api ok v1"));
    bench.see(2, says("api ok V1"));
    bench.see(3, says("api ok v1"));
    assert_eq!(bench.members("api"), [1, 2, 3]);
    assert_eq!(bench.versions("api"), [("v1".to_owned(), 2)]);
    assert!(
        bench
            .refusal_text(2)
            .starts_with("version V1 of pool api has the same name in Balancer, `api__v1`, as version v1 of pool api"),
        "{}",
        bench.refusal_text(2)
    );
    bench.see(1, says("api ok V1"));
    bench.see(3, says("api"));
    bench.now += GRACE;
    for number in [1, 2] {
        bench.see(number, says("api ok V1"));
    }
    assert_eq!(bench.versions("api"), [("V1".to_owned(), 2)]);
    assert_eq!(bench.refusal(2), None);
}

#[test]
fn a_name_that_the_configuration_gives_is_nobody_elses() {
    let mut rules = folded(&["web"]);
    let given = [("web".parse().unwrap(), "api".to_owned())];
    rules.namings = [Naming::new(FOLDED, given)].into_iter().collect();
    let mut bench = Bench::new(rules, 3);
    bench.see(1, says("api"));
    bench.see(2, says("web ok v1"));
    bench.see(3, says("api__v1"));
    assert!(bench.refusal_text(1).contains("as pool web,"));
    assert!(bench.refusal_text(3).contains("as version v1 of pool web,"));
}

#[test]
fn a_name_must_be_free_at_each_load_balancer() {
    /// Knows two letters of a name.
    const SHORT: Scheme = Scheme {
        place: "short",
        of_pool: |pool| pool.as_str().chars().take(2).collect(),
        of_version: |pool, version| format!("{pool}-{version}"),
    };
    let mut rules = folded(&["api"]);
    let given = [("api".parse().unwrap(), "zz".to_owned())];
    let namings = [Naming::new(FOLDED, []), Naming::new(SHORT, given)];
    rules.namings = namings.into_iter().collect();
    let mut bench = Bench::new(rules, 5);
    for (number, said) in [
        (1, "API"),
        (2, "zzz"),
        (3, "web"),
        (4, "weather"),
        (5, "api"),
    ] {
        bench.see(number, says(said));
    }
    // By the first load balancer's names, by the second's given one, and by the second's own.
    assert!(bench.refusal_text(1).contains("as pool api,"));
    assert!(
        bench.refusal_text(2).contains("zz"),
        "{}",
        bench.refusal_text(2)
    );
    assert!(bench.refusal_text(4).contains("as pool web,"));
    assert_eq!((bench.refusal(3), bench.refusal(5)), (None, None));
    // Once its holder is gone and forgotten, a name is free at both.
    bench.see(3, says(""));
    bench.now += GRACE;
    bench.see(4, says("weather"));
    assert_eq!(bench.refusal(4), None);
    bench.see(3, says("web"));
    assert!(bench.refusal_text(3).contains("as pool weather,"));
}

#[test]
fn where_names_are_files_only_each_pool_and_version_has_its_own() {
    let mut rules = folded(&["api"]);
    rules.namings = Namings::default();
    let mut bench = Bench::new(rules, 4);
    for (number, said) in [
        (1, "api ok v1"),
        (2, "API"),
        (3, "api ok V1"),
        (4, "api__v1"),
    ] {
        bench.see(number, says(said));
        assert_eq!(bench.refusal(number), None);
    }
}

#[test]
fn a_reload_that_lets_names_meet_decides_at_once() {
    let mut rules = folded(&[]);
    rules.namings = Namings::default();
    let mut bench = Bench::new(rules, 5);
    for (number, said) in [
        (1, "web"),
        (2, "API"),
        (3, "api ok v1"),
        (4, "Web"),
        (5, "api ok V1"),
    ] {
        bench.see(number, says(said));
    }
    let changes = bench.membership.set_rules(folded(&["api"]), bench.now);
    let out = changes
        .iter()
        .filter(|change| matches!(change, Change::Left(..)));
    assert_eq!(out.count(), 2, "{changes:?}");
    assert_eq!(bench.members("web"), [1], "it was first");
    assert_eq!(bench.members("api"), [3, 5], "it is declared");
    assert_eq!(bench.versions("api"), [("v1".to_owned(), 1)]);
    assert!(
        bench
            .membership
            .set_rules(folded(&["api"]), bench.now)
            .is_empty()
    );
    assert!(bench.see(2, says("API")).is_empty(), "reported already");
}

#[test]
fn an_earlier_runs_pools_have_their_names_before_anything_is_polled() {
    let mut bench = Bench::new(folded(&[]), 4);
    let at = |pool: &str, version: &str, number| {
        let place = Assignment {
            pool: pool.parse().unwrap(),
            version: Some(version.parse().unwrap()),
        };
        (addr(number), place)
    };
    let api = [at("api", "v1", 1), at("api", "V1", 2)];
    bench
        .membership
        .adopt_previous(&"api".parse().unwrap(), api);
    let other = [at("API", "v1", 3)];
    bench
        .membership
        .adopt_previous(&"API".parse().unwrap(), other);
    bench.see(3, says("API"));
    bench.see(4, says("api ok V1"));
    for number in [1, 2] {
        bench.see(number, says("api ok v1"));
    }
    assert!(matches!(bench.refusal(3), Some(JoinDenied::NameTaken(_))));
    assert_eq!(bench.members("api"), [1, 2, 4]);
    assert_eq!(bench.versions("api"), [("v1".to_owned(), 2)]);
}
