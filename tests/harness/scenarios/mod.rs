//! The scenarios, by subject. Each begins with a new world in which nothing runs.

mod members;

use super::site::Site;
use super::world::Needs;

/// What happens, and what must then be so.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    pub(crate) run: fn(&mut Site),
}

impl Scenario {
    const fn new(name: &'static str, run: fn(&mut Site)) -> Self {
        let needs = Needs {
            cuts: false,
            small_disk: false,
            clock: false,
        };
        Self { name, needs, run }
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Scenario> {
    [members::SCENARIOS].concat()
}
