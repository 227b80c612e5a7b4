//! The drivers as one: started together, stopped together, each telling how far it has come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ownership::Ownership;
use crate::config::Config;
use crate::drivers::perlbal::desired::NameMap;
use crate::drivers::perlbal::standing::Standing;
use crate::drivers::perlbal::{PerlbalDriver, QUESTIONS, State};
use crate::drivers::pool_files::directory::Directory;
use crate::drivers::pool_files::{FileCounters, PoolFiles};
use crate::drivers::{Mode, PerlbalHandle, Progress, Snapshot};
use crate::hooks::Hooks;
use crate::model::ownership::Owned;
use crate::supervision::supervised;

/// The running drivers.
pub(super) struct Drivers {
    stop: CancellationToken,
    tasks: TaskTracker,
    progress: Vec<watch::Receiver<Progress>>,
    perlbals: Vec<PerlbalHandle>,
    /// How far the pool files have come.
    pub(super) files: watch::Receiver<Progress>,
}

impl Drivers {
    pub(super) fn none(stop: &CancellationToken) -> Self {
        Self {
            stop: stop.child_token(),
            tasks: TaskTracker::new(),
            progress: Vec::new(),
            perlbals: Vec::new(),
            files: watch::channel(Progress::default()).1,
        }
    }

    /// Starts the pool files and a manager per Perlbal. Snapshots go to the pool files first, and
    /// from there to the Perlbals.
    pub(super) fn start(
        config: &Config,
        hooks: &Hooks,
        mode: Mode,
        (snapshots, owned): (
            watch::Receiver<Option<Snapshot>>,
            &watch::Sender<Arc<Owned>>,
        ),
        counters: Arc<FileCounters>,
        pulse: &watch::Sender<u64>,
        stop: &CancellationToken,
    ) -> Self {
        let (published, _) = watch::channel(None);
        let mut drivers = Self::none(stop);
        for settings in &config.perlbals {
            let (standing_told, standing) = watch::channel(Standing::default());
            let (asked, questions) = mpsc::channel(QUESTIONS);
            drivers.tasks.spawn(beat(standing.clone(), pulse.clone()));
            let (owned_told, last_owned) = watch::channel(None);
            drivers.perlbals.push(PerlbalHandle {
                address: settings.address.clone(),
                standing,
                last_owned,
                questions: asked,
            });
            let earlier = owned.borrow().perlbals.get(&settings.address).cloned();
            let manager = PerlbalDriver {
                settings: settings.clone(),
                translation: NameMap {
                    names: config.perlbal_names.clone(),
                    create_pools: settings.create_pools,
                },
                pool_directory: config.pool_directory.clone(),
                snapshots: published.subscribe(),
                progress: drivers.new_progress().0,
                standing: standing_told,
                last_owned: owned_told,
                questions,
                stop: drivers.stop.clone(),
                state: State::after(earlier.unwrap_or_default(), Instant::now()),
            };
            drivers.spawn("Perlbal", manager.run(mode));
        }
        let (files_progress, files) = drivers.new_progress();
        drivers.tasks.spawn(beat(files.clone(), pulse.clone()));
        drivers.files = files;
        // In a dry run managers answer nothing.
        if mode == Mode::Live {
            let ownership = drivers.ownership(config, snapshots.clone(), owned);
            let (stop, pulse) = (drivers.stop.clone(), pulse.subscribe());
            // Left to itself it would go on telling what these drivers own after others took their place.
            let keep = async move { _ = stop.run_until_cancelled(ownership.keep(pulse)).await };
            drivers.spawn("ownership", keep);
        }
        let pool_files = PoolFiles {
            directory: Directory::new(config.pool_directory.clone()),
            declared: config.rules.declared.keys().cloned().collect(),
            format: config.pool_file_format,
            grace: config.empty_pool_grace,
            hooks: hooks.clone(),
            counters,
            snapshots,
            published,
            progress: files_progress,
            stop: drivers.stop.clone(),
        };
        drivers.spawn("pool files", pool_files.run(mode));
        drivers
    }

    /// A task that runs until all are stopped.
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(supervised(name, self.stop.clone(), task));
    }

    /// Who knows what is owned in the Perlbals.
    pub(super) fn ownership(
        &self,
        config: &Config,
        snapshots: watch::Receiver<Option<Snapshot>>,
        owned: &watch::Sender<Arc<Owned>>,
    ) -> Ownership {
        Ownership {
            naming: config.rules.naming.clone(),
            perlbals: self.perlbals.clone(),
            snapshots,
            owned: owned.clone(),
        }
    }

    /// Stops all, and waits for `limit` at most until they have.
    pub(super) async fn stop(&mut self, limit: Duration) {
        self.stop.cancel();
        self.tasks.close();
        _ = timeout(limit, self.tasks.wait()).await;
    }

    /// How far each has come.
    pub(super) fn progress(&self) -> Vec<watch::Receiver<Progress>> {
        self.progress.clone()
    }

    /// The Perlbals, in the order of the configuration.
    pub(super) fn perlbals(&self) -> &[PerlbalHandle] {
        &self.perlbals
    }

    fn new_progress(&mut self) -> (watch::Sender<Progress>, watch::Receiver<Progress>) {
        let (sender, receiver) = watch::channel(Progress::default());
        self.progress.push(receiver.clone());
        (sender, receiver)
    }

    /// Whether the drivers may go on as they are with another configuration.
    pub(super) fn same_settings(a: &Config, b: &Config) -> bool {
        a.pool_directory == b.pool_directory
            && a.pool_file_format == b.pool_file_format
            && a.empty_pool_grace == b.empty_pool_grace
            && a.perlbals == b.perlbals
            && a.perlbal_names == b.perlbal_names
    }
}

/// Lets those who wait for a change look again whenever `told` changes, until nobody tells any more.
async fn beat<T>(mut told: watch::Receiver<T>, pulse: watch::Sender<u64>) {
    while told.changed().await.is_ok() {
        pulse.send_modify(|beats| *beats += 1);
    }
}
