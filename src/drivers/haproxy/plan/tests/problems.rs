//! What no step can correct.

use super::*;

#[test]
fn a_backend_that_takes_no_servers_is_a_problem_only_while_a_node_needs_one() {
    let mut actual = actual([]);
    let backend = actual.backends.get_mut(&name(BACKEND)).unwrap();
    backend.refuses_servers = true;
    let refused = plan(&desired(&[1, 2]), &actual, &BTreeSet::new());
    assert_eq!(refused.batches, [[]; 0]);
    let problem = "no servers can be added to backend api, as its balancing algorithm is static: write `balance roundrobin` or `server-template pb 1-50 127.0.0.1:1 disabled` there into haproxy.cfg and reload HAProxy";
    assert_eq!(refused.problems, [problem.to_owned()].into());
    let nobody = plan(&desired(&[]), &actual, &BTreeSet::new());
    assert_eq!(nobody.problems, Problems::new());
}

#[test]
fn a_missing_backend_and_missing_slots_are_problems_that_say_what_to_write() {
    let desired = desired(&[1, 2]);
    let nothing = plan(&desired, &Actual::default(), &BTreeSet::new());
    let text = &nothing.absent[&"api".parse::<crate::model::names::PoolName>().unwrap()];
    assert_eq!(
        text,
        "backend api is missing in HAProxy: write `backend api` with the line `server-template pb 1-50 127.0.0.1:1 disabled` into haproxy.cfg and reload HAProxy"
    );
    let one = plan(&desired, &actual([free(1)]), &BTreeSet::new());
    let problems: Vec<_> = one.problems.into_iter().collect();
    assert_eq!(
        problems,
        [
            "backend api has no free slot for 1 node: raise the number in its line `server-template pb 1-…` in haproxy.cfg and reload HAProxy"
        ]
    );
    // One that is about to be free is none.
    let mut released = slot(2, Some(placeholder()), Admin::Maint);
    released.1.is_quiet = false;
    let soon = plan(&desired, &actual([free(1), released]), &BTreeSet::new());
    assert!(soon.problems.is_empty());
}
