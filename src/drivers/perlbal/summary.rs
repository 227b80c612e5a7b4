//! What the rest of pollbal is shown of a Perlbal. Pure.

use std::collections::BTreeSet;

use super::desired::NameMap;
use super::view::{Connection, ObservedView, PerlbalView, PoolView};
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
        desired: view.desired.len(),
        sent: view.sent_count(),
        observed: view.observed_count(),
        observed_at: view.observed.as_ref().map(|observed| observed.at),
        sent_since: view
            .observed
            .as_ref()
            .is_some_and(ObservedView::is_outdated),
        same: is_same(view, in_sync),
    }
}

/// Whether desired, sent and observed members are the same. A version pool that does not exist is not
/// desired; and in a Perlbal that is in sync, what was sent since the pool was read is no difference:
/// it obeys.
fn is_same(view: &PoolView, in_sync: bool) -> bool {
    let Some(sent) = &view.sent else {
        return view.problems.is_empty();
    };
    let observed = view.observed.as_ref();
    let observed = observed.is_some_and(|observed| in_sync || !observed.is_outdated());
    sent.is_none() && observed && view.problems.is_empty()
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
        let observed = |difference| Some(ObservedView { at, difference });
        let view = |sent, observed| PoolView {
            name: "api".parse().unwrap(),
            services: Vec::new(),
            desired: [addr].into(),
            sent: Some(sent),
            observed,
            problems: Vec::new(),
        };
        let shown_by = |in_sync, view: &PoolView| {
            let pool = pool(view, in_sync);
            (pool.observed, pool.same, pool.sent_since)
        };
        let shown = |view: &PoolView| shown_by(true, view);
        let all = Difference::default;
        assert_eq!(shown(&view(all(), observed(all()))), (Some(1), true, false));
        let joined = view(all(), observed(missing(addr)));
        assert_eq!(shown(&joined), (Some(0), true, true));
        // But one that is not in sync may not obey.
        assert_eq!(shown_by(false, &joined), (Some(0), false, true));
        // Sent otherwise than desired, never read, or with a problem, it is not the same.
        let unsent = view(missing(addr), observed(all()));
        assert_eq!(shown(&unsent), (Some(0), false, false));
        assert_eq!(shown(&view(all(), None)), (None, false, false));
        let mut wrong = joined;
        wrong.problems.push("rejected".to_owned());
        assert!(!is_same(&wrong, true));
    }
}
