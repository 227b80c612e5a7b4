//! What a person must know: gathers how things stand, and tells `alert_hook` and the daemon.
//!
//! ```text
//!   daemon: pools, reloads ─┐                                          ┌─► alert_hook
//!   drivers: in sync or not ├─► Reports ─(Circumstances, watch)─► Watch ├─(words, mpsc)─► daemon: log, event log
//!   files: refused or not  ─┘                                          └─(standing, watch)─► status
//! ```
//!
//! Whoever knows how something stands says so whenever it changes; nobody is asked. So while
//! nothing changes nothing is done.

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
use crate::model::alerts::{AlertSettings, Alerts, Memory, Notice, StandingCondition, State, Word};
use crate::model::conditions::{Circumstances, Instead, PerlbalLevel};
use crate::model::time::Clock;
use crate::model::time_window::{Minute, TimeWindow};

/// The way to say how things stand; clones speak of the same site.
#[derive(Clone, Debug)]
pub struct Reports(watch::Sender<Circumstances>);

impl Reports {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(Circumstances::default()))
    }

    /// Says how one thing stands.
    pub fn set<T: PartialEq>(&self, thing: impl FnOnce(&mut Circumstances) -> &mut T, value: T) {
        self.0.send_if_modified(|circumstances| {
            let thing = thing(circumstances);
            let differs = *thing != value;
            *thing = value;
            differs
        });
    }

    /// Says how a Perlbal stands.
    pub fn perlbal(&self, address: &str, level: PerlbalLevel) {
        self.0.send_if_modified(|circumstances| {
            let perlbals = &mut circumstances.perlbals;
            let before = perlbals.insert(address.to_owned(), level.clone());
            before != Some(level)
        });
    }

    /// There are no other Perlbals than these.
    pub fn only_perlbals(&self, keep: impl Fn(&str) -> bool) {
        self.0.send_if_modified(|circumstances| {
            let before = circumstances.perlbals.len();
            circumstances.perlbals.retain(|address, _| keep(address));
            circumstances.perlbals.len() != before
        });
    }

    /// How things stand now.
    #[must_use]
    pub fn now(&self) -> Circumstances {
        self.0.borrow().clone()
    }

    /// How things stand, whenever that changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Circumstances> {
        self.0.subscribe()
    }
}

impl Default for Reports {
    fn default() -> Self {
        Self::new()
    }
}

/// The task that watches over the site.
pub struct Watch {
    /// How things stand.
    pub circumstances: watch::Receiver<Circumstances>,
    /// How often, and when, a person is told.
    pub settings: watch::Receiver<AlertSettings>,
    /// Where a person is told.
    pub hooks: Hooks,
    /// What began and ended, for the log and the event log. When it is full, this task waits.
    pub words: mpsc::Sender<Word>,
    /// What stands.
    pub standing: watch::Sender<Arc<Vec<StandingCondition>>>,
    /// What was told, for the state file; at first that of the run before.
    pub memory: watch::Sender<Arc<Memory>>,
}

impl Watch {
    /// Watches until nobody can say anything any more.
    pub async fn run(mut self) {
        let moment = Clock::now();
        let mut alerts = Alerts::resume(&self.memory.borrow(), (moment.now, moment.today));
        let mut pauses = Pauses::new();
        loop {
            if let Some(pause) = pauses.since_asked() {
                alerts.stood_still(pause.time);
            }
            let next = self.look(&mut alerts).await;
            tokio::select! {
                changed = self.circumstances.changed() => if changed.is_err() { return },
                changed = self.settings.changed() => if changed.is_err() { return },
                () = until(next) => {}
            }
        }
    }

    async fn look(&mut self, alerts: &mut Alerts) -> Option<Instant> {
        let circumstances = self.circumstances.borrow_and_update().clone();
        let settings = *self.settings.borrow_and_update();
        let moment = Clock::now();
        // What has no room is told later, rather than lost.
        let open = settings.hours.contains(local_minute(settings.hours))
            && self.hooks.have_room_for_alerts(settings.limit);
        let outcome = alerts.look(&circumstances, &settings, (moment.now, moment.today), open);
        for notice in &outcome.notices {
            self.hooks.alert(&alert(notice, &moment));
        }
        if !outcome.notices.is_empty() {
            let memory = alerts.memory((moment.now, moment.today));
            self.memory.send_replace(Arc::new(memory));
        }
        self.standing.send_if_modified(|told| {
            let standing = alerts.standing();
            let differs = **told != standing;
            if differs {
                *told = Arc::new(standing);
            }
            differs
        });
        for word in outcome.words {
            // Fails only when the daemon is ending.
            _ = self.words.send(word).await;
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

fn alert(notice: &Notice, moment: &Clock) -> Alert {
    let Notice {
        state,
        condition,
        since,
        lasted,
        instead,
        left_out,
    } = notice;
    let text = match instead {
        Some(instead) => over(*lasted, instead),
        None => condition.text.clone(),
    };
    let (state, text) = match state {
        State::Begin => (AlertState::Begin, text),
        State::Still => {
            let text = format!("still so after {}: {text}", seconds(*lasted));
            (AlertState::Still, text)
        }
        State::Over => (AlertState::Over, text),
    };
    let others: usize = left_out.values().sum();
    let text = if others > 0 {
        let kinds: Vec<_> = left_out.keys().map(|kind| kind.word()).collect();
        let (others, kinds) = (count(others, "other alert"), kinds.join(", "));
        format!("{text} ({others} left out before: {kinds})")
    } else {
        text
    };
    Alert {
        alert: condition.kind.word().to_owned(),
        severity: condition.severity(),
        state,
        subject: condition.subject.clone(),
        text,
        since: time(*since),
        time: time(moment.today),
        left_out: others,
    }
}

/// That a condition is over, which stood for so long: what is so now.
#[must_use]
pub fn over(lasted: Duration, Instead { resolved, text }: &Instead) -> String {
    let word = if *resolved { "resolved" } else { "over" };
    format!("{word} after {}: {text}", seconds(lasted))
}

fn seconds(time: Duration) -> impl Display {
    format_duration(Duration::from_secs(time.as_secs()))
}

async fn until(next: Option<Instant>) {
    match next {
        Some(next) => sleep_until(next.into()).await,
        None => std::future::pending().await,
    }
}
