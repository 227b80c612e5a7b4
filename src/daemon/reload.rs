//! Reloads: everything is read again, and applied as a whole or not at all.

mod read;

use std::mem;
use std::path::{Path, PathBuf};

use tokio::sync::oneshot;
use tokio::task::JoinError;
use tracing::{error, info, warn};

use self::read::CurrentState;
pub(super) use self::read::NewState;
use super::core::{Input, ListOutcome};
use super::{Daemon, core_settings, is_service};
use crate::config::Config;
use crate::control::Reloaded;
use crate::load::Loaded;
use crate::logging::{count, errors};
use crate::model::problems::FileFault;
use crate::model::removals::Withheld;
use crate::model::removals::refusals::judge_refused;
use crate::services_file::replaced;

/// Maximum number of files listed by name.
const MAX_LISTED_FILES: usize = 20;

/// The requests for reloads: those that wait for the reload under way, and those that came after it had begun to read.
#[derive(Default)]
pub(super) struct ReloadWaiters {
    current: Vec<ReloadWaiter>,
    next: Vec<ReloadWaiter>,
}

/// A request that waits for the outcome.
pub(super) struct ReloadWaiter {
    /// Gets what was applied, or what is wrong.
    pub(super) reply: oneshot::Sender<Result<Reloaded, String>>,
    /// Whether it accepts all removals.
    pub(super) accept_removals: bool,
}

impl ReloadWaiters {
    /// Whether a request that waits for the reload under way accepts all removals.
    fn accept_removals(&self) -> bool {
        self.current.iter().any(|waiter| waiter.accept_removals)
    }

    /// Replies to those that wait for the reload that has ended. Returns whether others wait for another.
    fn reply(&mut self, outcome: &Result<Reloaded, String>) -> bool {
        for waiter in self.current.drain(..) {
            // It may have given up.
            _ = waiter.reply.send(outcome.clone());
        }
        self.current.append(&mut self.next);
        !self.current.is_empty()
    }
}

impl Daemon {
    /// Reloads for a request that waits for the outcome.
    pub(super) fn reload_for(&mut self, waiter: ReloadWaiter) {
        if self.reloads.is_empty() {
            self.reload_waiters.current.push(waiter);
            self.begin_reload();
        } else {
            // What is being read may be older than this request.
            self.reload_waiters.next.push(waiter);
        }
    }

    /// Begins to read everything again.
    pub(super) fn begin_reload(&mut self) {
        self.systemd_status.begin_reload();
        let current = CurrentState {
            config: self.options.config.clone(),
            bound: self.http.bound(),
            state_file: self.state_file.borrow().clone(),
            pool_directory: self.config.pool_directory.clone(),
            is_service: is_service(&self.options),
            resolver: self.resolver.clone(),
        };
        self.reloads.spawn_blocking(|| current.read_new());
    }

    /// Applies what was read. If something is wrong with it, it is rejected as a whole, and the previous state stays
    /// active.
    pub(super) async fn end_reload(&mut self, read: Result<Result<NewState, String>, JoinError>) {
        let read = read.map_err(|error| error.to_string());
        match read.and_then(|read| self.accept(read)) {
            Ok(new) => {
                let reloaded = self.reload(new).await;
                self.systemd_status.end_reload(Some(self.core.serial()));
                self.reply_reload(&Ok(reloaded));
            }
            Err(why) => {
                errors(&why);
                error!("reload rejected; the old state stays active");
                self.report_rejected_reload(&why);
                self.systemd_status.end_reload(None);
                self.reply_reload(&Err(why));
            }
        }
    }

    fn reply_reload(&mut self, outcome: &Result<Reloaded, String>) {
        if self.reload_waiters.reply(outcome) {
            self.begin_reload();
        }
    }

    /// Checks what was read.
    fn accept(&self, read: Result<NewState, String>) -> Result<NewState, String> {
        let new = read?;
        let Loaded { config, list, .. } = &new.loaded;
        if list.nodes.is_empty()
            && let Some(file) = &config.services_file
            && self.core.membership().node_count() > 0
        {
            return Err(format!("{} lists no nodes", file.display()));
        }
        if !self.reload_waiters.accept_removals() {
            self.judge_rules(&new.loaded.config)?;
        }
        Ok(new)
    }

    /// Checks the rules of the new configuration: they may reject members that serve now.
    fn judge_rules(&self, config: &Config) -> Result<(), String> {
        let rejected = self.core.membership().refused_by(&config.rules);
        let judged = judge_refused(rejected, &self.core.standing(), config.max_removed);
        judged.map_err(|error| format!("{}: {error}", self.options.config.display()))
    }

    async fn reload(&mut self, new: NewState) -> Reloaded {
        let NewState {
            loaded,
            listeners,
            state_file,
            left,
        } = new;
        self.http.change(listeners, &loaded.config);
        loaded.warn();
        let mut warnings: Vec<_> = loaded.replaced.iter().map(|path| replaced(path)).collect();
        let is_replaced = !loaded.replaced.is_empty();
        self.report_replaced(&loaded.replaced);
        let Loaded {
            config,
            list,
            services,
            serf,
            ..
        } = loaded;
        let accept_removals = self.reload_waiters.accept_removals();
        let members = self.node_sources.read(&config, list, serf, accept_removals);
        let before = mem::replace(&mut self.config, config);
        self.hooks.reload(&self.config);
        self.alerting.reload(&self.config);
        self.state_file.send_replace(state_file);
        let mut effects = self.decide(Input::Reload {
            rules: self.config.rules.clone(),
            settings: core_settings(&self.config),
            list: self.node_sources.list(),
            accept_removals,
        });
        self.watch_sources((services, members));
        self.update_drivers().await;
        if let Some(snapshot) = effects.snapshot.take() {
            self.publish(snapshot);
        }
        if let Some(left) = left {
            let text = left_behind(&before.pool_directory, &self.config.pool_directory, &left);
            warn!("{text}");
            warnings.push(text);
        }
        let nodes = self.core.membership().node_count();
        info!("reloaded: {}", count(nodes, "node"));
        let withheld = match &effects.list {
            Some(ListOutcome::Withheld { withheld, .. }) => Some(withheld),
            _ => None,
        };
        let names = withheld.into_iter().flat_map(Withheld::names);
        let names = names.map(str::to_owned).collect();
        warnings.extend(withheld.map(|withheld| format!("{}: {withheld}", self.config.sources())));
        Reloaded {
            nodes,
            applied: withheld.is_none() && !is_replaced,
            withheld: names,
            warnings,
        }
    }

    /// Starts and stops the drivers whose settings have changed.
    async fn update_drivers(&mut self) {
        if self.drivers.need_update(&self.config) {
            // New drivers must know what is owned now, by its present names.
            self.save_owned().await;
            self.alerting.ignore_drivers();
            self.start_drivers().await;
        }
    }

    /// Reports whether the configuration was replaced where it is mounted from, so that pollbal still sees the old
    /// file.
    pub(super) fn report_replaced(&self, files: &[PathBuf]) {
        let path = &self.options.config;
        let fault = files.contains(path).then(|| FileFault {
            path: path.display().to_string(),
            text: replaced(path),
        });
        let reporter = &self.alerting.status_reporter;
        reporter.set(|status| &mut status.config_replaced, fault);
    }
}

/// The warning about a pool directory that is no longer used.
fn left_behind(old: &Path, new: &Path, files: &[String]) -> String {
    let (old, new) = (old.display(), new.display());
    let first = files.iter().take(MAX_LISTED_FILES).map(String::as_str);
    let first = first.collect::<Vec<_>>().join(", ");
    let more = match files.len().saturating_sub(MAX_LISTED_FILES) {
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
