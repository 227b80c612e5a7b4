//! Lists that are cut off, and lists that only lost what they were to lose.

use super::*;

fn addr(number: usize) -> NodeAddr {
    format!("10.0.{}.{}:8080", number / 250, number % 250 + 1)
        .parse()
        .unwrap()
}

fn node(number: usize) -> Node {
    Node::new(addr(number), format!("node-{number}"))
}

fn list(numbers: impl IntoIterator<Item = usize>) -> List {
    List {
        nodes: numbers.into_iter().map(node).collect(),
        ..List::default()
    }
}

/// This number of nodes that are in no pool.
fn standing(nodes: usize) -> Standing {
    Standing {
        nodes: (0..nodes).map(|number| Arc::new(node(number))).collect(),
        listed: nodes,
        pools: BTreeMap::new(),
    }
}

fn with_pool(
    mut standing: Standing,
    pool: &str,
    min_members: usize,
    members: &[(usize, bool)],
) -> Standing {
    let members = members
        .iter()
        .map(|(number, serves)| (addr(*number), *serves));
    let pool_standing = PoolStanding {
        min_members,
        members: members.collect(),
    };
    standing.pools.insert(pool.parse().unwrap(), pool_standing);
    standing
}

const THIRD: MaxRemoved = MaxRemoved::Share { part: 1, of: 3 };

fn why(list: &List, standing: &Standing) -> Vec<Why> {
    judge(list, standing, THIRD).map_or_else(|withheld| withheld.why, |()| Vec::new())
}

#[test]
fn a_third_may_go_at_once_and_no_more() {
    assert_eq!(why(&list(0..8), &standing(12)), []);
    let expected = [Why::TooMany(5, 12, THIRD)];
    assert_eq!(why(&list(0..7), &standing(12)), expected);
    assert_eq!(why(&list(0..2), &standing(3)), []);
    assert_eq!(why(&list(0..1), &standing(3)), [Why::TooMany(2, 3, THIRD)]);
    assert_eq!(
        why(&list([]), &standing(2)),
        [Why::TooMany(2, 2, THIRD)],
        "an empty list"
    );
}

#[test]
fn a_single_node_always_may_go() {
    for max in [
        MaxRemoved::Number(0),
        MaxRemoved::Share { part: 0, of: 100 },
        THIRD,
    ] {
        assert!(judge(&list(0..1), &standing(2), max).is_ok());
        assert!(judge(&list([]), &standing(1), max).is_ok());
        assert!(judge(&list(0..2), &standing(4), max).is_err());
    }
}

#[test]
fn a_number_counts_as_it_is() {
    let two = MaxRemoved::Number(2);
    assert!(judge(&list(0..1), &standing(3), two).is_ok());
    assert!(judge(&list(0..97), &standing(100), two).is_err());
}

#[test]
fn what_is_added_does_not_excuse_what_is_removed() {
    let expected = [Why::TooMany(4, 4, THIRD)];
    assert_eq!(why(&list(4..40), &standing(4)), expected);
    // Those that stayed before are no part of the list that counts.
    let mut standing = standing(40);
    standing.listed = 4;
    assert_eq!(why(&list(4..40), &standing), expected);
}

#[test]
fn a_pool_keeps_its_last_members() {
    let one = with_pool(standing(12), "web", 0, &[(3, true)]);
    let expected = [Why::LastMembers("web".parse().unwrap(), 1)];
    assert_eq!(
        why(&list((0..12).filter(|node| *node != 3)), &one),
        expected
    );
    // Also one that fails, and is kept in.
    let kept = with_pool(standing(12), "web", 1, &[(3, false)]);
    assert_eq!(
        why(&list((0..12).filter(|node| *node != 3)), &kept),
        expected
    );
    let two = with_pool(standing(12), "web", 0, &[(3, true), (4, true)]);
    assert_eq!(why(&list((0..12).filter(|node| *node != 3)), &two), []);
    let failing = with_pool(standing(12), "web", 0, &[(3, true), (4, false)]);
    assert_eq!(
        why(&list((0..12).filter(|node| *node != 3)), &failing),
        [Why::LastServing("web".parse().unwrap())]
    );
}

#[test]
fn a_pool_keeps_its_min_members() {
    let members = [(0, true), (1, true), (2, true), (3, false)];
    let pool = with_pool(standing(12), "api", 3, &members);
    let expected = [Why::BelowMin("api".parse().unwrap(), 2, 3)];
    assert_eq!(why(&list(1..12), &pool), expected);
    let without_the_failing = list((0..12).filter(|node| *node != 3));
    assert_eq!(why(&without_the_failing, &pool), []);
    assert_eq!(why(&list(0..11), &pool), [], "no member");
}

#[test]
fn the_beginning_of_a_port_is_no_new_node() {
    let mut cut = list(0..11);
    let half: NodeAddr = "10.0.0.12:808".parse().unwrap();
    let name = half.to_string();
    cut.nodes.push(Node::new(half, name));
    assert_eq!(why(&cut, &standing(12)), [], "its line has an end");
    cut.unfinished = true;
    let withheld = judge(&cut, &standing(12), THIRD).unwrap_err();
    assert_eq!(withheld.why, [Why::CutOff(half, Arc::new(node(11)))]);
    let active = withheld.active(&cut);
    assert_eq!(active, list(0..12).nodes, "the half is none of them");
}

#[test]
fn those_that_stay_stand_behind_those_of_the_list() {
    let new = list([20, 3, 0]);
    let withheld = judge(&new, &standing(4), THIRD).unwrap_err();
    let names: Vec<_> = withheld.names().collect();
    assert_eq!(names, ["node-1", "node-2"]);
    assert_eq!(withheld.active(&new), list([20, 3, 0, 1, 2]).nodes);
}

#[test]
fn a_text_tells_why_and_whom_it_concerns_and_what_to_do() {
    let pool = with_pool(standing(100), "web", 0, &[(3, true), (4, true)]);
    let text = judge(&list(50..100), &pool, THIRD).unwrap_err().to_string();
    for part in [
        "50 nodes are missing from it and stay: 50 of 100 at once are more than max_removed (1/3); \
         pool web would lose all its 2 members.",
        "`pollbal reload --accept-removals`: node-0, node-1,",
        "node-19, and 30 more",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_share_is_a_fraction_or_a_number_of_hundredths() {
    for (text, part, of) in [("1/3", 1, 3), ("33%", 33, 100), ("0%", 0, 100)] {
        let share: MaxRemoved = text.parse().unwrap();
        assert_eq!(share, MaxRemoved::Share { part, of });
        assert_eq!(share.to_string(), text);
    }
    for text in [
        "", "3", "%", "1/0", "4/3", "101%", "-1%", "+1%", "1/3/3", "0.5", "1 %",
    ] {
        assert_eq!(text.parse::<MaxRemoved>(), Err(NoShare), "{text}");
    }
}
