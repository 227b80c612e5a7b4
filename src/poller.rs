//! Pollers: a task per node that asks it `GET /pool`, again and again.
//!
//! Each new node is polled at once, [`FIRST_POLLS`] at a time, and then every `poll_interval`, the
//! nodes spread evenly over it. Observations go to the daemon by one bounded channel.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{CACHE_CONTROL, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::config::PollSettings;
use crate::model::announcement::Announcement;
use crate::model::node::{Node, NodeAddr};
use crate::model::observation::{Failure, Observation};
use crate::quota::WINDOW;

/// The longest body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 4_096;

/// So many nodes are polled at a time when many are new.
const FIRST_POLLS: usize = 512;

/// An observation on its way to the daemon.
pub type Observed = (NodeAddr, Observation);

/// All pollers.
pub struct Pollers {
    shared: Arc<Shared>,
    tasks: BTreeMap<NodeAddr, Task>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// What all pollers use.
struct Shared {
    client: Client,
    observed: mpsc::Sender<Observed>,
    first_polls: Semaphore,
    /// Slots of an interval are counted from here.
    epoch: Instant,
    /// When the log was last told that there are no more descriptors.
    told_no_descriptors: Mutex<Option<Instant>>,
}

struct Task {
    schedule: watch::Sender<Schedule>,
    stop: CancellationToken,
}

/// When and how one node is polled.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Schedule {
    settings: PollSettings,
    /// How far into each interval.
    offset: Duration,
}

/// What kept a poll from giving an observation.
enum Trouble {
    /// The node's.
    Node(Failure),
    /// Our own: it says nothing of the node.
    NoDescriptors,
}

impl Pollers {
    /// No nodes yet; all pollers end with `stop`.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(
        observed: mpsc::Sender<Observed>,
        tracker: TaskTracker,
        stop: CancellationToken,
    ) -> reqwest::Result<Self> {
        let headers = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("no-cache"))]);
        let client = Client::builder()
            .user_agent(concat!("pollbal/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(1)
            .build()?;
        let shared = Shared {
            client,
            observed,
            first_polls: Semaphore::new(FIRST_POLLS),
            epoch: Instant::now(),
            told_no_descriptors: Mutex::new(None),
        };
        Ok(Self {
            shared: Arc::new(shared),
            tasks: BTreeMap::new(),
            tracker,
            stop,
        })
    }

    /// Polls just these nodes from now on; those that stay keep their task and connection.
    pub fn set(&mut self, nodes: &[Node], settings: &PollSettings) {
        let mut before = std::mem::take(&mut self.tasks);
        for (index, node) in nodes.iter().enumerate() {
            let schedule = Schedule {
                settings: settings.clone(),
                offset: share(settings.interval, index, nodes.len()),
            };
            let task = before
                .remove(&node.addr)
                .unwrap_or_else(|| self.start(node.addr, &schedule));
            task.schedule.send_if_modified(|old| {
                let changed = *old != schedule;
                *old = schedule;
                changed
            });
            self.tasks.insert(node.addr, task);
        }
        for gone in before.into_values() {
            gone.stop.cancel();
        }
    }

    fn start(&self, addr: NodeAddr, schedule: &Schedule) -> Task {
        let stop = self.stop.child_token();
        let (sender, receiver) = watch::channel(schedule.clone());
        let poller = Poller {
            addr,
            shared: self.shared.clone(),
            schedule: receiver,
        };
        let stopped = stop.clone();
        self.tracker
            .spawn(async move { stopped.run_until_cancelled(poller.run()).await });
        Task {
            schedule: sender,
            stop,
        }
    }
}

/// The `index`th of `count` equal parts of an interval.
fn share(interval: Duration, index: usize, count: usize) -> Duration {
    let nanoseconds = interval.as_nanos() * index as u128 / count as u128;
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
}

struct Poller {
    addr: NodeAddr,
    shared: Arc<Shared>,
    schedule: watch::Receiver<Schedule>,
}

impl Poller {
    async fn run(mut self) {
        let shared = self.shared.clone();
        if let Ok(place) = shared.first_polls.acquire().await {
            self.poll().await;
            drop(place);
        }
        loop {
            let due = self
                .schedule
                .borrow_and_update()
                .next(shared.epoch, Instant::now());
            tokio::select! {
                () = sleep_until(due) => self.poll().await,
                changed = self.schedule.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn poll(&mut self) {
        let PollSettings {
            path,
            timeout: limit,
            ..
        } = self.schedule.borrow().settings.clone();
        let url = format!("http://{}{path}", self.addr);
        let observation = match timeout(limit, self.shared.ask(&url)).await {
            Ok(Ok(body)) => match Announcement::parse(&body) {
                Ok(Some(announcement)) => Observation::Announced(announcement),
                Ok(None) => Observation::Nothing,
                Err(error) => Observation::Failed(Failure::not_understood(error, &body)),
            },
            Ok(Err(Trouble::Node(failure))) => Observation::Failed(failure),
            Ok(Err(Trouble::NoDescriptors)) => return self.shared.tell_no_descriptors(),
            Err(_) => Observation::Failed(Failure::Timeout),
        };
        // Fails only when the daemon is ending. When the channel is full, this node waits.
        _ = self.shared.observed.send((self.addr, observation)).await;
    }
}

impl Schedule {
    /// The first slot of this node after `now`.
    fn next(&self, epoch: Instant, now: Instant) -> Instant {
        let first = epoch + self.offset;
        let Some(passed) = now.checked_duration_since(first) else {
            return first;
        };
        let interval = self.settings.interval.as_nanos();
        let into = u64::try_from(passed.as_nanos() % interval).unwrap_or(0);
        now - Duration::from_nanos(into) + self.settings.interval
    }
}

impl Shared {
    /// Gives the body of a proper answer.
    async fn ask(&self, url: &str) -> Result<Vec<u8>, Trouble> {
        let response = match self.client.get(url).send().await {
            // The node may have closed a kept connection just when it was used again; only a
            // fresh one tells.
            Err(error) if !error.is_connect() => self.client.get(url).send().await,
            sent => sent,
        };
        let response = response.map_err(|error| trouble(&error))?;
        if response.status() != StatusCode::OK {
            return Err(Trouble::Node(Failure::Status(response.status().as_u16())));
        }
        read_body(response).await
    }

    /// Every poll may come here at once: one of them tells, and again after a while.
    fn tell_no_descriptors(&self) {
        let mut told = self
            .told_no_descriptors
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= WINDOW) {
            *told = Some(Instant::now());
            error!(
                "nodes cannot be polled: the limit of open files is reached; raise it \
                 (LimitNOFILE= of the service, or ulimit -n); their state stays as it was"
            );
        }
    }
}

async fn read_body(mut response: Response) -> Result<Vec<u8>, Trouble> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| trouble(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY_BYTES {
            return Err(Trouble::Node(Failure::TooLong(MAX_BODY_BYTES)));
        }
    }
    Ok(body)
}

fn trouble(error: &reqwest::Error) -> Trouble {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let code = cause
        .downcast_ref::<io::Error>()
        .and_then(io::Error::raw_os_error);
    let ours =
        [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(rustix::io::Errno::raw_os_error);
    if code.is_some_and(|code| ours.contains(&code)) {
        return Trouble::NoDescriptors;
    }
    let reason = cause.to_string();
    Trouble::Node(if error.is_connect() {
        Failure::Connect(reason)
    } else {
        Failure::Broken(reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(interval: u64, index: usize, count: usize) -> Schedule {
        let interval = Duration::from_millis(interval);
        let settings = PollSettings {
            interval,
            timeout: interval,
            path: "/pool".to_owned(),
        };
        Schedule {
            settings,
            offset: share(interval, index, count),
        }
    }

    #[test]
    fn nodes_are_spread_evenly_over_the_interval() {
        let offsets: Vec<_> = (0..4)
            .map(|index| schedule(1000, index, 4).offset.as_millis())
            .collect();
        assert_eq!(offsets, [0, 250, 500, 750]);
    }

    #[test]
    fn a_node_keeps_its_slot_whatever_its_polls_take() {
        let epoch = Instant::now();
        let at = |millis| epoch + Duration::from_millis(millis);
        let schedule = schedule(1000, 1, 4);
        assert_eq!(schedule.next(epoch, at(0)), at(250));
        assert_eq!(
            schedule.next(epoch, at(250)),
            at(1250),
            "the slot of now is over"
        );
        assert_eq!(schedule.next(epoch, at(1249)), at(1250));
        assert_eq!(
            schedule.next(epoch, at(9999)),
            at(10_250),
            "missed slots are not made up for"
        );
    }
}
