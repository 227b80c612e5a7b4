//! The running drivers: each is started, stopped and, when its settings change, restarted by itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{OptionFuture, join_all};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ownership::Ownership;
use crate::config::{Config, PoolFileFormat};
use crate::drivers::pool_files::directory::Directory;
use crate::drivers::pool_files::{FileCounters, PoolFiles};
use crate::drivers::registry::DriverSettings;
use crate::drivers::steps::StepPrinter;
use crate::drivers::{Deps, DriverHandle, Input, Mode, Snapshot};
use crate::hooks::Hooks;
use crate::model::driver_status::DriverStatus;
use crate::model::ownership::Owned;
use crate::supervision::supervised;

/// What all drivers are started with.
pub(super) struct DriverContext {
    pub(super) mode: Mode,
    pub(super) hooks: Hooks,
    pub(super) counters: Arc<FileCounters>,
    /// The desired state, always the latest.
    pub(super) snapshots: watch::Receiver<Option<Snapshot>>,
    /// What is owned in load balancers.
    pub(super) owned: watch::Sender<Arc<Owned>>,
    /// Counts up whenever something may have changed.
    pub(super) pulse: watch::Sender<u64>,
    pub(super) stop: CancellationToken,
}

/// The running drivers.
pub(super) struct Drivers {
    context: DriverContext,
    files: Option<Running<FileSettings>>,
    load_balancers: Vec<Running<DriverSettings>>,
    /// How far the pool files have come.
    pub(super) files_status: watch::Receiver<DriverStatus>,
    handles: Vec<DriverHandle>,
    /// The snapshots whose files are written, for the load balancers that wait for that.
    written: watch::Sender<Option<Snapshot>>,
    /// What gathers what is owned.
    ownership: Option<Running<()>>,
}

/// A running driver: what it was started with, and the way to stop it.
struct Running<S> {
    settings: S,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What the pool files' driver depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileSettings {
    directory: PathBuf,
    format: PoolFileFormat,
    grace: Duration,
}

impl FileSettings {
    fn of(config: &Config) -> Self {
        Self {
            directory: config.pool_directory.clone(),
            format: config.pool_file_format,
            grace: config.empty_pool_grace,
        }
    }

    /// Whether files of the one are no files of the other.
    fn moves(&self, other: &Self) -> bool {
        self.directory != other.directory || self.format != other.format
    }
}

impl<S> Running<S> {
    fn new(settings: S, stop: &CancellationToken) -> Self {
        Self {
            settings,
            stop: stop.child_token(),
            tasks: TaskTracker::new(),
        }
    }

    /// A task that runs until the driver is stopped.
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(supervised(name, self.stop.clone(), task));
    }

    /// Stops it, and waits until it has ended.
    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drivers {
    /// No driver runs yet.
    pub(super) fn new(context: DriverContext) -> Self {
        Self {
            context,
            files: None,
            load_balancers: Vec::new(),
            files_status: watch::channel(DriverStatus::default()).1,
            handles: Vec::new(),
            written: watch::Sender::new(None),
            ownership: None,
        }
    }

    /// Whether a configuration needs drivers to be started or stopped. Before the first snapshot the
    /// pool files know the declared pools by the configuration that they were started with.
    pub(super) fn need_update(&self, config: &Config) -> bool {
        let running = self.load_balancers.iter().map(|running| &running.settings);
        let files = self.files.as_ref().map(|running| &running.settings);
        self.context.snapshots.borrow().is_none()
            || files != Some(&FileSettings::of(config))
            || !running.eq(&config.drivers)
    }

    /// Starts what the configuration requires and does not run yet, and stops what it does not require
    /// any more; what runs with the same settings goes on. Waits for `limit` at most until what is
    /// stopped has ended.
    pub(super) async fn update(&mut self, config: &Config, limit: Duration) {
        let file_settings = FileSettings::of(config);
        let before = self.files.as_ref().map(|running| running.settings.clone());
        let moved = before
            .as_ref()
            .is_some_and(|before| before.moves(&file_settings));
        let stays = |running: &Running<DriverSettings>| {
            let follows_files = running.settings.input() == Input::AfterFiles;
            config.drivers.contains(&running.settings) && !(moved && follows_files)
        };
        let nothing_published = self.context.snapshots.borrow().is_none();
        let restarts_files = before.as_ref() != Some(&file_settings) || nothing_published;
        let ended = self
            .load_balancers
            .extract_if(.., |running| !stays(running));
        let ended: Vec<_> = ended.collect();
        let files = if restarts_files {
            self.files.take()
        } else {
            None
        };
        end_all(ended, files, self.ownership.take(), limit).await;
        if moved {
            // What is written of these snapshots is not where, or as, it is read now.
            self.written = watch::Sender::new(None);
        }
        self.start_load_balancers(config);
        if restarts_files {
            self.start_files(config, file_settings);
        }
        self.start_ownership();
    }

    /// Starts those of the configuration that do not run, and puts all in its order.
    fn start_load_balancers(&mut self, config: &Config) {
        let mut running = std::mem::take(&mut self.load_balancers);
        let mut handles = std::mem::take(&mut self.handles);
        for settings in &config.drivers {
            let there = running.iter().position(|one| one.settings == *settings);
            if let Some(index) = there {
                let id = settings.id();
                let handle = handles.iter().position(|handle| handle.id == id);
                self.handles
                    .extend(handle.map(|handle| handles.swap_remove(handle)));
                self.load_balancers.push(running.swap_remove(index));
            } else {
                self.start_load_balancer(settings, config);
            }
        }
    }

    fn start_load_balancer(&mut self, settings: &DriverSettings, config: &Config) {
        let context = &self.context;
        let running = Running::new(settings.clone(), &context.stop);
        let desired = match settings.input() {
            Input::Direct => context.snapshots.clone(),
            Input::AfterFiles => self.written.subscribe(),
        };
        let stop = running.stop.clone();
        let (handle, io) = DriverHandle::new(&**settings, desired, StepPrinter::stdout(), stop);
        let owned = context
            .owned
            .borrow()
            .load_balancers
            .get(&handle.id.key())
            .cloned();
        let driver = settings.build(Deps {
            pool_directory: config.pool_directory.clone(),
            owned: owned.unwrap_or_default(),
        });
        running.tasks.spawn(notify_watchers(
            handle.status.clone(),
            context.pulse.clone(),
        ));
        running.spawn(handle.id.kind.name, driver.run(io, context.mode));
        self.load_balancers.push(running);
        self.handles.push(handle);
    }

    fn start_files(&mut self, config: &Config, settings: FileSettings) {
        let context = &self.context;
        let running = Running::new(settings, &context.stop);
        let (status, receiver) = watch::channel(DriverStatus::default());
        running
            .tasks
            .spawn(notify_watchers(receiver.clone(), context.pulse.clone()));
        let pool_files = PoolFiles {
            directory: Directory::new(config.pool_directory.clone()),
            declared: config.rules.declared.keys().cloned().collect(),
            format: config.pool_file_format,
            grace: config.empty_pool_grace,
            hooks: context.hooks.clone(),
            counters: context.counters.clone(),
            snapshots: context.snapshots.clone(),
            published: self.written.clone(),
            status,
            steps: StepPrinter::stdout(),
            stop: running.stop.clone(),
        };
        running.spawn("pool files", pool_files.run(context.mode));
        self.files_status = receiver;
        self.files = Some(running);
    }

    /// In a dry run drivers answer no queries.
    fn start_ownership(&mut self) {
        if self.context.mode == Mode::DryRun {
            return;
        }
        let running = Running::new((), &self.context.stop);
        let ownership = self.ownership();
        let (stop, pulse) = (running.stop.clone(), self.context.pulse.subscribe());
        // Left to itself it would go on with drivers that have ended.
        let keep = async move { _ = stop.run_until_cancelled(ownership.keep(pulse)).await };
        running.spawn("ownership", keep);
        self.ownership = Some(running);
    }

    /// What gathers what is owned in the load balancers.
    pub(super) fn ownership(&self) -> Ownership {
        Ownership {
            drivers: self.handles.clone(),
            snapshots: self.context.snapshots.clone(),
            owned: self.context.owned.clone(),
        }
    }

    /// Stops all, and waits for `limit` at most until they have ended.
    pub(super) async fn stop(&mut self, limit: Duration) {
        let load_balancers = std::mem::take(&mut self.load_balancers);
        end_all(
            load_balancers,
            self.files.take(),
            self.ownership.take(),
            limit,
        )
        .await;
    }

    /// How far each has come, the pool files last.
    pub(super) fn statuses(&self) -> Vec<watch::Receiver<DriverStatus>> {
        let load_balancers = self.handles.iter().map(|handle| handle.status.clone());
        load_balancers.chain([self.files_status.clone()]).collect()
    }

    /// The load balancers' drivers, in the order of the configuration.
    pub(super) fn handles(&self) -> &[DriverHandle] {
        &self.handles
    }
}

/// Stops these, and waits for `limit` at most until they have ended.
async fn end_all(
    load_balancers: Vec<Running<DriverSettings>>,
    files: Option<Running<FileSettings>>,
    ownership: Option<Running<()>>,
    limit: Duration,
) {
    let load_balancers = join_all(load_balancers.into_iter().map(Running::end));
    let files = OptionFuture::from(files.map(Running::end));
    let ownership = OptionFuture::from(ownership.map(Running::end));
    let all = async { tokio::join!(load_balancers, files, ownership) };
    _ = timeout(limit, all).await;
}

/// Wakes everyone who waits for a change whenever a status changes, until its driver ends.
async fn notify_watchers(mut status: watch::Receiver<DriverStatus>, pulse: watch::Sender<u64>) {
    while status.changed().await.is_ok() {
        pulse.send_modify(|count| *count += 1);
    }
}
