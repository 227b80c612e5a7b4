//! The daemon's side of alerts and stay requests: says how pools and drivers stand, and takes down what
//! began and what is over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Daemon;
use crate::alerts::{AlertTask, StatusReporter, over};
use crate::config::Config;
use crate::drivers::{DriverHandle, PoolFilter};
use crate::hooks::Hooks;
use crate::model::alerts::{ActiveProblem, AlertSettings, SavedAlerts, Transition};
use crate::model::driver_status::{DriverId, DriverStatus};
use crate::model::event::{EventText, Severity};
use crate::model::node::{Node, NodeAddr};
use crate::model::problems::{DriverHealth, FileFault, Kind, PoolHealth, SystemStatus};
use crate::model::time::Clock;
use crate::stay_requests::{self, StayTargets};
use crate::supervision::supervised;

/// Words that may wait for the daemon, which takes them at each turn. When it is full, alerts wait.
const WORDS: usize = 64;

/// What the daemon keeps for alerts and stay requests.
pub(super) struct Watchfulness {
    /// Where to say how things stand.
    pub(super) status_reporter: StatusReporter,
    settings: watch::Sender<AlertSettings>,
    /// What began and ended.
    pub(super) transitions: mpsc::Receiver<Transition>,
    active: watch::Receiver<Arc<Vec<ActiveProblem>>>,
    /// What was told, for the state file.
    pub(super) memory: watch::Sender<Arc<SavedAlerts>>,
    stay_targets: watch::Sender<StayTargets>,
    /// They say how the drivers stand.
    reporters: JoinSet<()>,
    /// The last snapshot whose pools were reported.
    serial: u64,
    /// Up to which beat of the pulse nodes were counted, and when they may be again.
    counted: (u64, Instant),
}

/// Nodes are counted for alerts so often at most: at a big site that looks at thousands, and what is
/// told of them has held for seconds.
const BETWEEN_COUNTS: Duration = Duration::from_secs(1);

impl Watchfulness {
    /// Begins to watch, and to ask nodes to stay, if this is a `service`. The run before told what is
    /// in `memory`, and asked those that are `asked_to_stay`.
    pub(super) fn start(
        config: &Config,
        hooks: &Hooks,
        service: bool,
        (memory, asked_to_stay): (SavedAlerts, BTreeSet<NodeAddr>),
        (tasks, stop): (&TaskTracker, &CancellationToken),
    ) -> Self {
        let status_reporter = StatusReporter::new();
        let settings = watch::Sender::new(config.alerts);
        let (word, transitions) = mpsc::channel(WORDS);
        let (active_sender, active) = watch::channel(Arc::default());
        let stay_targets = watch::Sender::new(StayTargets {
            asked_before: Arc::new(asked_to_stay),
            ..StayTargets::default()
        });
        let memory = watch::Sender::new(Arc::new(memory));
        if service {
            let watch = AlertTask {
                system_status: status_reporter.subscribe(),
                settings: settings.subscribe(),
                hooks: hooks.clone(),
                transitions: word,
                active: active_sender,
                saved: memory.clone(),
            };
            let stopped = stop.clone();
            let watch = async move { stopped.run_until_cancelled(watch.run()).await };
            tasks.spawn(supervised("alerts", stop.clone(), watch));
            let (stopped, requests) = (stop.clone(), stay_requests::run(stay_targets.subscribe()));
            let requests = async move { stopped.run_until_cancelled(requests).await };
            tasks.spawn(supervised("stay requests", stop.clone(), requests));
        }
        let watchfulness = Self {
            status_reporter,
            settings,
            transitions,
            active,
            memory,
            stay_targets,
            reporters: JoinSet::new(),
            serial: 0,
            counted: (0, Instant::now()),
        };
        let nodes_down = config.nodes_down;
        watchfulness
            .status_reporter
            .set(|now| &mut now.nodes_down, nodes_down);
        watchfulness
    }

    /// Takes a configuration, and the services file, that are in order.
    pub(super) fn reload(&self, config: &Config) {
        self.settings.send_if_modified(|settings| {
            let before = std::mem::replace(settings, config.alerts);
            before != config.alerts
        });
        self.status_reporter
            .set(|now| &mut now.nodes_down, config.nodes_down);
        self.status_reporter.set(|now| &mut now.reload, None);
        self.status_reporter.set(|now| &mut now.services, None);
        let is_there = |id: &DriverId| config.drivers.iter().any(|driver| driver.id() == *id);
        self.status_reporter.retain_drivers(is_there);
    }

    /// How the drivers stand is said no more: they are to end, and that is no trouble.
    pub(super) fn leave_drivers(&mut self) {
        // Dropped rather than aborted: a set keeps those that ended until they are asked for.
        self.reporters = JoinSet::new();
    }

    /// Takes the nodes of the services file.
    pub(super) fn set_nodes(&self, config: &Config, nodes: &[Node]) {
        self.stay_targets.send_if_modified(|targets| {
            // Requests that were sent before are cancelled.
            let asked = !targets.listed.is_empty() || !targets.asked_before.is_empty();
            let needed = config.pool_please_dont_go || asked;
            if needed {
                targets.listed = Arc::new(nodes.iter().map(|node| node.addr).collect());
            }
            needed
        });
    }

    /// What a person must know now.
    pub(super) fn problems(&self) -> Vec<ActiveProblem> {
        self.active.borrow().to_vec()
    }
}

impl Daemon {
    /// Has it said how the drivers stand, until they are left.
    pub(super) fn report_drivers(&mut self) {
        let Watchfulness {
            status_reporter,
            reporters,
            ..
        } = &mut self.watchfulness;
        for driver in self.drivers.handles() {
            reporters.spawn(report_driver(driver.clone(), status_reporter.clone()));
        }
        let directory = self.config.pool_directory.display().to_string();
        let files = self.drivers.files_status.clone();
        reporters.spawn(report_files(directory, files, status_reporter.clone()));
    }

    /// Says how pools stand, if that may have changed.
    pub(super) fn report_pools(&mut self) {
        let new = std::mem::replace(&mut self.watchfulness.serial, self.serial) != self.serial;
        if !self.membership.take_pool_health_changed() && !new {
            return;
        }
        let levels = self.pool_levels();
        self.update_stay_requests(&levels);
        let status_reporter = &self.watchfulness.status_reporter;
        status_reporter.set(|now| &mut now.first_round_done, self.serial > 0);
        status_reporter.set(|now| &mut now.pools, levels);
    }

    /// Counts the nodes, if something may have changed and the last count is long enough ago; else gives
    /// when to do it.
    pub(super) fn report_nodes(&mut self) -> Option<Instant> {
        let (beats, now) = (*self.pulse.borrow(), Instant::now());
        let (counted, next) = self.watchfulness.counted;
        if beats == counted {
            return None;
        }
        if now < next {
            return Some(next);
        }
        self.watchfulness.counted = (beats, now + BETWEEN_COUNTS);
        let nodes = self.membership.node_counts();
        self.watchfulness
            .status_reporter
            .set(|now| &mut now.nodes, nodes);
        None
    }

    /// How all stands at this moment: what is reported may be a moment old.
    pub(super) fn system_status(&self) -> SystemStatus {
        let first_round_done = self.membership.first_round_done();
        let overrides = self.membership.overrides();
        let given = overrides.disabled.len() + overrides.leases.len() + overrides.frozen.len();
        let is_kept = self.config.state_file.is_some();
        let drivers = self.drivers.handles().iter();
        let reported = self.watchfulness.status_reporter.now();
        let drivers = drivers.map(|driver| {
            let known = reported.drivers.get(&driver.id);
            let differences = known.and_then(|known| known.differences.clone());
            let health = health_of(&driver.status(), differences);
            (driver.id.clone(), health)
        });
        let directory = self.config.pool_directory.display().to_string();
        let files = files_fault(&directory, &self.drivers.files_status.borrow());
        SystemStatus {
            first_round_done,
            pools: self.pool_levels(),
            nodes: self.membership.node_counts(),
            frozen: overrides.frozen.keys().map(ToString::to_string).collect(),
            orders_not_kept: if is_kept { 0 } else { given },
            drivers: drivers.collect(),
            // Before, it is not known what is wanted of them.
            files: files.filter(|_| first_round_done),
            ..reported
        }
    }

    fn pool_levels(&self) -> Vec<PoolHealth> {
        let mut levels = self.membership.pool_health();
        if let Some(snapshot) = &*self.snapshots.borrow() {
            for level in &mut levels {
                let pool = snapshot.pools.pools.get(&level.pool);
                let sorry = pool.map_or(&[][..], |pool| &pool.sorry);
                level.sorry = sorry.iter().map(|sorry| sorry.addr).collect();
            }
        }
        levels
    }

    /// Asks the members of pools that can spare none of them to stay, and no others.
    fn update_stay_requests(&mut self, levels: &[PoolHealth]) {
        if self.serial == 0 {
            return;
        }
        let nodes = if self.config.pool_please_dont_go {
            self.needed(levels)
        } else {
            BTreeSet::new()
        };
        self.membership.set_asked_to_stay(&nodes);
        let poll = &self.config.poll;
        self.watchfulness.stay_targets.send_if_modified(|targets| {
            let same = targets.nodes.as_ref() == Some(&nodes) && *targets.poll == *poll;
            if !same {
                targets.poll = Arc::new(poll.clone());
            }
            targets.nodes = Some(nodes);
            !same
        });
    }

    fn needed(&self, levels: &[PoolHealth]) -> BTreeSet<NodeAddr> {
        let snapshot = self.snapshots.borrow();
        let Some(snapshot) = &*snapshot else {
            return BTreeSet::new();
        };
        let at_least =
            |level: &&PoolHealth| level.min_members > 0 && level.serving <= level.min_members;
        let pools = levels.iter().filter(at_least);
        let pools = pools.filter_map(|level| snapshot.pools.pools.get(&level.pool));
        let members = pools.flat_map(|pool| &pool.members);
        members.map(|member| member.node.addr).collect()
    }

    /// Says that a reload was refused.
    pub(super) fn report_refused_reload(&self, why: &str) {
        let fault = FileFault {
            path: self.options.config.display().to_string(),
            text: format!("a reload was refused, the old state stays in force: {why}"),
        };
        let status_reporter = &self.watchfulness.status_reporter;
        status_reporter.set(|now| &mut now.reload, Some(fault));
    }

    /// Records what began or is over in the event log, and logs what nothing else logs.
    pub(super) fn take_word(&mut self, word: &Transition) {
        let (kind, severity, problem, text) = match word {
            Transition::Raised(problem) => {
                ("alert", Severity::Error, problem, problem.text.clone())
            }
            Transition::Cleared(problem, lasted, resolution) => {
                let text = over(*lasted, resolution);
                ("alert-over", Severity::Info, problem, text)
            }
        };
        let moment = Clock::now();
        let event = EventText {
            quiet: false,
            severity,
            kind,
            node: None,
            pool: problem.pool.as_ref(),
            requested: false,
            text,
        };
        match problem.kind {
            // A change of its pool is told with it.
            Kind::SorryServer => {}
            // Nothing else says it in the log.
            Kind::PoolShort | Kind::PoolEmpty | Kind::NodesDown => {
                self.change_log.write(&event, moment.now);
                self.event_log.record(&event, moment.today);
            }
            _ => _ = self.event_log.record(&event, moment.today),
        }
        self.beat();
    }
}

/// Says how the pool files stand, until their driver ends.
async fn report_files(
    directory: String,
    mut files: watch::Receiver<DriverStatus>,
    status_reporter: StatusReporter,
) {
    loop {
        let fault = files_fault(&directory, &files.borrow_and_update());
        status_reporter.set(|now| &mut now.files, fault);
        if files.changed().await.is_err() {
            return;
        }
    }
}

fn files_fault(directory: &str, status: &DriverStatus) -> Option<FileFault> {
    let text = || {
        let why = status.because();
        format!("pool files in {directory} are not as they should be{why}")
    };
    (!status.in_sync).then(|| FileFault {
        path: directory.to_owned(),
        text: text(),
    })
}

fn health_of(status: &DriverStatus, differences: Option<Arc<str>>) -> DriverHealth {
    let outage = status.outage.as_ref();
    DriverHealth {
        connected: status.connected,
        in_sync: status.in_sync,
        outage: outage.map(|outage| outage.steady_text().into()),
        differences: differences.filter(|_| status.connected && !status.in_sync),
    }
}

/// Delay between two looks at what differs in a load balancer that is not in sync.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Reports the health of a load balancer until its driver ends.
async fn report_driver(mut driver: DriverHandle, status_reporter: StatusReporter) {
    loop {
        let status = driver.status.borrow_and_update().clone();
        let obeys = status.in_sync || !status.connected;
        let details = if obeys {
            None
        } else {
            driver.details(PoolFilter::Differing).await
        };
        let differences = details.map(|details| details.differences);
        let differences = differences.filter(|text| !text.is_empty());
        status_reporter.driver(&driver.id, health_of(&status, differences.map(Into::into)));
        let changed = driver.status.changed();
        let changed = if obeys {
            changed.await
        } else {
            // What differs may change although it does not begin to obey.
            timeout(BETWEEN_LOOKS, changed).await.unwrap_or(Ok(()))
        };
        if changed.is_err() {
            return;
        }
    }
}
