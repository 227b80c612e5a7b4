//! What is special about the recorder's load balancer: its steps, and the plan of them. Removed members stay listed
//! until they are drained.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::load_balancer::{Connection, Shared};
use crate::drivers::Snapshot;
use crate::drivers::sync::{Backend, Member, Members, Plan, Problems, SessionError};
use crate::model::names::PoolName;
use crate::model::node::NodeAddr;
use crate::model::skipped::SkippedNodes;

/// Maximum number of members that it takes in a pool.
pub(in crate::drivers) const MAX_MEMBERS: usize = 100;

/// What the names of pools begin with that it does not have.
const ABSENT: &str = "absent";

/// Where a listed member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::drivers) enum Place {
    Serving,
    /// It gets no new requests.
    Retired,
}

/// `web +10.0.0.1:80` serves; with `-` it gets no new requests, with `~` it is not listed any more.
#[derive(Clone, Debug)]
pub(in crate::drivers) struct Step(char, Member);

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(sign, (pool, node)) = self;
        write!(f, "{pool} {sign}{node}")
    }
}

impl Step {
    pub(super) fn apply(&self, members: &mut BTreeMap<Member, Place>) {
        let Self(sign, member) = self;
        _ = match sign {
            '+' => members.insert(member.clone(), Place::Serving),
            '-' => members.insert(member.clone(), Place::Retired),
            _ => members.remove(member),
        };
    }
}

/// What a snapshot asks of the load balancer.
#[derive(Clone, Debug)]
pub(in crate::drivers) struct Desired {
    pub(in crate::drivers) members: Members,
    /// Pools that it does not have.
    absent: BTreeSet<PoolName>,
}

/// The backend.
pub(in crate::drivers) struct Recorder(pub(in crate::drivers) Shared);

impl Backend for Recorder {
    type Desired = Desired;
    type Actual = BTreeMap<Member, Place>;
    type Step = Step;
    type Session = Connection;
    const PREAMBLE: Option<&'static str> = Some("hello");

    fn desired(&self, snapshot: &Snapshot, owned: &BTreeSet<Arc<str>>) -> (Desired, Problems) {
        let mut problems = Problems::new();
        let mut absent = BTreeSet::new();
        let mut members: Members = owned.iter().map(|name| (name.clone(), [].into())).collect();
        for (name, pool) in &snapshot.pools.pools {
            if name.as_str().starts_with(ABSENT) {
                absent.insert(name.clone());
                continue;
            }
            let recipients = pool.recipients().map(|(node, _)| node.addr);
            let recipients = recipients.filter(|addr| addr.ipv4().is_some());
            if pool.members.len() > MAX_MEMBERS {
                problems.insert(format!("pool {name} has more than {MAX_MEMBERS} members"));
            }
            let recipients = recipients.take(MAX_MEMBERS).collect();
            members.insert(name.as_str().into(), recipients);
        }
        (Desired { members, absent }, problems)
    }

    fn skipped(&self, snapshot: &Snapshot) -> SkippedNodes {
        SkippedNodes::ipv6(&snapshot.pools)
    }

    fn desired_members(desired: &Desired) -> Members {
        desired.members.clone()
    }

    fn actual_members(actual: &Self::Actual) -> Members {
        let mut members = Members::new();
        let serving = actual.iter().filter(|(_, place)| **place == Place::Serving);
        for ((pool, node), _) in serving {
            members.entry(pool.clone()).or_default().insert(*node);
        }
        members
    }

    fn retired(actual: &Self::Actual) -> Vec<Member> {
        let retired = actual.iter().filter(|(_, place)| **place == Place::Retired);
        retired.map(|(member, _)| member.clone()).collect()
    }

    fn plan(desired: &Desired, actual: &Self::Actual, draining: &BTreeSet<Member>) -> Plan<Step> {
        let mut batches = Vec::new();
        for (pool, nodes) in &desired.members {
            let member = |node: &NodeAddr| (pool.clone(), *node);
            let lacks = |node: &&NodeAddr| actual.get(&member(node)) != Some(&Place::Serving);
            let added = nodes
                .iter()
                .filter(lacks)
                .map(|node| Step('+', member(node)));
            let listed = actual
                .iter()
                .filter(|((name, node), _)| name == pool && !nodes.contains(node));
            let removed = listed.filter_map(|(member, place)| match place {
                Place::Serving => Some(Step('-', member.clone())),
                Place::Retired if draining.contains(member) => None,
                Place::Retired => Some(Step('~', member.clone())),
            });
            let batch: Vec<_> = added.chain(removed).collect();
            batches.extend((!batch.is_empty()).then_some(batch));
        }
        let absent = desired.absent.iter();
        let absent = absent.map(|pool| (pool.clone(), format!("pool {pool} is missing there")));
        Plan {
            batches,
            problems: Problems::new(),
            absent: absent.collect(),
        }
    }

    fn apply(actual: &mut Self::Actual, step: &Step) {
        step.apply(actual);
    }

    fn kind(_step: &Step) -> &'static str {
        "step"
    }

    async fn connect(&self) -> Result<Connection, SessionError> {
        self.0.connect().await
    }
}
