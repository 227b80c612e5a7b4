//! A pause of pollbal itself, which must not be taken for time that nodes had.

use std::time::Duration;

use humantime::format_duration;
use tracing::info;

use super::Daemon;
use crate::logging::count;
use crate::model::time::Clock;

impl Daemon {
    /// This moment, for a decision: a pause that came before it is taken into account first.
    pub(super) fn present(&mut self) -> Clock {
        let moment = Clock::now();
        if let Some(pause) = self.pauses.since_asked() {
            let leaves = self.membership.add_pause(pause, moment.today);
            let seconds = pause.day.as_secs();
            if leaves > 0 && seconds > 0 {
                let time = format_duration(Duration::from_secs(seconds));
                let leaves = count(leaves, "leave");
                info!("pollbal stood still for {time}: extended {leaves} by that");
            }
        }
        moment
    }
}
