//! The configuration's key `haproxy`: one `HAProxy` or several.

use std::collections::BTreeMap;
use std::time::Duration;

use humantime::format_duration;
use serde_json::Value;

use super::backend::Haproxy;
use super::name::HaproxyName;
use super::socket::StatsSocket;
use crate::config::reader::{ObjectReader, expected_message};
use crate::drivers::capabilities::{Capabilities, Capability};
use crate::drivers::registry::PoolKeys;
use crate::drivers::sync::{SyncDriver, SyncSettings};
use crate::drivers::{Deps, Driver, Input, Settings};
use crate::model::driver_status::{DriverId, DriverKind};
use crate::model::names::PoolName;
use crate::model::naming::{Naming, Scheme};

/// `HAProxy`, as a kind of load balancer.
pub const KIND: DriverKind = DriverKind {
    key: "haproxy",
    name: "HAProxy",
};

/// How pools and version pools are named in `HAProxy`.
const NAMING: Scheme = Scheme {
    place: "HAProxy",
    of_pool: |pool| pool.to_string(),
    of_version: |pool, version| format!("{pool}.{version}"),
};

const EXPECTED_SOCKET: &str =
    "a stats socket such as \"/run/haproxy/admin.sock\" or \"ipv4@127.0.0.1:9999\"";

/// Backends whose names differ from their pools'.
pub type HaproxyNames = BTreeMap<PoolName, HaproxyName>;

/// Which servers nodes get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerMode {
    /// Slots: the servers of a `server-template`.
    Slots,
    /// Servers that are added.
    Add,
    /// Slots in a backend that has any, otherwise servers that are added.
    Auto,
}

/// What happens to the server of a node that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Persistent sessions may go on until it is drained.
    Drain,
    /// They may not.
    Maint,
}

/// The settings of one `HAProxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaproxySettings {
    /// Its stats socket.
    pub socket: StatsSocket,
    /// Whether `/readyz` waits for it.
    pub required: bool,
    /// Longest time between two comparisons of everything.
    pub resync_interval: Duration,
    /// Time limit for an exchange.
    pub timeout: Duration,
    /// Which servers nodes get.
    pub servers: ServerMode,
    /// What the names of slots begin with.
    pub slot_prefix: HaproxyName,
    /// What happens to the server of a node that leaves.
    pub leave: Leave,
    /// `haproxy_backend`: backends whose names differ.
    pub names: HaproxyNames,
}

impl HaproxySettings {
    /// Reads `haproxy`: a stats socket, an object, or an array of these.
    pub(crate) fn read(reader: &ObjectReader<'_>, keys: &PoolKeys) -> Vec<Self> {
        let values = match reader.get(KIND.key) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(values)) => values.iter().collect(),
            Some(value) => vec![value],
        };
        let mut all: Vec<Self> = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            let key = format!("{}[{index}]", KIND.key);
            let Some(settings) = read_one(reader, &key, value) else {
                continue;
            };
            let socket = &settings.socket;
            if all.iter().any(|earlier| earlier.socket == *socket) {
                reader.error(KIND.key, format!("{socket} is listed twice"));
            }
            all.push(Self {
                names: keys.haproxy.clone(),
                ..settings
            });
        }
        all
    }

    /// The defaults, for the `HAProxy` with this stats socket.
    pub(super) fn new(socket: StatsSocket) -> Self {
        Self {
            socket,
            required: true,
            resync_interval: Duration::from_secs(30),
            timeout: Duration::from_secs(2),
            servers: ServerMode::Auto,
            slot_prefix: default_prefix(),
            leave: Leave::Drain,
            names: HaproxyNames::new(),
        }
    }

    /// The backend of a pool.
    pub(super) fn backend_of(&self, pool: &PoolName) -> HaproxyName {
        let given = self.names.get(pool).cloned();
        given.unwrap_or_else(|| HaproxyName::of_pool(pool))
    }
}

fn default_prefix() -> HaproxyName {
    HaproxyName::of_literal("pb")
}

fn read_one(reader: &ObjectReader<'_>, key: &str, value: &Value) -> Option<HaproxySettings> {
    let socket = |value: &Value| value.as_str()?.parse().ok();
    let Some(map) = value.as_object() else {
        let Some(socket) = socket(value) else {
            let expected = format!("{EXPECTED_SOCKET}, or an object with `socket`");
            reader.error(key, expected_message(&expected, value));
            return None;
        };
        return Some(HaproxySettings::new(socket));
    };
    let object = reader.child(key, map);
    let socket = object.read("socket", EXPECTED_SOCKET, socket);
    if map.get("socket").is_none() {
        object.error("socket", format!("missing; write {EXPECTED_SOCKET}"));
    }
    // The defaults do not depend on it.
    let default = HaproxySettings::new(socket.clone().unwrap_or(StatsSocket::Unix("/".into())));
    let (min_resync, min_timeout) = (Duration::from_millis(100), Duration::from_millis(10));
    let settings = HaproxySettings {
        required: object.boolean("required", default.required),
        resync_interval: object.time("resync_interval", default.resync_interval, min_resync),
        timeout: object.time("timeout", default.timeout, min_timeout),
        servers: read_servers(&object).unwrap_or(default.servers),
        slot_prefix: read_name(&object, "slot_prefix").unwrap_or(default.slot_prefix.clone()),
        leave: read_leave(&object).unwrap_or(default.leave),
        ..default
    };
    object.finish();
    socket.is_some().then_some(settings)
}

fn read_servers(object: &ObjectReader<'_>) -> Option<ServerMode> {
    let expected = "\"slots\", \"add\" or \"auto\"";
    object.read("servers", expected, |value| match value.as_str()? {
        "slots" => Some(ServerMode::Slots),
        "add" => Some(ServerMode::Add),
        "auto" => Some(ServerMode::Auto),
        _ => None,
    })
}

fn read_leave(object: &ObjectReader<'_>) -> Option<Leave> {
    let expected = "\"drain\" or \"maint\"";
    object.read("leave", expected, |value| match value.as_str()? {
        "drain" => Some(Leave::Drain),
        "maint" => Some(Leave::Maint),
        _ => None,
    })
}

fn read_name(object: &ObjectReader<'_>, key: &'static str) -> Option<HaproxyName> {
    let expected = "a name of A-Z a-z 0-9 . _ : - (HAProxy accepts no other)";
    object.read(key, expected, |value| value.as_str()?.parse().ok())
}

/// Reads `haproxy_backend` of a pool's reader.
pub(crate) fn read_backend(pool: &ObjectReader<'_>) -> Option<HaproxyName> {
    read_name(pool, "haproxy_backend")
}

/// Reports declared pools that would share one backend, before they do.
pub(crate) fn report_shared_backends<'a>(
    reader: &ObjectReader<'_>,
    declared: impl Iterator<Item = &'a PoolName>,
    names: &HaproxyNames,
) {
    let mut taken: BTreeMap<HaproxyName, &PoolName> = BTreeMap::new();
    for pool in declared {
        let given = names.get(pool).cloned();
        let backend = given.unwrap_or_else(|| HaproxyName::of_pool(pool));
        if let Some(other) = taken.insert(backend.clone(), pool) {
            reader.error(
                &format!("pools.{pool}"),
                format!("has the same backend in HAProxy as pools.{other}, `{backend}`; give one another `haproxy_backend`"),
            );
        }
    }
}

impl Settings for HaproxySettings {
    fn id(&self) -> DriverId {
        DriverId {
            kind: KIND,
            address: self.socket.to_string().into(),
        }
    }

    fn input(&self) -> Input {
        Input::Direct
    }

    fn required(&self) -> bool {
        self.required
    }

    fn naming(&self) -> Naming {
        let names = self.names.iter();
        let names = names.map(|(pool, backend)| (pool.clone(), backend.to_string()));
        Naming::new(NAMING, names)
    }

    fn capabilities(&self) -> Capabilities {
        let always = [
            Capability::Weights,
            Capability::ProveDrained,
            Capability::VersionPools,
            Capability::Ipv6,
        ];
        let drains = (self.leave == Leave::Drain).then_some(Capability::DrainInPlace);
        always.into_iter().chain(drains).collect()
    }

    fn describe(&self) -> String {
        let prefix = &self.slot_prefix;
        let servers = match self.servers {
            ServerMode::Slots => format!("nodes get slots ({prefix}1, {prefix}2, …)"),
            ServerMode::Add => "servers are added for nodes".to_owned(),
            ServerMode::Auto => format!(
                "nodes get slots ({prefix}1, {prefix}2, …), or servers are added where a backend has none"
            ),
        };
        let leave = match self.leave {
            Leave::Drain => "drains",
            Leave::Maint => "is in maintenance at once",
        };
        let every = format_duration(self.resync_interval);
        let required = if self.required { "" } else { ", not required" };
        format!(
            "haproxy {}: resync every {every}, {servers}, a node that leaves {leave}{required}",
            self.socket
        )
    }

    fn warnings(&self) -> Vec<String> {
        if self.socket.is_local() {
            return Vec::new();
        }
        vec![format!(
            "haproxy {}: the stats socket requires no password; it should listen on loopback only",
            self.socket
        )]
    }

    fn build(&self, deps: Deps) -> Box<dyn Driver> {
        let settings = SyncSettings {
            id: self.id(),
            naming: self.naming(),
            resync_interval: self.resync_interval,
            timeout: self.timeout,
        };
        Box::new(SyncDriver::new(Haproxy::new(self.clone()), settings, deps))
    }
}

#[cfg(test)]
mod tests;
