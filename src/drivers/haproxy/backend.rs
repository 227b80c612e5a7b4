//! What is special about `HAProxy`, for the loop that drives it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::desired::Desired;
use super::former::Former;
use super::plan::plan;
use super::session::Session;
use super::settings::HaproxySettings;
use super::state::Actual;
use super::step::Step;
use crate::drivers::Snapshot;
use crate::drivers::sync::{Backend, Member, Members, Plan, Problems, SessionError};

/// An `HAProxy`.
pub(super) struct Haproxy {
    settings: HaproxySettings,
    former: Former,
}

impl Haproxy {
    pub(super) fn new(settings: HaproxySettings) -> Self {
        Self {
            settings,
            former: Former::default(),
        }
    }
}

impl Backend for Haproxy {
    type Desired = Desired;
    type Actual = Actual;
    type Step = Step;
    type Session = Session;
    /// It takes several lines only when it is interactive.
    const PREAMBLE: Option<&'static str> = Some("prompt");

    fn desired(&self, snapshot: &Snapshot, owned: &BTreeSet<Arc<str>>) -> (Desired, Problems) {
        let desired = Desired::of(&self.settings, &snapshot.pools, owned);
        (desired, Problems::new())
    }

    fn desired_members(desired: &Desired) -> Members {
        desired.members()
    }

    fn actual_members(actual: &Actual) -> Members {
        actual.members()
    }

    fn retired(actual: &Actual) -> Vec<Member> {
        actual.retired()
    }

    fn plan(desired: &Desired, actual: &Actual, draining: &BTreeSet<Member>) -> Plan<Step> {
        plan(desired, actual, draining)
    }

    fn differs(expected: &Actual, read: &Actual) -> bool {
        expected.differs(read)
    }

    fn kind(step: &Step) -> &'static str {
        step.kind()
    }

    fn apply(actual: &mut Actual, step: &Step) {
        actual.apply(step);
    }

    async fn connect(&self) -> Result<Session, SessionError> {
        Session::connect(&self.settings, &self.former).await
    }
}
