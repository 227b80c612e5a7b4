//! Reads what there is to read: the configuration and the services file that it names. At start,
//! at a reload and for `pollbal check` alike.

use std::fmt;
use std::path::Path;

use tracing::warn;

use crate::config::{Config, ConfigError, load_services};
use crate::logging::chain;
use crate::model::node::Node;
use crate::services_watch::Stamp;

/// Configuration and nodes that are in order.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The nodes of the services file.
    pub nodes: Vec<Node>,
    /// What tells a later change of the services file.
    pub stamp: Stamp,
}

impl Loaded {
    /// Logs what is allowed but probably not meant.
    pub fn warn(&self) {
        for warning in self.warnings() {
            warn!("{warning}");
        }
    }

    /// What is allowed but probably not meant.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.config.warnings();
        for (pool, rules) in &self.config.rules.declared {
            let both = self.nodes.iter().filter(|node| rules.is_sorry(node.addr));
            warnings.extend(both.map(|node| {
                format!(
                    "pools.{pool}.sorry: {} is node {} too: while pool {pool} has no member it gets \
                     its requests, whatever it announces; a sorry server should be no node",
                    node.addr, node.name
                )
            }));
        }
        warnings
    }
}

/// Everything that is wrong, a line each.
#[derive(Debug)]
pub struct LoadErrors(Vec<ConfigError>);

impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(|error| chain(error)).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for LoadErrors {}

/// Reads both files; all errors of both at once.
pub fn load(path: &Path) -> Result<Loaded, LoadErrors> {
    let (config, wrong) = Config::load(path).map_err(|error| LoadErrors(vec![error]))?;
    let stamp = Stamp::of(&config.services_file);
    match (load_services(&config.services_file), wrong) {
        (Ok(nodes), None) => Ok(Loaded {
            config,
            nodes,
            stamp,
        }),
        (Ok(_), Some(wrong)) => Err(LoadErrors(vec![wrong])),
        (Err(error), wrong) => Err(LoadErrors(wrong.into_iter().chain([error]).collect())),
    }
}
