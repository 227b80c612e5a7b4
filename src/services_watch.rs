//! Notices a changed services file.
//!
//! The file is looked at every second by its path, so that an editor's rename, a symlink switch
//! and a directory's mount are all noticed. A list that is understood goes to the daemon when the
//! file is quiet; one that is not is logged and reported, and the last good one stays in force.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{error, info};

use crate::alerts::StatusReporter;
use crate::config::ConfigError;
use crate::disk::{no_answer, on_disk};
use crate::logging::{chain, errors};
use crate::model::problems::FileFault;
use crate::model::services::List;
use crate::services_file::{LOOK_AGAIN, Look, QUIET, Settled, Settling, replaced};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// So long a file is waited for that is not quiet; then it is told that it is not.
const PATIENCE: Duration = Duration::from_secs(30);

/// A services file that is watched.
struct Watch {
    path: PathBuf,
    status_reporter: StatusReporter,
    /// What was last said to be wrong with the list.
    refused: Option<Refused>,
    /// The last list could not be read at all, which may pass without the file changing.
    unread: bool,
    /// Another file has its name where it is mounted from.
    replaced: bool,
}

/// What is wrong with a list.
struct Refused {
    /// All of it, as the log has it.
    whole: String,
    /// In brief, with what is done about it.
    text: String,
}

/// Watches a services file, last read after it had the look `known`, for ever; sends each new
/// list that is understood.
pub async fn watch(
    path: PathBuf,
    known: Look,
    lists: mpsc::Sender<List>,
    status_reporter: StatusReporter,
) {
    let mut known = known.stamp;
    let mut watch = Watch {
        path,
        status_reporter,
        refused: None,
        unread: false,
        replaced: false,
    };
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(seen) = watch.look().await else {
            continue;
        };
        if seen.stamp == known && !watch.unread {
            continue;
        }
        let Some(settled) = watch.settle(seen).await else {
            continue;
        };
        if !settled.quiet {
            watch.unread = true;
            let text = format!("is changed all the time: nobody has left it alone for {QUIET:?}");
            watch.refuse(&text, None);
            continue;
        }
        known = settled.look.stamp;
        if let Some(list) = watch.take(settled.list)
            && lists.send(list).await.is_err()
        {
            return;
        }
    }
}

impl Watch {
    /// The list, if it may count.
    fn take(&mut self, list: Result<List, ConfigError>) -> Option<List> {
        self.unread = matches!(list, Err(ConfigError::Read(..)));
        match list {
            Ok(list) if list.nodes.is_empty() => self.refuse("names no node", None),
            Ok(list) => {
                self.refused = None;
                self.report(None);
                return Some(list);
            }
            Err(error) => self.refuse("is refused", Some(&error)),
        }
        None
    }

    /// Says what is wrong with a list, and why if that needs words; the words once, as long as they are the
    /// same.
    fn refuse(&mut self, what: &str, why: Option<&ConfigError>) {
        let path = self.path.display().to_string();
        let line = format!("{path} {what}; the last good list stays in force");
        let text = why.map_or(line.clone(), |why| format!("{line}: {}", why.in_brief()));
        let whole = why.map_or(line.clone(), |error| chain(error));
        let refused = self.refused.as_ref();
        let same = refused.is_some_and(|refused| refused.whole == whole);
        // What cannot be read is tried again at each look.
        if same && self.unread {
            return;
        }
        if let Some(why) = why.filter(|_| !same) {
            errors(&chain(why));
        }
        error!("{line}");
        self.report(Some(text.clone()));
        self.refused = Some(Refused { whole, text });
    }

    async fn look(&mut self) -> Option<Look> {
        let path = self.path.clone();
        let look = self.on_disk(move || Look::at(&path)).await?;
        if look.is_replaced != self.replaced {
            self.replaced = look.is_replaced;
            let text = replaced(&self.path);
            let path = self.path.display().to_string();
            if self.replaced {
                error!("{text}");
            } else {
                info!("{path} is where it was mounted from again");
            }
            let fault = self.replaced.then_some(FileFault { path, text });
            self.status_reporter
                .set(|now| &mut now.services_replaced, fault);
        }
        Some(look)
    }

    /// Waits until the file, which has changed as this look shows, is quiet.
    async fn settle(&self, look: Look) -> Option<Settled> {
        let mut settling = Settling::changed(&self.path, PATIENCE, look);
        loop {
            let look = move || {
                let settled = settling.look();
                (settling, settled)
            };
            let (looked, settled) = self.on_disk(look).await?;
            if settled.is_some() {
                return settled;
            }
            settling = looked;
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Does something on a thread of its own, since the file may lie on a disk that hangs; when that does not
    /// answer, it is a fault until it does. `None` when the process ends.
    async fn on_disk<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let path = self.path.display().to_string();
        let mut hung = false;
        let late = || {
            hung = true;
            let text = format!("{}; the last good list stays in force", no_answer(&path));
            error!("{text}");
            self.report(Some(text));
        };
        let done = on_disk("services file", act, late).await.ok()?;
        if hung {
            info!("{path} answers again");
            let refused = self.refused.as_ref();
            self.report(refused.map(|refused| refused.text.clone()));
        }
        Some(done)
    }

    /// Says what is wrong with the file, if something is.
    fn report(&self, text: Option<String>) {
        let path = self.path.display().to_string();
        let fault = text.map(|text| FileFault { path, text });
        self.status_reporter.set(|now| &mut now.services, fault);
    }
}
