//! Text from outside to values: answers of nodes, the services file, answers of Perlbal.

use criterion::Criterion;
use pollbal::drivers::perlbal::protocol::parse_pool;
use pollbal::model::announcement::Announcement;
use pollbal::model::services;

use super::site::{NODES, addr, announcement, services_file};

/// The members of the pool that Perlbal shows.
const MEMBERS: usize = 1_000;

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parsing");

    let body = announcement(1, 100, "v23");
    group.bench_function("an announcement", |bencher| {
        bencher.iter(|| Announcement::parse(body.as_bytes()).unwrap());
    });

    let text = services_file(NODES);
    group.bench_function("a services file", |bencher| {
        bencher.iter(|| services::parse(&text).unwrap());
    });

    let lines: Vec<_> = (0..MEMBERS)
        .map(|node| format!("{} {node}", addr(node)))
        .collect();
    group.bench_function("SHOW POOL of 1,000", |bencher| {
        bencher.iter(|| parse_pool(&lines).unwrap());
    });

    group.finish();
}
