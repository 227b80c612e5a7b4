//! One Perlbal, as wanted, told and seen.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::earlier;
use super::status::Filter;
use crate::api;
use crate::drivers::perlbal::desired::NameMap;
use crate::drivers::perlbal::standing::Standing;
use crate::drivers::perlbal::view::{Connection, PerlbalView, PoolView, SeenView};
use crate::model::node::Node;
use crate::model::time::Clock;

/// A Perlbal, with what its manager answered; nothing when it did not in time.
pub(crate) struct Asked {
    pub(crate) address: String,
    pub(crate) standing: Standing,
    pub(crate) view: Option<PerlbalView>,
}

pub(crate) fn perlbal(
    clock: &Clock,
    asked: &Asked,
    (translation, out): (&NameMap, &[Arc<Node>]),
    filter: &Filter,
) -> api::Perlbal {
    let Asked {
        address,
        standing,
        view,
    } = asked;
    let names: BTreeSet<_> = filter
        .pools
        .iter()
        .map(|pool| translation.name_of(pool))
        .collect();
    let in_sync = standing.connected && standing.in_sync;
    let wanted = |pool: &&PoolView| {
        if names.is_empty() {
            !is_same(pool, in_sync)
        } else {
            names.contains(&pool.name)
        }
    };
    let pools = view.iter().flat_map(|view| &view.pools);
    let problems = view.iter().flat_map(|view| &view.pools);
    let problems = problems.flat_map(|pool| pool.problems.clone());
    let remarks = view.iter().flat_map(|view| view.remarks.clone());
    api::Perlbal {
        address: address.clone(),
        connected: standing.connected,
        connection: view
            .as_ref()
            .map_or_else(|| "no answer".to_owned(), connection),
        away: away(clock, standing),
        in_sync,
        since: view.as_ref().map(|view| earlier(clock, view.in_sync_since)),
        problems: problems
            .chain(remarks)
            .chain(strays(address, standing, out))
            .collect(),
        pools: pools
            .filter(wanted)
            .map(|view| pool(clock, view, in_sync))
            .collect(),
        unrest: standing
            .unrest
            .iter()
            .map(|(node, pools)| api::Unrest {
                node: node.to_string(),
                pools: pools.keys().map(ToString::to_string).collect(),
                since: earlier(clock, pools.values().min().copied().unwrap_or(clock.now)),
            })
            .collect(),
    }
}

/// The nodes that are in no pool of pollbal's, but get requests there by one that is not pollbal's.
fn strays(address: &str, standing: &Standing, out: &[Arc<Node>]) -> impl Iterator<Item = String> {
    let strays = out.iter().filter(|_| standing.connected);
    strays.filter_map(move |node| {
        let stray = standing.strays.get(&node.addr)?;
        let text = stray.text(address);
        (!stray.is_managed()).then(|| format!("{} is out, but {text}", node.name))
    })
}

/// Why a Perlbal is not connected, since when, and what waits to be applied there.
pub(super) fn away(clock: &Clock, standing: &Standing) -> Option<api::Away> {
    let away = standing.away.as_ref()?;
    let cause = away.cause.as_ref();
    Some(api::Away {
        since: earlier(clock, away.since),
        state: cause.map_or("", |cause| cause.state).to_owned(),
        cause: cause.map_or_else(String::new, |cause| cause.detail.clone()),
        not_applied: away.waiting.named.clone(),
        not_applied_count: away.waiting.count,
    })
}

/// For people: what it is, or why it is not connected. Without a time that runs on, or each look would
/// find something new.
fn connection(view: &PerlbalView) -> String {
    match &view.connection {
        Connection::Connected { .. } => {
            let version = view.version.as_deref().unwrap_or("of unknown version");
            format!("Perlbal {version}")
        }
        Connection::NotConnected { why, .. } => why.clone(),
    }
}

fn pool(clock: &Clock, view: &PoolView, in_sync: bool) -> api::PerlbalPool {
    api::PerlbalPool {
        name: view.name.to_string(),
        wanted: view.wanted.len(),
        told: view.told_count(),
        seen: view.seen_count(),
        seen_at: view.seen.as_ref().map(|seen| earlier(clock, seen.at)),
        told_since: view.seen.as_ref().is_some_and(SeenView::is_outdated),
        services: view.services.iter().map(ToString::to_string).collect(),
        same: is_same(view, in_sync),
    }
}

/// Whether wanted, told and seen are the same. A version pool that nobody made is not wanted; and in a
/// Perlbal that is in sync, what was told since the pool was seen is no difference: it obeys.
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
    fn what_was_told_since_a_pool_was_seen_is_no_difference() {
        let clock = Clock::now();
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
            let pool = pool(&clock, view, in_sync);
            (pool.seen, pool.same, pool.told_since)
        };
        let shown = |view: &PoolView| shown_by(true, view);
        let all = Difference::default;
        assert_eq!(shown(&view(all(), seen(all()))), (Some(1), true, false));
        let joined = view(all(), seen(missing(addr)));
        assert_eq!(shown(&joined), (Some(0), true, true));
        // But one that is not in sync may not obey.
        assert_eq!(shown_by(false, &joined), (Some(0), false, true));
        // Told otherwise than wanted, never seen, or with a problem, it is not the same.
        let untold = view(missing(addr), seen(all()));
        assert_eq!(shown(&untold), (Some(0), false, false));
        assert_eq!(shown(&view(all(), None)), (None, false, false));
        let mut wrong = joined;
        wrong.problems.push("refused".to_owned());
        assert!(!is_same(&wrong, true));
    }
}
