//! The recorder's load balancer: a set of members in memory, which tests tell how to behave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::backend::{Place, Step};
use crate::drivers::family::{Family, Value};
use crate::drivers::sync::{Member, Session, SessionError, StepResult};
use crate::model::driver_status::OutageCause;
use crate::model::node::NodeAddr;

/// All load balancers of the process, by address.
static ALL: Mutex<BTreeMap<String, Shared>> = Mutex::new(BTreeMap::new());

/// A load balancer that sessions share with tests.
#[derive(Clone, Default)]
pub(in crate::drivers) struct Shared(Arc<Mutex<LoadBalancer>>);

/// What is there, and how it behaves.
#[derive(Default)]
pub(in crate::drivers) struct LoadBalancer {
    /// Who is listed there.
    pub(in crate::drivers) members: BTreeMap<Member, Place>,
    /// The steps that it executed.
    pub(in crate::drivers) steps: Vec<String>,
    /// Nodes that work on a request.
    pub(in crate::drivers) busy: BTreeSet<NodeAddr>,
    /// Steps that it rejects.
    pub(in crate::drivers) rejects: BTreeSet<String>,
    /// The time that each exchange takes.
    pub(in crate::drivers) delay: Duration,
    /// It refuses connections.
    pub(in crate::drivers) is_down: bool,
    /// Number of steps after which it closes the connection.
    pub(in crate::drivers) breaks_after: Option<usize>,
    /// Number of attempts to connect, and of complete reads.
    pub(in crate::drivers) attempts: usize,
    pub(in crate::drivers) reads: usize,
    /// Counts up when it closes all connections.
    epoch: u64,
    /// Connections of earlier epochs reach a process that another one has replaced.
    is_replaced: bool,
}

impl Shared {
    /// The one with this address.
    pub(in crate::drivers) fn at(address: &str) -> Self {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(address.to_owned()).or_default().clone()
    }

    pub(in crate::drivers) fn lock(&self) -> MutexGuard<'_, LoadBalancer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects.
    pub(super) async fn connect(&self) -> Result<Connection, SessionError> {
        let delay = self.lock().delay;
        sleep(delay).await;
        let mut there = self.lock();
        there.attempts += 1;
        if there.is_down {
            return Err(lost("not reachable", "connection refused"));
        }
        Ok(Connection(self.clone(), there.epoch))
    }
}

impl LoadBalancer {
    /// Closes all connections.
    pub(in crate::drivers) fn break_off(&mut self) {
        self.epoch += 1;
        self.is_replaced = false;
    }

    /// Is restarted with these members; connections stay with the process that ends.
    pub(in crate::drivers) fn replace(&mut self, members: BTreeMap<Member, Place>) {
        self.break_off();
        self.is_replaced = true;
        self.members = members;
    }

    /// Executes steps until it closes the connection.
    fn execute(&mut self, batch: &[Step]) -> Result<Vec<StepResult>, SessionError> {
        let mut results = Vec::new();
        for step in batch {
            if self.breaks_after == Some(0) {
                self.breaks_after = None;
                self.break_off();
                return Err(lost("closing connections", "the connection was closed"));
            }
            self.breaks_after = self.breaks_after.map(|steps| steps - 1);
            let text = step.to_string();
            if self.rejects.contains(&text) {
                results.push(Err("not today".to_owned()));
                continue;
            }
            step.apply(&mut self.members);
            self.steps.push(text);
            results.push(Ok(()));
        }
        Ok(results)
    }
}

/// A connection, and its epoch.
pub(in crate::drivers) struct Connection(Shared, u64);

impl Connection {
    /// An exchange.
    async fn exchange<T>(
        &self,
        act: impl FnOnce(&mut LoadBalancer) -> Result<T, SessionError>,
    ) -> Result<T, SessionError> {
        let delay = self.0.lock().delay;
        sleep(delay).await;
        let mut there = self.0.lock();
        if there.epoch != self.1 && there.is_replaced {
            let (state, detail) = ("replaced", "process 1 ends".to_owned());
            return Err(SessionError::Replaced(OutageCause { state, detail }));
        }
        if there.epoch != self.1 {
            return Err(lost("closing connections", "the connection was closed"));
        }
        act(&mut there)
    }
}

impl Session for Connection {
    type Step = Step;
    type Actual = BTreeMap<Member, Place>;

    fn describe(&self) -> String {
        "Recorder 1.0".to_owned()
    }

    async fn ping(&mut self) -> Result<(), SessionError> {
        self.exchange(|_| Ok(())).await
    }

    async fn read(&mut self) -> Result<Self::Actual, SessionError> {
        let read = self.exchange(|there| {
            there.reads += 1;
            Ok(there.members.clone())
        });
        read.await
    }

    async fn execute(&mut self, batch: &[Step]) -> Result<Vec<StepResult>, SessionError> {
        self.exchange(|there| there.execute(batch)).await
    }

    async fn busy(&mut self, removed: &BTreeSet<Member>) -> Result<BTreeSet<Member>, SessionError> {
        let busy = self.exchange(|there| {
            let busy = removed.iter().filter(|(_, node)| there.busy.contains(node));
            Ok(busy.cloned().collect())
        });
        busy.await
    }

    async fn statistics(&mut self, _per_node: bool) -> Result<Vec<Family>, SessionError> {
        let read = self.exchange(|there| Ok(there.members.len() as u64));
        let members = [([], Value::Whole(read.await?))];
        Ok(vec![Family::gauge("recorder_members", "Members.", members)])
    }
}

fn lost(state: &'static str, detail: &str) -> SessionError {
    let detail = detail.to_owned();
    SessionError::Lost(OutageCause { state, detail })
}
