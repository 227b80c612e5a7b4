//! The daemon: starts the tasks, feeds the [`Core`] that decides, and carries out its effects; reloads, stops.
//!
//! ```text
//!   pollers ──(observations, mpsc)──► Daemon ──(snapshots, watch)──► pool files
//!   sources ──(lists, mpsc)─────────►   ▲                               │ (snapshots with files, watch)
//!   signals ────────────────────────────┤                               ▼
//!   listeners ──(requests, mpsc)────────┘                            load balancers
//! ```
//!
//! The HTTP listeners, on a thread of their own, send requests; their replies are copies.

mod alerting;
mod core;
mod drivers;
mod events;
mod http;
mod node_times;
mod options;
mod own_files;
mod ownership;
mod reload;
mod requests;
mod sources;
mod startup;
mod systemd_status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use self::alerting::Alerting;
use self::core::{Core, Input, Settings};
use self::drivers::{DriverContext, Drivers};
use self::http::HttpListeners;
use self::node_times::NodeTimes;
pub use self::options::{DaemonError, Options, Outcome};
use self::options::{is_service, notifier};
use self::reload::{NewState, ReloadWaiters};
use self::requests::sleep_until;
use self::sources::NodeSources;
use self::systemd_status::{State, SystemdStatus};
use crate::awake::{self, Pauses};
use crate::change_log::ChangeLog;
use crate::children::Reaper;
use crate::config::Config;
use crate::control::{ControlHandle, DaemonRequest};
use crate::drivers::pool_files::FileCounters;
use crate::drivers::{Mode, Snapshot};
use crate::fd_limits::open_files;
use crate::hooks::Hooks;
use crate::http::Changes;
use crate::load::{Loaded, PATIENCE, load};
use crate::model::ownership::Owned;
use crate::model::time::Clock;
use crate::overrides_store::{OverridesStore, PersistedRevision, RevisedOverrides};
use crate::poller::{Observed, Pollers};
use crate::signals::Signals;
use crate::sources::SourceUpdate;
use crate::sources::resolver::Resolver;
use crate::state_file::{StateFile, StateFileStore};
use crate::supervision::{end_process, named, supervised};

/// Maximum observations in the queue: several rounds of a small site, a moment of a large one. When it is full the
/// pollers wait; nothing is lost.
const OBSERVATIONS: usize = 4_096;

/// Maximum time for hooks when pollbal stops.
const HOOKS_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Maximum time for everything else.
const TASKS_TIMEOUT: Duration = Duration::from_millis(500);

/// The supervisor of the tasks around the core.
struct Daemon {
    options: Options,
    config: Config,
    started: Clock,
    core: Core,
    change_log: ChangeLog,
    pollers: Pollers,
    http: HttpListeners,
    hooks: Hooks,
    snapshots: watch::Sender<Option<Snapshot>>,
    drivers: Drivers,
    file_counters: Arc<FileCounters>,
    /// From the sources that are read now.
    source_updates: mpsc::Receiver<SourceUpdate>,
    node_sources: NodeSources,
    watching: CancellationToken,
    /// Resolves the host names of services files.
    resolver: Resolver,
    /// A reload that reads its files, at most one.
    reloads: JoinSet<Result<NewState, String>>,
    reload_waiters: ReloadWaiters,
    /// From the HTTP listeners.
    requests: mpsc::Receiver<DaemonRequest>,
    /// Counts up whenever anything may have changed.
    changed: watch::Sender<u64>,
    /// The active overrides, for the state file, and where that is.
    overrides: watch::Sender<RevisedOverrides>,
    state_file: watch::Sender<Option<Arc<StateFile>>>,
    /// What is owned in load balancers, for the state file.
    owned: watch::Sender<Arc<Owned>>,
    node_times: NodeTimes,
    pauses: Pauses,
    systemd_status: SystemdStatus,
    alerting: Alerting,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Gets whether the first sync succeeded; taken when the first snapshot is published.
    first_sync: Option<oneshot::Sender<bool>>,
}

/// Reads the configuration and the lists of nodes, and runs until a signal arrives or, with `once`, until the first sync
/// is done.
pub async fn run(options: Options) -> Result<Outcome, DaemonError> {
    let resolver = Resolver::system();
    let loaded = load(&options.config, PATIENCE, &resolver)?;
    loaded.warn();
    if !loaded.quiet {
        let file = loaded.config.sources();
        warn!("{file} is changed all the time; it is taken as it is now");
    }
    let opened = http::open(&options, &loaded.config)?;
    let state_file = match &loaded.config.state_file {
        Some(path) if is_service(&options) => Some(Arc::new(StateFile::take(path)?)),
        _ => None,
    };
    let signals = Signals::listen().map_err(DaemonError::Signals)?;
    let (hooks, runner) = Hooks::new(&loaded.config);
    let (hooks_stop, live) = (CancellationToken::new(), options.mode == Mode::Live);
    let run_hooks = runner.run(hooks_stop.clone(), HOOKS_TIMEOUT);
    let hooks_ended = tokio::spawn(supervised("hooks", hooks_stop.clone(), run_hooks));
    if live {
        hooks.pre_init();
    }
    if live && let Some(reaper) = Reaper::listen().map_err(DaemonError::Signals)? {
        // Hooks may leave processes behind until the very end.
        tokio::spawn(supervised("reaper", hooks_stop.clone(), reaper.run()));
    }
    let opened = (opened, state_file);
    let outcome = serve(options, loaded, resolver, opened, hooks.clone(), &signals).await;
    if live {
        hooks.pre_quit();
    }
    hooks_stop.cancel();
    // A process that even SIGKILL does not end, on a disk that hangs, is left behind.
    _ = timeout(HOOKS_TIMEOUT + Duration::from_secs(1), hooks_ended).await;
    outcome
}

async fn serve(
    options: Options,
    Loaded {
        config,
        list,
        services,
        serf,
        replaced,
        ..
    }: Loaded,
    resolver: Resolver,
    (opened, state_file): (Option<Changes>, Option<Arc<StateFile>>),
    hooks: Hooks,
    signals: &Signals,
) -> Result<Outcome, DaemonError> {
    let tasks = TaskTracker::new();
    let stop = signals.stop.child_token();
    // However this ends, tasks that end afterwards are no fault.
    let _stopped = stop.clone().drop_guard();
    let (observed, observations) = mpsc::channel(OBSERVATIONS);
    let (first_sync, first_synced) = oneshot::channel();
    let pollers = Pollers::new(observed, open_files());
    let service = is_service(&options);
    let state_file = watch::Sender::new(state_file);
    let path = config.state_file.clone();
    let store = StateFileStore::new(path, state_file.subscribe(), service);
    let saved = store.load();
    let (overrides, _) = watch::channel((0, Arc::new(saved.overrides.clone())));
    let (persisted, persisted_revision) = watch::channel(0);
    let (changed, changed_receiver) = watch::channel(0);
    let (control, requests) =
        ControlHandle::new(changed_receiver, PersistedRevision::new(persisted_revision));
    let previous = (saved.alerts, saved.overrides.asked_to_stay.clone());
    let alerting = Alerting::start(&config, &hooks, service, previous, (&tasks, &stop));
    let stopped = stop.clone();
    let beats = async move { stopped.run_until_cancelled(awake::beat()).await };
    tasks.spawn(supervised("beats", stop.clone(), beats));
    let mut node_sources = NodeSources::default();
    let serf = node_sources.read(&config, list, serf, false);
    let list = node_sources.list();
    let http =
        HttpListeners::start(opened, control, &config, &list.nodes).map_err(DaemonError::Http)?;
    let systemd_status = SystemdStatus::new(notifier(&options), http.watcher());
    let rules = (config.rules.clone(), core_settings(&config));
    let clock = Clock::now();
    let snapshots = watch::Sender::new(None);
    let owned = watch::Sender::new(Arc::new(saved.owned));
    let file_counters = Arc::<FileCounters>::default();
    let drivers = Drivers::new(DriverContext {
        mode: options.mode,
        hooks: hooks.clone(),
        counters: file_counters.clone(),
        snapshots: snapshots.subscribe(),
        owned: owned.clone(),
        pulse: changed.clone(),
        stop: stop.child_token(),
    });
    let mut daemon = Daemon {
        started: clock,
        core: Core::new(rules, saved.overrides, &saved.nodes, clock),
        change_log: ChangeLog::default(),
        pollers,
        http,
        hooks,
        snapshots,
        drivers,
        file_counters,
        source_updates: mpsc::channel(1).1,
        node_sources,
        watching: stop.child_token(),
        resolver,
        reloads: JoinSet::new(),
        reload_waiters: ReloadWaiters::default(),
        requests,
        changed,
        overrides,
        state_file,
        owned,
        node_times: NodeTimes::new(saved.nodes),
        pauses: Pauses::new(),
        systemd_status,
        alerting,
        tasks,
        stop,
        first_sync: Some(first_sync),
        options,
        config,
    };
    if service {
        daemon.start_state_file(store, saved.rejected, persisted);
    }
    daemon.report_replaced(&replaced);
    let start = daemon.start(list, (services, serf));
    if signals.stop.run_until_cancelled(start).await.is_none() {
        // On a disk that hangs. Nothing was decided, so there is nothing to save.
        return Ok(Outcome::Success);
    }
    let once_without_nodes = daemon.options.once && daemon.core.membership().node_count() == 0;
    let outcome = if once_without_nodes {
        // There will never be a first round.
        Outcome::OutOfSync
    } else {
        let event_loop = daemon.event_loop(observations, first_synced, signals);
        named("decisions", Box::pin(event_loop)).await
    };
    daemon.shut_down().await;
    Ok(outcome)
}

/// What the core needs of the configuration, besides the rules.
fn core_settings(config: &Config) -> Settings {
    Settings {
        max_removed: config.max_removed,
        leave_timeout: config.leave_timeout,
        request_stay: config.pool_please_dont_go,
    }
}

impl Daemon {
    async fn event_loop(
        &mut self,
        mut observations: mpsc::Receiver<Observed>,
        mut first_synced: oneshot::Receiver<bool>,
        signals: &Signals,
    ) -> Outcome {
        let mut batch = Vec::new();
        let mut synced = false;
        loop {
            self.save_overrides();
            let count_at = self.report_nodes();
            let save_at = self.save_node_times();
            let log_counts_at = self.change_log.write_counts(Instant::now());
            self.update_systemd_status();
            tokio::select! {
                // With `--once`, stopped before everything was in sync.
                () = signals.stop.cancelled() => {
                    return if self.options.once { Outcome::OutOfSync } else { Outcome::Success };
                }
                () = signals.reload.notified(), if self.reloads.is_empty() => self.begin_reload(),
                Some(read) = self.reloads.join_next() => self.end_reload(read).await,
                Some(update) = self.source_updates.recv() => self.apply_source(update),
                _ = observations.recv_many(&mut batch, OBSERVATIONS) => {
                    self.step(Input::Polls(std::mem::take(&mut batch)));
                }
                () = self.pollers.ended() => {
                    end_process("the task of a poller ended unexpectedly")
                }
                Some(request) = self.requests.recv() => self.reply(request),
                () = sleep_until(self.core.next_timer()) => {
                    self.step(Input::Timer);
                }
                () = sleep_until(count_at) => {}
                () = sleep_until(save_at) => {}
                () = sleep_until(log_counts_at) => {}
                Some(transition) = self.alerting.transitions.recv() => {
                    self.step(Input::Problem(transition));
                }
                Ok(in_sync) = &mut first_synced, if !synced => {
                    synced = true;
                    if self.options.mode == Mode::Live {
                        self.hooks.post_init();
                    }
                    if self.options.once {
                        return if in_sync { Outcome::Success } else { Outcome::OutOfSync };
                    }
                }
                Ok(()) = self.drivers.files_status.changed() => {}
                () = self.systemd_status.run_watchdog() => {}
            }
        }
    }

    fn update_systemd_status(&mut self) {
        let snapshot = self.snapshots.borrow();
        self.systemd_status.update(&State {
            sources: &self.config,
            nodes: self.core.membership().node_count(),
            snapshot: snapshot.as_ref(),
            files: self.drivers.files_status.borrow().clone(),
        });
    }

    async fn start_drivers(&mut self) {
        self.drivers.update(&self.config, TASKS_TIMEOUT).await;
        self.report_drivers();
    }

    async fn shut_down(mut self) {
        self.systemd_status.notifier.notify_stopping();
        self.change_log.finish();
        self.save_overrides();
        self.save_node_times_now();
        self.save_owned().await;
        // The state file's task writes the last overrides, and ends.
        self.overrides = watch::Sender::default();
        self.stop.cancel();
        self.pollers.stop();
        // Concurrently: each may take its time.
        tokio::join!(self.http.stop(), self.drivers.stop(TASKS_TIMEOUT));
        self.tasks.close();
        _ = timeout(TASKS_TIMEOUT, self.tasks.wait()).await;
        self.systemd_status.notifier.finish().await;
    }
}
