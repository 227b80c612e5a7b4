//! Hooks: external commands that are run when something happens.
//!
//! Whatever happens is put into a bounded queue, so the daemon never waits for a hook. There are three queues
//! ([`HookQueue`]), so that an alert never waits behind the hooks of thousands of nodes. One task runs the hooks of
//! each queue in order, with limited concurrency; those about the same node or file are run one after another, so that
//! none overtakes an earlier one. Each hook is a process group of its own and may get JSON on its standard input; its
//! output is logged line by line up to a limit; after `hook_timeout` its group is ended. A failed `alert_hook` is
//! retried.

mod counts;
mod environment;
mod output;
mod queue;
mod run;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::error;

pub use self::counts::HookCounts;
use self::counts::SharedCounts;
pub use self::environment::NodeHookInput;
pub use self::queue::HookRunner;
use self::run::Run;
use crate::api::hooks::Alert;
use crate::config::{Config, HookSettings};
use crate::logging::count;

/// Maximum number of runs in a queue. It is reached only if hooks run into their timeout while files change over and
/// over, or if thousands of nodes change at once; then the newest runs are dropped, with an error that counts them.
const MAX_QUEUED: usize = 4_096;

/// Exempt from the concurrency limit: the others may hang, and little time is left.
const PRE_QUIT: &str = "pre_quit_hook";

/// Queues runs of hooks; clones share the queues.
#[derive(Clone)]
pub struct Hooks {
    queues: [mpsc::Sender<Run>; HookQueue::ALL.len()],
    context: Arc<Mutex<HookContext>>,
    counts: SharedCounts,
}

/// The queues. Runs wait only for others in the same queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HookQueue {
    /// Start and end of pollbal, and changes of pool files.
    Lifecycle,
    /// `node_hook`.
    Nodes,
    /// `alert_hook`.
    Alerts,
}

impl HookQueue {
    const ALL: [Self; 3] = [Self::Lifecycle, Self::Nodes, Self::Alerts];

    /// Maximum number of runs at the same time, with at most one per node or file. Alerts run one at a time, so that
    /// the end of an alert never overtakes its beginning.
    const fn concurrency(self) -> usize {
        match self {
            Self::Lifecycle | Self::Nodes => 16,
            Self::Alerts => 1,
        }
    }

    /// Delay before each retry of a failed run. The mail server for alerts, say, may just be restarting. The next alert
    /// waits meanwhile, since it would most likely fail as well.
    const fn retry_delays(self) -> &'static [Duration] {
        match self {
            Self::Lifecycle | Self::Nodes => &[],
            Self::Alerts => const { &[Duration::from_secs(3), Duration::from_secs(15)] },
        }
    }
}

/// A variable of a hook's environment.
type Variable = (&'static str, OsString);

/// What runs take from the configuration, and the drops that are yet to be logged.
struct HookContext {
    settings: HookSettings,
    pool_directory: PathBuf,
    services_file: Option<PathBuf>,
    /// Runs that were dropped since the last one that was queued, by queue.
    dropped: [usize; HookQueue::ALL.len()],
}

/// The input of one run.
#[derive(Default)]
struct HookInput {
    /// See [`Run::subject`].
    subject: Option<String>,
    environment: Vec<Variable>,
    /// Its standard input; `None` for `/dev/null`.
    stdin: Option<Vec<u8>>,
}

impl Hooks {
    /// Creates the queues, and the task that runs their hooks.
    #[must_use]
    pub fn new(config: &Config) -> (Self, HookRunner) {
        let channels = HookQueue::ALL.map(|queue| (queue, mpsc::channel(MAX_QUEUED)));
        let queues = channels.each_ref().map(|(_, (sender, _))| sender.clone());
        let receivers = channels.map(|(queue, (_, receiver))| (queue, receiver));
        let counts = SharedCounts::default();
        let runner = HookRunner::new(receivers, &counts);
        let hooks = Self {
            queues,
            context: Arc::new(Mutex::new(HookContext::new(config))),
            counts,
        };
        (hooks, runner)
    }

    /// Applies a new configuration; runs that are already queued keep theirs.
    pub fn reload(&self, config: &Config) {
        let mut context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        *context = HookContext {
            dropped: context.dropped,
            ..HookContext::new(config)
        };
    }

    /// Queues `pre_init_hook`, before anything else happens.
    pub fn pre_init(&self) {
        self.run(
            HookQueue::Lifecycle,
            "pre_init_hook",
            |settings| &settings.pre_init,
            HookContext::services_input,
        );
    }

    /// Queues `post_init_hook`, once the first files are written and the first sync with each load balancer has
    /// succeeded or failed.
    pub fn post_init(&self) {
        self.run(
            HookQueue::Lifecycle,
            "post_init_hook",
            |settings| &settings.post_init,
            HookContext::services_input,
        );
    }

    /// Queues `pre_quit_hook`, at shutdown.
    pub fn pre_quit(&self) {
        self.run(
            HookQueue::Lifecycle,
            PRE_QUIT,
            |settings| &settings.pre_quit,
            |_| HookInput::default(),
        );
    }

    /// Queues `file_update_hook`, just before a file is written.
    pub fn file_update(&self, name: &str) {
        self.run(
            HookQueue::Lifecycle,
            "file_update_hook",
            |settings| &settings.file_update,
            |_| file_input(name),
        );
    }

    /// Queues `file_remove_hook`, just before a file is deleted.
    pub fn file_remove(&self, name: &str) {
        self.run(
            HookQueue::Lifecycle,
            "file_remove_hook",
            |settings| &settings.file_remove,
            |_| file_input(name),
        );
    }

    /// Queues `node_hook`, after a node joined a pool, left one, or moved from one to another.
    pub fn node(&self, input: &NodeHookInput<'_>) {
        self.run(
            HookQueue::Nodes,
            "node_hook",
            |settings| &settings.node,
            |_| input.to_input(),
        );
    }

    /// Whether this many alerts fit into their queue.
    #[must_use]
    pub fn have_room_for_alerts(&self, alerts: usize) -> bool {
        self.queues[HookQueue::Alerts as usize].capacity() >= alerts
    }

    /// Queues `alert_hook`, after an alert was raised or resolved.
    pub fn alert(&self, alert: &Alert) {
        self.run(
            HookQueue::Alerts,
            "alert_hook",
            |settings| &settings.alert,
            |_| environment::alert_input(alert),
        );
    }

    fn run(
        &self,
        queue: HookQueue,
        hook: &'static str,
        command: fn(&HookSettings) -> &Vec<String>,
        input: impl FnOnce(&HookContext) -> HookInput,
    ) {
        let mut context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        let command = command(&context.settings).clone();
        if command.is_empty() {
            return;
        }
        let input = input(&context);
        let directory = context.pool_directory.clone().into_os_string();
        let directory = ("POLLBAL_POOL_DIRECTORY", directory);
        let run = Run {
            hook,
            command,
            subject: input.subject,
            environment: [directory].into_iter().chain(input.environment).collect(),
            stdin: input.stdin,
            timeout: context.settings.timeout,
        };
        let sent = self.queues[queue as usize].try_send(run);
        if sent.is_err() {
            self.counts.record_dropped(hook);
        }
        log_drops(hook, &sent, &mut context.dropped[queue as usize]);
    }

    /// Outcomes of the runs of each hook that was run or dropped at least once.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, HookCounts> {
        self.counts.get()
    }
}

/// Logs once that a queue is full, and once there is room again how many runs were dropped.
fn log_drops(hook: &'static str, sent: &Result<(), TrySendError<Run>>, dropped: &mut usize) {
    match sent {
        Ok(()) if *dropped > 0 => {
            let runs = count(std::mem::take(dropped), "run");
            error!(hook, "{runs} of hooks such as {hook} were dropped");
        }
        Ok(()) => {}
        Err(TrySendError::Full(_)) => {
            if *dropped == 0 {
                error!(
                    hook,
                    "{hook} is not run: {MAX_QUEUED} runs wait already; more are dropped until there is room"
                );
            }
            *dropped += 1;
        }
        Err(TrySendError::Closed(_)) => error!(hook, "{hook} is not run: pollbal is ending"),
    }
}

impl HookContext {
    fn new(config: &Config) -> Self {
        Self {
            settings: config.hooks.clone(),
            pool_directory: config.pool_directory.clone(),
            services_file: config.services_file.clone(),
            dropped: [0; HookQueue::ALL.len()],
        }
    }

    fn services_input(&self) -> HookInput {
        // Empty without one.
        let file = self.services_file.clone().unwrap_or_default();
        let file = file.into_os_string();
        HookInput {
            environment: vec![("POLLBAL_SERVICES_FILE", file)],
            ..HookInput::default()
        }
    }
}

fn file_input(name: &str) -> HookInput {
    HookInput {
        subject: Some(name.to_owned()),
        environment: vec![("POLLBAL_FILE_NAME", name.into())],
        ..HookInput::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn runs_beyond_the_limit_are_dropped_and_counted_per_queue() {
        let value = json!({ "file_update_hook": ["true"], "pre_init_hook": ["true"] });
        let (config, _) = Config::from_value(&value);
        let (hooks, _runner) = Hooks::new(&config);
        for _ in 0..MAX_QUEUED + 3 {
            hooks.file_update("api.pool");
        }
        let dropped = |hooks: &Hooks| hooks.context.lock().unwrap().dropped;
        assert_eq!(dropped(&hooks), [3, 0, 0]);
        assert_eq!(hooks.counts()["file_update_hook"].dropped, 3);
        hooks.pre_init();
        assert_eq!(dropped(&hooks), [4, 0, 0], "of one queue");
        for queue in [HookQueue::Nodes, HookQueue::Alerts] {
            hooks.run(
                queue,
                "test_hook",
                |settings| &settings.pre_init,
                |_| HookInput::default(),
            );
        }
        assert_eq!(dropped(&hooks), [4, 0, 0]);
        // A reload keeps the counts.
        hooks.reload(&config);
        assert_eq!(dropped(&hooks), [4, 0, 0]);
    }
}
