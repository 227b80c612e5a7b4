//! The configuration's key `haproxy`: one `HAProxy` or several.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use humantime::format_duration;
use serde_json::Value;

use super::backend::Haproxy;
use super::name::HaproxyName;
use super::socket::StatsSocket;
use crate::config::listeners::is_file_path;
use crate::config::reader::ObjectReader;
use crate::drivers::capabilities::{Capabilities, Capability};
use crate::drivers::registry::PoolKeys;
use crate::drivers::setting_keys::{KindKey, NameKey};
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

/// Backends whose names differ from their pools'.
pub type HaproxyNames = BTreeMap<PoolName, HaproxyName>;

const KEY: KindKey<StatsSocket> = KindKey {
    kind: KIND,
    address: "socket",
    expected: "a stats socket such as \"/run/haproxy/admin.sock\" or \"ipv4@127.0.0.1:9999\"",
    example: || StatsSocket::Unix("/run/haproxy/admin.sock".into()),
    parse: |text| text.parse().ok(),
};

const EXPECTED_NAME: &str = "a name of A-Z a-z 0-9 . _ : - (HAProxy accepts no other)";

pub(crate) const NAME_KEY: NameKey<HaproxyName> = NameKey {
    key: "haproxy_backend",
    expected: EXPECTED_NAME,
    place: KIND.name,
    of_pool: HaproxyName::of_pool,
    parse: |text| text.parse().ok(),
};

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
    /// Where the answer to `show servers state` is kept.
    pub state_file: Option<PathBuf>,
    /// `haproxy_backend`: backends whose names differ.
    pub names: HaproxyNames,
}

impl HaproxySettings {
    /// Reads `haproxy`: a stats socket, an object, or an array of these.
    pub(crate) fn read(reader: &ObjectReader<'_>, keys: &PoolKeys) -> Vec<Self> {
        let new = |socket| Self {
            names: keys.haproxy.clone(),
            ..Self::new(socket)
        };
        let all = KEY.read(reader, new, |object, default| {
            let (resync, min_resync) = (default.resync_interval, Duration::from_millis(100));
            let (timeout, min_timeout) = (default.timeout, Duration::from_millis(10));
            Self {
                required: object.boolean("required", default.required),
                resync_interval: object.time("resync_interval", resync, min_resync),
                timeout: object.time("timeout", timeout, min_timeout),
                servers: read_servers(object).unwrap_or(default.servers),
                slot_prefix: read_prefix(object).unwrap_or(default.slot_prefix),
                leave: read_leave(object).unwrap_or(default.leave),
                state_file: read_state_file(object),
                ..default
            }
        });
        report_shared_state_files(reader, &all);
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
            state_file: None,
            names: HaproxyNames::new(),
        }
    }

    /// The backend of a pool.
    pub(super) fn backend_of(&self, pool: &PoolName) -> HaproxyName {
        NAME_KEY.name_of(pool, &self.names)
    }
}

/// Each `HAProxy` has a state of its own.
fn report_shared_state_files(reader: &ObjectReader<'_>, all: &[HaproxySettings]) {
    let mut files = BTreeSet::new();
    for path in all.iter().filter_map(|one| one.state_file.as_ref()) {
        if !files.insert(path) {
            let why = format!("two have the state_file {}", path.display());
            reader.error(KIND.key, why);
        }
    }
}

fn default_prefix() -> HaproxyName {
    HaproxyName::of_literal("pb")
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

fn read_state_file(object: &ObjectReader<'_>) -> Option<PathBuf> {
    let usable = |text: &&str| text.is_empty() || is_file_path(text);
    let read = |value: &Value| value.as_str().filter(usable).map(PathBuf::from);
    let expected =
        "a path that starts with `/`, such as \"/run/pollbal/haproxy.state\"; \"\" is off";
    let path = object.read("state_file", expected, read);
    path.filter(|path| !path.as_os_str().is_empty())
}

fn read_prefix(object: &ObjectReader<'_>) -> Option<HaproxyName> {
    let name = |value: &Value| value.as_str()?.parse().ok();
    object.read("slot_prefix", EXPECTED_NAME, name)
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
        let sorry = match self.servers {
            ServerMode::Slots => "sorry servers get slots while a pool has no member",
            ServerMode::Add | ServerMode::Auto => {
                "sorry servers are backups, except with static algorithms"
            }
        };
        let leave = match self.leave {
            Leave::Drain => "drains",
            Leave::Maint => "is in maintenance at once",
        };
        let every = format_duration(self.resync_interval);
        let state = self.state_file.as_ref();
        let state = state.map(|path| format!(", state kept in {}", path.display()));
        let state = state.unwrap_or_default();
        let required = if self.required { "" } else { ", not required" };
        format!(
            "haproxy {}: resync every {every}, {servers}, {sorry}, a node that leaves {leave}{state}{required}",
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
