//! The scenarios, by subject. Each begins with a new world in which nothing runs.

mod cold_start;
mod failures;
mod members;
mod restarts;
mod trouble;

use super::balancer::Balancer;
use super::site::Site;
use super::world::Needs;

/// What happens, and what must then be so.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    pub(crate) run: fn(&mut Site),
    /// It needs a load balancer that can be reloaded.
    reloads: bool,
}

impl Scenario {
    const fn new(name: &'static str, run: fn(&mut Site)) -> Self {
        let needs = Needs {
            cuts: false,
            small_disk: false,
            clock: false,
        };
        Self {
            name,
            needs,
            run,
            reloads: false,
        }
    }

    const fn with_reloads(mut self) -> Self {
        self.reloads = true;
        self
    }

    const fn with_cuts(mut self) -> Self {
        self.needs.cuts = true;
        self
    }

    const fn with_small_disk(mut self) -> Self {
        self.needs.small_disk = true;
        self
    }

    const fn with_clock(mut self) -> Self {
        self.needs.clock = true;
        self
    }
}

/// All that a load balancer can go through.
pub(crate) fn of(balancer: &dyn Balancer) -> Vec<Scenario> {
    let all = [
        cold_start::SCENARIOS,
        members::SCENARIOS,
        failures::SCENARIOS,
        restarts::SCENARIOS,
        trouble::SCENARIOS,
    ]
    .concat();
    let is_due = |scenario: &Scenario| {
        if scenario.reloads {
            balancer.reloads()
        } else {
            !balancer.only_reloads()
        }
    };
    all.into_iter().filter(is_due).collect()
}
