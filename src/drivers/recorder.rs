//! A driver for tests: its load balancer is in memory, and records the steps that it executes. It shows that a kind of
//! load balancer is one folder and one line in the registry. Removed members stay listed until they are drained.

pub(super) mod backend;
pub(super) mod load_balancer;
mod tests;

use std::time::Duration;

use serde_json::Value as Json;

use self::backend::Recorder;
use self::load_balancer::Shared;
use super::capabilities::{Capabilities, Capability};
use super::registry::PoolKeys;
use super::sync::{SyncDriver, SyncSettings};
use super::{Deps, Driver, Input, Settings};
use crate::config::reader::ObjectReader;
use crate::model::driver_status::{DriverId, DriverKind};

const KIND: DriverKind = DriverKind {
    key: "recorder",
    name: "Recorder",
};

/// Its name is all that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecorderSettings(pub(super) String);

impl RecorderSettings {
    pub(crate) fn read(reader: &ObjectReader<'_>, _keys: &PoolKeys) -> Option<Self> {
        let name = |value: &Json| value.as_str().map(str::to_owned);
        reader.read(KIND.key, "a name", name).map(Self)
    }
}

impl Settings for RecorderSettings {
    fn id(&self) -> DriverId {
        let address = self.0.as_str().into();
        DriverId {
            kind: KIND,
            address,
        }
    }

    fn input(&self) -> Input {
        Input::Direct
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::all().without(Capability::Ipv6)
    }

    fn describe(&self) -> String {
        format!("recorder {}: steps are kept in memory", self.0)
    }

    fn warnings(&self) -> Vec<String> {
        vec![format!("recorder {}: nobody is served by it", self.0)]
    }

    fn build(&self, deps: Deps) -> Box<dyn Driver> {
        let settings = SyncSettings {
            id: self.id(),
            naming: self.naming(),
            resync_interval: Duration::from_secs(30),
            timeout: Duration::from_secs(2),
        };
        let backend = Recorder(Shared::at(&self.0));
        Box::new(SyncDriver::new(backend, settings, deps))
    }
}
