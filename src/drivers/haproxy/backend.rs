//! What is special about `HAProxy`, for the loop that drives it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::desired::Desired;
use super::former::Former;
use super::plan::plan;
use super::session::Session;
use super::settings::HaproxySettings;
use super::state::Actual;
use super::state_file::StateFile;
use super::step::Step;
use crate::drivers::Snapshot;
use crate::drivers::sync::{Backend, Member, Members, Plan, Problems, SessionError};

/// An `HAProxy`.
pub(super) struct Haproxy {
    settings: HaproxySettings,
    former: Former,
    state_file: Option<Arc<StateFile>>,
}

impl Haproxy {
    pub(super) fn new(settings: HaproxySettings) -> Self {
        let state_file = settings.state_file.clone();
        let state_file = state_file.map(|path| Arc::new(StateFile::new(path)));
        Self {
            settings,
            former: Former::default(),
            state_file,
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
        let fault = self.state_file.as_ref().and_then(|file| file.fault());
        (desired, fault.into_iter().collect())
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
        Session::connect(&self.settings, &self.former, self.state_file.clone()).await
    }
}
