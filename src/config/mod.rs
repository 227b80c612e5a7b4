//! The configuration: JSON in, a [`Config`] that is valid throughout out.

mod alerts;
mod error;
mod json;
pub mod listeners;
pub mod poll;
mod pools;
pub(crate) mod section;
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
use crate::model::services::{self, List};
pub use error::ConfigError;
use listeners::{ListenerSettings, read_listeners};
use poll::PollSettings;
pub use section::KeyError;
use section::{Errors, Section, expectation};

/// Everything that the configuration file says, with the defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where pool files are written.
    pub pool_directory: PathBuf,
    /// The list of nodes.
    pub services_file: PathBuf,
    /// How many nodes a list may remove at once.
    pub max_removed: MaxRemoved,
    /// How nodes are polled.
    pub poll: PollSettings,
    /// Who may be in which pool, and how quickly.
    pub rules: Rules,
    /// The load balancers to drive.
    pub drivers: Vec<DriverSettings>,
    /// How addresses are written into pool files.
    pub pool_file_format: PoolFileFormat,
    /// How long an undeclared pool's emptied file stays.
    pub empty_pool_grace: Duration,
    /// Where orders are kept from run to run; `None`: nowhere.
    pub state_file: Option<PathBuf>,
    /// How long a leave that was granted lasts at most.
    pub leave_timeout: Duration,
    /// External commands.
    pub hooks: HookSettings,
    /// Where pollbal can be asked.
    pub listeners: ListenerSettings,
    /// How often, and when, a person is told.
    pub alerts: AlertSettings,
    /// When it is told that nodes are down.
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

/// External commands. An empty command is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookSettings {
    /// Before anything.
    pub pre_init: Vec<String>,
    /// When the first files are written and the first sync with each load balancer is done or has failed.
    pub post_init: Vec<String>,
    /// At the end.
    pub pre_quit: Vec<String>,
    /// When a file is about to be written.
    pub file_update: Vec<String>,
    /// When a file is about to be deleted.
    pub file_remove: Vec<String>,
    /// When a node goes into a pool, out of one, or from one to another.
    pub node: Vec<String>,
    /// When a person must know something, or that it is over.
    pub alert: Vec<String>,
    /// After it a hook is ended, with its process group.
    pub timeout: Duration,
}

impl Config {
    /// Reads the file at `path`. Keys that are wrong give an error beside a configuration that has
    /// their defaults, of which only `services_file` is of use: to tell its errors too.
    pub fn load(path: &Path) -> Result<(Self, Option<ConfigError>), ConfigError> {
        let text = read(path, CONFIG_BYTES)?;
        let value =
            json::parse(&text).map_err(|source| ConfigError::Json(path.to_owned(), source))?;
        let (config, mut errors) = Self::from_value(&value);
        errors.extend(state_file::cannot_be(&config, path));
        let wrong = (!errors.is_empty()).then(|| ConfigError::Keys(path.to_owned(), errors));
        Ok((config, wrong))
    }

    /// Understands a JSON value, and tells all its errors.
    #[must_use]
    pub fn from_value(value: &Value) -> (Self, Vec<KeyError>) {
        let (config, errors, _) = Self::read(value);
        (config, errors)
    }

    /// The path of each key that there is, such as `pools.<pool>.rise`, with `[]` for an index.
    #[must_use]
    pub fn keys() -> BTreeSet<String> {
        let one = serde_json::json!({ "perlbal": [{}], "pools": { "any": {} } });
        let (_, _, known) = Self::read(&one);
        let known = known.into_iter();
        known
            .map(|key| {
                key.replace("[0]", "[]")
                    .replace("pools.any.", "pools.<pool>.")
            })
            .collect()
    }

    /// The configuration, what is wrong with it, and the keys that were looked for.
    fn read(value: &Value) -> (Self, Vec<KeyError>, BTreeSet<String>) {
        let errors = Errors::default();
        let nothing = serde_json::Map::new();
        let map = value.as_object().unwrap_or_else(|| {
            let problem = expectation("an object, `{ … }`", value);
            errors.push(KeyError {
                key: "the whole file".to_owned(),
                problem,
            });
            &nothing
        });
        let config = read_config(&Section::new(String::new(), map, &errors));
        let (errors, known) = errors.into_inner();
        (config, errors, known)
    }

    /// What is allowed but probably not meant.
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
                "pool_please_dont_go does nothing: no pool has a min_members in `pools`".to_owned(),
            );
        }
        for (pool, rules) in &self.rules.declared {
            if rules.min_members > 0 && !rules.sorry.is_empty() {
                warnings.push(format!(
                    "pools.{pool}: min_members keeps members that fail in, so that sorry serves only when \
                     all leave or are idle; for a sorry server when all fail leave min_members at 0"
                ));
            }
        }
        let mut drivers = self.drivers.iter();
        if self.pool_file_format == PoolFileFormat::Services
            && let Some(driver) = drivers.find(|driver| driver.input() == Input::AfterFiles)
        {
            warnings.push(format!(
                "pool_file_format is \"services\": {} would read these files wrongly for every port but 80; \
                 do not name them as a nodefile",
                driver.id().kind.name
            ));
        }
        warnings
    }
}

/// Reads a services file.
pub fn load_services(path: &Path) -> Result<List, ConfigError> {
    let text = read(path, LIST_BYTES)?;
    services::parse_list(&text).map_err(|errors| ConfigError::Services(path.to_owned(), errors))
}

fn read(path: &Path, limit: u64) -> Result<String, ConfigError> {
    read_text(path, limit).map_err(|error| match error {
        TextError::Read(source) => ConfigError::Read(path.to_owned(), source),
        TextError::NotUtf8(line) => ConfigError::NotUtf8(path.to_owned(), line),
    })
}

fn read_config(section: &Section<'_>) -> Config {
    const SECOND: Duration = Duration::from_secs(1);
    let (mut rules, pool_keys, pool_headers) = pools::read_rules(section);
    let drivers = DriverSettings::read(section, &pool_keys);
    let grace = section.time("empty_pool_grace", 60 * SECOND, Duration::ZERO);
    rules.grace = grace;
    // Two pools must not meet in a load balancer; all kinds that there are name pools alike.
    if let Some(driver) = drivers.first() {
        rules.naming = driver.naming();
    }
    let path = |key, default: &str| {
        PathBuf::from(
            section
                .string(key, "a path")
                .unwrap_or_else(|| default.to_owned()),
        )
    };
    let hooks = read_hooks(section);
    let config = Config {
        pool_directory: path("pool_directory", "/run/pool"),
        services_file: path("services_file", "/etc/pollbal.services"),
        max_removed: read_max_removed(section),
        poll: poll::read_poll(section, &pool_headers),
        rules,
        drivers,
        pool_file_format: read_format(section),
        empty_pool_grace: grace,
        state_file: state_file::read_state_file(section),
        leave_timeout: section.time("leave_timeout", 600 * SECOND, SECOND),
        alerts: alerts::read_alerts(section, !hooks.alert.is_empty()),
        nodes_down: alerts::read_nodes_down(section),
        hooks,
        pool_please_dont_go: section.boolean("pool_please_dont_go", false),
        listeners: read_listeners(section),
        metrics_per_node: section.boolean("metrics_per_node", false),
    };
    section.finish();
    config
}

fn read_max_removed(section: &Section<'_>) -> MaxRemoved {
    let read = |value: &Value| match value {
        Value::String(text) => text.parse().ok(),
        value => usize::try_from(value.as_u64()?)
            .ok()
            .map(MaxRemoved::Number),
    };
    let expected = "a number of nodes, or a share of all such as \"1/3\" or \"25%\"";
    let third = MaxRemoved::Share { part: 1, of: 3 };
    section.read("max_removed", expected, read).unwrap_or(third)
}

fn read_format(section: &Section<'_>) -> PoolFileFormat {
    let read = |value: &Value| match value.as_str() {
        Some("perlbal") => Some(PoolFileFormat::Nodefile),
        Some("services") => Some(PoolFileFormat::Services),
        _ => None,
    };
    let expected = "\"perlbal\" or \"services\"";
    section
        .read("pool_file_format", expected, read)
        .unwrap_or(PoolFileFormat::Nodefile)
}

fn read_hooks(section: &Section<'_>) -> HookSettings {
    const SECOND: Duration = Duration::from_secs(1);
    let command = |key| read_command(section, key);
    HookSettings {
        pre_init: command("pre_init_hook"),
        post_init: command("post_init_hook"),
        pre_quit: command("pre_quit_hook"),
        file_update: command("file_update_hook"),
        file_remove: command("file_remove_hook"),
        node: command("node_hook"),
        alert: command("alert_hook"),
        timeout: section.time("hook_timeout", 30 * SECOND, Duration::from_millis(1)),
    }
}

fn read_command(section: &Section<'_>, key: &'static str) -> Vec<String> {
    let read = |value: &Value| {
        let words: Option<Vec<String>> = value
            .as_array()?
            .iter()
            .map(|word| word.as_str().map(str::to_owned))
            .collect();
        words.filter(|words| words.first().is_none_or(|program| !program.is_empty()))
    };
    let expected = "a command and its arguments as an array of texts, such as \
                    [\"/usr/local/bin/hook\", \"--flag\"]; [] is off";
    section.read(key, expected, read).unwrap_or_default()
}

#[cfg(test)]
mod tests;
