//! The services file as a source of nodes.
//!
//! The file is checked every second by its path, so that an editor's rename, a symlink switch and a directory's mount
//! are all noticed. It is read once it is quiet. Its host names are resolved again and again, sooner where that failed.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};
use tracing::{error, info};

use super::resolver::{RESOLVE_INTERVAL, Resolver, Unresolved};
use super::{Faults, NodeSource, Rejection, SourceUpdate};
use crate::alerts::StatusReporter;
use crate::config::ConfigError;
use crate::disk::{no_answer, on_disk};
use crate::load::LoadedServices;
use crate::model::problems::FileFault;
use crate::model::services::{List, Listing};
use crate::model::text::printable;
use crate::retry::Retry;
use crate::services_file::{FileVersion, LOOK_AGAIN, Look, QUIET, Settled, Settling, replaced};

/// Interval at which the file is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum time to wait until the file is quiet; then it is reported that it is not.
const MAX_UNQUIET: Duration = Duration::from_secs(30);

/// Maximum number of host names that are logged at once, since they cannot be resolved.
const MAX_LOGGED: usize = 20;

/// A services file that is watched.
#[derive(Debug)]
pub struct ServicesFile {
    path: PathBuf,
    status_reporter: StatusReporter,
    checks: Interval,
    /// The version that was read last.
    known: FileVersion,
    /// The last version could not be read, which may change without the file changing.
    is_unread: bool,
    /// Another file has its name where it is mounted from.
    is_replaced: bool,
    hosts: Hosts,
}

/// The host names of the file.
#[derive(Debug)]
struct Hosts {
    resolver: Resolver,
    /// What the file lists: the last that was accepted.
    listing: Listing,
    /// The list that was passed on last, if it is active.
    passed: Option<List>,
    unresolved: Vec<Unresolved>,
    retry: Retry,
    /// When they are resolved again; never if there are none, or while the file is rejected.
    resolve_at: Option<Instant>,
}

impl ServicesFile {
    /// A services file that was read before.
    #[must_use]
    pub fn new(
        path: PathBuf,
        read: LoadedServices,
        resolver: Resolver,
        status_reporter: StatusReporter,
    ) -> Self {
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let passed = read.listing.resolved(|host| {
            let ips = read.addresses.get(host);
            ips.map_or(&[][..], Vec::as_slice)
        });
        let mut file = Self {
            path,
            status_reporter,
            checks,
            known: read.look.stamp,
            is_unread: false,
            is_replaced: false,
            hosts: Hosts {
                resolver,
                listing: read.listing,
                passed: passed.ok(),
                unresolved: Vec::new(),
                retry: Retry::up_to(RESOLVE_INTERVAL),
                resolve_at: None,
            },
        };
        // They were logged as warnings.
        file.hosts.unresolved.clone_from(&read.unresolved);
        file.set_unresolved(read.unresolved);
        file
    }

    async fn check(&mut self, faults: &Faults) -> Option<Look> {
        let path = self.path.clone();
        let look = self.on_disk(faults, move || Look::at(&path)).await?;
        if look.is_replaced != self.is_replaced {
            self.is_replaced = look.is_replaced;
            let text = replaced(&self.path);
            let path = self.name();
            if self.is_replaced {
                error!("{text}");
            } else {
                info!("{path} is where it was mounted from again");
            }
            let fault = self.is_replaced.then_some(FileFault { path, text });
            self.status_reporter
                .set(|status| &mut status.services_replaced, fault);
        }
        Some(look)
    }

    /// Waits until the file, which has changed, is quiet.
    async fn settle(&self, faults: &Faults, look: Look) -> Option<Settled> {
        let mut settling = Settling::changed(&self.path, MAX_UNQUIET, look);
        loop {
            let look = move || {
                let settled = settling.look();
                (settling, settled)
            };
            let (looked, settled) = self.on_disk(faults, look).await?;
            if settled.is_some() {
                return settled;
            }
            settling = looked;
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Resolves the host names of what the file lists.
    async fn resolve(&mut self) -> Option<Result<List, Rejection>> {
        let (resolver, listing) = (self.hosts.resolver.clone(), self.hosts.listing.clone());
        // Its time is limited.
        let resolving = spawn_blocking(move || resolver.resolve(&listing));
        let resolution = resolving.await.ok()?;
        self.set_unresolved(resolution.unresolved);
        let list = resolution.list.map_err(|errors| Rejection {
            what: "was rejected".to_owned(),
            error: Some(ConfigError::Services(self.path.clone(), errors)),
            is_retried: true,
        });
        self.hosts.passed = list.as_ref().ok().cloned();
        Some(list)
    }

    /// Resolves the host names again. `None` if that gives the list that is active.
    async fn resolve_again(&mut self) -> Option<Result<List, Rejection>> {
        let before = self.hosts.passed.clone();
        let list = self.resolve().await?;
        let is_same = before.is_some() && list.as_ref().ok() == before.as_ref();
        (!is_same).then_some(list)
    }

    /// Logs and reports which host names cannot be resolved, and sets when to try again.
    fn set_unresolved(&mut self, unresolved: Vec<Unresolved>) {
        let path = self.name();
        let hosts = &mut self.hosts;
        let is_new = |host: &&Unresolved| !hosts.unresolved.contains(host);
        let new: Vec<_> = unresolved.iter().filter(is_new).collect();
        for host in new.iter().take(MAX_LOGGED) {
            error!("{path}: {}", printable(&host.to_string()));
        }
        if new.len() > MAX_LOGGED {
            let more = new.len() - MAX_LOGGED;
            error!("{path}: {more} more host names cannot be resolved");
        }
        if unresolved.is_empty() && !hosts.unresolved.is_empty() {
            info!("{path}: all host names can be resolved again");
        }
        let wait = if unresolved.is_empty() {
            hosts.retry.reset();
            RESOLVE_INTERVAL
        } else {
            hosts.retry.next_wait()
        };
        let has_hosts = !hosts.listing.hosts().is_empty();
        hosts.resolve_at = has_hosts.then(|| Instant::now() + wait);
        let texts: Vec<_> = unresolved.iter().map(ToString::to_string).collect();
        let text = texts.join("; ");
        let fault = (!texts.is_empty()).then_some(FileFault { path, text });
        hosts.unresolved = unresolved;
        let reporter = &self.status_reporter;
        reporter.set(|status| &mut status.hosts_unresolved, fault);
    }

    /// Accesses the disk on a thread of its own, since it may hang, which is a fault while it lasts. `None` if the
    /// process is exiting.
    async fn on_disk<T: Send + 'static>(
        &self,
        faults: &Faults,
        access: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let path = self.name();
        let mut hung = false;
        let late = || {
            hung = true;
            faults.report_hang(&no_answer(&path));
        };
        let done = on_disk("services file", access, late).await.ok()?;
        if hung {
            faults.report_hang_over();
        }
        Some(done)
    }
}

impl NodeSource for ServicesFile {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    async fn next(&mut self, faults: &Faults) -> Result<SourceUpdate, Rejection> {
        loop {
            self.checks.tick().await;
            let Some(look) = self.check(faults).await else {
                continue;
            };
            if look.stamp == self.known && !self.is_unread {
                let is_due = |at| at <= Instant::now();
                if self.hosts.resolve_at.is_some_and(is_due)
                    && let Some(list) = self.resolve_again().await
                {
                    return list.map(SourceUpdate::File);
                }
                continue;
            }
            self.hosts.resolve_at = None;
            let Some(settled) = self.settle(faults, look).await else {
                continue;
            };
            if !settled.quiet {
                self.is_unread = true;
                return Err(Rejection {
                    what: format!(
                        "is changed all the time: nobody has left it alone for {QUIET:?}"
                    ),
                    error: None,
                    is_retried: true,
                });
            }
            self.known = settled.look.stamp;
            self.is_unread = matches!(settled.listing, Err(ConfigError::Read(..)));
            self.hosts.listing = settled.listing.map_err(|error| Rejection {
                what: "was rejected".to_owned(),
                error: Some(error),
                is_retried: self.is_unread,
            })?;
            if let Some(list) = self.resolve().await {
                return list.map(SourceUpdate::File);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::timeout;

    use super::*;
    use crate::model::services::parse_listing;
    use crate::sources::resolver::tests::scripted;

    const FILE: &str = "web 80\n10.0.0.9 80\n";

    /// The first node of the next list, if one comes within the time.
    async fn next(file: &mut ServicesFile, within: Duration) -> Option<Result<String, Rejection>> {
        let faults = Faults {
            name: file.name(),
            status_reporter: file.status_reporter.clone(),
            field: |status| &mut status.services,
            rejected: None,
        };
        let next = timeout(within, file.next(&faults)).await.ok()?;
        Some(next.map(|update| match update {
            SourceUpdate::File(list) => list.nodes[0].addr.to_string(),
            SourceUpdate::Serf(_) => panic!("{update:?}"),
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn host_names_are_resolved_again_and_keep_their_addresses_while_that_fails() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("services");
        fs::write(&path, FILE).unwrap();
        let (resolver, script) = scripted();
        let set = |ip| script.lock().unwrap().insert("web", ip);
        set("10.0.0.1");
        let listing = parse_listing(FILE).unwrap();
        let resolution = resolver.resolve(&listing);
        let read = LoadedServices {
            look: Look::at(&path),
            listing,
            addresses: resolution.addresses,
            unresolved: resolution.unresolved,
        };
        let reporter = StatusReporter::new();
        let mut file = ServicesFile::new(path, read, resolver, reporter.clone());
        let soon = RESOLVE_INTERVAL + 2 * CHECK_INTERVAL;
        let unresolved = || reporter.now().hosts_unresolved.map(|fault| fault.text);

        // What is active is not passed on again.
        assert!(next(&mut file, 3 * RESOLVE_INTERVAL).await.is_none());
        set("10.0.0.2");
        assert_eq!(next(&mut file, soon).await.unwrap().unwrap(), "10.0.0.2:80");
        script.lock().unwrap().clear();
        assert!(next(&mut file, 3 * RESOLVE_INTERVAL).await.is_none());
        let text = unresolved().unwrap();
        assert!(
            text.contains("line 1: web") && text.contains("last addresses"),
            "{text}"
        );
        set("10.0.0.3");
        assert_eq!(next(&mut file, soon).await.unwrap().unwrap(), "10.0.0.3:80");
        assert_eq!(unresolved(), None);

        // An address that another line has is rejected, and no fault any more once it is back.
        set("10.0.0.9");
        let rejection = next(&mut file, soon).await.unwrap().unwrap_err();
        let error = rejection.error.unwrap().in_brief();
        assert!(
            error.contains("line 1") && error.contains("line 2"),
            "{error}"
        );
        set("10.0.0.3");
        assert_eq!(next(&mut file, soon).await.unwrap().unwrap(), "10.0.0.3:80");
    }
}
