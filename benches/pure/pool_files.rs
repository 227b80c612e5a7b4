//! From a snapshot to what the pool files hold.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use pollbal::config::PoolFileFormat;
use pollbal::drivers::pool_files::plan::{ActualFile, desired_files, plan};

use super::site::{POOLS, announce_one, serving};

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool files");
    for pools in POOLS {
        let (mut membership, before) = serving(pools);
        let one_changed = announce_one(&mut membership, pools, "v24");
        let content = |snapshot| desired_files(snapshot, PoolFileFormat::Nodefile);
        group.bench_function(BenchmarkId::new("content, pools", pools), |bencher| {
            bencher.iter_with_large_drop(|| content(&before));
        });

        let files = content(&before);
        let there = files.iter().map(|(name, content)| {
            let file = ActualFile {
                content: content.clone(),
                empty_since: None,
            };
            (name.clone(), file)
        });
        let there = there.collect();
        let (grace, now) = (Duration::ZERO, Instant::now());
        for (name, files) in [
            ("plan with nothing to do, pools", files),
            ("plan with one change, pools", content(&one_changed)),
        ] {
            group.bench_function(BenchmarkId::new(name, pools), |bencher| {
                bencher.iter_with_large_drop(|| plan(&files, &there, grace, now));
            });
        }
    }
    group.finish();
}
