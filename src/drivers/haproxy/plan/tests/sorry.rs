//! Sorry servers: as `backup` servers, and where none can be added.

use super::*;

fn sorry(host: u8, node: Option<NodeAddr>, admin: Admin) -> (HaproxyName, Server) {
    let addr = self::node(host);
    let server = server(Kind::Sorry(addr), node, admin);
    (HaproxyName::of_sorry(addr), server)
}

/// One that is as it should be.
fn right(host: u8) -> (HaproxyName, Server) {
    sorry(host, Some(node(host)), Admin::Ready)
}

fn nobody() -> BTreeSet<Member> {
    BTreeSet::new()
}

/// Nodes that get requests.
fn serving(actual: &Actual) -> BTreeSet<NodeAddr> {
    actual.members()[&name(BACKEND).shared()].clone()
}

#[test]
fn sorry_servers_stand_by_in_their_order_whether_or_not_there_are_members() {
    for members in [&[1][..], &[]] {
        let desired = with_sorry(desired(members), &[12, 11]);
        let present = members
            .iter()
            .map(|host| slot(1, Some(node(*host)), Admin::Ready));
        let mut actual = actual(present.chain([free(2)]));
        let expected = [12, 11].map(|host| {
            format!("add pollbal-sorry:10.0.0.{host}:80 10.0.0.{host}:80 weight 100 backup pool-max-conn 1000 pool-purge-delay 5s; set pollbal-sorry:10.0.0.{host}:80 state ready")
        });
        assert_eq!(steps(&desired, &actual, &nobody()), expected);
        let plan = plan(&desired, &actual, &nobody());
        let all = plan.batches.iter().flatten();
        all.for_each(|step| actual.apply(step));
        assert_eq!(steps(&desired, &actual, &nobody()), [""; 0]);
        let recipients = if members.is_empty() {
            &[11, 12]
        } else {
            members
        };
        let recipients = recipients.iter().copied().map(node).collect();
        assert_eq!(serving(&actual), recipients);
        assert_eq!(desired.members()[&name(BACKEND).shared()], recipients);
    }
}

#[test]
fn while_there_are_members_a_sorry_server_may_have_requests_in_progress_but_gets_none() {
    let present = [right(11), slot(1, Some(node(1)), Admin::Ready)];
    let mut actual = actual(present);
    assert_eq!(serving(&actual), [node(1)].into());
    assert_eq!(actual.retired(), [(BACKEND.into(), node(11))]);
    let backend = actual.backends.get_mut(&name(BACKEND)).unwrap();
    backend.servers.remove(&name("pb1"));
    assert_eq!(serving(&actual), [node(11)].into());
    assert_eq!(actual.retired(), []);
}

#[test]
fn a_sorry_server_is_put_right() {
    let desired = with_sorry(desired(&[1]), &[11]);
    let with = |sorry| actual([slot(1, Some(node(1)), Admin::Ready), sorry]);
    for admin in [Admin::Drain, Admin::Maint] {
        let stopped = with(sorry(11, Some(node(11)), admin));
        let ready = ["set pollbal-sorry:10.0.0.11:80 state ready"];
        assert_eq!(steps(&desired, &stopped, &nobody()), ready);
    }
    let mut light = right(11);
    light.1.weight = 7;
    let weight = ["set pollbal-sorry:10.0.0.11:80 weight 100"];
    assert_eq!(steps(&desired, &with(light), &nobody()), weight);
    // At another address it is replaced, once nothing uses it.
    let stranger = Some(node(12));
    let moved = with(sorry(11, stranger, Admin::Ready));
    let maint = ["set pollbal-sorry:10.0.0.11:80 state maint"];
    assert_eq!(steps(&desired, &moved, &nobody()), maint);
    let moved = with(sorry(11, stranger, Admin::Maint));
    let delete = ["del pollbal-sorry:10.0.0.11:80"];
    assert_eq!(steps(&desired, &moved, &nobody()), delete);
}

#[test]
fn one_that_is_configured_no_more_goes_once_nothing_uses_it() {
    let mut desired = desired(&[1]);
    let with = |sorry| actual([slot(1, Some(node(1)), Admin::Ready), sorry]);
    let maint = ["set pollbal-sorry:10.0.0.11:80 state maint"];
    assert_eq!(steps(&desired, &with(right(11)), &nobody()), maint);
    let mut busy = sorry(11, Some(node(11)), Admin::Maint);
    busy.1.is_quiet = false;
    assert_eq!(steps(&desired, &with(busy), &draining(&[11])), [""; 0]);
    let idle = with(sorry(11, Some(node(11)), Admin::Maint));
    let delete = ["del pollbal-sorry:10.0.0.11:80"];
    assert_eq!(steps(&desired, &idle, &nobody()), delete);
    // Also where no server may be added any more, and where no node has served.
    desired.servers = ServerMode::Slots;
    assert_eq!(steps(&desired, &idle, &nobody()), delete);
    desired.backends.insert(
        name(BACKEND),
        DesiredBackend {
            is_unserved: true,
            ..DesiredBackend::default()
        },
    );
    assert_eq!(steps(&desired, &idle, &nobody()), delete);
}

#[test]
fn where_no_server_can_be_added_sorry_servers_get_slots_while_there_is_no_member() {
    let fill = "set pb2 addr 10.0.0.11 port 80; set pb2 state ready";
    for is_static in [false, true] {
        let with = |slots: [(HaproxyName, Server); 2]| {
            let mut actual = actual(slots);
            let backend = actual.backends.get_mut(&name(BACKEND)).unwrap();
            backend.refuses_servers = is_static;
            actual
        };
        let sorry_in_turn = |members| {
            let mut desired = with_sorry(desired(members), &[11]);
            if !is_static {
                desired.servers = ServerMode::Slots;
            }
            desired
        };
        let one = slot(1, Some(node(1)), Admin::Ready);
        let alone = with([one.clone(), free(2)]);
        assert_eq!(steps(&sorry_in_turn(&[1]), &alone, &nobody()), [""; 0]);
        let expected = [fill, "set pb1 state drain"];
        assert_eq!(steps(&sorry_in_turn(&[]), &alone, &nobody()), expected);
        let both = with([one, slot(2, Some(node(11)), Admin::Ready)]);
        let expected = ["set pb2 state maint"];
        assert_eq!(steps(&sorry_in_turn(&[1]), &both, &nobody()), expected);
    }
}

#[test]
fn a_member_of_the_pool_and_an_operators_server_may_have_a_sorry_servers_address() {
    let desired = with_sorry(desired(&[1]), &[1, 11]);
    let own = server(Kind::Declared, Some(node(11)), Admin::Maint);
    let actual = actual([
        slot(1, Some(node(1)), Admin::Ready),
        right(1),
        right(11),
        (name("own"), own),
    ]);
    assert_eq!(steps(&desired, &actual, &nobody()), [""; 0]);
    assert_eq!(serving(&actual), [node(1)].into());
}

#[test]
fn where_no_node_has_served_a_sorry_server_stands_by_and_who_is_there_stays() {
    let mut desired = with_sorry(desired(&[]), &[11]);
    for target in desired.backends.values_mut() {
        target.is_unserved = true;
    }
    let there = slot(1, Some(node(1)), Admin::Ready);
    let added = steps(&desired, &actual([there.clone()]), &nobody());
    assert!(added.len() == 1 && added[0].starts_with("add pollbal-sorry:"));
    let actual = actual([there, right(11)]);
    assert_eq!(steps(&desired, &actual, &nobody()), [""; 0]);
}
