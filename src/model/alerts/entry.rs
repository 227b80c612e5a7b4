//! One problem: whether it is present, whether it is active, and what has been reported of it.

use std::time::{Duration, Instant};

use super::{NoticeKind, Transition};
use crate::model::problems::{AlertPolicy, Problem, SystemStatus};
use crate::model::time::Timestamp;

/// Maximum time after which a problem that remains is reported again.
const MAX_REPEAT_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// A problem that is followed.
#[derive(Debug)]
pub(super) struct Entry {
    /// The problem as it was when last present.
    pub(super) problem: Problem,
    /// Whether the present evaluation found it.
    presence: Presence,
    /// When it began; of one that is absent, when it began last.
    since: Instant,
    /// The time of day then: kept, so that all reports contain the same.
    pub(super) since_date: Timestamp,
    /// Since when it is absent.
    absent_since: Option<Instant>,
    /// From when its time present, or absent, counts: since that changed, plus the pauses of pollbal since.
    counts_from: Instant,
    /// It has been present long enough to count, and has not been absent long enough to be over.
    is_active: bool,
    /// The last report that it is present, unless it was reported to be over since.
    pub(super) last_notice: Option<LastNotice>,
    /// When its beginning was last reported.
    pub(super) begin_reported: Option<Instant>,
    /// It is counted among the notices that `limit` suppressed.
    pub(super) left_out: bool,
}

/// Whether an evaluation found the problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Present,
    Absent,
    /// It is from the previous run: whether it is still present may not be known yet.
    Remembered,
}

/// A report that the problem is present.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastNotice {
    /// When it was sent.
    pub(super) at: Instant,
    /// Delay before the next one.
    pub(super) repeat_after: Duration,
}

impl Entry {
    pub(super) fn new(problem: Problem, (now, today): (Instant, Timestamp)) -> Self {
        Self {
            problem,
            presence: Presence::Present,
            since: now,
            since_date: today,
            absent_since: None,
            counts_from: now,
            is_active: false,
            last_notice: None,
            begin_reported: None,
            left_out: false,
        }
    }

    /// A problem of the previous run. If it was reported, it is active until it is known to be over.
    pub(super) fn remembered(
        problem: Problem,
        since: (Instant, Timestamp),
        (last_notice, begin_reported): (Option<LastNotice>, Option<Instant>),
        now: Instant,
    ) -> Self {
        Self {
            absent_since: last_notice.is_none().then_some(now),
            is_active: last_notice.is_some(),
            last_notice,
            begin_reported,
            presence: Presence::Remembered,
            ..Self::new(problem, since)
        }
    }

    /// Prepares for an evaluation, which marks the problems that it finds.
    pub(super) fn begin_evaluation(&mut self) {
        if self.presence == Presence::Present {
            self.presence = Presence::Absent;
        }
    }

    /// Records that the problem is present.
    pub(super) fn mark_present(&mut self, problem: Problem, (now, today): (Instant, Timestamp)) {
        (self.problem, self.presence) = (problem, Presence::Present);
        if self.absent_since.take().is_some() && !self.is_active {
            (self.since, self.since_date, self.counts_from) = (now, today, now);
        }
    }

    /// Records that the problem is absent if it was not found. One of the previous run is absent only once the status
    /// is fully `known`.
    pub(super) fn end_evaluation(&mut self, known: bool, now: Instant) {
        let is_absent =
            self.presence == Presence::Absent || (known && self.presence == Presence::Remembered);
        if is_absent && self.absent_since.is_none() {
            (self.absent_since, self.counts_from) = (Some(now), now);
        }
    }

    /// Takes a pause of pollbal into account: that time counts neither as present nor as absent, and delays the next
    /// report.
    pub(super) fn add_pause(&mut self, pause: Duration) {
        self.counts_from += pause;
        if let Some(notice) = &mut self.last_notice {
            notice.at += pause;
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.is_active
    }

    /// Whether it is present now, as far as known.
    pub(super) fn is_present(&self) -> bool {
        self.absent_since.is_none() && self.presence != Presence::Remembered
    }

    /// How long it has lasted, or did.
    pub(super) fn lasted(&self, now: Instant) -> Duration {
        let until = self.absent_since.filter(|_| !self.is_active).unwrap_or(now);
        until.duration_since(self.since)
    }

    /// Makes the problem active, or ends that, if it has been present or absent long enough.
    pub(super) fn update_active(
        &mut self,
        status: &SystemStatus,
        now: Instant,
    ) -> Option<Transition> {
        if self.transition_at()? > now {
            return None;
        }
        self.is_active = !self.is_active;
        let problem = self.problem.clone();
        Some(if self.is_active {
            Transition::Raised(problem)
        } else {
            let resolution = status.resolution(problem.kind, &problem.subject);
            Transition::Cleared(problem, self.lasted(now), resolution)
        })
    }

    /// When it will become active, or be over, if nothing changes.
    pub(super) fn transition_at(&self) -> Option<Instant> {
        let hold_time = self.problem.kind.hold_time();
        let hold_time = match (self.is_active, self.absent_since, self.problem.alert) {
            (false, None, AlertPolicy::After(time)) => Some(time),
            (false, None, AlertPolicy::Covered | AlertPolicy::Never) | (true, Some(_), _) => {
                hold_time
            }
            (true, None, _) | (false, Some(_), _) => return None,
        };
        Some(self.counts_from + hold_time.unwrap_or_default())
    }

    /// The notice that is due now.
    pub(super) fn due(&self, interval: Duration, now: Instant) -> Option<NoticeKind> {
        let is_due = self.due_at(interval)? <= now;
        is_due.then_some(match (self.is_active, self.last_notice) {
            (true, None) => NoticeKind::Begin,
            (true, Some(_)) => NoticeKind::Still,
            (false, _) => NoticeKind::Over,
        })
    }

    /// When a notice is due, if nothing changes.
    pub(super) fn due_at(&self, interval: Duration) -> Option<Instant> {
        let is_unknown = self.presence == Presence::Remembered && self.absent_since.is_none();
        // A problem that is absent, but not yet over, is reported if it returns.
        let is_ending = self.is_active && self.absent_since.is_some();
        if is_unknown || is_ending {
            return None;
        }
        match (self.is_active, self.last_notice) {
            (true, None) => {
                let again = self.begin_reported.map(|reported| reported + interval);
                Some(again.unwrap_or(self.since))
            }
            (true, Some(notice)) => Some(notice.at + notice.repeat_after),
            (false, Some(notice)) => Some(notice.at),
            (false, None) => None,
        }
    }

    /// Records that a notice was sent.
    pub(super) fn record_notice(&mut self, kind: NoticeKind, interval: Duration, now: Instant) {
        let repeat_after = match (kind, self.last_notice) {
            (NoticeKind::Still, Some(notice)) => {
                (2 * notice.repeat_after).min(MAX_REPEAT_INTERVAL.max(interval))
            }
            _ => interval,
        };
        self.last_notice = (kind != NoticeKind::Over).then_some(LastNotice {
            at: now,
            repeat_after,
        });
        if kind == NoticeKind::Begin {
            self.begin_reported = Some(now);
        }
    }

    /// Whether nothing about it matters any more.
    pub(super) fn is_obsolete(&self, interval: Duration, now: Instant) -> bool {
        let is_recent = |reported: Instant| now.duration_since(reported) < interval;
        self.absent_since.is_some()
            && !self.is_active
            && self.last_notice.is_none()
            && !self.begin_reported.is_some_and(is_recent)
    }
}
