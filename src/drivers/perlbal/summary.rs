//! What the rest of pollbal is shown of a Perlbal. Pure.

use std::collections::BTreeSet;

use super::desired::NameMap;
use super::view::{Connection, PerlbalView, PoolView, SeenView};
use crate::drivers::PoolFilter;
use crate::drivers::details::{DriverDetails, PoolDetails};

/// The details of a view.
pub(super) fn details(view: &PerlbalView, filter: &PoolFilter, names: &NameMap) -> DriverDetails {
    let in_sync = view.in_sync;
    let names: Option<BTreeSet<_>> = match filter {
        PoolFilter::Differing => None,
        PoolFilter::Only(pools) => {
            let names = pools.iter().map(|pool| names.name_of(pool));
            Some(names.collect())
        }
    };
    let is_listed = |pool: &&PoolView| match &names {
        None => !is_same(pool, in_sync),
        Some(names) => names.contains(&pool.name),
    };
    let problems = view.pools.iter().flat_map(|pool| pool.problems.clone());
    let listed = view.pools.iter().filter(is_listed);
    DriverDetails {
        connection: connection(view),
        in_sync_since: view.in_sync_since,
        problems: problems.chain(view.remarks.iter().cloned()).collect(),
        pools: listed.map(|view| pool(view, in_sync)).collect(),
        differences: view.differences(),
        counters: view.counters.clone(),
    }
}

fn connection(view: &PerlbalView) -> String {
    match &view.connection {
        Connection::Connected { .. } => {
            let version = view.version.as_deref().unwrap_or("of unknown version");
            format!("Perlbal {version}")
        }
        Connection::NotConnected { why, .. } => why.clone(),
    }
}

fn pool(view: &PoolView, in_sync: bool) -> PoolDetails {
    PoolDetails {
        name: view.name.to_string(),
        services: view.services.iter().map(ToString::to_string).collect(),
        desired: view.wanted.len(),
        sent: view.told_count(),
        observed: view.seen_count(),
        observed_at: view.seen.as_ref().map(|seen| seen.at),
        sent_since: view.seen.as_ref().is_some_and(SeenView::is_outdated),
        same: is_same(view, in_sync),
    }
}

/// Whether desired, sent and observed members are the same. A version pool that does not exist is not
/// desired; and in a Perlbal that is in sync, what was sent since the pool was read is no difference:
/// it obeys.
fn is_same(view: &PoolView, in_sync: bool) -> bool {
    let Some(told) = &view.told else {
        return view.problems.is_empty();
    };
    let seen = view.seen.as_ref();
    let seen = seen.is_some_and(|seen| in_sync || !seen.is_outdated());
    told.is_none() && seen && view.problems.is_empty()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::drivers::perlbal::view::Difference;
    use crate::model::node::NodeAddr;

    fn missing(addr: NodeAddr) -> Difference {
        Difference {
            missing: vec![addr],
            extra: Vec::new(),
        }
    }

    #[test]
    fn what_was_sent_since_a_pool_was_read_is_no_difference() {
        let addr: NodeAddr = "10.0.0.1:80".parse().unwrap();
        let at = Instant::now();
        let seen = |difference| Some(SeenView { at, difference });
        let view = |told, seen| PoolView {
            name: "api".parse().unwrap(),
            services: Vec::new(),
            wanted: [addr].into(),
            told: Some(told),
            seen,
            problems: Vec::new(),
        };
        let shown_by = |in_sync, view: &PoolView| {
            let pool = pool(view, in_sync);
            (pool.observed, pool.same, pool.sent_since)
        };
        let shown = |view: &PoolView| shown_by(true, view);
        let all = Difference::default;
        assert_eq!(shown(&view(all(), seen(all()))), (Some(1), true, false));
        let joined = view(all(), seen(missing(addr)));
        assert_eq!(shown(&joined), (Some(0), true, true));
        // But one that is not in sync may not obey.
        assert_eq!(shown_by(false, &joined), (Some(0), false, true));
        // Sent otherwise than desired, never read, or with a problem, it is not the same.
        let untold = view(missing(addr), seen(all()));
        assert_eq!(shown(&untold), (Some(0), false, false));
        assert_eq!(shown(&view(all(), None)), (None, false, false));
        let mut wrong = joined;
        wrong.problems.push("refused".to_owned());
        assert!(!is_same(&wrong, true));
    }
}
