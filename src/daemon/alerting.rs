//! The daemon's side of alerts and stay requests: reports the status of pools, nodes and drivers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Daemon;
use crate::alerts::{AlertTask, StatusReporter};
use crate::config::Config;
use crate::config::poll::PollSettings;
use crate::drivers::{DriverHandle, PoolFilter};
use crate::hooks::Hooks;
use crate::model::alerts::{ActiveProblem, AlertSettings, SavedAlerts, Transition};
use crate::model::driver_status::{DriverId, DriverStatus};
use crate::model::node::{Node, NodeAddr};
use crate::model::problems::{DriverHealth, FileFault, PoolHealth, SystemStatus};
use crate::stay_requests::{self, StayTargets};
use crate::supervision::supervised;

/// Maximum transitions in the queue, which the daemon empties at each turn. When it is full, alerts wait.
const TRANSITIONS: usize = 64;

/// Minimum interval at which nodes are counted for alerts: at a large site that visits thousands, and problems with
/// nodes must last for seconds.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// Interval at which the differences in a load balancer that is not in sync are queried.
const DIFFERENCES_INTERVAL: Duration = Duration::from_secs(1);

/// What the daemon needs for alerts and stay requests.
pub(super) struct Alerting {
    /// Collects the system status.
    pub(super) status_reporter: StatusReporter,
    settings: watch::Sender<AlertSettings>,
    /// The problems that were raised or cleared.
    pub(super) transitions: mpsc::Receiver<Transition>,
    active: watch::Receiver<Arc<Vec<ActiveProblem>>>,
    /// What was reported, for the state file.
    pub(super) saved: watch::Sender<Arc<SavedAlerts>>,
    stay_targets: watch::Sender<StayTargets>,
    /// The tasks that report the status of the drivers.
    driver_reporters: JoinSet<()>,
    /// The number of changes up to which nodes were counted, and the earliest time of the next count.
    counted: (u64, Instant),
}

impl Alerting {
    /// Starts to evaluate alerts and to send stay requests, if this is a `service`. Resumes from what the previous run
    /// reported, and which nodes it asked to stay.
    pub(super) fn start(
        config: &Config,
        hooks: &Hooks,
        service: bool,
        (saved, asked_to_stay): (SavedAlerts, BTreeSet<NodeAddr>),
        (tasks, stop): (&TaskTracker, &CancellationToken),
    ) -> Self {
        let status_reporter = StatusReporter::new();
        let settings = watch::Sender::new(config.alerts);
        let (transition_sender, transitions) = mpsc::channel(TRANSITIONS);
        let (active_sender, active) = watch::channel(Arc::default());
        let stay_targets = watch::Sender::new(StayTargets {
            asked_before: Arc::new(asked_to_stay),
            ..StayTargets::default()
        });
        let saved = watch::Sender::new(Arc::new(saved));
        if service {
            let task = AlertTask {
                system_status: status_reporter.subscribe(),
                settings: settings.subscribe(),
                hooks: hooks.clone(),
                transitions: transition_sender,
                active: active_sender,
                saved: saved.clone(),
            };
            let stopped = stop.clone();
            let task = async move { stopped.run_until_cancelled(task.run()).await };
            tasks.spawn(supervised("alerts", stop.clone(), task));
            let (stopped, requests) = (stop.clone(), stay_requests::run(stay_targets.subscribe()));
            let requests = async move { stopped.run_until_cancelled(requests).await };
            tasks.spawn(supervised("stay requests", stop.clone(), requests));
        }
        let nodes_down = config.nodes_down;
        status_reporter.set(|status| &mut status.nodes_down, nodes_down);
        Self {
            status_reporter,
            settings,
            transitions,
            active,
            saved,
            stay_targets,
            driver_reporters: JoinSet::new(),
            counted: (0, Instant::now()),
        }
    }

    /// Applies a reload that was accepted: its files are valid.
    pub(super) fn reload(&self, config: &Config) {
        self.settings.send_if_modified(|settings| {
            let before = std::mem::replace(settings, config.alerts);
            before != config.alerts
        });
        let reporter = &self.status_reporter;
        reporter.set(|status| &mut status.nodes_down, config.nodes_down);
        reporter.set(|status| &mut status.reload, None);
        reporter.set(|status| &mut status.services, None);
        let is_configured = |id: &DriverId| config.drivers.iter().any(|driver| driver.id() == *id);
        reporter.retain_drivers(is_configured);
    }

    /// Stops reporting the status of the drivers: they are about to be stopped, which is no problem.
    pub(super) fn ignore_drivers(&mut self) {
        // Dropped rather than aborted: an aborted set keeps the tasks that ended until they are joined.
        self.driver_reporters = JoinSet::new();
    }

    /// Sets the nodes of the services file.
    pub(super) fn set_nodes(&self, config: &Config, nodes: &[Node]) {
        self.stay_targets.send_if_modified(|targets| {
            // Earlier requests are cancelled.
            let has_asked = !targets.listed.is_empty() || !targets.asked_before.is_empty();
            let is_needed = config.pool_please_dont_go || has_asked;
            if is_needed {
                targets.listed = Arc::new(nodes.iter().map(|node| node.addr).collect());
            }
            is_needed
        });
    }

    /// Reports the state of the pools.
    pub(super) fn report_pools(&self, pools: Vec<PoolHealth>, first_round_done: bool) {
        let reporter = &self.status_reporter;
        reporter.set(|status| &mut status.first_round_done, first_round_done);
        reporter.set(|status| &mut status.pools, pools);
    }

    /// Asks these nodes to stay, and no others.
    pub(super) fn request_stay(&self, nodes: BTreeSet<NodeAddr>, poll: &PollSettings) {
        self.stay_targets.send_if_modified(|targets| {
            let same = targets.nodes.as_ref() == Some(&nodes) && *targets.poll == *poll;
            if !same {
                targets.poll = Arc::new(poll.clone());
            }
            targets.nodes = Some(nodes);
            !same
        });
    }

    /// The problems that have lasted long enough to count.
    pub(super) fn active_problems(&self) -> Vec<ActiveProblem> {
        self.active.borrow().to_vec()
    }
}

impl Daemon {
    /// Starts to report the status of the drivers.
    pub(super) fn report_drivers(&mut self) {
        let Alerting {
            status_reporter,
            driver_reporters,
            ..
        } = &mut self.alerting;
        for driver in self.drivers.handles() {
            driver_reporters.spawn(report_driver(driver.clone(), status_reporter.clone()));
        }
        let directory = self.config.pool_directory.display().to_string();
        let files = self.drivers.files_status.clone();
        driver_reporters.spawn(report_files(directory, files, status_reporter.clone()));
    }

    /// Counts the nodes if anything has changed and the last count is long enough ago; otherwise returns when to do so.
    pub(super) fn report_nodes(&mut self) -> Option<Instant> {
        let (changes, now) = (*self.changed.borrow(), Instant::now());
        let (counted, next) = self.alerting.counted;
        if changes == counted {
            return None;
        }
        if now < next {
            return Some(next);
        }
        self.alerting.counted = (changes, now + COUNT_INTERVAL);
        let nodes = self.core.membership().node_counts();
        let reporter = &self.alerting.status_reporter;
        reporter.set(|status| &mut status.nodes, nodes);
        None
    }

    /// The present status: what was reported may be slightly older.
    pub(super) fn system_status(&self) -> SystemStatus {
        let membership = self.core.membership();
        let first_round_done = membership.first_round_done();
        let overrides = membership.overrides();
        let active = overrides.nodes().count() + overrides.frozen.len();
        let is_saved = self.config.state_file.is_some();
        let drivers = self.drivers.handles().iter();
        let reported = self.alerting.status_reporter.now();
        let drivers = drivers.map(|driver| {
            let known = reported.drivers.get(&driver.id);
            let differences = known.and_then(|known| known.differences.clone());
            let health = health_of(driver, &driver.status(), differences);
            (driver.id.clone(), health)
        });
        let directory = self.config.pool_directory.display().to_string();
        let files_status = self.drivers.files_status.borrow().clone();
        let files = files_fault(&directory, &files_status);
        SystemStatus {
            files_skipped: files_skipped(&directory, &files_status),
            first_round_done,
            pools: self.core.pool_health(),
            nodes: membership.node_counts(),
            frozen: overrides.frozen.keys().map(ToString::to_string).collect(),
            orders_not_kept: if is_saved { 0 } else { active },
            drivers: drivers.collect(),
            // Before the first round the desired content is unknown.
            files: files.filter(|_| first_round_done),
            ..reported
        }
    }

    /// Reports that a reload was rejected.
    pub(super) fn report_rejected_reload(&self, error: &str) {
        let fault = FileFault {
            path: self.options.config.display().to_string(),
            text: format!("a reload was rejected, the old state stays active: {error}"),
        };
        let reporter = &self.alerting.status_reporter;
        reporter.set(|status| &mut status.reload, Some(fault));
    }
}

/// Reports the status of the pool files until their driver stops.
async fn report_files(
    directory: String,
    mut files: watch::Receiver<DriverStatus>,
    status_reporter: StatusReporter,
) {
    loop {
        let status = files.borrow_and_update().clone();
        let fault = files_fault(&directory, &status);
        status_reporter.set(|status| &mut status.files, fault);
        let skipped = files_skipped(&directory, &status);
        status_reporter.set(|status| &mut status.files_skipped, skipped);
        if files.changed().await.is_err() {
            return;
        }
    }
}

fn files_fault(directory: &str, status: &DriverStatus) -> Option<FileFault> {
    let text = || {
        let why = status.because();
        format!("pool files in {directory} are not in sync{why}")
    };
    (!status.in_sync).then(|| FileFault {
        path: directory.to_owned(),
        text: text(),
    })
}

fn files_skipped(directory: &str, status: &DriverStatus) -> Option<FileFault> {
    let what =
        format!("pool files in {directory}, in the nodefile format, cannot contain IPv6 nodes");
    let text = status.skipped.text(&what)?;
    let path = directory.to_owned();
    Some(FileFault { path, text })
}

fn health_of(
    driver: &DriverHandle,
    status: &DriverStatus,
    differences: Option<Arc<str>>,
) -> DriverHealth {
    let outage = status.outage.as_ref();
    DriverHealth {
        connected: status.connected,
        in_sync: status.in_sync,
        outage: outage.map(|outage| outage.steady_text().into()),
        differences: differences.filter(|_| status.connected && !status.in_sync),
        skipped: Arc::clone(&status.skipped),
        blocks_ready: driver.required && !status.carried_in_sync,
    }
}

/// Reports the health of a load balancer until its driver stops.
async fn report_driver(mut driver: DriverHandle, status_reporter: StatusReporter) {
    loop {
        let status = driver.status.borrow_and_update().clone();
        let may_differ = status.connected && !status.in_sync;
        let details = if may_differ {
            driver.details(PoolFilter::Differing).await
        } else {
            None
        };
        let differences = details.map(|details| details.differences);
        let differences = differences.filter(|text| !text.is_empty());
        let health = health_of(&driver, &status, differences.map(Into::into));
        status_reporter.driver(&driver.id, health);
        let changed = driver.status.changed();
        let changed = if may_differ {
            // The differences may change while it stays out of sync.
            let changed = timeout(DIFFERENCES_INTERVAL, changed).await;
            changed.unwrap_or(Ok(()))
        } else {
            changed.await
        };
        if changed.is_err() {
            return;
        }
    }
}
