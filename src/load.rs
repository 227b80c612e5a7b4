//! Reads what there is to read: the configuration and the services file that it names. At start,
//! at a reload and for `pollbal check` alike.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::warn;

use crate::config::{Config, ConfigError};
use crate::logging::chain;
use crate::model::node::Node;
use crate::model::services::List;
use crate::model::text::printable;
use crate::services_file::{Look, replaced, settle};

/// Maximum number of names that are told of those that several nodes have.
const TOLD: usize = 20;

/// How long a services file is waited for that is being written; longer than one may have to be quiet.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// Configuration and nodes that are in order.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What the services file says.
    pub list: List,
    /// What tells a later change of the services file.
    pub look: Look,
    /// Nobody has changed the services file for a while.
    pub quiet: bool,
    /// Files that were replaced where they are mounted from: these are the old ones.
    pub replaced: Vec<PathBuf>,
}

impl Loaded {
    /// Logs what is allowed but probably not meant.
    pub fn warn(&self) {
        for warning in self.warnings() {
            warn!("{}", printable(&warning));
        }
    }

    /// What is allowed but probably not meant.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.config.warnings();
        for (pool, rules) in &self.config.rules.declared {
            let both = self.list.nodes.iter();
            let both = both.filter(|node| rules.is_sorry(node.addr));
            warnings.extend(both.map(|node| {
                format!(
                    "pools.{pool}.sorry: {} is node {} too: while pool {pool} has no member it gets \
                     its requests, whatever it announces; a sorry server should be no node",
                    node.addr, node.name
                )
            }));
        }
        let services = self.config.services_file.display();
        let names = shared_names(&self.list.nodes);
        warnings.extend(names.map(|names| {
            format!("{services}: names that are not of one node alone, so that commands cannot take them: {names}")
        }));
        if self.list.unfinished {
            warnings.push(format!(
                "{services}: the last line has no end; if nothing is missing, end it with a newline"
            ));
        }
        warnings.extend(self.replaced.iter().map(|path| replaced(path)));
        warnings
    }
}

/// The names that several nodes have, if there are any.
fn shared_names(nodes: &[Node]) -> Option<String> {
    let mut names: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for node in nodes {
        let addrs = names.entry(&node.name).or_default();
        addrs.push(node.addr.to_string());
    }
    let mut shared = names.iter().filter(|(_, addrs)| addrs.len() > 1);
    let told = |(name, addrs): (&&str, &Vec<String>)| {
        let first = &addrs[..addrs.len().min(TOLD)];
        format!("{name} ({})", first.join(", "))
    };
    let first: Vec<_> = shared.by_ref().take(TOLD).map(told).collect();
    match shared.count() {
        _ if first.is_empty() => None,
        0 => Some(first.join(", ")),
        more => Some(format!("{}, and {more} more", first.join(", "))),
    }
}

/// Everything that is wrong, a line each.
#[derive(Debug)]
pub struct LoadErrors(Vec<ConfigError>);

impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.0.iter().map(|error| chain(error)).collect();
        let lines = texts.iter().flat_map(|text| text.lines()).map(printable);
        f.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}

impl std::error::Error for LoadErrors {}

/// Reads both files; all errors of both at once. For a services file that is being written it waits
/// for so long; blocks.
pub fn load(path: &Path, patience: Duration) -> Result<Loaded, LoadErrors> {
    let (config, wrong) = Config::load(path).map_err(|error| LoadErrors(vec![error]))?;
    let settled = settle(&config.services_file, patience);
    match (settled.list, wrong) {
        (Ok(list), None) => {
            let mut replaced = Vec::new();
            if Look::at(path).is_replaced {
                replaced.push(path.to_owned());
            }
            if settled.look.is_replaced {
                replaced.push(config.services_file.clone());
            }
            Ok(Loaded {
                config,
                list,
                look: settled.look,
                quiet: settled.quiet,
                replaced,
            })
        }
        (Ok(_), Some(wrong)) => Err(LoadErrors(vec![wrong])),
        (Err(error), wrong) => Err(LoadErrors(wrong.into_iter().chain([error]).collect())),
    }
}
