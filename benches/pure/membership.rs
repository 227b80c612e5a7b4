//! What an observation costs, and the snapshot after it.

use std::time::Instant;

use criterion::{BatchSize, BenchmarkId, Criterion};

use super::site::{NODES, POOLS, addr, announce_all, announce_one, announcement, poll, serving};

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("membership");
    for pools in POOLS {
        let (mut membership, _) = serving(pools);
        let now = Instant::now();

        let said: Vec<_> = (0..NODES)
            .map(|node| (addr(node), poll(&announcement(node, pools, "v23"))))
            .collect();
        let mut rounds = said.iter().cycle();
        let name = BenchmarkId::new("an unchanged observation, pools", pools);
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || rounds.next().unwrap().clone(),
                |(addr, said)| membership.observe(addr, said, now),
                BatchSize::SmallInput,
            );
        });
        assert!(membership.take_changed().is_none());

        let mut versions = ["v24", "v23"].iter().cycle();
        let name = BenchmarkId::new("a change and its snapshot, pools", pools);
        group.bench_function(name, |bencher| {
            bencher.iter_with_large_drop(|| {
                announce_one(&mut membership, pools, versions.next().unwrap())
            });
        });

        let name = BenchmarkId::new("all change, and one snapshot, pools", pools);
        group.bench_function(name, |bencher| {
            bencher.iter_with_large_drop(|| {
                announce_all(&mut membership, pools, versions.next().unwrap())
            });
        });
    }
    group.finish();
}
