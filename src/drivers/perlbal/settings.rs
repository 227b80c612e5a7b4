//! The configuration's reader `perlbal`: one Perlbal or several.

use std::collections::BTreeMap;
use std::time::Duration;

use humantime::format_duration;

use super::desired::NAMING;
use super::driver::Perlbal;
use super::name::PerlbalName;
use crate::config::reader::ObjectReader;
use crate::drivers::capabilities::{Capabilities, Capability};
use crate::drivers::registry::PoolKeys;
use crate::drivers::setting_keys::{KindKey, NameKey};
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

const KEY: KindKey<String> = KindKey {
    kind: KIND,
    address: "address",
    expected: "a management address such as \"127.0.0.1:16000\"",
    example: || "127.0.0.1:16000".to_owned(),
    parse: |text| is_host_port(text).then(|| text.to_owned()),
};

pub(crate) const NAME_KEY: NameKey<PerlbalName> = NameKey {
    key: "perlbal_pool",
    expected: "a name of a-z 0-9 _ (Perlbal lower-cases names and takes no other)",
    place: KIND.name,
    of_pool: PerlbalName::of_pool,
    parse: |text| text.parse().ok(),
};

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
        let new = |address| Self {
            names: keys.perlbal.clone(),
            ..Self::new(address)
        };
        KEY.read(reader, new, |object, default| {
            let (resync, min_resync) = (default.resync_interval, Duration::from_millis(100));
            let (timeout, min_timeout) = (default.timeout, Duration::from_millis(10));
            Self {
                required: object.boolean("required", default.required),
                create_pools: object.boolean("create_pools", default.create_pools),
                resync_interval: object.time("resync_interval", resync, min_resync),
                timeout: object.time("timeout", timeout, min_timeout),
                ..default
            }
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
