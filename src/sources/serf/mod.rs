//! Serf as a source of nodes: the members of its cluster, as an agent on this machine knows them.
//!
//! The agent is asked for its list every [`INTERVAL`] over one connection. Its events would come a second later, and
//! would not say what is the case. Between lists everything stays as it was, however long the agent is away.

mod client;
mod members;
mod rejected;
mod roster;
mod rpc;
mod settings;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

pub use self::client::ClientError;
use self::client::{Client, ask_once};
pub use self::members::{Members, Update};
use self::roster::Roster;
pub use self::rpc::Member;
pub use self::settings::SerfSettings;
use super::{Faults, NodeSource, Rejection, SourceUpdate};
use crate::alerts::StatusReporter;
use crate::log_throttle::OncePerWindow;
use crate::logging::count;
use crate::model::problems::FileFault;
use crate::retry::Retry;

/// Interval at which the agent is asked for its members.
pub const INTERVAL: Duration = Duration::from_millis(250);

/// Maximum number of rejected members that are named at a time.
const MAX_NAMED: usize = 10;

/// The agent's members that count, from one configuration to the next.
#[derive(Clone, Debug, Default)]
pub struct SharedRoster(Arc<Mutex<Roster>>);

/// What the agent answered when the configuration was read.
#[derive(Debug)]
pub struct FirstList {
    asked_at: Instant,
    answer: Result<Vec<Member>, ClientError>,
}

/// An agent that is asked again and again.
#[derive(Debug)]
pub struct Serf {
    settings: SerfSettings,
    members: Members,
    roster: SharedRoster,
    status_reporter: StatusReporter,
    asks: Interval,
    client: Option<Client>,
    retry: Retry,
    is_lost: bool,
    rejected: Vec<String>,
    log_rejected: OncePerWindow,
}

impl SharedRoster {
    fn lock(&self) -> MutexGuard<'_, Roster> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FirstList {
    /// Asks the agent once. Blocks, but not for long.
    #[must_use]
    pub fn ask(settings: &SerfSettings) -> Self {
        let asked_at = Instant::now();
        // On a thread of its own, since the caller's may be one of a runtime already.
        let ask = || {
            let mut runtime = Builder::new_current_thread();
            let runtime = runtime.enable_all().build().map_err(ClientError::Connect)?;
            runtime.block_on(ask_once(settings))
        };
        let answer = thread::scope(|scope| scope.spawn(ask).join());
        let panicked = |_| Err(ClientError::NotUnderstood("its answer".to_owned()));
        Self {
            asked_at,
            answer: answer.unwrap_or_else(panicked),
        }
    }

    /// Why there is no list.
    #[must_use]
    pub fn error(&self) -> Option<&ClientError> {
        self.answer.as_ref().err()
    }

    /// What follows from it, and from the members that counted before.
    #[must_use]
    pub fn members(self, settings: SerfSettings, roster: &SharedRoster) -> Members {
        let mut members = Members::new(settings);
        let mut roster = roster.lock();
        let time = (self.asked_at, self.asked_at.elapsed());
        if let Ok(list) = self.answer {
            roster.reconnected();
            // A list that must not be believed is reported by the source.
            _ = roster.take(list);
        }
        members.update(&roster, time);
        members
    }
}

impl Serf {
    /// A source that resumes with these nodes.
    #[must_use]
    pub fn new(
        settings: SerfSettings,
        members: Members,
        roster: SharedRoster,
        status_reporter: StatusReporter,
    ) -> Self {
        let mut asks = interval(INTERVAL);
        asks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            members,
            settings,
            roster,
            status_reporter,
            asks,
            client: None,
            retry: Retry::new(),
            is_lost: false,
            rejected: Vec::new(),
            log_rejected: OncePerWindow::default(),
        }
    }

    /// Asks for the members once.
    async fn ask(&mut self) -> Result<Vec<Member>, ClientError> {
        let mut client = if let Some(client) = self.client.take() {
            client
        } else {
            let client = Client::connect(&self.settings).await?;
            self.roster.lock().reconnected();
            client
        };
        let list = client.members().await?;
        // Not before it is whole: after an error nobody knows what comes next.
        self.client = Some(client);
        Ok(list)
    }

    /// Logs and reports which members should be nodes and are none.
    fn report_rejected(&mut self) {
        let rejected = self.members.rejected().iter();
        let rejected: Vec<_> = rejected.map(ToString::to_string).collect();
        if rejected == self.rejected {
            return;
        }
        let path = self.name();
        let text = (!rejected.is_empty()).then(|| {
            let first = &rejected[..rejected.len().min(MAX_NAMED)];
            let more = match rejected.len() - first.len() {
                0 => String::new(),
                more => format!("; and {more} more"),
            };
            let members = count(rejected.len(), "member");
            format!(
                "{path}: not taken as nodes: {members}: {}{more}",
                first.join("; ")
            )
        });
        // Members choose their names, as often as they like.
        if let Some(text) = &text
            && self.log_rejected.check(Instant::now())
        {
            warn!("{text}");
        }
        let fault = text.map(|text| FileFault { path, text });
        let reporter = &self.status_reporter;
        reporter.set(|status| &mut status.members_rejected, fault);
        self.rejected = rejected;
    }

    fn failed(&mut self, what: String) -> Rejection {
        self.is_lost = true;
        Rejection {
            what,
            error: None,
            is_retried: true,
        }
    }
}

impl NodeSource for Serf {
    fn name(&self) -> String {
        self.settings.name()
    }

    async fn next(&mut self, _: &Faults) -> Result<SourceUpdate, Rejection> {
        if self.is_lost && self.client.is_none() {
            sleep(self.retry.next_wait()).await;
        } else {
            self.asks.tick().await;
        }
        let asked_at = Instant::now();
        let list = match self.ask().await {
            Ok(list) => list,
            Err(error) => return Err(self.failed(error.to_string())),
        };
        self.retry.reset();
        let time = (asked_at, asked_at.elapsed());
        let taken = self.members.take(&mut self.roster.lock(), list, time);
        let update = match taken {
            Ok(update) => update,
            Err(shrunk) => return Err(self.failed(shrunk.to_string())),
        };
        if std::mem::take(&mut self.is_lost) {
            info!("{} answers again", self.name());
        }
        self.report_rejected();
        Ok(SourceUpdate::Serf(update))
    }
}

#[cfg(test)]
mod tests;
