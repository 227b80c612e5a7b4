//! The services file as a source of nodes.
//!
//! The file is checked every second by its path, so that an editor's rename, a symlink switch and a directory's mount are
//! all noticed. It is read once it is quiet.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tracing::{error, info};

use super::{Faults, NodeSource, Rejection};
use crate::alerts::StatusReporter;
use crate::config::ConfigError;
use crate::disk::{no_answer, on_disk};
use crate::model::problems::FileFault;
use crate::model::services::List;
use crate::services_file::{FileVersion, LOOK_AGAIN, Look, QUIET, Settled, Settling, replaced};

/// Interval at which the file is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum time to wait until the file is quiet; then it is reported that it is not.
const MAX_UNQUIET: Duration = Duration::from_secs(30);

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
}

impl ServicesFile {
    /// A services file that was last read after it was `known`.
    #[must_use]
    pub fn new(path: PathBuf, known: Look, status_reporter: StatusReporter) -> Self {
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            path,
            status_reporter,
            checks,
            known: known.stamp,
            is_unread: false,
            is_replaced: false,
        }
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

    /// Accesses the disk on a thread of its own, since it may hang, which is a fault while it lasts. `None` if the process
    /// is exiting.
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

    async fn next(&mut self, faults: &Faults) -> Result<List, Rejection> {
        loop {
            self.checks.tick().await;
            let Some(look) = self.check(faults).await else {
                continue;
            };
            if look.stamp == self.known && !self.is_unread {
                continue;
            }
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
            self.is_unread = matches!(settled.list, Err(ConfigError::Read(..)));
            return settled.list.map_err(|error| Rejection {
                what: "is refused".to_owned(),
                error: Some(error),
                is_retried: self.is_unread,
            });
        }
    }
}
