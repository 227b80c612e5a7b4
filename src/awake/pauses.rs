//! How long this process was paused, for times that are to pass only while it runs.
//!
//! A task beats at a fixed interval; a beat that is far too late reveals a pause. A caller that asks before that beat
//! sees the pause, too: after a pause, the timers of all tasks fire at once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::time::sleep;

use crate::model::time::Standstill;

/// Delay between two beats, and the maximum error by which a pause is measured too short.
const BEAT: Duration = Duration::from_millis(250);

/// Maximum lateness of a beat on a machine that is merely busy.
const LATE: Duration = Duration::from_millis(250);

/// The beats of this process; none before they start.
static BEATS: Mutex<Option<Beats>> = Mutex::new(None);

/// The same moment by both clocks.
type Moment = (Instant, SystemTime);

/// Beats until this is dropped.
pub(crate) async fn beat() {
    loop {
        let now = present();
        beats().get_or_insert_with(|| Beats::new(now)).beat(now);
        sleep(BEAT).await;
    }
}

/// The end of the last pause, if there was one.
pub(crate) fn woke() -> Option<Instant> {
    let now = present();
    beats().as_ref()?.woke(now)
}

/// Whether a sleep of `time` that took as long as `slept` shows a pause.
pub(crate) fn is_pause(slept: Duration, time: Duration) -> bool {
    slept.saturating_sub(time) > LATE
}

/// The pauses of this process since a caller with deadlines last queried them.
#[derive(Debug)]
pub(crate) struct Pauses {
    /// The total of all pauses until the last call.
    known: Standstill,
}

impl Pauses {
    /// Counts pauses from now on.
    pub(crate) fn new() -> Self {
        Self { known: stood() }
    }

    /// The pauses since the last call; `None` if there were none.
    pub(crate) fn since_last_call(&mut self) -> Option<Standstill> {
        let stood = stood();
        let new = stood.since(self.known);
        self.known = stood;
        (new != Standstill::default()).then_some(new)
    }
}

fn stood() -> Standstill {
    let now = present();
    let beats = beats();
    beats
        .as_ref()
        .map(|beats| beats.stood(now))
        .unwrap_or_default()
}

fn present() -> Moment {
    (Instant::now(), SystemTime::now())
}

fn beats() -> MutexGuard<'static, Option<Beats>> {
    BEATS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The beats, and the pauses between them.
#[derive(Debug)]
struct Beats {
    last: Moment,
    stood: Standstill,
    woke: Option<Instant>,
}

impl Beats {
    fn new(now: Moment) -> Self {
        Self {
            last: now,
            stood: Standstill::default(),
            woke: None,
        }
    }

    fn beat(&mut self, now: Moment) {
        (self.stood, self.woke, self.last) = (self.stood(now), self.woke(now), now);
    }

    /// The total of all pauses until `now`.
    fn stood(&self, now: Moment) -> Standstill {
        let pause = self.pause(now);
        Standstill {
            time: self.stood.time + pause.time,
            day: self.stood.day + pause.day,
        }
    }

    fn woke(&self, now: Moment) -> Option<Instant> {
        let paused = self.pause(now) != Standstill::default();
        if paused { Some(now.0) } else { self.woke }
    }

    /// How late the next beat is.
    fn pause(&self, (now, today): Moment) -> Standstill {
        let late = |passed: Duration| {
            let late = passed.saturating_sub(BEAT);
            if late > LATE { late } else { Duration::ZERO }
        };
        Standstill {
            time: late(now.saturating_duration_since(self.last.0)),
            // Zero if the clock was set back.
            day: late(today.duration_since(self.last.1).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn later((now, today): Moment, time: Duration) -> Moment {
        (now + time, today + time)
    }

    fn both(time: Duration) -> Standstill {
        Standstill { time, day: time }
    }

    #[test]
    fn a_beat_that_is_far_too_late_shows_a_pause_and_one_of_a_busy_machine_does_not() {
        let start = present();
        let mut beats = Beats::new(start);
        let mut now = start;
        for _ in 0..10 {
            now = later(now, BEAT + LATE);
            beats.beat(now);
        }
        assert_eq!(
            (beats.stood(now), beats.woke(now)),
            (both(Duration::ZERO), None)
        );
        now = later(now, BEAT + 8 * SECOND);
        beats.beat(now);
        let woke = now.0;
        for _ in 0..10 {
            now = later(now, BEAT);
            beats.beat(now);
        }
        assert_eq!(
            (beats.stood(now), beats.woke(now)),
            (both(8 * SECOND), Some(woke))
        );
        now = later(now, BEAT + SECOND);
        beats.beat(now);
        assert_eq!(
            (beats.stood(now), beats.woke(now)),
            (both(9 * SECOND), Some(now.0))
        );
    }

    #[test]
    fn who_goes_on_before_the_beat_sees_the_pause_too_and_only_once() {
        let start = present();
        let mut beats = Beats::new(start);
        let first = later(start, BEAT + 8 * SECOND);
        assert_eq!(
            (beats.stood(first), beats.woke(first)),
            (both(8 * SECOND), Some(first.0))
        );
        let moment = Duration::from_millis(3);
        let then = later(first, moment);
        beats.beat(then);
        let known = both(8 * SECOND);
        assert_eq!(
            beats.stood(then).since(known),
            both(moment),
            "what passed until the beat"
        );
        assert_eq!(
            beats.stood(later(then, BEAT)).since(beats.stood(then)),
            both(Duration::ZERO)
        );
    }

    #[test]
    fn a_clock_that_is_set_stands_for_a_pause_by_the_time_of_day_alone() {
        let start = present();
        let mut beats = Beats::new(start);
        let (now, today) = later(start, BEAT);
        let hour = 3_600 * SECOND;
        beats.beat((now, today + hour));
        let day = Standstill {
            time: Duration::ZERO,
            day: hour,
        };
        assert_eq!(beats.stood((now, today + hour)), day);
        beats.beat(later((now, today), BEAT));
        assert_eq!(beats.stood(later((now, today), BEAT)), day, "put back");
    }
}
