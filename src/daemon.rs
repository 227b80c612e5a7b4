//! The daemon: starts the tasks, owns [`Membership`], publishes snapshots, reloads, stops.
//!
//! ```text
//!   pollers ──(observations, mpsc)──► Daemon ──(snapshots, watch)──► pool files
//!   services_watch ──(lists, mpsc)──►   ▲                               │ (snapshots with files, watch)
//!   signals ────────────────────────────┤                               ▼
//!   listeners ──(requests, mpsc)────────┘                            load balancers
//! ```
//!
//! The HTTP listeners, on a thread of their own, send requests; their replies are copies.

mod desk;
mod drivers;
mod entrance;
mod keeping;
mod listing;
mod options;
mod ownership;
mod pauses;
mod readiness;
mod reloading;
mod telling;
mod times;
mod watchfulness;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use self::desk::when;
use self::drivers::{DriverContext, Drivers};
use self::entrance::{Entrance, Fresh};
use self::listing::Listing;
pub use self::options::{DaemonError, Ended, Options};
use self::options::{is_service, notifier};
use self::readiness::{Readiness, State};
use self::reloading::ReloadWaiters;
use self::times::Times;
use self::watchfulness::Watchfulness;
use crate::awake::{self, Pauses};
use crate::change_log::ChangeLog;
use crate::children::Reaper;
use crate::config::Config;
use crate::control::{ControlHandle, DaemonRequest, Serials};
use crate::drivers::pool_files::FileCounters;
use crate::drivers::{Mode, Snapshot};
use crate::fd_limits::open_files;
use crate::hooks::Hooks;
use crate::http::Changes;
use crate::load::{Loaded, PATIENCE, load};
use crate::logging::count;
use crate::model::event_log::EventLog;
use crate::model::membership::Membership;
use crate::model::node::{Node, NodeAddr};
use crate::model::ownership::Owned;
use crate::model::poll_stats::PollStats;
use crate::model::services::List;
use crate::model::time::Clock;
use crate::poller::{Observed, Pollers};
use crate::services_file::Look;
use crate::signals::Signals;
use crate::state_file::{self, RevisedOverrides, StateFile};
use crate::supervision::{end_process, named, supervised};

/// Observations that may wait for the daemon: some rounds of a small site, a moment of a big one.
/// When it is full the pollers wait; nothing is lost.
const OBSERVATIONS: usize = 4_096;

/// So much of the time that the end may take is for hooks.
const HOOKS_AT_END: Duration = Duration::from_millis(2_500);

/// And so much for everything else.
const TASKS_AT_END: Duration = Duration::from_millis(500);

struct Daemon {
    options: Options,
    config: Config,
    started: Clock,
    membership: Membership,
    change_log: ChangeLog,
    event_log: EventLog,
    poll_stats: PollStats,
    pollers: Pollers,
    entrance: Entrance,
    hooks: Hooks,
    snapshots: watch::Sender<Option<Snapshot>>,
    serial: u64,
    /// Nodes that changed since the last snapshot was made.
    changed: Vec<NodeAddr>,
    serials: Serials,
    /// When the first answer came that changed something since a snapshot was last taken.
    cause: Option<Instant>,
    drivers: Drivers,
    file_counters: Arc<FileCounters>,
    /// Lists of the services file that is watched now.
    lists: mpsc::Receiver<List>,
    watching: CancellationToken,
    listing: Listing,
    /// A reload that reads its files, at most one.
    reloads: JoinSet<Result<Fresh, String>>,
    reload_waiters: ReloadWaiters,
    /// From the HTTP listeners.
    requests: mpsc::Receiver<DaemonRequest>,
    /// Counts up whenever something may be otherwise than before.
    pulse: watch::Sender<u64>,
    /// The orders in force, for the state file, and where that is.
    overrides: watch::Sender<RevisedOverrides>,
    state_file: watch::Sender<Option<Arc<StateFile>>>,
    /// What is owned in load balancers, for the state file.
    owned: watch::Sender<Arc<Owned>>,
    /// Since when nodes are where they are, for the state file.
    times: Times,
    /// When to look for orders whose time is over.
    next_expiry: Option<Instant>,
    pauses: Pauses,
    readiness: Readiness,
    watchfulness: Watchfulness,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Given how the first sync went; taken when the first snapshot is published.
    first_sync: Option<oneshot::Sender<bool>>,
}

/// Reads configuration and services, and runs until a signal comes or, with `once`, until the
/// first sync is done.
pub async fn run(options: Options) -> Result<Ended, DaemonError> {
    let loaded = load(&options.config, PATIENCE)?;
    loaded.warn();
    if !loaded.quiet {
        let file = loaded.config.services_file.display();
        warn!("{file} is changed all the time; it is taken as it is now");
    }
    let opened = entrance::open(&options, &loaded.config)?;
    let state_file = match &loaded.config.state_file {
        Some(path) if is_service(&options) => Some(Arc::new(StateFile::take(path)?)),
        _ => None,
    };
    let signals = Signals::listen().map_err(DaemonError::Signals)?;
    let (hooks, runner) = Hooks::new(&loaded.config);
    let (hooks_stop, live) = (CancellationToken::new(), options.mode == Mode::Live);
    let run_hooks = runner.run(hooks_stop.clone(), HOOKS_AT_END);
    let hooks_ended = tokio::spawn(supervised("hooks", hooks_stop.clone(), run_hooks));
    if live {
        hooks.pre_init();
    }
    if live && let Some(reaper) = Reaper::listen().map_err(DaemonError::Signals)? {
        // Hooks may leave something behind until the very end.
        tokio::spawn(supervised("reaper", hooks_stop.clone(), reaper.run()));
    }
    let opened = (opened, state_file);
    let ended = serve(options, loaded, opened, hooks.clone(), &signals).await;
    if live {
        hooks.pre_quit();
    }
    hooks_stop.cancel();
    // A process that even SIGKILL does not end, on a disk that hangs, is left behind.
    _ = timeout(HOOKS_AT_END + Duration::from_secs(1), hooks_ended).await;
    ended
}

async fn serve(
    options: Options,
    Loaded {
        config,
        list,
        look,
        replaced,
        ..
    }: Loaded,
    (opened, state_file): (Option<Changes>, Option<Arc<StateFile>>),
    hooks: Hooks,
    signals: &Signals,
) -> Result<Ended, DaemonError> {
    let tasks = TaskTracker::new();
    let stop = signals.stop.child_token();
    // However this ends, it is then no fault of a task that it ends too.
    let _stopped = stop.clone().drop_guard();
    let (observed, observations) = mpsc::channel(OBSERVATIONS);
    let (first_sync, first_synced) = oneshot::channel();
    let pollers = Pollers::new(observed, open_files());
    let kept = state_file::load(config.state_file.as_deref(), is_service(&options));
    let overrides = kept.overrides;
    let (latest_overrides, _) = watch::channel((0, Arc::new(overrides.clone())));
    let (written, revisions) = watch::channel(0);
    let (pulse, beats) = watch::channel(0);
    let (control, requests) = ControlHandle::new(beats, revisions);
    let service = is_service(&options);
    let before = (kept.alerts, overrides.asked_to_stay.clone());
    let watchfulness = Watchfulness::start(&config, &hooks, service, before, (&tasks, &stop));
    let stopped = stop.clone();
    let beats = async move { stopped.run_until_cancelled(awake::beat()).await };
    tasks.spawn(supervised("beats", stop.clone(), beats));
    let entrance =
        Entrance::start(opened, control, &config, &list.nodes).map_err(DaemonError::Http)?;
    let readiness = Readiness::new(notifier(&options), entrance.watcher());
    let owned = watch::Sender::new(Arc::new(kept.owned));
    let (snapshots, file_counters) = (watch::Sender::new(None), Arc::<FileCounters>::default());
    let drivers = Drivers::new(DriverContext {
        mode: options.mode,
        hooks: hooks.clone(),
        counters: file_counters.clone(),
        snapshots: snapshots.subscribe(),
        owned: owned.clone(),
        pulse: pulse.clone(),
        stop: stop.child_token(),
    });
    let mut daemon = Daemon {
        started: Clock::now(),
        membership: Membership::new(config.rules.clone(), overrides),
        change_log: ChangeLog::default(),
        event_log: EventLog::default(),
        poll_stats: PollStats::default(),
        pollers,
        entrance,
        hooks,
        snapshots,
        serial: 0,
        changed: Vec::new(),
        serials: Serials::default(),
        cause: None,
        drivers,
        file_counters,
        lists: mpsc::channel(1).1,
        watching: stop.child_token(),
        listing: Listing::default(),
        reloads: JoinSet::new(),
        reload_waiters: ReloadWaiters::default(),
        requests,
        pulse,
        overrides: latest_overrides,
        state_file: watch::Sender::new(state_file),
        owned,
        times: Times::after(kept.nodes),
        next_expiry: None,
        pauses: Pauses::new(),
        readiness,
        watchfulness,
        tasks,
        stop,
        first_sync: Some(first_sync),
        options,
        config,
    };
    if is_service(&daemon.options) {
        daemon.keep_state(kept.rejected, written);
    }
    daemon.report_replaced(&replaced);
    daemon.remember_times();
    let begin = daemon.begin(list, look);
    if signals.stop.run_until_cancelled(begin).await.is_none() {
        // On a disk that hangs. Nothing was decided, so there is nothing to keep.
        return Ok(Ended::Well);
    }
    let once_and_nothing = daemon.options.once && daemon.membership.node_count() == 0;
    let ended = if once_and_nothing {
        // There will never be a first round.
        Ended::OutOfSync
    } else {
        let live = daemon.live(observations, first_synced, signals);
        named("decisions", Box::pin(live)).await
    };
    daemon.readiness.notifier.notify_stopping();
    daemon.change_log.finish();
    daemon.persist_overrides();
    daemon.hand_times();
    daemon.keep_owned().await;
    // Nobody changes them any more: the state file's task writes the last ones, and ends.
    daemon.overrides = watch::Sender::default();
    daemon.stop.cancel();
    daemon.pollers.stop();
    // Together: each may take its time.
    tokio::join!(daemon.entrance.stop(), daemon.drivers.stop(TASKS_AT_END));
    daemon.tasks.close();
    _ = timeout(TASKS_AT_END, daemon.tasks.wait()).await;
    daemon.readiness.notifier.finish().await;
    Ok(ended)
}

impl Daemon {
    async fn begin(&mut self, list: List, look: Look) {
        self.take_first_list(list, look).await;
        let nodes = self.membership.node_count();
        info!(
            "polling {} every {}",
            count(nodes, "node"),
            humantime::format_duration(self.config.poll.interval)
        );
        if nodes == 0 {
            warn!(
                "{} names no node: nothing is done until it does",
                self.config.services_file.display()
            );
        }
    }

    async fn live(
        &mut self,
        mut observations: mpsc::Receiver<Observed>,
        mut first_synced: oneshot::Receiver<bool>,
        signals: &Signals,
    ) -> Ended {
        let mut batch = Vec::new();
        let mut synced = false;
        self.expire_overrides();
        loop {
            self.publish();
            self.persist_overrides();
            self.report_pools();
            let count_again = self.report_nodes();
            let hand_again = self.keep_times();
            let tell_again = self.change_log.write_counts(Instant::now());
            self.tell_manager();
            tokio::select! {
                // Ended before its time, `--once` has not seen all in sync.
                () = signals.stop.cancelled() => {
                    return if self.options.once { Ended::OutOfSync } else { Ended::Well };
                }
                () = signals.reload.notified(), if self.reloads.is_empty() => self.begin_reload(),
                Some(read) = self.reloads.join_next() => self.end_reload(read).await,
                Some(list) = self.lists.recv() => {
                    info!("the services file changed: {}", count(list.nodes.len(), "node"));
                    self.take_list(list, false);
                }
                () = self.listing.look() => self.look_at_removals(),
                _ = observations.recv_many(&mut batch, OBSERVATIONS) => {
                    self.take_polls(&mut batch);
                }
                () = self.pollers.ended() => {
                    end_process("the task of a poller ended, though nobody asked it to")
                }
                Some(request) = self.requests.recv() => self.answer(request),
                () = when(self.next_expiry) => self.expire_overrides(),
                () = when(count_again) => {}
                () = when(hand_again) => {}
                () = when(tell_again) => {}
                Some(word) = self.watchfulness.transitions.recv() => self.take_word(&word),
                Ok(in_sync) = &mut first_synced, if !synced => {
                    synced = true;
                    if self.options.mode == Mode::Live {
                        self.hooks.post_init();
                    }
                    if self.options.once {
                        return if in_sync { Ended::Well } else { Ended::OutOfSync };
                    }
                }
                Ok(()) = self.drivers.files_status.changed() => {}
                () = self.readiness.wake() => {}
            }
        }
    }

    fn set_nodes(&mut self, nodes: Vec<Node>) {
        self.entrance.set_nodes(&nodes);
        self.pollers.set(&nodes, &self.config.poll);
        self.watchfulness.set_nodes(&self.config, &nodes);
        let moment = self.present();
        let changes = self.membership.set_nodes(nodes, moment.now);
        let membership = &self.membership;
        self.serials.retain(|addr| membership.view(addr).is_some());
        self.tell(&changes, moment);
    }

    fn tell_manager(&mut self) {
        let snapshot = self.snapshots.borrow();
        self.readiness.tell(&State {
            services_file: &self.config.services_file,
            nodes: self.membership.node_count(),
            snapshot: snapshot.as_ref(),
            files: self.drivers.files_status.borrow().clone(),
        });
    }

    async fn start_drivers(&mut self) {
        self.drivers.update(&self.config, TASKS_AT_END).await;
        self.report_drivers();
    }
}
