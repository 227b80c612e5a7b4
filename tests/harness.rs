//! The harness: scenarios that are written once and run in every world that is asked for.
//!
//! `POLLBAL_WORLDS` lists the worlds, `loopback` if it is not set.

mod harness {
    #![allow(dead_code, reason = "the scenarios come with the next commits")]

    pub(crate) mod containers;
    pub(crate) mod world;
}

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), Vec::new()).exit_code()
}
