//! Stay requests (`pool_please_dont_go`): asks the members of a pool that is at its `min_members` to stay.
//!
//! ```text
//!   daemon ─(StayTargets, watch)─► this task ─► POST   /pool_please_dont_go   to each target
//!                                               DELETE /pool_please_dont_go   once it is no longer one
//! ```
//!
//! The task compares the nodes that should stay with those that it has asked, so it may miss intermediate states. The
//! nodes' responses are ignored: a node that leaves anyway is removed from its pools as usual.

pub mod schedule;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};
use tracing::debug;

use self::schedule::{Schedule, StayMessage};
use crate::config::poll::PollSettings;
use crate::logging::chain;
use crate::model::node::NodeAddr;
use crate::poller::once::{self, Unreached};

/// Maximum number of requests in flight.
const MAX_IN_FLIGHT: usize = 16;

/// Minimum delay between two requests: at most 50 are sent per second.
const SPACING: Duration = Duration::from_millis(20);

/// The path of the requests.
pub const PATH: &str = "/pool_please_dont_go";

/// The nodes that should stay, and what is needed to ask them.
#[derive(Clone, Debug, Default)]
pub struct StayTargets {
    /// The nodes to ask; `None` until they are known. Until then no request is sent and none is cancelled.
    pub nodes: Option<BTreeSet<NodeAddr>>,
    /// The nodes that the previous run of pollbal asked.
    pub asked_before: Arc<BTreeSet<NodeAddr>>,
    /// All nodes of the services file: other addresses get no messages.
    pub listed: Arc<BTreeSet<NodeAddr>>,
    /// Requests have the header fields and the timeout of polls.
    pub poll: Arc<PollSettings>,
}

/// A request that has finished.
struct Finished {
    addr: NodeAddr,
    message: StayMessage,
    /// Why the node was not reached.
    failure: Option<Unreached>,
}

/// Sends the requests until the sender of `targets` is dropped.
pub async fn run(mut targets: watch::Receiver<StayTargets>) {
    let has_work = |targets: &StayTargets| {
        let nodes = targets.nodes.as_ref();
        nodes.is_some_and(|nodes| !nodes.is_empty() || !targets.asked_before.is_empty())
    };
    let asked_before = match targets.wait_for(has_work).await {
        Ok(targets) => targets.asked_before.clone(),
        Err(_) => return,
    };
    let mut spacing = interval(SPACING);
    spacing.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut schedule, mut in_flight) =
        (Schedule::new(&asked_before, Instant::now()), JoinSet::new());
    targets.mark_changed();
    loop {
        let next = schedule.next().filter(|_| in_flight.len() < MAX_IN_FLIGHT);
        tokio::select! {
            biased;
            changed = targets.changed() => {
                if changed.is_err() { return }
                let targets = targets.borrow_and_update();
                let nodes = targets.nodes.clone().unwrap_or_default();
                schedule.set_desired(&nodes, |addr| targets.listed.contains(&addr), Instant::now());
            }
            Some(Ok(finished)) = in_flight.join_next() => record(&mut schedule, &finished),
            (addr, message) = wait_until_due(next, &mut spacing) => {
                schedule.begin(addr);
                in_flight.spawn(send(addr, message, targets.borrow().poll.clone()));
            }
        }
    }
}

/// Waits until the next message is due; forever if there is none.
async fn wait_until_due(
    next: Option<(NodeAddr, StayMessage, Instant)>,
    spacing: &mut Interval,
) -> (NodeAddr, StayMessage) {
    let Some((addr, message, due)) = next else {
        return std::future::pending().await;
    };
    sleep_until(due.into()).await;
    spacing.tick().await;
    (addr, message)
}

async fn send(addr: NodeAddr, message: StayMessage, poll: Arc<PollSettings>) -> Finished {
    let method = match message {
        StayMessage::Ask => "POST",
        StayMessage::Cancel => "DELETE",
    };
    let response = once::send(addr, method, PATH, &poll).await;
    Finished {
        addr,
        message,
        failure: response.err(),
    }
}

/// Records the outcome of a request; logs the first failure in a row.
fn record(schedule: &mut Schedule, finished: &Finished) {
    let Finished {
        addr,
        message,
        failure,
    } = finished;
    let first = schedule.end(*addr, *message, failure.is_none(), Instant::now());
    if let Some(failure) = failure.as_ref().filter(|_| first) {
        let action = match message {
            StayMessage::Ask => "ask",
            StayMessage::Cancel => "cancel the request for",
        };
        debug!(node = %addr, "failed to {action} {addr} to stay: {}", chain(failure));
    }
}
