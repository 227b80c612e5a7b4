//! The daemon: starts the tasks, owns [`Membership`], publishes snapshots, reloads, stops.
//!
//! ```text
//!   pollers ──(observations, mpsc)──► Daemon ──(snapshots, watch)──► pool files
//!   services_watch ──(lists, mpsc)──►   ▲                               │ (snapshots with files, watch)
//!   signals ────────────────────────────┤                               ▼
//!   doors ──(asks, mpsc)────────────────┘                            Perlbals
//! ```
//!
//! By the doors it is asked; they are on a thread of their own.

mod desk;
mod drivers;
mod entrance;
mod readiness;
mod reloading;
mod telling;
mod watchfulness;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use self::desk::orders_end;
use self::drivers::Drivers;
use self::entrance::Entrance;
use self::readiness::{Readiness, State};
use self::reloading::ReloadWaiters;
use self::watchfulness::Watchfulness;
use crate::asks::{Ask, Desk, Moment, Serials};
use crate::change_log::ChangeLog;
use crate::config::Config;
use crate::doors::{Changes, DoorError};
use crate::drivers::pool_files::FileCounters;
use crate::drivers::pool_files::directory::earlier_pools;
use crate::drivers::{Mode, Snapshot};
use crate::hooks::Hooks;
use crate::lifecycle::{Lifecycle, open_files};
use crate::load::{LoadErrors, Loaded, load};
use crate::logging::count;
use crate::model::journal::Journal;
use crate::model::membership::Membership;
use crate::model::node::{Node, NodeAddr};
use crate::model::tally::Tally;
use crate::poller::{Observed, Pollers};
use crate::service_manager::ServiceManager;
use crate::services_watch::{self, Stamp};
use crate::state_file::{self, Refused, Revised};

/// Observations that may wait for the daemon: some rounds of a small site, a moment of a big one.
/// When it is full the pollers wait; nothing is lost.
const OBSERVATIONS: usize = 4_096;

/// So much of the five seconds that the end may take is for hooks.
const HOOKS_AT_END: Duration = Duration::from_millis(2_500);

/// And so much for everything else.
const TASKS_AT_END: Duration = Duration::from_millis(500);

/// How the daemon is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Whether to change the world.
    pub mode: Mode,
    /// End after the first full round and its sync.
    pub once: bool,
}

/// Why the daemon did not run.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// The configuration or the services file is wrong.
    #[error(transparent)]
    Config(#[from] LoadErrors),
    /// A door that the configuration names cannot be opened.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The doors' thread does not start.
    #[error("failed to start the doors' thread")]
    Doors(#[source] io::Error),
    /// The system allows no signal handlers.
    #[error("failed to listen for signals")]
    Signals(#[source] io::Error),
}

/// How the daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As it was asked to; with `--once`, in sync.
    Well,
    /// With `--once`: not all is in sync.
    OutOfSync,
}

struct Daemon {
    options: Options,
    config: Config,
    started: Moment,
    membership: Membership,
    change_log: ChangeLog,
    journal: Journal,
    tally: Tally,
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
    lists: mpsc::Receiver<Vec<Node>>,
    watching: CancellationToken,
    /// A reload that reads its files, at most one.
    reloads: JoinSet<Result<(Loaded, Changes), String>>,
    reload_waiters: ReloadWaiters,
    /// What the doors ask.
    asks: mpsc::Receiver<Ask>,
    /// Counts up whenever something may be otherwise than before.
    pulse: watch::Sender<u64>,
    /// The orders in force, for the state file, and where that is.
    orders: watch::Sender<Revised>,
    state_file: watch::Sender<Option<PathBuf>>,
    /// When to look for orders whose time is over.
    orders_end: Option<Instant>,
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
    let loaded = load(&options.config)?;
    loaded.warn();
    let opened = entrance::open(&options, &loaded.config)?;
    let lifecycle = Lifecycle::listen().map_err(DaemonError::Signals)?;
    let (hooks, runner) = Hooks::new(&loaded.config);
    let (hooks_stop, live) = (CancellationToken::new(), options.mode == Mode::Live);
    let hooks_ended = tokio::spawn(runner.run(hooks_stop.clone(), HOOKS_AT_END));
    if live {
        hooks.pre_init();
    }
    let ended = serve(options, loaded, opened, hooks.clone(), &lifecycle).await;
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
        nodes,
        stamp,
    }: Loaded,
    opened: Option<Changes>,
    hooks: Hooks,
    lifecycle: &Lifecycle,
) -> Result<Ended, DaemonError> {
    let tasks = TaskTracker::new();
    let stop = lifecycle.stop.child_token();
    let (observed, observations) = mpsc::channel(OBSERVATIONS);
    let (first_sync, first_synced) = oneshot::channel();
    let pollers = Pollers::new(observed, open_files());
    let readiness = Readiness::new(service_manager(&options));
    let kept = state_file::load(config.state_file.as_deref(), is_service(&options));
    let orders = kept.orders;
    let (orders_kept, _) = watch::channel((0, Arc::new(orders.clone())));
    let (written, revisions) = watch::channel(0);
    let (pulse, beats) = watch::channel(0);
    let (desk, asks) = Desk::new(beats, revisions);
    let service = is_service(&options);
    let before = (kept.alerts, orders.pleaded.clone());
    let watchfulness = Watchfulness::start(&config, &hooks, service, before, (&tasks, &stop));
    let mut daemon = Daemon {
        started: Moment::present(),
        membership: Membership::new(config.rules.clone(), orders),
        change_log: ChangeLog::default(),
        journal: Journal::default(),
        tally: Tally::default(),
        pollers,
        entrance: Entrance::start(opened, desk).map_err(DaemonError::Doors)?,
        hooks,
        snapshots: watch::Sender::new(None),
        serial: 0,
        changed: Vec::new(),
        serials: Serials::default(),
        cause: None,
        drivers: Drivers::none(&stop),
        file_counters: Arc::default(),
        lists: mpsc::channel(1).1,
        watching: stop.child_token(),
        reloads: JoinSet::new(),
        reload_waiters: ReloadWaiters::default(),
        asks,
        pulse,
        orders: orders_kept,
        state_file: watch::Sender::new(config.state_file.clone()),
        orders_end: None,
        readiness,
        watchfulness,
        tasks,
        stop,
        first_sync: Some(first_sync),
        options,
        config,
    };
    if is_service(&daemon.options) {
        daemon.keep_state(kept.refused, written);
    }
    let once_and_nothing = daemon.options.once && nodes.is_empty();
    daemon.begin(nodes, stamp);
    let ended = if once_and_nothing {
        // There will never be a first round.
        Ended::OutOfSync
    } else {
        daemon.live(observations, first_synced, lifecycle).await
    };
    daemon.readiness.manager.stopping();
    daemon.keep_orders();
    // Nobody changes them any more: the state file's task writes the last ones, and ends.
    daemon.orders = watch::Sender::default();
    daemon.stop.cancel();
    daemon.pollers.stop();
    // Together: each may take its time.
    tokio::join!(daemon.entrance.stop(), daemon.drivers.stop(TASKS_AT_END));
    daemon.tasks.close();
    _ = timeout(TASKS_AT_END, daemon.tasks.wait()).await;
    daemon.readiness.manager.finish().await;
    Ok(ended)
}

/// Only a daemon that goes on and changes the world is a service.
fn is_service(options: &Options) -> bool {
    options.mode == Mode::Live && !options.once
}

fn service_manager(options: &Options) -> ServiceManager {
    if is_service(options) {
        ServiceManager::from_environment()
    } else {
        ServiceManager::none()
    }
}

impl Daemon {
    fn begin(&mut self, nodes: Vec<Node>, stamp: Stamp) {
        info!(
            "polling {} every {}",
            count(nodes.len(), "node"),
            humantime::format_duration(self.config.poll.interval)
        );
        if nodes.is_empty() {
            warn!(
                "{} names no node: nothing is done until it does",
                self.config.services_file.display()
            );
        }
        self.set_nodes(nodes);
        for (pool, members) in earlier_pools(&self.config.pool_directory) {
            self.membership.inherit(&pool, members);
        }
        self.start_drivers();
        self.watch_services(stamp);
    }

    async fn live(
        &mut self,
        mut observations: mpsc::Receiver<Observed>,
        mut first_synced: oneshot::Receiver<bool>,
        lifecycle: &Lifecycle,
    ) -> Ended {
        let mut batch = Vec::new();
        let mut synced = false;
        self.expire_orders();
        loop {
            self.publish();
            self.keep_orders();
            self.report_pools();
            self.tell_manager();
            tokio::select! {
                // Ended before its time, `--once` has not seen all in sync.
                () = lifecycle.stop.cancelled() => {
                    return if self.options.once { Ended::OutOfSync } else { Ended::Well };
                }
                () = lifecycle.reload.notified(), if self.reloads.is_empty() => self.begin_reload(),
                Some(read) = self.reloads.join_next() => self.end_reload(read).await,
                Some(nodes) = self.lists.recv() => {
                    info!("the services file changed: {}", count(nodes.len(), "node"));
                    self.set_nodes(nodes);
                }
                _ = observations.recv_many(&mut batch, OBSERVATIONS) => {
                    self.take_polls(&mut batch);
                }
                Some(ask) = self.asks.recv() => self.answer(ask),
                () = orders_end(self.orders_end) => self.expire_orders(),
                Some(word) = self.watchfulness.words.recv() => self.take_word(&word),
                Ok(in_sync) = &mut first_synced, if !synced => {
                    synced = true;
                    if self.options.mode == Mode::Live {
                        self.hooks.post_init();
                    }
                    if self.options.once {
                        return if in_sync { Ended::Well } else { Ended::OutOfSync };
                    }
                }
                Ok(()) = self.drivers.files.changed() => {}
                () = self.readiness.wake() => {}
            }
        }
    }

    fn set_nodes(&mut self, nodes: Vec<Node>) {
        self.entrance.set_nodes(&nodes);
        self.pollers.set(&nodes, &self.config.poll);
        self.watchfulness.set_nodes(&self.config, &nodes);
        let moment = Moment::present();
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
            files: self.drivers.files.borrow().clone(),
        });
    }

    /// Watches the services file of the present configuration, and no other any more.
    fn watch_services(&mut self, stamp: Stamp) {
        self.watching.cancel();
        self.watching = self.stop.child_token();
        let watching = self.watching.clone();
        let path = self.config.services_file.clone();
        // One list at a time; the watcher waits while the daemon takes it. A channel of its own,
        // so that no list from before a reload comes after it.
        let (sender, lists) = mpsc::channel(1);
        self.lists = lists;
        let reports = self.watchfulness.reports.clone();
        let watch = services_watch::watch(path, stamp, sender, reports);
        self.tasks
            .spawn(async move { watching.run_until_cancelled(watch).await });
    }

    /// Keeps orders in the state file, and has it said that it was refused.
    fn keep_state(&self, refused: Option<Refused>, written: watch::Sender<u64>) {
        if let Some(refused) = refused {
            let report = refused.report(self.watchfulness.reports.clone(), written.subscribe());
            let stop = self.stop.clone();
            self.tasks
                .spawn(async move { stop.run_until_cancelled(report).await });
        }
        let (path, orders) = (self.state_file.subscribe(), self.orders.subscribe());
        let reports = self.watchfulness.reports.clone();
        let alerts = self.watchfulness.memory.subscribe();
        let keep = state_file::keep(path, (orders, alerts), written, reports);
        self.tasks.spawn(keep);
    }

    fn start_drivers(&mut self) {
        let snapshots = self.snapshots.subscribe();
        let (config, hooks, mode) = (&self.config, &self.hooks, self.options.mode);
        let (counters, pulse) = (self.file_counters.clone(), &self.pulse);
        self.drivers = Drivers::start(config, hooks, mode, snapshots, counters, pulse, &self.stop);
        self.report_drivers();
    }
}
