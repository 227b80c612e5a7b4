//! The Debian package on a machine with systemd, beside Debian's own Perlbal: a container for each trial.
//!
//! Runs where `POLLBAL_WORLDS` has `containers` in it; the base images of `perlbal/Dockerfile` must be there or in a
//! registry.

mod common;

mod package {
    pub(crate) mod machine;
    pub(crate) mod trials;
}

use std::env;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

#[allow(unused_imports)]
use package::machine::build_image;
use package::trials;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let worlds = env::var("POLLBAL_WORLDS").unwrap_or_default();
    if !worlds.split(',').any(|world| world == "containers") {
        println!("the package was not tried: POLLBAL_WORLDS does not ask for containers");
        return ExitCode::SUCCESS;
    }
    if !arguments.list {
        build_image();
    }
    let trials = trials::all()
        .into_iter()
        .map(|(name, run)| {
            Trial::test(name, move || {
                run();
                Ok(())
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
