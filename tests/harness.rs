//! The harness: scenarios that are written once and run in every world that is asked for, with every load balancer, each
//! in a new world of its own. A line for each tells what came of it.
//!
//! `POLLBAL_WORLDS` lists the worlds, parted by commas; `loopback` if it is not set.

#[allow(dead_code, reason = "only the examples with containers are run here")]
#[path = "it/readme/book.rs"]
mod book;
mod common;

mod harness {
    pub(crate) mod balancer;
    pub(crate) mod clock;
    pub(crate) mod containers;
    pub(crate) mod loopback;
    pub(crate) mod node;
    pub(crate) mod readme;
    pub(crate) mod scenarios;
    pub(crate) mod serf_nodes;
    pub(crate) mod site;
    pub(crate) mod stack;
    pub(crate) mod world;
}

use std::any::Any;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use harness::balancer::{self, Balancer};
use harness::containers::Containers;
use harness::loopback::Loopback;
use harness::readme;
use harness::scenarios::{self, Scenario};
use harness::serf_nodes;
use harness::site::Site;
use harness::world::{Needs, World};

/// Makes a world in which nothing runs yet.
type Make = fn(Needs, &'static dyn Balancer) -> Box<dyn World>;

const WORLDS: [(&str, Make); 2] = [
    ("loopback", |needs, balancer| {
        Box::new(Loopback::new(needs, balancer))
    }),
    ("containers", |needs, balancer| {
        Box::new(Containers::new(needs, balancer))
    }),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let asked = env::var("POLLBAL_WORLDS").unwrap_or_else(|_| "loopback".to_owned());
    let mut trials = Vec::new();
    for name in asked.split(',') {
        let Some((world, make)) = WORLDS.iter().find(|(known, _)| *known == name) else {
            let known = WORLDS.map(|(known, _)| known).join(", ");
            eprintln!("POLLBAL_WORLDS: there is no world \"{name}\"; there are: {known}");
            return ExitCode::FAILURE;
        };
        let is_there = |balancer: &&dyn Balancer| balancer.is_in(world);
        for balancer in balancer::ALL.into_iter().filter(is_there) {
            let scenarios = scenarios::of(balancer).into_iter();
            trials.extend(scenarios.map(|scenario| trial(world, *make, balancer, scenario)));
        }
        if *world == "containers" {
            trials.extend(readme_trials().map(|trial| trial.with_kind(*world)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn readme_trials() -> [Trial; 2] {
    let trials: [(&str, fn()); 2] = [
        (readme::NAME, readme::run),
        (serf_nodes::NAME, serf_nodes::run),
    ];
    trials.map(|(name, run)| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    })
}

fn trial(world: &str, make: Make, balancer: &'static dyn Balancer, scenario: Scenario) -> Trial {
    let trial = Trial::test(scenario.name, move || run(make, balancer, scenario));
    trial.with_kind(format!("{world}, {}", balancer.label()))
}

/// What came of it; of a failure with all that its world shows, which is gone afterwards.
fn run(make: Make, balancer: &'static dyn Balancer, scenario: Scenario) -> Result<(), Failed> {
    let mut site = Site::new(make(scenario.needs, balancer));
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        (scenario.run)(&mut site);
        site.finish();
    }));
    outcome.map_err(|panic| {
        let why = message(&*panic);
        // A world that failed may not even be fit to be looked at.
        let report = catch_unwind(AssertUnwindSafe(|| site.report()));
        let report = report.unwrap_or_else(|panic| format!("no report: {}", message(&*panic)));
        format!("{why}\n{report}").into()
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked")
}
