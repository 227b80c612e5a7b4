//! What is planned: by example, and that it leads from any state to any other.

use proptest::prelude::*;

use super::*;

fn name(text: &str) -> PerlbalName {
    text.parse().unwrap()
}

fn addr(number: usize) -> NodeAddr {
    format!("10.0.{}.{}:80", number / 250, number % 250)
        .parse()
        .unwrap()
}

fn desired_pool(members: impl IntoIterator<Item = usize>) -> DesiredPool {
    let members = members.into_iter().map(addr).collect();
    DesiredPool {
        spares: BTreeSet::new(),
        members,
        missing: Missing::Create,
        file: Some("api.pool".to_owned()),
        ..DesiredPool::default()
    }
}

fn desired(members: impl IntoIterator<Item = usize>) -> Desired {
    let pools = [(name("api"), desired_pool(members))].into();
    Desired { pools }
}

fn actual(members: impl IntoIterator<Item = usize>, services: &[&str]) -> Actual {
    let members = members
        .into_iter()
        .map(|number| Endpoint::Node(addr(number)))
        .collect();
    let pool = ActualPool {
        members,
        ..ActualPool::default()
    };
    let services = services.iter().map(|service| (name(service), on("api")));
    Actual {
        pools: [(name("api"), pool)].into(),
        services: services.collect(),
    }
}

/// A service on that pool.
fn on(pool: &str) -> Service {
    Service {
        pool: Some(name(pool)),
        ..Service::default()
    }
}

fn lines(plan: &Plan) -> Vec<Vec<String>> {
    plan.groups
        .iter()
        .map(|group| group.iter().map(ToString::to_string).collect())
        .collect()
}

#[test]
fn adds_come_before_removes_and_seals_stand_right_behind_them() {
    let mut actual = actual([1, 3], &["web", "web_ssl"]);
    actual.services.insert(name("other"), on("static"));
    let plan = plan(&desired([2, 3]), &actual);
    let expected: [&[&str]; 2] = [
        &["POOL api ADD 10.0.0.2:80"],
        &[
            "POOL api REMOVE 10.0.0.1:80",
            "SET web pool = api",
            "SET web_ssl pool = api",
        ],
    ];
    assert_eq!(lines(&plan), expected);
}

#[test]
fn what_waits_for_an_empty_pool_is_set_going_when_it_gets_a_member() {
    let mut actual = actual([], &["web", "web_ssl"]);
    actual.services.insert(name("other"), on("static"));
    let ahead = actual.services.get_mut(&name("web_ssl")).unwrap();
    ahead.connect_ahead = 4;
    let expected: [&[&str]; 1] = [&[
        "POOL api ADD 10.0.0.1:80",
        "POOL api ADD 10.0.0.2:80",
        "SET web connect_ahead = 0",
        "SET web_ssl connect_ahead = 4",
    ]];
    assert_eq!(lines(&plan(&desired([1, 2]), &actual)), expected);
}

#[test]
fn what_waits_for_members_that_are_all_gone_is_set_going_too() {
    let plan = plan(&desired([3]), &actual([1, 2], &["web"]));
    let expected: [&[&str]; 2] = [
        &["POOL api ADD 10.0.0.3:80"],
        &[
            "POOL api REMOVE 10.0.0.1:80",
            "POOL api REMOVE 10.0.0.2:80",
            "SET web pool = api",
            "SET web connect_ahead = 0",
        ],
    ];
    assert_eq!(lines(&plan), expected);
}

#[test]
fn what_is_right_already_needs_no_command() {
    let plan = plan(&desired([1, 2]), &actual([1, 2], &["web"]));
    assert_eq!(plan, Plan::default());
}

#[test]
fn a_missing_pool_is_made_when_it_has_a_member_and_may_be_made() {
    let nothing = Actual::default();
    let expected: [&[&str]; 1] = [&["CREATE POOL api", "POOL api ADD 10.0.0.1:80"]];
    assert_eq!(lines(&plan(&desired([1]), &nothing)), expected);
    assert_eq!(plan(&desired([]), &nothing), Plan::default());
    let mut desired = desired([1]);
    desired.pools.get_mut(&name("api")).unwrap().missing = Missing::Ignore;
    assert_eq!(plan(&desired, &nothing), Plan::default());
    desired.pools.get_mut(&name("api")).unwrap().missing = Missing::Report;
    let reported = plan(&desired, &nothing);
    assert_eq!(
        reported.problems,
        [Problem::MissingPool(name("api"))].into()
    );
    assert!(reported.groups.is_empty());
}

#[test]
fn a_name_taken_by_a_service_is_a_problem_and_the_other_pools_go_on() {
    let mut desired = desired([1]);
    desired.pools.insert(name("web"), desired_pool([2]));
    let mut actual = Actual::default();
    actual.services.insert(name("api"), Service::default());
    let plan = plan(&desired, &actual);
    assert_eq!(plan.problems, [Problem::TakenByService(name("api"))].into());
    let expected: [&[&str]; 1] = [&["CREATE POOL web", "POOL web ADD 10.0.0.2:80"]];
    assert_eq!(lines(&plan), expected);
}

#[test]
fn a_pool_that_nobody_announced_is_never_touched() {
    let plan = plan(&Desired::default(), &actual([1, 2], &["web"]));
    assert_eq!(plan, Plan::default());
}

#[test]
fn what_was_removed_but_not_sealed_is_removed_and_sealed_once_more() {
    let mut actual = actual([1], &["web"]);
    let gone = Endpoint::Node(addr(2));
    actual
        .pools
        .get_mut(&name("api"))
        .unwrap()
        .unsealed
        .insert(gone);
    let plan = plan(&desired([1]), &actual);
    assert_eq!(
        lines(&plan),
        [["POOL api REMOVE 10.0.0.2:80", "SET web pool = api"]]
    );
    assert!(plan.changes.is_empty(), "nothing that would be logged");
}

#[test]
fn a_big_change_reloads_our_own_current_nodefile() {
    let mut there = actual([500], &["web"]);
    let file = OwnFile {
        name: "api.pool".to_owned(),
        path: "/run/pool/api.pool".to_owned(),
    };
    there.pools.get_mut(&name("api")).unwrap().own_file = Some(file);
    let big = desired(0..RELOAD_CHANGES);
    let expected = [[
        "SET api nodefile = /run/pool/api.pool",
        "SET web pool = api",
        "SET web connect_ahead = 0",
    ]];
    assert_eq!(lines(&plan(&big, &there)), expected);
    let small = desired(0..RELOAD_CHANGES - 2);
    assert!(
        lines(&plan(&small, &there))
            .concat()
            .iter()
            .all(|line| line.starts_with("POOL") || line.starts_with("SET web"))
    );
    let mut not_written = big;
    not_written.pools.get_mut(&name("api")).unwrap().file = None;
    assert!(
        lines(&plan(&not_written, &there))
            .concat()
            .iter()
            .all(|line| !line.contains("nodefile"))
    );
}

/// Some of what is there was written by hand, and is no address.
fn endpoint(number: usize) -> Endpoint {
    if number % 10 == 9 {
        Endpoint::Unparsed(format!("10.0.0.999:{number}"))
    } else {
        Endpoint::Node(addr(number))
    }
}

fn members() -> impl Strategy<Value = BTreeSet<usize>> {
    proptest::collection::btree_set(0..60usize, 0..60)
}

prop_compose! {
    fn any_actual()(
        pools in proptest::collection::btree_map(0..5usize, (members(), any::<bool>(), members()), 0..5),
        services in proptest::collection::btree_map(0..40usize, 0..5usize, 0..40),
    ) -> Actual {
        let pools = pools.into_iter().map(|(pool, (members, own, unsealed))| {
            let file = OwnFile { name: format!("p{pool}.pool"), path: format!("/x/p{pool}.pool") };
            let endpoints = |set: BTreeSet<usize>| set.into_iter().map(endpoint).collect();
            let pool_is = ActualPool { members: endpoints(members), own_file: own.then_some(file), foreign_file: None, unsealed: endpoints(unsealed) };
            (name(&format!("p{pool}")), pool_is)
        });
        let services = services.into_iter().map(|(service, pool)| {
            (name(&format!("service_{service}")), on(&format!("p{pool}")))
        });
        Actual { pools: pools.collect(), services: services.collect() }
    }
}

prop_compose! {
    fn any_desired()(
        pools in proptest::collection::btree_map(0..5usize, (members(), any::<bool>()), 0..5),
    ) -> Desired {
        let pools = pools.into_iter().map(|(pool, (members, current))| {
            let file = current.then(|| format!("p{pool}.pool"));
            (name(&format!("p{pool}")), DesiredPool { file, ..desired_pool(members) })
        });
        Desired { pools: pools.collect() }
    }
}

proptest! {
    #[test]
    fn the_plan_applied_to_what_is_there_gives_what_is_desired(desired in any_desired(), actual in any_actual()) {
        let mut sent = actual.clone();
        for command in plan(&desired, &actual).groups.iter().flatten() {
            sent.apply(command);
        }
        for (name, pool) in &desired.pools {
            let members: BTreeSet<_> = pool.members.iter().copied().map(Endpoint::Node).collect();
            match sent.pools.get(name) {
                Some(there) => prop_assert_eq!(&there.members, &members),
                None => prop_assert!(members.is_empty()),
            }
        }
        for (name, pool) in actual.pools.iter().filter(|(name, _)| !desired.pools.contains_key(*name)) {
            prop_assert_eq!(Some(pool), sent.pools.get(name), "not ours");
        }
        prop_assert!(plan(&desired, &sent).changes.is_empty());
    }

    #[test]
    fn every_group_fits_and_every_removal_stands_before_each_seal(desired in any_desired(), actual in any_actual()) {
        let plan = plan(&desired, &actual);
        for group in &plan.groups {
            prop_assert!(bytes(group) <= GROUP_BYTES);
            let removes = group.iter().any(|command| matches!(command, Command::Remove(..) | Command::Reload { .. }));
            let seals = group.iter().any(|command| matches!(command, Command::Seal { .. }));
            prop_assert!(!seals || removes, "a seal without a removal");
            let sealed: BTreeSet<_> = group.iter().filter_map(|command| match command {
                Command::Seal { pool, .. } => Some(pool),
                _ => None,
            }).collect();
            prop_assert!(sealed.len() <= 1, "several pools are sealed in one piece");
        }
        for (pool, change) in &plan.changes {
            let users = actual.users(pool).count();
            for gone in &change.removed {
                let sealing = plan.groups.iter().filter(|group| {
                    let removed = Command::Remove(pool.clone(), gone.clone());
                    group.iter().any(|c| *c == removed || matches!(c, Command::Reload { pool: p, .. } if p == pool))
                });
                let seals: BTreeSet<String> = sealing.flatten()
                    .filter(|command| matches!(command, Command::Seal { .. }))
                    .map(ToString::to_string).collect();
                prop_assert_eq!(seals.len(), users, "each service is sealed with each removal");
            }
        }
    }

    #[test]
    fn the_users_of_a_pool_in_which_nobody_stays_are_woken_behind_its_changes_and_no_others(desired in any_desired(), actual in any_actual()) {
        let plan = plan(&desired, &actual);
        let commands: Vec<_> = plan.groups.iter().flatten().collect();
        let mut expected = BTreeSet::new();
        for (pool, change) in &plan.changes {
            let there = actual.pools.get(pool).map(|pool| pool.members.clone()).unwrap_or_default();
            let stays = there.difference(&change.removed).next().is_some();
            if stays || change.added.is_empty() {
                continue;
            }
            let last = commands.iter().rposition(|command| command.changes() == Some(pool));
            for service in actual.users(pool).map(|(service, _)| service) {
                let woken = |command: &&Command| matches!(command, Command::Wake { service: woken, .. } if woken == service);
                prop_assert_eq!(commands.iter().copied().filter(woken).count(), 1);
                prop_assert!(commands.iter().copied().rposition(|command| woken(&command)) > last);
                expected.insert(service);
            }
        }
        let woken: BTreeSet<_> = commands.iter().filter_map(|command| match command {
            Command::Wake { service, .. } => Some(service),
            _ => None,
        }).collect();
        prop_assert_eq!(woken, expected);
    }
}
