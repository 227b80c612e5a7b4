//! How long the pure parts take at the size for which pollbal is made: a site of [`site::NODES`] nodes.
//!
//! ```text
//! cargo bench                     all of them
//! cargo bench -- membership       those whose name has the word
//! cargo bench -- --test           each once, for correctness, without figures
//! ```

mod membership;
mod parsing;
mod perlbal;
mod pool_files;
mod site;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    benches,
    parsing::benches,
    membership::benches,
    perlbal::benches,
    pool_files::benches
);
criterion_main!(benches);
