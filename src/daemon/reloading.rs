//! Reloads: everything is read anew, and in force as a whole or not at all.

use std::mem;
use std::path::{Path, PathBuf};

use tokio::sync::oneshot;
use tokio::task::JoinError;
use tracing::{error, info, warn};

use super::entrance::{Fresh, Present};
use super::{Daemon, TASKS_AT_END, is_service};
use crate::config::Config;
use crate::control::Reloaded;
use crate::load::Loaded;
use crate::logging::{count, errors};
use crate::model::problems::FileFault;
use crate::model::removals::Withheld;
use crate::model::removals::refusals::judge_refused;
use crate::services_file::replaced;

/// Maximum number of files that are told by name.
const TOLD: usize = 20;

/// Who asked for a reload: those that wait for the one under way, and those that came after it
/// began to read.
#[derive(Default)]
pub(super) struct ReloadWaiters {
    present: Vec<ReloadWaiter>,
    next: Vec<ReloadWaiter>,
}

/// Someone who waits for the outcome.
pub(super) struct ReloadWaiter {
    /// Is told what is in force, or what is wrong.
    pub(super) to: oneshot::Sender<Result<Reloaded, String>>,
    /// Whether it accepts what the list removes.
    pub(super) accept_removals: bool,
}

impl ReloadWaiters {
    /// Whether someone who waits for the reload under way accepts what the list removes.
    fn accept_removals(&self) -> bool {
        self.present.iter().any(|waiter| waiter.accept_removals)
    }

    /// Tells those that wait for the reload that ended; whether others wait for another.
    fn tell(&mut self, outcome: &Result<Reloaded, String>) -> bool {
        for waiter in self.present.drain(..) {
            // It may have given up.
            _ = waiter.to.send(outcome.clone());
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
        let present = Present {
            config: self.options.config.clone(),
            bound: self.entrance.bound(),
            state_file: self.state_file.borrow().clone(),
            pool_directory: self.config.pool_directory.clone(),
            is_service: is_service(&self.options),
        };
        self.reloads.spawn_blocking(|| present.read_again());
    }

    /// Takes what was read; what is wrong is refused as a whole, and the old stays in force.
    pub(super) async fn end_reload(&mut self, read: Result<Result<Fresh, String>, JoinError>) {
        let read = read.map_err(|error| error.to_string());
        match read.and_then(|read| self.accept(read)) {
            Ok(fresh) => {
                let reloaded = self.reload(fresh).await;
                self.publish();
                self.readiness.reload_ends(Some(self.serial));
                self.answer_reload(&Ok(reloaded));
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

    fn answer_reload(&mut self, outcome: &Result<Reloaded, String>) {
        if self.reload_waiters.tell(outcome) {
            self.begin_reload();
        }
    }

    /// What was read, if it is good to be in force.
    fn accept(&self, read: Result<Fresh, String>) -> Result<Fresh, String> {
        let fresh = read?;
        if fresh.loaded.list.nodes.is_empty() && self.membership.node_count() > 0 {
            let file = fresh.loaded.config.services_file.display();
            return Err(format!("{file} names no node"));
        }
        if !self.reload_waiters.accept_removals() {
            self.judge_rules(&fresh.loaded.config)?;
        }
        Ok(fresh)
    }

    /// Whether the rules of another configuration may be in force: they may refuse members that serve now.
    fn judge_rules(&self, config: &Config) -> Result<(), String> {
        let refused = self.membership.refused_by(&config.rules);
        let judged = judge_refused(refused, &self.standing(), config.max_removed);
        judged.map_err(|refused| format!("{}: {refused}", self.options.config.display()))
    }

    async fn reload(&mut self, fresh: Fresh) -> Reloaded {
        let Fresh {
            loaded,
            listeners,
            state_file,
            left,
        } = fresh;
        self.entrance.change(listeners, &loaded.config);
        loaded.warn();
        let mut warnings: Vec<_> = loaded.replaced.iter().map(|path| replaced(path)).collect();
        let is_replaced = !loaded.replaced.is_empty();
        self.report_replaced(&loaded.replaced);
        let Loaded {
            config, list, look, ..
        } = loaded;
        let before = mem::replace(&mut self.config, config);
        self.hooks.reload(&self.config);
        self.watchfulness.reload(&self.config);
        self.state_file.send_replace(state_file);
        let moment = self.present();
        let changes = self
            .membership
            .set_rules(self.config.rules.clone(), moment.now);
        self.tell(&changes, moment);
        let accept_removals = self.reload_waiters.accept_removals();
        let withheld = self.take_list(list, accept_removals);
        self.watch_services(look);
        if self.drivers.need_update(&self.config) {
            // Those that start are to know what is owned now, by the names that it has now.
            self.keep_owned().await;
            self.watchfulness.leave_drivers();
            self.drivers.update(&self.config, TASKS_AT_END).await;
            self.report_drivers();
        }
        if let Some(left) = left {
            let text = left_behind(&before.pool_directory, &self.config.pool_directory, &left);
            warn!("{text}");
            warnings.push(text);
        }
        let nodes = self.membership.node_count();
        info!("reloaded: {}", count(nodes, "node"));
        let names = withheld.iter().flat_map(Withheld::names);
        let names = names.map(str::to_owned).collect();
        warnings.extend(withheld.as_ref().map(|withheld| {
            let file = self.config.services_file.display();
            format!("{file}: {withheld}")
        }));
        Reloaded {
            nodes,
            applied: withheld.is_none() && !is_replaced,
            withheld: names,
            warnings,
        }
    }

    /// Says that the configuration is an old file that nobody changes any more, or is not.
    pub(super) fn report_replaced(&self, files: &[PathBuf]) {
        let path = &self.options.config;
        let fault = files.contains(path).then(|| FileFault {
            path: path.display().to_string(),
            text: replaced(path),
        });
        let status_reporter = &self.watchfulness.status_reporter;
        status_reporter.set(|now| &mut now.config_replaced, fault);
    }
}

/// What is told of a pool directory that is left.
fn left_behind(old: &Path, new: &Path, files: &[String]) -> String {
    let (old, new) = (old.display(), new.display());
    let first = files.iter().take(TOLD).map(String::as_str);
    let first = first.collect::<Vec<_>>().join(", ");
    let more = match files.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let files = if files.is_empty() {
        String::new()
    } else {
        format!(": {first}{more}")
    };
    format!(
        "pool_directory is {new} now. Files in {old} keep the members that they have and follow nobody any more; \
         point their readers (a nodefile of Perlbal) to {new}, then delete them{files}"
    )
}
