//! The drivers as one: started together, stopped together, each telling how far it has come.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::drivers::perlbal::standing::Standing;
use crate::drivers::perlbal::wanted::Translation;
use crate::drivers::perlbal::{Manager, Memory, QUESTIONS};
use crate::drivers::pool_files::directory::Directory;
use crate::drivers::pool_files::{FileCounters, PoolFiles};
use crate::drivers::{Mode, PerlbalHandle, Progress, Snapshot};
use crate::hooks::Hooks;

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
        snapshots: watch::Receiver<Option<Snapshot>>,
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
            drivers.perlbals.push(PerlbalHandle {
                address: settings.address.clone(),
                standing,
                questions: asked,
            });
            let manager = Manager {
                settings: settings.clone(),
                translation: Translation {
                    names: config.perlbal_names.clone(),
                    create_pools: settings.create_pools,
                },
                pool_directory: config.pool_directory.clone(),
                snapshots: published.subscribe(),
                progress: drivers.new_progress().0,
                standing: standing_told,
                questions,
                stop: drivers.stop.clone(),
                memory: Memory::default(),
            };
            drivers.tasks.spawn(manager.run(mode));
        }
        let (files_progress, files) = drivers.new_progress();
        drivers.tasks.spawn(beat(files.clone(), pulse.clone()));
        drivers.files = files;
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
        drivers.tasks.spawn(pool_files.run(mode));
        drivers
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
