//! The ramp of a member that comes back: its weight rises in steps, so that it can fill its caches before it gets its
//! full share.

use std::time::{Duration, Instant};

use super::weight::Weight;

/// Maximum number of steps: each is a command to every load balancer.
const MAX_STEPS: u32 = 10;

/// Minimum duration of a step, and so of a ramp.
pub const MIN_STEP: Duration = Duration::from_secs(1);

/// When members of a pool ramp up, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RampRules {
    /// Duration of a ramp; zero: members have their weight at once.
    pub length: Duration,
    /// Minimum time for which a node was out before it ramps up.
    pub after: Duration,
}

/// One ramp, a pure function of time: at each moment the number of steps that are done, and with that the weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp {
    start: Instant,
    length: Duration,
}

impl Default for RampRules {
    /// No ramps.
    fn default() -> Self {
        Self {
            length: Duration::ZERO,
            after: Duration::from_secs(120),
        }
    }
}

impl Ramp {
    /// A ramp from `start` on; `None` if it has no duration.
    #[must_use]
    pub fn new(start: Instant, length: Duration) -> Option<Self> {
        (!length.is_zero()).then_some(Self { start, length })
    }

    /// When it began.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Its duration.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }

    /// When it is over.
    #[must_use]
    pub fn end(&self) -> Instant {
        self.start + self.length
    }

    /// Number of its steps.
    #[must_use]
    pub fn steps(&self) -> u32 {
        let whole = self.length.as_nanos() / MIN_STEP.as_nanos();
        u32::try_from(whole).map_or(MAX_STEPS, |whole| whole.clamp(1, MAX_STEPS))
    }

    /// Number of steps that are done at that time.
    #[must_use]
    pub fn step_at(&self, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(self.start).as_nanos();
        let done = elapsed * u128::from(self.steps()) / self.length.as_nanos();
        u32::try_from(done).map_or(self.steps(), |done| done.min(self.steps()))
    }

    /// When this number of steps is done.
    #[must_use]
    pub fn time_of(&self, step: u32) -> Instant {
        let nanos = self.length.as_nanos() * u128::from(step.min(self.steps()));
        let nanos = nanos.div_ceil(u128::from(self.steps()));
        let elapsed = u64::try_from(nanos).map_or(self.length, Duration::from_nanos);
        self.start + elapsed
    }

    /// The weight when this number of steps is done, of a member with that `full` weight: a straight line's value in
    /// the middle of the step, rounded up, and in the end the full weight.
    #[must_use]
    pub fn weight_after(&self, step: u32, full: Weight) -> Weight {
        if step >= self.steps() {
            return full;
        }
        let share = (u32::from(full.get()) * (2 * step + 1)).div_ceil(2 * self.steps());
        let share = u16::try_from(share).ok();
        let weight = share.and_then(|share| Weight::try_from(share).ok());
        weight.unwrap_or(full)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ramp(length: Duration) -> Ramp {
        Ramp::new(Instant::now(), length).unwrap()
    }

    fn weights(seconds: u64, full: u16) -> Vec<u16> {
        let ramp = ramp(Duration::from_secs(seconds));
        let full = full.try_into().unwrap();
        let steps = 0..=ramp.steps();
        steps
            .map(|step| ramp.weight_after(step, full).get())
            .collect()
    }

    #[test]
    fn a_weight_rises_in_up_to_ten_steps_of_a_second_or_more() {
        let percent = [5, 15, 25, 35, 45, 55, 65, 75, 85, 95, 100];
        assert_eq!(weights(10, 100), percent);
        assert_eq!(weights(300, 100), percent);
        assert_eq!(weights(3, 100), [17, 50, 84, 100]);
        assert_eq!(weights(1, 100), [50, 100]);
        assert_eq!(weights(10, 1), [1; 11]);
        assert_eq!(Ramp::new(Instant::now(), Duration::ZERO), None);
    }

    proptest! {
        #[test]
        fn it_is_monotone_within_bounds_and_ends_at_the_full_weight(
            millis in 1_u64..=366 * 24 * 3_600_000,
            full in 1_u16..=256,
            parts in prop::collection::vec(0_u32..=1_100, 2..20),
        ) {
            let ramp = ramp(Duration::from_millis(millis));
            let full: Weight = full.try_into().unwrap();
            let mut parts = parts;
            parts.sort_unstable();
            let at = |part: u32| ramp.start() + ramp.length() / 1_000 * part;
            let weight = |now| ramp.weight_after(ramp.step_at(now), full);
            let seen: Vec<_> = parts.into_iter().map(|part| weight(at(part))).collect();
            prop_assert!(seen.is_sorted());
            prop_assert!(seen.iter().all(|weight| *weight <= full));
            prop_assert_eq!(weight(ramp.end()), full);
            prop_assert!(weight(ramp.start()) <= full);
        }

        #[test]
        fn each_step_is_done_at_its_time_and_not_before(millis in 1_u64..=10_000_000) {
            let ramp = ramp(Duration::from_millis(millis));
            prop_assert!(ramp.steps() <= MAX_STEPS);
            for step in 1..=ramp.steps() {
                let due = ramp.time_of(step);
                prop_assert_eq!(ramp.step_at(due), step);
                prop_assert_eq!(ramp.step_at(due.checked_sub(Duration::from_nanos(1)).unwrap()), step - 1);
                if ramp.steps() > 1 {
                    prop_assert!(due - ramp.time_of(step - 1) >= MIN_STEP);
                }
            }
            prop_assert_eq!(ramp.time_of(ramp.steps()), ramp.end());
        }
    }
}
