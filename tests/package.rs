//! The Debian package on a machine with systemd, beside Debian's own Perlbal: a container for each trial.
//!
//! Runs where `POLLBAL_WORLDS` has `containers` in it; `perlbal/harness` builds the image first.

mod common;

mod package {
    pub(crate) mod machine;
    pub(crate) mod trials;
}

use std::env;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use package::trials;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let worlds = env::var("POLLBAL_WORLDS").unwrap_or_default();
    if !worlds.split(',').any(|world| world == "containers") {
        println!("the package was not tried: POLLBAL_WORLDS does not ask for containers");
        return ExitCode::SUCCESS;
    }
    let trials = trials::all()
        .into_iter()
        .map(|(name, run)| {
            let run = move || {
                run();
                Ok(())
            };
            Trial::test(name, run).with_kind("package")
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
