//! Hooks: external commands that are told of what happens.
//!
//! Whoever has something to tell puts a run into a bounded queue and goes on. There are three
//! queues, so that what a person must know never waits for thousands of nodes: the [`Lane`]s. One
//! task starts the runs of each in their order, so many at a time and those of one node or file one
//! after the other, so that none overtakes the one before; each is its own process group,
//! may get JSON on its standard input, its output goes to the log line by line within a quota, and
//! after `hook_timeout` its group is ended. Of alerts one that ended badly is tried again.

mod environment;
mod output;
mod run;
mod runner;
mod tally;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::error;

pub use self::environment::NodeChange;
use self::run::Run;
pub use self::runner::HookRunner;
pub use self::tally::HookCounts;
use self::tally::Tally;
use crate::api::hooks::Alert;
use crate::config::{Config, HookSettings};
use crate::logging::count;

/// So many runs may wait in a lane. More come together only when hooks hang for their whole time
/// while files change on and on, or when thousands of nodes change at once; then the newest are
/// left out, with an error that counts them.
const WAITING: usize = 4_096;

/// Does not wait for a place: the others may hang, and the end is near.
const PRE_QUIT: &str = "pre_quit_hook";

/// The way to run hooks; clones share the queues.
#[derive(Clone)]
pub struct Hooks {
    queues: [mpsc::Sender<Run>; Lane::ALL.len()],
    told: Arc<Mutex<Told>>,
    tally: Tally,
}

/// Runs that wait for each other, and for no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// pollbal's own life, and files.
    Life,
    /// Nodes.
    Nodes,
    /// What a person must know.
    Alerts,
}

impl Lane {
    const ALL: [Self; 3] = [Self::Life, Self::Nodes, Self::Alerts];

    /// So many of its runs are under way at once, one of a node and one of a file; the others wait in
    /// order. Of alerts one, so that
    /// the word that something is over never overtakes the word that it began.
    const fn places(self) -> usize {
        match self {
            Self::Life | Self::Nodes => 16,
            Self::Alerts => 1,
        }
    }

    /// Before a run that ended badly is tried again, each time. Whoever mails alerts may be restarting
    /// just now; the next alert waits meanwhile, since it would hardly fare better.
    const fn pauses(self) -> &'static [Duration] {
        match self {
            Self::Life | Self::Nodes => &[],
            Self::Alerts => const { &[Duration::from_secs(3), Duration::from_secs(15)] },
        }
    }
}

/// A variable of a hook's environment.
type Variable = (&'static str, OsString);

/// What the configuration says that hooks need.
struct Told {
    settings: HookSettings,
    pool_directory: PathBuf,
    services_file: PathBuf,
    /// How many runs were left out since the last one that was not, by lane.
    left_out: [usize; Lane::ALL.len()],
}

/// What one hook is told.
#[derive(Default)]
struct Words {
    /// As [`Run`] has it.
    subject: Option<String>,
    environment: Vec<Variable>,
    /// For its standard input; none: there is nothing to read.
    input: Option<Vec<u8>>,
}

impl Hooks {
    /// The queues, and the task that empties them.
    #[must_use]
    pub fn new(config: &Config) -> (Self, HookRunner) {
        let channels = Lane::ALL.map(|lane| (lane, mpsc::channel(WAITING)));
        let queues = channels.each_ref().map(|(_, (sender, _))| sender.clone());
        let lanes = channels.map(|(lane, (_, queue))| (lane, queue));
        let tally = Tally::default();
        let runner = HookRunner::new(lanes, &tally);
        let hooks = Self {
            queues,
            told: Arc::new(Mutex::new(Told::new(config))),
            tally,
        };
        (hooks, runner)
    }

    /// Takes a new configuration; runs that wait keep theirs.
    pub fn reload(&self, config: &Config) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told = Told {
            left_out: told.left_out,
            ..Told::new(config)
        };
    }

    /// Before anything.
    pub fn pre_init(&self) {
        self.run(
            Lane::Life,
            "pre_init_hook",
            |settings| &settings.pre_init,
            Told::services,
        );
    }

    /// When the first files are written and the first sync with each Perlbal is done or failed.
    pub fn post_init(&self) {
        self.run(
            Lane::Life,
            "post_init_hook",
            |settings| &settings.post_init,
            Told::services,
        );
    }

    /// At the end.
    pub fn pre_quit(&self) {
        self.run(
            Lane::Life,
            PRE_QUIT,
            |settings| &settings.pre_quit,
            |_| Words::default(),
        );
    }

    /// When a file is about to be written.
    pub fn file_update(&self, name: &str) {
        self.run(
            Lane::Life,
            "file_update_hook",
            |settings| &settings.file_update,
            |_| file(name),
        );
    }

    /// When a file is about to be deleted.
    pub fn file_remove(&self, name: &str) {
        self.run(
            Lane::Life,
            "file_remove_hook",
            |settings| &settings.file_remove,
            |_| file(name),
        );
    }

    /// When a node went into a pool, out of one, or from one to another.
    pub fn node(&self, change: &NodeChange<'_>) {
        self.run(
            Lane::Nodes,
            "node_hook",
            |settings| &settings.node,
            |_| change.words(),
        );
    }

    /// Whether so many alerts have room.
    #[must_use]
    pub fn have_room_for_alerts(&self, alerts: usize) -> bool {
        self.queues[Lane::Alerts as usize].capacity() >= alerts
    }

    /// When a person must know something, or that it is over.
    pub fn alert(&self, alert: &Alert) {
        let words = |_: &Told| environment::alert(alert);
        self.run(
            Lane::Alerts,
            "alert_hook",
            |settings| &settings.alert,
            words,
        );
    }

    fn run(
        &self,
        lane: Lane,
        hook: &'static str,
        command: fn(&HookSettings) -> &Vec<String>,
        words: impl FnOnce(&Told) -> Words,
    ) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let command = command(&told.settings).clone();
        if command.is_empty() {
            return;
        }
        let words = words(&told);
        let directory = told.pool_directory.clone().into_os_string();
        let directory = ("POLLBAL_POOL_DIRECTORY", directory);
        let run = Run {
            hook,
            command,
            subject: words.subject,
            environment: [directory].into_iter().chain(words.environment).collect(),
            input: words.input,
            limit: told.settings.timeout,
        };
        let sent = self.queues[lane as usize].try_send(run);
        if sent.is_err() {
            self.tally.count(hook, |counts| counts.left_out += 1);
        }
        report(hook, &sent, &mut told.left_out[lane as usize]);
    }

    /// How the runs of each hook went that had any.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, HookCounts> {
        self.tally.counts()
    }
}

/// Says once that there is no room, and once how many were left out.
fn report(hook: &'static str, sent: &Result<(), TrySendError<Run>>, left_out: &mut usize) {
    match sent {
        Ok(()) if *left_out > 0 => {
            let runs = count(std::mem::take(left_out), "run");
            error!(hook, "{runs} of hooks such as {hook} were left out");
        }
        Ok(()) => {}
        Err(TrySendError::Full(_)) => {
            if *left_out == 0 {
                error!(
                    hook,
                    "{hook} is not run: {WAITING} runs wait already; more are left out until there is room"
                );
            }
            *left_out += 1;
        }
        Err(TrySendError::Closed(_)) => error!(hook, "{hook} is not run: pollbal is ending"),
    }
}

impl Told {
    fn new(config: &Config) -> Self {
        Self {
            settings: config.hooks.clone(),
            pool_directory: config.pool_directory.clone(),
            services_file: config.services_file.clone(),
            left_out: [0; Lane::ALL.len()],
        }
    }

    fn services(&self) -> Words {
        let file = self.services_file.clone().into_os_string();
        Words {
            environment: vec![("POLLBAL_SERVICES_FILE", file)],
            ..Words::default()
        }
    }
}

fn file(name: &str) -> Words {
    Words {
        subject: Some(name.to_owned()),
        environment: vec![("POLLBAL_FILE_NAME", name.into())],
        ..Words::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_too_many_runs_the_newest_are_left_out_and_counted_and_alerts_have_room() {
        let value = json!({ "file_update_hook": ["true"], "pre_init_hook": ["true"] });
        let (config, _) = Config::from_value(&value);
        let (hooks, _runner) = Hooks::new(&config);
        for _ in 0..WAITING + 3 {
            hooks.file_update("api.pool");
        }
        let left_out = |hooks: &Hooks| hooks.told.lock().unwrap().left_out;
        assert_eq!(left_out(&hooks), [3, 0, 0]);
        assert_eq!(hooks.counts()["file_update_hook"].left_out, 3);
        hooks.pre_init();
        assert_eq!(left_out(&hooks), [4, 0, 0], "of one lane");
        for lane in [Lane::Nodes, Lane::Alerts] {
            hooks.run(
                lane,
                "test_hook",
                |settings| &settings.pre_init,
                |_| Words::default(),
            );
        }
        assert_eq!(left_out(&hooks), [4, 0, 0]);
        // A reload forgets nothing.
        hooks.reload(&config);
        assert_eq!(left_out(&hooks), [4, 0, 0]);
    }
}
