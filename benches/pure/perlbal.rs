//! From a snapshot to what is said to Perlbal.

use criterion::{BenchmarkId, Criterion};
use pollbal::drivers::perlbal::plan::{Actual, ActualPool, plan};
use pollbal::drivers::perlbal::wanted::{Translation, Wanted};
use pollbal::model::pools::Pools;

use super::site::{POOLS, announce_all, announce_one, serving};

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("perlbal");
    for pools in POOLS {
        let (mut membership, before) = serving(pools);
        let one_changed = announce_one(&mut membership, pools, "v24");
        let all_changed = announce_all(&mut membership, pools, "v25");
        let there = there(&before, &all_changed);

        group.bench_function(BenchmarkId::new("translation, pools", pools), |bencher| {
            bencher.iter_with_large_drop(|| wanted(&before));
        });
        for (name, snapshot) in [
            ("plan with nothing to do, pools", &before),
            ("plan with one change, pools", &one_changed),
            ("plan with all changed, pools", &all_changed),
        ] {
            let wanted = wanted(snapshot);
            group.bench_function(BenchmarkId::new(name, pools), |bencher| {
                bencher.iter_with_large_drop(|| plan(&wanted, &there));
            });
        }
        assert_eq!(plan(&wanted(&before), &there).groups.len(), 0);
        assert_eq!(plan(&wanted(&one_changed), &there).changes.len(), 2);
    }
    group.finish();
}

fn wanted(snapshot: &Pools) -> Wanted {
    let translation = Translation {
        create_pools: true,
        ..Translation::default()
    };
    translation.wanted(snapshot, |_| true)
}

/// A Perlbal that shows the snapshot, and has the version pools of a later one too.
fn there(snapshot: &Pools, later: &Pools) -> Actual {
    let pools = wanted(later).pools.into_keys();
    let mut actual = Actual {
        pools: pools.map(|name| (name, ActualPool::default())).collect(),
        ..Actual::default()
    };
    for command in plan(&wanted(snapshot), &actual).groups.iter().flatten() {
        actual.apply(command);
    }
    actual
}
