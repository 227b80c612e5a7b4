//! From a snapshot to what is said to Perlbal.

use criterion::{BenchmarkId, Criterion};
use pollbal::drivers::perlbal::desired::{Desired, NameMap};
use pollbal::drivers::perlbal::plan::{Actual, ActualPool, plan};
use pollbal::model::pools::Pools;

use super::site::{POOLS, announce_all, announce_one, serving};

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("perlbal");
    for pools in POOLS {
        let (mut membership, before) = serving(pools);
        let one_changed = announce_one(&mut membership, pools, "v24");
        let all_changed = announce_all(&mut membership, pools, "v25");
        let there = there(&before, &all_changed);

        group.bench_function(BenchmarkId::new("name_map, pools", pools), |bencher| {
            bencher.iter_with_large_drop(|| desired(&before));
        });
        for (name, snapshot) in [
            ("plan with nothing to do, pools", &before),
            ("plan with one change, pools", &one_changed),
            ("plan with all changed, pools", &all_changed),
        ] {
            let desired = desired(snapshot);
            group.bench_function(BenchmarkId::new(name, pools), |bencher| {
                bencher.iter_with_large_drop(|| plan(&desired, &there));
            });
        }
        assert_eq!(plan(&desired(&before), &there).groups.len(), 0);
        assert_eq!(plan(&desired(&one_changed), &there).changes.len(), 2);
    }
    group.finish();
}

fn desired(snapshot: &Pools) -> Desired {
    let name_map = NameMap {
        create_pools: true,
        ..NameMap::default()
    };
    name_map.desired(snapshot, |_| true)
}

/// A Perlbal that shows the snapshot, and has the version pools of a later one too.
fn there(snapshot: &Pools, later: &Pools) -> Actual {
    let pools = desired(later).pools.into_keys();
    let mut actual = Actual {
        pools: pools.map(|name| (name, ActualPool::default())).collect(),
        ..Actual::default()
    };
    for command in plan(&desired(snapshot), &actual).groups.iter().flatten() {
        actual.apply(command);
    }
    actual
}
