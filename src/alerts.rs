//! Alerts: collects the system status, and reports problems to `alert_hook` and the daemon.
//!
//! ```text
//!   daemon: pools, reloads ──┐
//!   drivers: in sync or not ─┼─► StatusReporter ─(SystemStatus, watch)─► AlertTask ─┬─► alert_hook
//!   files: rejected or not ──┘                                                      ├─(transitions, mpsc)─► daemon: log, event log
//!                                                                                   └─(active, watch)─► status
//! ```
//!
//! Each part reports changes of its own status; nothing is polled, so there is no work while nothing changes.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use humantime::format_duration;
use jiff::Zoned;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use crate::api::hooks::{Alert, AlertState};
use crate::api::time;
use crate::awake::Pauses;
use crate::hooks::Hooks;
use crate::logging::count;
use crate::model::alerts::{
    ActiveProblem, AlertSettings, Alerts, Notice, NoticeKind, SavedAlerts, Transition,
};
use crate::model::driver_status::DriverId;
use crate::model::problems::{DriverHealth, Resolution, SystemStatus};
use crate::model::time::Clock;
use crate::model::time_window::{Minute, TimeWindow};

/// Reports the status of parts of the system; clones share one status.
#[derive(Clone, Debug)]
pub struct StatusReporter(watch::Sender<SystemStatus>);

impl StatusReporter {
    /// A status of which nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(SystemStatus::default()))
    }

    /// Sets one field of the status.
    pub fn set<T: PartialEq>(&self, field: impl FnOnce(&mut SystemStatus) -> &mut T, value: T) {
        self.0.send_if_modified(|system_status| {
            let field = field(system_status);
            let differs = *field != value;
            *field = value;
            differs
        });
    }

    /// Sets the health of a load balancer.
    pub fn driver(&self, id: &DriverId, health: DriverHealth) {
        self.0.send_if_modified(|system_status| {
            let drivers = &mut system_status.drivers;
            let before = drivers.insert(id.clone(), health.clone());
            before != Some(health)
        });
    }

    /// Removes the health of the other load balancers.
    pub fn retain_drivers(&self, keep: impl Fn(&DriverId) -> bool) {
        self.0.send_if_modified(|system_status| {
            let before = system_status.drivers.len();
            system_status.drivers.retain(|id, _| keep(id));
            system_status.drivers.len() != before
        });
    }

    /// The present status.
    #[must_use]
    pub fn now(&self) -> SystemStatus {
        self.0.borrow().clone()
    }

    /// The status, whenever it changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<SystemStatus> {
        self.0.subscribe()
    }
}

impl Default for StatusReporter {
    fn default() -> Self {
        Self::new()
    }
}

/// The task that evaluates the status.
pub struct AlertTask {
    /// The status.
    pub system_status: watch::Receiver<SystemStatus>,
    /// How often, and when, a person is alerted.
    pub settings: watch::Receiver<AlertSettings>,
    /// Runs `alert_hook`.
    pub hooks: Hooks,
    /// The problems that were raised or cleared, for the log and the event log. When it is full, this task waits.
    pub transitions: mpsc::Sender<Transition>,
    /// The active problems.
    pub active: watch::Sender<Arc<Vec<ActiveProblem>>>,
    /// What has been reported, for the state file; at first that of the previous run.
    pub saved: watch::Sender<Arc<SavedAlerts>>,
}

impl AlertTask {
    /// Runs until all reporters are dropped.
    pub async fn run(mut self) {
        let clock = Clock::now();
        let mut alerts = Alerts::resume(&self.saved.borrow(), (clock.now, clock.today));
        let mut pauses = Pauses::new();
        loop {
            if let Some(pause) = pauses.since_last_call() {
                alerts.add_pause(pause.time);
            }
            let next = self.evaluate(&mut alerts).await;
            tokio::select! {
                changed = self.system_status.changed() => if changed.is_err() { return },
                changed = self.settings.changed() => if changed.is_err() { return },
                () = wait_until(next) => {}
            }
        }
    }

    /// Reports what is due. Returns when to evaluate again although nothing changed.
    async fn evaluate(&mut self, alerts: &mut Alerts) -> Option<Instant> {
        let status = self.system_status.borrow_and_update().clone();
        let settings = *self.settings.borrow_and_update();
        let clock = Clock::now();
        // When the queue is full, notices are delayed rather than lost.
        let is_open = settings.hours.contains(local_minute(settings.hours))
            && self.hooks.have_room_for_alerts(settings.limit);
        let outcome = alerts.evaluate(&status, &settings, (clock.now, clock.today), is_open);
        for notice in &outcome.notices {
            self.hooks.alert(&alert(notice, &clock));
        }
        if !outcome.notices.is_empty() {
            let saved = alerts.save((clock.now, clock.today));
            self.saved.send_replace(Arc::new(saved));
        }
        self.active.send_if_modified(|before| {
            let active = alerts.active();
            let differs = **before != active;
            if differs {
                *before = Arc::new(active);
            }
            differs
        });
        for transition in outcome.transitions {
            // Fails only when the daemon is stopping.
            _ = self.transitions.send(transition).await;
        }
        outcome.next
    }
}

/// The current minute of the local day, or any minute where it does not matter, to avoid reading the time zone.
fn local_minute(window: TimeWindow) -> Minute {
    if window == TimeWindow::ALL {
        return Minute::of(0, 0);
    }
    let now = Zoned::now();
    Minute::of(now.hour().unsigned_abs(), now.minute().unsigned_abs())
}

fn alert(notice: &Notice, clock: &Clock) -> Alert {
    let Notice {
        kind,
        problem,
        since,
        lasted,
        resolution,
        left_out,
    } = notice;
    let text = match resolution {
        Some(resolution) => over(*lasted, resolution),
        None => problem.text.clone(),
    };
    let (state, text) = match kind {
        NoticeKind::Begin => (AlertState::Begin, text),
        NoticeKind::Still => {
            let text = format!("ongoing for {}: {text}", seconds(*lasted));
            (AlertState::Still, text)
        }
        NoticeKind::Over => (AlertState::Over, text),
    };
    let others: usize = left_out.values().sum();
    let text = if others > 0 {
        let kinds: Vec<_> = left_out.keys().map(|kind| kind.word()).collect();
        let (others, kinds) = (count(others, "other alert"), kinds.join(", "));
        format!("{text} ({others} skipped before: {kinds})")
    } else {
        text
    };
    Alert {
        alert: problem.kind.word().to_owned(),
        severity: problem.severity(),
        state,
        subject: problem.subject.clone(),
        text,
        since: time(*since),
        time: time(clock.today),
        left_out: others,
    }
}

/// Describes the end of a problem that lasted this long.
#[must_use]
pub fn over(lasted: Duration, Resolution { resolved, text }: &Resolution) -> String {
    let word = if *resolved { "resolved" } else { "over" };
    format!("{word} after {}: {text}", seconds(lasted))
}

fn seconds(time: Duration) -> impl Display {
    format_duration(Duration::from_secs(time.as_secs()))
}

async fn wait_until(next: Option<Instant>) {
    match next {
        Some(next) => sleep_until(next.into()).await,
        None => std::future::pending().await,
    }
}
