//! The configuration: parses the file into a [`Config`], all values of which are valid.

mod alerts;
mod error;
mod hooks;
mod json;
pub mod listeners;
pub mod poll;
mod pools;
pub(crate) mod reader;
mod state_file;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::drivers::Input;
use crate::drivers::registry::DriverSettings;
use crate::files::{CONFIG_BYTES, LIST_BYTES, TextError, read_text};
use crate::model::alerts::AlertSettings;
use crate::model::problems::NodesDown;
use crate::model::removals::MaxRemoved;
use crate::model::rules::Rules;
use crate::model::services::{Listing, parse_listing};
use crate::sources::serf::SerfSettings;
pub use error::ConfigError;
pub use hooks::HookSettings;
use listeners::{ListenerSettings, read_listeners};
use poll::PollSettings;
pub use reader::KeyError;
use reader::{ErrorSink, ObjectReader, expected_message};

/// The configuration, with defaults for missing keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory of the pool files.
    pub pool_directory: PathBuf,
    /// The file that lists nodes; `None`: Serf alone does.
    pub services_file: Option<PathBuf>,
    /// The Serf agent whose members are nodes.
    pub serf: Option<SerfSettings>,
    /// Maximum number of nodes that a new list may remove at once.
    pub max_removed: MaxRemoved,
    /// How nodes are polled.
    pub poll: PollSettings,
    /// Which nodes may be in which pool, and when they join and leave it.
    pub rules: Rules,
    /// The load balancers to drive.
    pub drivers: Vec<DriverSettings>,
    /// How addresses are written into pool files.
    pub pool_file_format: PoolFileFormat,
    /// Time until the emptied file of an undeclared pool is deleted.
    pub empty_pool_grace: Duration,
    /// The file that keeps orders across restarts; `None`: they are not kept.
    pub state_file: Option<PathBuf>,
    /// Maximum duration of a granted leave.
    pub leave_timeout: Duration,
    /// External commands.
    pub hooks: HookSettings,
    /// The addresses of the listeners.
    pub listeners: ListenerSettings,
    /// When, and how often, alerts are reported.
    pub alerts: AlertSettings,
    /// When nodes that are down are an alert.
    pub nodes_down: NodesDown,
    /// Whether members of a pool at its `min_members` are asked to stay.
    pub pool_please_dont_go: bool,
    /// Whether metrics have series for each node.
    pub metrics_per_node: bool,
}

/// How an address is written into a pool file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolFileFormat {
    /// As a nodefile is read correctly: `ip port` for port 80, otherwise `ip:port`.
    Nodefile,
    /// Always `ip port`, for other readers.
    Services,
}

impl Config {
    /// Reads the file at `path`. If keys are invalid, the result has an error and a configuration with their defaults,
    /// which serves to check the services file, too.
    pub fn load(path: &Path) -> Result<(Self, Option<ConfigError>), ConfigError> {
        let text = read(path, CONFIG_BYTES)?;
        let value =
            json::parse(&text).map_err(|source| ConfigError::Json(path.to_owned(), source))?;
        let (config, mut errors) = Self::from_value(&value);
        errors.extend(state_file::check(&config, path));
        let wrong = (!errors.is_empty()).then(|| ConfigError::Keys(path.to_owned(), errors));
        Ok((config, wrong))
    }

    /// Reads a JSON value; returns all of its errors.
    #[must_use]
    pub fn from_value(value: &Value) -> (Self, Vec<KeyError>) {
        let (config, errors, _) = Self::read(value);
        (config, errors)
    }

    /// The path of every known key, such as `perlbal[].timeout` and `pools.<pool>.rise`.
    #[must_use]
    pub fn keys() -> BTreeSet<String> {
        let one = serde_json::json!({ "perlbal": [{}], "haproxy": [{}], "serf": {}, "pools": { "any": {} } });
        let (_, _, known) = Self::read(&one);
        let known = known.into_iter();
        known
            .map(|key| {
                key.replace("[0]", "[]")
                    .replace("pools.any.", "pools.<pool>.")
            })
            .collect()
    }

    /// The configuration, its errors, and the known keys.
    fn read(value: &Value) -> (Self, Vec<KeyError>, BTreeSet<String>) {
        let errors = ErrorSink::default();
        let nothing = serde_json::Map::new();
        let map = value.as_object().unwrap_or_else(|| {
            let problem = expected_message("an object, `{ … }`", value);
            errors.push(KeyError {
                key: "the whole file".to_owned(),
                problem,
            });
            &nothing
        });
        let config = read_config(&ObjectReader::new(String::new(), map, &errors));
        let (errors, known) = errors.into_inner();
        (config, errors, known)
    }

    /// Where nodes come from, for people.
    #[must_use]
    pub fn sources(&self) -> String {
        let file = self.services_file.iter();
        let file = file.map(|path| path.display().to_string());
        let agent = self.serf.iter().map(SerfSettings::name);
        file.chain(agent).collect::<Vec<_>>().join(" and ")
    }

    /// Warnings about settings that are valid but probably unintended.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        warnings.extend(self.drivers.iter().flat_map(|driver| driver.warnings()));
        if self.poll.timeout > self.poll.interval {
            warnings.push(
                "service_timeout is above poll_interval: a node that hangs is polled less often"
                    .to_owned(),
            );
        }
        let mut pools = self.rules.declared.values();
        if self.pool_please_dont_go && pools.all(|rules| rules.min_members == 0) {
            warnings.push(
                "pool_please_dont_go has no effect: no pool in `pools` has min_members".to_owned(),
            );
        }
        for (pool, rules) in &self.rules.declared {
            if rules.min_members > 0 && !rules.sorry.is_empty() {
                warnings.push(format!(
                    "pools.{pool}: min_members keeps failed members in, so the sorry server takes over only when \
                     all nodes leave or are idle; to have it take over when all fail, leave min_members at 0"
                ));
            }
        }
        let mut drivers = self.drivers.iter();
        if self.pool_file_format == PoolFileFormat::Services
            && let Some(driver) = drivers.find(|driver| driver.input() == Input::AfterFiles)
        {
            warnings.push(format!(
                "pool_file_format is \"services\": {} would misread these files for every port except 80; \
                 do not use them as a nodefile",
                driver.id().kind.name
            ));
        }
        warnings
    }
}

/// Reads a services file.
pub fn load_services(path: &Path) -> Result<Listing, ConfigError> {
    let text = read(path, LIST_BYTES)?;
    parse_listing(&text).map_err(|errors| ConfigError::Services(path.to_owned(), errors))
}

fn read(path: &Path, limit: u64) -> Result<String, ConfigError> {
    read_text(path, limit).map_err(|error| match error {
        TextError::Read(source) => ConfigError::Read(path.to_owned(), source),
        TextError::NotUtf8(line) => ConfigError::NotUtf8(path.to_owned(), line),
    })
}

fn read_config(reader: &ObjectReader<'_>) -> Config {
    const SECOND: Duration = Duration::from_secs(1);
    let (mut rules, pool_keys, pool_headers) = pools::read_rules(reader);
    let drivers = DriverSettings::read(reader, &pool_keys);
    let grace = reader.time("empty_pool_grace", 60 * SECOND, Duration::ZERO);
    rules.grace = grace;
    // Two pools must not meet in any load balancer.
    rules.namings = drivers.iter().map(|driver| driver.naming()).collect();
    let path = |key, default: &str| {
        PathBuf::from(
            reader
                .string(key, "a path")
                .unwrap_or_else(|| default.to_owned()),
        )
    };
    let hooks = hooks::read_hooks(reader);
    let serf = SerfSettings::read(reader);
    let config = Config {
        pool_directory: path("pool_directory", "/run/pool"),
        services_file: read_services_file(reader, serf.as_ref()),
        serf,
        max_removed: read_max_removed(reader),
        poll: poll::read_poll(reader, &pool_headers),
        rules,
        drivers,
        pool_file_format: read_format(reader),
        empty_pool_grace: grace,
        state_file: state_file::read_state_file(reader),
        leave_timeout: reader.time("leave_timeout", 600 * SECOND, SECOND),
        alerts: alerts::read_alerts(reader, !hooks.alert.is_empty()),
        nodes_down: alerts::read_nodes_down(reader),
        hooks,
        pool_please_dont_go: reader.boolean("pool_please_dont_go", false),
        listeners: read_listeners(reader),
        metrics_per_node: reader.boolean("metrics_per_node", false),
    };
    reader.finish();
    config
}

/// The services file, which beside Serf there need not be.
fn read_services_file(reader: &ObjectReader<'_>, serf: Option<&SerfSettings>) -> Option<PathBuf> {
    let is_given = reader
        .get("services_file")
        .is_some_and(|path| !path.is_null());
    if !is_given && serf.is_some() {
        return None;
    }
    let given = is_given.then(|| reader.string("services_file", "a path"));
    let path = given.flatten();
    Some(
        path.unwrap_or_else(|| "/etc/pollbal.services".to_owned())
            .into(),
    )
}

fn read_max_removed(reader: &ObjectReader<'_>) -> MaxRemoved {
    let read = |value: &Value| match value {
        Value::String(text) => text.parse().ok(),
        value => usize::try_from(value.as_u64()?)
            .ok()
            .map(MaxRemoved::Number),
    };
    let expected = "a number of nodes, or a share of all such as \"1/3\" or \"25%\"";
    let third = MaxRemoved::Share { part: 1, of: 3 };
    reader.read("max_removed", expected, read).unwrap_or(third)
}

fn read_format(reader: &ObjectReader<'_>) -> PoolFileFormat {
    let read = |value: &Value| match value.as_str() {
        Some("perlbal") => Some(PoolFileFormat::Nodefile),
        Some("services") => Some(PoolFileFormat::Services),
        _ => None,
    };
    let expected = "\"perlbal\" or \"services\"";
    reader
        .read("pool_file_format", expected, read)
        .unwrap_or(PoolFileFormat::Nodefile)
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
