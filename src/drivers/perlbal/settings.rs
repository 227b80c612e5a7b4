//! The configuration's reader `perlbal`: one Perlbal or several.

use std::collections::BTreeMap;
use std::time::Duration;

use humantime::format_duration;
use serde_json::Value;

use super::desired::NAMING;
use super::driver::Perlbal;
use super::name::PerlbalName;
use crate::config::reader::{ObjectReader, expected_message};
use crate::drivers::capabilities::{Capabilities, Capability};
use crate::drivers::registry::PoolKeys;
use crate::drivers::{Deps, Driver, Input, Settings};
use crate::model::driver_status::{DriverId, DriverKind};
use crate::model::names::PoolName;
use crate::model::naming::Naming;

/// Perlbal, as a kind of load balancer.
pub const KIND: DriverKind = DriverKind {
    key: "perlbal",
    name: "Perlbal",
};

/// Names in Perlbal that differ from those that follow from the announced ones.
pub type PerlbalNames = BTreeMap<PoolName, PerlbalName>;

/// The settings of one Perlbal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerlbalSettings {
    /// Its management socket, `host:port`.
    pub address: String,
    /// Whether `/readyz` waits for it.
    pub required: bool,
    /// Whether a pool that is missing there is created.
    pub create_pools: bool,
    /// Longest time between two comparisons of everything.
    pub resync_interval: Duration,
    /// The exchange timeout: time limit for a command and its complete response.
    pub timeout: Duration,
    /// `perlbal_pool`: names there that differ.
    pub names: PerlbalNames,
}

impl PerlbalSettings {
    /// The defaults, for a Perlbal with this management address.
    #[must_use]
    pub fn new(address: String) -> Self {
        Self {
            address,
            required: true,
            create_pools: true,
            resync_interval: Duration::from_secs(30),
            timeout: Duration::from_secs(2),
            names: PerlbalNames::new(),
        }
    }

    /// Reads `perlbal`: a management address, an object, or an array of these.
    pub(crate) fn read(reader: &ObjectReader<'_>, keys: &PoolKeys) -> Vec<Self> {
        let values = match reader.get(KIND.key) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(values)) => values.iter().collect(),
            Some(value) => vec![value],
        };
        let mut all: Vec<Self> = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            let Some(settings) = Self::read_one(reader, index, value) else {
                continue;
            };
            let address = &settings.address;
            if all.iter().any(|earlier| earlier.address == *address) {
                reader.error(KIND.key, format!("{address} is listed twice"));
            }
            all.push(Self {
                names: keys.perlbal.clone(),
                ..settings
            });
        }
        all
    }

    fn read_one(reader: &ObjectReader<'_>, index: usize, value: &Value) -> Option<Self> {
        const EXPECTED: &str = "a management address such as \"127.0.0.1:16000\"";
        let address = |value: &Value| {
            let text = value.as_str().filter(|text| is_host_port(text));
            text.map(str::to_owned)
        };
        let key = format!("{}[{index}]", KIND.key);
        let Some(map) = value.as_object() else {
            let Some(address) = address(value) else {
                let expected = format!("{EXPECTED}, or an object with `address`");
                reader.error(&key, expected_message(&expected, value));
                return None;
            };
            return Some(Self::new(address));
        };
        let object = reader.child(&key, map);
        let address = object.read("address", EXPECTED, address);
        if map.get("address").is_none() {
            object.error("address", format!("missing; write {EXPECTED}"));
        }
        let default = Self::new(String::new());
        let (resync, min_resync) = (default.resync_interval, Duration::from_millis(100));
        let (timeout, min_timeout) = (default.timeout, Duration::from_millis(10));
        let settings = Self {
            required: object.boolean("required", default.required),
            create_pools: object.boolean("create_pools", default.create_pools),
            resync_interval: object.time("resync_interval", resync, min_resync),
            timeout: object.time("timeout", timeout, min_timeout),
            ..default
        };
        object.finish();
        Some(Self {
            address: address?,
            ..settings
        })
    }
}

impl Settings for PerlbalSettings {
    fn id(&self) -> DriverId {
        DriverId {
            kind: KIND,
            address: self.address.as_str().into(),
        }
    }

    fn input(&self) -> Input {
        // Its nodefiles may be our pool files.
        Input::AfterFiles
    }

    fn required(&self) -> bool {
        self.required
    }

    fn naming(&self) -> Naming {
        let names = self.names.iter();
        Naming::new(
            NAMING,
            names.map(|(pool, name)| (pool.clone(), name.to_string())),
        )
    }

    fn capabilities(&self) -> Capabilities {
        let always = [Capability::ProveDrained, Capability::VersionPools];
        let creates = self.create_pools.then_some(Capability::CreatePools);
        always.into_iter().chain(creates).collect()
    }

    fn describe(&self) -> String {
        let create = if self.create_pools {
            "missing pools are created"
        } else {
            "missing pools are not created"
        };
        let every = format_duration(self.resync_interval);
        let required = if self.required { "" } else { ", not required" };
        format!(
            "perlbal {}: resync every {every}, {create}{required}",
            self.address
        )
    }

    fn warnings(&self) -> Vec<String> {
        if is_loopback(&self.address) {
            return Vec::new();
        }
        vec![format!(
            "perlbal {}: the management socket requires no password; it should listen on loopback only",
            self.address
        )]
    }

    fn build(&self, deps: Deps) -> Box<dyn Driver> {
        Box::new(Perlbal::new(self.clone(), deps))
    }
}

/// Reads `perlbal_pool` of a pool's reader.
pub(crate) fn read_name(pool: &ObjectReader<'_>) -> Option<PerlbalName> {
    let expected = "a name of a-z 0-9 _ (Perlbal lower-cases names and takes no other)";
    pool.read("perlbal_pool", expected, |value| {
        value.as_str()?.parse().ok()
    })
}

/// Reports declared pools that would share one pool in Perlbal, before they do.
pub(crate) fn report_shared_names<'a>(
    reader: &ObjectReader<'_>,
    declared: impl Iterator<Item = &'a PoolName>,
    names: &PerlbalNames,
) {
    let mut taken: BTreeMap<PerlbalName, &PoolName> = BTreeMap::new();
    for pool in declared {
        let given = names.get(pool).cloned();
        let name = given.unwrap_or_else(|| PerlbalName::of_pool(pool));
        if let Some(other) = taken.insert(name.clone(), pool) {
            reader.error(
                &format!("pools.{pool}"),
                format!("falls on the same name in Perlbal as pools.{other}, `{name}`; give one a `perlbal_pool`"),
            );
        }
    }
}

fn is_loopback(address: &str) -> bool {
    address.starts_with("127.")
        || address.starts_with("localhost:")
        || address.starts_with("[::1]:")
}

fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let word = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    !host.is_empty() && host.chars().all(word) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests;
