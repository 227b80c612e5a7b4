//! The `pollbal` program.
fn main() {}
