//! The daemon's side of alerts and pleas: says how pools and drivers stand, and takes down what
//! began and what is over.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Daemon;
use crate::alerts::{Reports, Watch, over};
use crate::asks::Moment;
use crate::config::Config;
use crate::drivers::{PerlbalHandle, Progress};
use crate::hooks::Hooks;
use crate::model::alerts::{AlertSettings, Memory, StandingCondition, Word};
use crate::model::conditions::{Fault, Kind, PerlbalLevel, PoolLevel};
use crate::model::node::{Node, NodeAddr};
use crate::model::telling::{Telling, Weight};
use crate::pleas::{self, Pleas};

/// Words that may wait for the daemon, which takes them at each turn. When it is full, alerts wait.
const WORDS: usize = 64;

/// What the daemon keeps for alerts and pleas.
pub(super) struct Watchfulness {
    /// Where to say how things stand.
    pub(super) reports: Reports,
    settings: watch::Sender<AlertSettings>,
    /// What began and ended.
    pub(super) words: mpsc::Receiver<Word>,
    standing: watch::Receiver<Arc<Vec<StandingCondition>>>,
    /// What was told, for the state file.
    pub(super) memory: watch::Sender<Arc<Memory>>,
    pleas: watch::Sender<Pleas>,
    /// They say how the drivers stand.
    reporters: JoinSet<()>,
    /// The last snapshot whose pools were reported.
    serial: u64,
}

impl Watchfulness {
    /// Begins to watch, and to ask nodes to stay, if this is a `service`. The run before told what is
    /// in `memory`, and asked those that are `pleaded`.
    pub(super) fn start(
        config: &Config,
        hooks: &Hooks,
        service: bool,
        (memory, pleaded): (Memory, BTreeSet<NodeAddr>),
        (tasks, stop): (&TaskTracker, &CancellationToken),
    ) -> Self {
        let reports = Reports::new();
        let settings = watch::Sender::new(config.alerts);
        let (word, words) = mpsc::channel(WORDS);
        let (stands, standing) = watch::channel(Arc::default());
        let who_stays = watch::Sender::new(Pleas {
            before: Arc::new(pleaded),
            ..Pleas::default()
        });
        let memory = watch::Sender::new(Arc::new(memory));
        if service {
            let watch = Watch {
                circumstances: reports.subscribe(),
                settings: settings.subscribe(),
                hooks: hooks.clone(),
                words: word,
                standing: stands,
                memory: memory.clone(),
            };
            let stopped = stop.clone();
            tasks.spawn(async move { stopped.run_until_cancelled(watch.run()).await });
            let (stopped, plead) = (stop.clone(), pleas::run(who_stays.subscribe()));
            tasks.spawn(async move { stopped.run_until_cancelled(plead).await });
        }
        Self {
            reports,
            settings,
            words,
            standing,
            memory,
            pleas: who_stays,
            reporters: JoinSet::new(),
            serial: 0,
        }
    }

    /// Takes a configuration, and the services file, that are in order.
    pub(super) fn reload(&self, config: &Config) {
        self.settings.send_if_modified(|settings| {
            let before = std::mem::replace(settings, config.alerts);
            before != config.alerts
        });
        self.reports.set(|now| &mut now.reload, None);
        self.reports.set(|now| &mut now.services, None);
        let is_there = |address: &str| {
            let mut perlbals = config.perlbals.iter();
            perlbals.any(|perlbal| perlbal.address == address)
        };
        self.reports.only_perlbals(is_there);
    }

    /// How the drivers stand is said no more: they are to end, and that is no trouble.
    pub(super) fn leave_drivers(&mut self) {
        // Dropped rather than aborted: a set keeps those that ended until they are asked for.
        self.reporters = JoinSet::new();
    }

    /// Takes the nodes of the services file.
    pub(super) fn set_nodes(&self, config: &Config, nodes: &[Node]) {
        self.pleas.send_if_modified(|pleas| {
            // Those that were asked to stay before are told that it is over.
            let asked = !pleas.listed.is_empty() || !pleas.before.is_empty();
            let needed = config.pool_please_dont_go || asked;
            if needed {
                pleas.listed = Arc::new(nodes.iter().map(|node| node.addr).collect());
            }
            needed
        });
    }

    /// What a person must know now.
    pub(super) fn conditions(&self) -> Vec<StandingCondition> {
        self.standing.borrow().to_vec()
    }
}

impl Daemon {
    /// Has it said how the drivers stand, until they are left.
    pub(super) fn report_drivers(&mut self) {
        let Watchfulness {
            reports, reporters, ..
        } = &mut self.watchfulness;
        for perlbal in self.drivers.perlbals() {
            reporters.spawn(report_perlbal(perlbal.clone(), reports.clone()));
        }
        let directory = self.config.pool_directory.display().to_string();
        let files = self.drivers.files.clone();
        reporters.spawn(report_files(directory, files, reports.clone()));
    }

    /// Says how pools stand, if that may have changed.
    pub(super) fn report_pools(&mut self) {
        let new = std::mem::replace(&mut self.watchfulness.serial, self.serial) != self.serial;
        if !self.membership.take_levels_changed() && !new {
            return;
        }
        let mut levels = self.membership.levels();
        if let Some(snapshot) = &*self.snapshots.borrow() {
            for level in &mut levels {
                let pool = snapshot.pools.pools.get(&level.pool);
                let sorry = pool.map_or(&[][..], |pool| &pool.sorry);
                level.sorry = sorry.iter().map(|sorry| sorry.addr).collect();
            }
        }
        self.plead(&levels);
        let reports = &self.watchfulness.reports;
        reports.set(|now| &mut now.first_round_done, self.serial > 0);
        reports.set(|now| &mut now.pools, levels);
    }

    /// Says who is to stay: the members of pools that can do without none of them.
    fn plead(&mut self, levels: &[PoolLevel]) {
        if self.serial == 0 {
            return;
        }
        let nodes = if self.config.pool_please_dont_go {
            self.needed(levels)
        } else {
            BTreeSet::new()
        };
        self.membership.set_pleaded(&nodes);
        let timeout = self.config.poll.timeout;
        self.watchfulness.pleas.send_if_modified(|pleas| {
            let same = pleas.nodes.as_ref() == Some(&nodes) && pleas.timeout == timeout;
            (pleas.nodes, pleas.timeout) = (Some(nodes), timeout);
            !same
        });
    }

    fn needed(&self, levels: &[PoolLevel]) -> BTreeSet<NodeAddr> {
        let snapshot = self.snapshots.borrow();
        let Some(snapshot) = &*snapshot else {
            return BTreeSet::new();
        };
        let at_least =
            |level: &&PoolLevel| level.min_members > 0 && level.serving <= level.min_members;
        let pools = levels.iter().filter(at_least);
        let pools = pools.filter_map(|level| snapshot.pools.pools.get(&level.pool));
        let members = pools.flat_map(|pool| &pool.members);
        members.map(|member| member.node.addr).collect()
    }

    /// Says that a reload was refused.
    pub(super) fn report_refused_reload(&self, why: &str) {
        let fault = Fault {
            path: self.options.config.display().to_string(),
            text: format!("a reload was refused, the old state stays in force: {why}"),
        };
        let reports = &self.watchfulness.reports;
        reports.set(|now| &mut now.reload, Some(fault));
    }

    /// Takes down what began or is over: in the journal, and in the log what nobody else says there.
    pub(super) fn take_word(&mut self, word: &Word) {
        let (kind, weight, condition, text) = match word {
            Word::Begins(condition) => ("alert", Weight::Error, condition, condition.text.clone()),
            Word::Ends(condition, lasted) => {
                let text = over(condition, *lasted);
                ("alert-over", Weight::Info, condition, text)
            }
        };
        let moment = Moment::present();
        let telling = Telling {
            quiet: false,
            weight,
            kind,
            node: None,
            pool: condition.pool.as_ref(),
            ordered: false,
            text,
        };
        match condition.kind {
            // A change of its pool is told with it.
            Kind::SorryServer => {}
            Kind::PoolShort => {
                self.change_log.write(&telling, moment.now);
                self.journal.write(&telling, moment.today);
            }
            _ => _ = self.journal.write(&telling, moment.today),
        }
        self.beat();
    }
}

/// Says how the pool files stand, until their driver ends.
async fn report_files(directory: String, mut files: watch::Receiver<Progress>, reports: Reports) {
    loop {
        let fault = {
            let progress = files.borrow_and_update();
            (!progress.in_sync).then(|| Fault {
                path: directory.clone(),
                text: files_fault(&directory, progress.why.as_deref()),
            })
        };
        reports.set(|now| &mut now.files, fault);
        if files.changed().await.is_err() {
            return;
        }
    }
}

fn files_fault(directory: &str, why: Option<&str>) -> String {
    let fault = format!("pool files in {directory} are not as they should be");
    match why {
        Some(why) => format!("{fault}: {why}"),
        None => format!("{fault}; the log says why"),
    }
}

/// Says how a Perlbal stands, until its manager ends.
async fn report_perlbal(
    PerlbalHandle {
        address,
        mut standing,
        ..
    }: PerlbalHandle,
    reports: Reports,
) {
    loop {
        let level = {
            let standing = standing.borrow_and_update();
            PerlbalLevel {
                connected: standing.connected,
                in_sync: standing.in_sync,
            }
        };
        reports.perlbal(&address, level);
        if standing.changed().await.is_err() {
            return;
        }
    }
}
