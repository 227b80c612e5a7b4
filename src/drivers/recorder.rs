//! A driver for tests: its load balancer is a set of members in memory, and it records the steps that
//! it takes. It shows that a kind of load balancer is one folder and one line in the registry.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use futures_util::future::BoxFuture;
use serde_json::Value as Json;

use super::details::{Counters, DriverDetails};
use super::family::{Family, Value};
use super::registry::PoolKeys;
use super::{Deps, Driver, DriverIo, Input, Mode, Query, Settings, Snapshot};
use crate::config::reader::ObjectReader;
use crate::model::driver_status::{DriverId, DriverKind};
use crate::model::node::NodeAddr;
use crate::model::ownership::Known;

const KIND: DriverKind = DriverKind {
    key: "recorder",
    name: "Recorder",
};

/// The steps of all recorders of the process, each with the recorder's address.
pub(super) static STEPS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Its name is all that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecorderSettings(String);

impl RecorderSettings {
    pub(crate) fn read(reader: &ObjectReader<'_>, _keys: &PoolKeys) -> Option<Self> {
        let name = |value: &Json| value.as_str().map(str::to_owned);
        reader.read(KIND.key, "a name", name).map(Self)
    }
}

impl Settings for RecorderSettings {
    fn id(&self) -> DriverId {
        DriverId {
            kind: KIND,
            address: self.0.as_str().into(),
        }
    }

    fn input(&self) -> Input {
        Input::Direct
    }

    fn describe(&self) -> String {
        format!("recorder {}: steps are kept in memory", self.0)
    }

    fn warnings(&self) -> Vec<String> {
        vec![format!("recorder {}: nobody is served by it", self.0)]
    }

    fn build(&self, _deps: Deps) -> Box<dyn Driver> {
        Box::new(Recorder {
            address: self.0.clone(),
            ..Recorder::default()
        })
    }
}

#[derive(Default)]
struct Recorder {
    address: String,
    members: BTreeSet<(String, NodeAddr)>,
    steps: u64,
}

impl Driver for Recorder {
    fn run(self: Box<Self>, io: DriverIo, mode: Mode) -> BoxFuture<'static, ()> {
        Box::pin(self.drive(io, mode))
    }
}

impl Recorder {
    async fn drive(mut self, mut io: DriverIo, mode: Mode) {
        loop {
            let desired = io.desired.borrow_and_update().clone();
            if let Some(snapshot) = desired {
                self.apply(&snapshot, &io, mode);
            }
            tokio::select! {
                () = io.stop.cancelled() => return,
                Ok(()) = io.desired.changed() => {}
                Some(query) = io.queries.recv() => self.answer(query),
            }
        }
    }

    fn apply(&mut self, snapshot: &Snapshot, io: &DriverIo, mode: Mode) {
        let mut desired = BTreeSet::new();
        for (name, pool) in &snapshot.pools.pools {
            desired.extend(
                pool.recipients()
                    .map(|(node, _)| (name.to_string(), node.addr)),
            );
        }
        let added = desired.difference(&self.members).map(|one| ('+', one));
        let removed = self.members.difference(&desired).map(|one| ('-', one));
        let line = |(sign, (pool, addr)): (_, &(String, _))| format!("{pool} {sign}{addr}\n");
        let steps: Vec<_> = added.chain(removed).map(line).collect();
        self.steps += steps.len() as u64;
        match mode {
            Mode::DryRun => io.steps.print(&steps),
            Mode::Live => {
                let mut all = STEPS.lock().unwrap_or_else(PoisonError::into_inner);
                all.extend(steps.into_iter().map(|step| (self.address.clone(), step)));
            }
        }
        self.members = desired;
        io.status.send_modify(|status| {
            (status.connected, status.in_sync) = (true, true);
            (status.settled, status.acked) = (snapshot.serial, snapshot.serial);
            status.observed = snapshot.serial;
        });
    }

    // The caller may have given up.
    fn answer(&self, query: Query) {
        match query {
            Query::Details(_, reply) => {
                let mut counters = Counters::default();
                counters.commands.insert("step", self.steps);
                _ = reply.send(DriverDetails {
                    connection: "Recorder 1.0".to_owned(),
                    in_sync_since: Instant::now(),
                    problems: Vec::new(),
                    pools: Vec::new(),
                    differences: String::new(),
                    counters,
                });
            }
            Query::Owned(reply) => _ = reply.send(Known::default()),
            Query::Statistics { reply, .. } => {
                let members = [([], Value::Whole(self.members.len() as u64))];
                let family = Family::gauge("recorder_members", "Members.", members);
                _ = reply.send(Ok([family].into()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
