//! Reloads: everything is read anew, and in force as a whole or not at all.

use std::mem;

use tokio::sync::oneshot;
use tokio::task::JoinError;
use tracing::{error, info};

use super::drivers::Drivers;
use super::{Daemon, TASKS_AT_END, entrance};
use crate::asks::Moment;
use crate::doors::Changes;
use crate::load::Loaded;
use crate::logging::{count, errors};

/// Who asked for a reload: those that wait for the one under way, and those that came after it
/// began to read.
#[derive(Default)]
pub(super) struct ReloadWaiters {
    present: Vec<ReloadWaiter>,
    next: Vec<ReloadWaiter>,
}

/// Is told the number of nodes, or what is wrong.
type ReloadWaiter = oneshot::Sender<Result<usize, String>>;

impl ReloadWaiters {
    /// Tells those that wait for the reload that ended; whether others wait for another.
    fn tell(&mut self, outcome: &Result<usize, String>) -> bool {
        for waiter in self.present.drain(..) {
            // It may have given up.
            _ = waiter.send(outcome.clone());
        }
        self.present.append(&mut self.next);
        !self.present.is_empty()
    }
}

impl Daemon {
    /// Reloads for someone who waits for the outcome.
    pub(super) fn reload_for(&mut self, waiter: ReloadWaiter) {
        if self.reloads.is_empty() {
            self.reload_waiters.present.push(waiter);
            self.begin_reload();
        } else {
            // What is being read may be older than this.
            self.reload_waiters.next.push(waiter);
        }
    }

    /// Begins to read everything anew, on a thread of its own: the files may lie on a disk that
    /// hangs, and meanwhile decisions go on.
    pub(super) fn begin_reload(&mut self) {
        self.readiness.reload_begins();
        let (config, doors) = (self.options.config.clone(), self.entrance.standing());
        self.reloads
            .spawn_blocking(move || entrance::read_anew(&config, doors));
    }

    /// Takes what was read; what is wrong is refused as a whole, and the old stays in force.
    pub(super) async fn end_reload(
        &mut self,
        read: Result<Result<(Loaded, Changes), String>, JoinError>,
    ) {
        let read = read.map_err(|error| error.to_string());
        match read.and_then(|read| self.accept(read)) {
            Ok((loaded, doors)) => {
                self.entrance.change(doors);
                self.reload(loaded).await;
                self.publish();
                self.readiness.reload_ends(Some(self.serial));
                self.answer_reload(&Ok(self.membership.node_count()));
            }
            Err(why) => {
                errors(&why);
                error!("reload refused; the old state stays in force");
                self.report_refused_reload(&why);
                self.readiness.reload_ends(None);
                self.answer_reload(&Err(why));
            }
        }
    }

    fn answer_reload(&mut self, outcome: &Result<usize, String>) {
        if self.reload_waiters.tell(outcome) {
            self.begin_reload();
        }
    }

    /// What was read, if it is good to be in force.
    fn accept(&self, read: Result<(Loaded, Changes), String>) -> Result<(Loaded, Changes), String> {
        let (loaded, doors) = read?;
        if loaded.nodes.is_empty() && self.membership.node_count() > 0 {
            let file = loaded.config.services_file.display();
            return Err(format!("{file} names no node"));
        }
        Ok((loaded, doors))
    }

    async fn reload(&mut self, loaded: Loaded) {
        loaded.warn();
        let Loaded {
            config,
            nodes,
            stamp,
        } = loaded;
        let before = mem::replace(&mut self.config, config);
        self.hooks.reload(&self.config);
        self.watchfulness.reload(&self.config);
        self.state_file.send_replace(self.config.state_file.clone());
        let moment = Moment::present();
        let changes = self
            .membership
            .set_rules(self.config.rules.clone(), moment.now);
        self.tell(&changes, moment);
        self.set_nodes(nodes);
        self.watch_services(stamp);
        // Before the first snapshot the pool files know what is declared from their start only.
        let nothing_published = self.snapshots.borrow().is_none();
        if nothing_published || !Drivers::same_settings(&before, &self.config) {
            self.watchfulness.leave_drivers();
            self.drivers.stop(TASKS_AT_END).await;
            self.start_drivers();
        }
        info!("reloaded: {}", count(self.membership.node_count(), "node"));
    }
}
