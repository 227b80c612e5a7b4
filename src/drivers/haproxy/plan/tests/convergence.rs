//! Whatever is there, plans lead to the desired state.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn admins() -> impl Strategy<Value = Admin> {
    select(vec![Admin::Ready, Admin::Drain, Admin::Maint])
}

/// Any server: slots with and without nodes, added ones, sorry servers at the right address and at another one, the
/// operator's.
fn servers() -> impl Strategy<Value = (HaproxyName, Server)> {
    let kinds = (0..7u8, 1..14u8, 1..12u32);
    (kinds, admins(), any::<bool>(), select(vec![1, 100])).prop_map(
        |((kind, host, number), admin, is_at_rest, weight)| {
            let known = Some(node(host));
            let (name, kind, node) = match kind {
                0 => (format!("pb{number}"), Kind::Slot(number), known),
                1 => (
                    format!("pb{number}"),
                    Kind::Slot(number),
                    Some(placeholder()),
                ),
                2 => {
                    let name = HaproxyName::of_added("web", node(host));
                    (name.to_string(), Kind::Added(node(host)), known)
                }
                3 => (format!("own{number}"), Kind::Declared, known),
                4 | 5 => {
                    let name = HaproxyName::of_sorry(node(host));
                    let addr = if kind == 4 { host } else { host + 1 };
                    (name.to_string(), Kind::Sorry(node(host)), Some(node(addr)))
                }
                _ => (format!("spare{number}"), Kind::Backup, known),
            };
            let server = Server {
                kind,
                node,
                admin,
                weight,
                is_quiet: admin == Admin::Maint && is_at_rest,
            };
            (self::name(&name), server)
        },
    )
}

/// What a read shows of a state in which no request is in progress.
fn read_at_rest(actual: &mut Actual) {
    for backend in actual.backends.values_mut() {
        for server in backend.servers.values_mut() {
            server.is_quiet = server.admin == Admin::Maint;
        }
    }
}

/// Checks that a step does only what it may.
fn check_step(desired: &Desired, actual: &Actual, step: &Step) {
    let before = actual.backends[&step.backend].servers.get(&step.server);
    let Some(before) = before else {
        let adds = matches!(step.action, Action::Add { .. } | Action::AddSorry { .. });
        assert!(adds, "{step}");
        return;
    };
    assert_ne!(before.kind, Kind::Backup, "{step}");
    match step.action {
        Action::Fill { .. } => {
            assert!(before.admin == Admin::Maint && before.is_quiet, "{step}");
        }
        Action::Delete => {
            let is_added = matches!(before.kind, Kind::Added(_) | Kind::Sorry(_));
            assert!(is_added && before.is_quiet, "{step}");
        }
        Action::Weight(_) | Action::Release => assert!(before.is_ours(), "{step}"),
        Action::Ready | Action::Drain | Action::Maint => {
            let mut sorry = desired.backends.values().flat_map(|target| &target.sorry);
            let is_known = before.node.is_some_and(|node| {
                desired.known.contains(&node) || sorry.any(|(sorry, _)| *sorry == node)
            });
            assert!(before.is_ours() || is_known, "{step}");
        }
        Action::Add { .. } | Action::AddSorry { .. } => panic!("{step}"),
    }
}

/// Checks that those sorry servers stand by that should, and no others.
fn check_sorry_servers(desired: &Desired, actual: &Actual) {
    let backend = &actual.backends[&name(BACKEND)];
    let can_stand_by = desired.servers != ServerMode::Slots && !backend.refuses_servers;
    let sorry = desired.backends[&name(BACKEND)].sorry.iter();
    let sorry = sorry.filter(|_| can_stand_by);
    let expected: BTreeSet<_> = sorry.map(|(addr, _)| (*addr, Some(*addr))).collect();
    let servers = backend.servers.values();
    let there = servers.filter_map(|server| match server.kind {
        Kind::Sorry(addr) => {
            assert_eq!((server.admin, server.weight), (Admin::Ready, 100));
            Some((addr, server.node))
        }
        _ => None,
    });
    assert_eq!(there.collect::<BTreeSet<_>>(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn plans_lead_to_the_desired_state_and_give_no_busy_slot_away(
        present in vec(servers(), 0..20),
        members in btree_set(1..10u8, 0..9),
        sorry in btree_set(1..14u8, 0..4),
        refuses_servers in any::<bool>(),
        failed in btree_set(1..10u8, 0..4),
        busy in btree_map(1..10u8, Just(()), 0..4),
        mode in select(vec![ServerMode::Slots, ServerMode::Add, ServerMode::Auto]),
    ) {
        let members: Vec<u8> = members.into_iter().collect();
        let sorry: Vec<u8> = sorry.into_iter().rev().collect();
        let mut desired = with_sorry(desired(&members), &sorry);
        desired.servers = mode;
        desired.healthy.retain(|node| !failed.iter().any(|host| self::node(*host) == *node));
        let mut actual = actual(present);
        for backend in actual.backends.values_mut() {
            backend.refuses_servers = refuses_servers;
        }
        let mut draining: BTreeSet<Member> =
            busy.keys().map(|host| (BACKEND.into(), node(*host))).collect();
        let backend = name(BACKEND);
        // The nodes drain after the first plan, and everything is read after each.
        for round in 0..6 {
            let plan = plan(&desired, &actual, &draining);
            let lacking = !plan.problems.is_empty();
            for step in plan.batches.iter().flatten() {
                check_step(&desired, &actual, step);
                actual.apply(step);
            }
            let serving = &actual.members()[&backend.shared()];
            for host in &members {
                let may_wait = lacking || round < 3;
                prop_assert!(may_wait || serving.contains(&node(*host)), "{actual:#?}");
            }
            draining.clear();
            read_at_rest(&mut actual);
        }
        let again = plan(&desired, &actual, &draining);
        prop_assert!(again.batches.is_empty(), "{:?}", again.batches);
        let target = &desired.members()[&backend.shared()];
        let serving = &actual.members()[&backend.shared()];
        let extra = serving.difference(target);
        // Only the operator's own servers serve besides.
        for addr in extra {
            prop_assert!(!desired.known.contains(addr), "{addr}");
            let servers = actual.backends[&backend].servers.values();
            let mut others = servers.filter(|server| server.node == Some(*addr));
            prop_assert!(others.any(|server| server.kind == Kind::Declared));
        }
        check_sorry_servers(&desired, &actual);
        let servers = actual.backends[&backend].servers.values();
        let mut own = servers.filter(|server| server.kind == Kind::Declared);
        let stands_by = members.is_empty() && own.any(|server| server.admin == Admin::Ready);
        if again.problems.is_empty() && !stands_by {
            prop_assert!(target.is_subset(serving));
        }
    }
}
