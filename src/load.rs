//! Reads the configuration and the services file that it names: at startup, on a reload and for `pollbal check`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::warn;

use crate::config::{Config, ConfigError};
use crate::logging::chain;
use crate::model::node::Node;
use crate::model::services::{List, Listing};
use crate::model::text::printable;
use crate::services_file::{Look, replaced, settle};
use crate::sources::resolver::{Addresses, Resolver, Unresolved};
use crate::sources::serf::FirstList;

/// Maximum number of ambiguous names listed, and of addresses per name.
const MAX_NAMES: usize = 20;

/// Maximum time to wait for a services file that is being written; longer than it may have to be quiet.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// A valid configuration and list of nodes.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The nodes of the services file; none without one.
    pub list: List,
    /// The services file that they are from, to detect a later change.
    pub services: Option<LoadedServices>,
    /// What Serf's agent answered, if it is a source.
    pub serf: Option<FirstList>,
    /// Whether the services file has not changed for a while.
    pub quiet: bool,
    /// Files whose bind mount shows an old version, since the original was replaced.
    pub replaced: Vec<PathBuf>,
}

/// The services file as it was read.
#[derive(Debug)]
pub struct LoadedServices {
    /// Its version.
    pub look: Look,
    /// What it lists.
    pub listing: Listing,
    /// The addresses of its host names.
    pub addresses: Addresses,
    /// Those that cannot be resolved.
    pub unresolved: Vec<Unresolved>,
}

impl Loaded {
    /// Logs the warnings.
    pub fn warn(&self) {
        for warning in self.warnings() {
            warn!("{}", printable(&warning));
        }
    }

    /// Warnings about settings that are valid but probably unintended.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.config.warnings();
        for (pool, rules) in &self.config.rules.declared {
            let both = self.list.nodes.iter();
            let both = both.filter(|node| rules.is_sorry(node.addr));
            warnings.extend(both.map(|node| {
                format!(
                    "pools.{pool}.sorry: {} is also node {}: while pool {pool} has no member it gets \
                     its requests, whatever it announces; a sorry server should not be a node",
                    node.addr, node.name
                )
            }));
        }
        let services = self.config.services_file.iter();
        let services: String = services.map(|path| path.display().to_string()).collect();
        let names = shared_names(&self.list.nodes);
        warnings.extend(names.map(|names| {
            format!("{services}: names of more than one node, which commands cannot use: {names}")
        }));
        let unresolved = self.services.iter().flat_map(|read| &read.unresolved);
        warnings.extend(unresolved.map(|host| format!("{services}: {host}")));
        if self.list.unfinished {
            warnings.push(format!(
                "{services}: the last line has no newline; add one if the file is complete"
            ));
        }
        warnings.extend(self.replaced.iter().map(|path| replaced(path)));
        warnings
    }
}

/// Lists the names that several nodes share, if there are any.
fn shared_names(nodes: &[Node]) -> Option<String> {
    let mut names: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for node in nodes {
        let addrs = names.entry(&node.name).or_default();
        addrs.push(node.addr.to_string());
    }
    let mut shared = names.iter().filter(|(_, addrs)| addrs.len() > 1);
    let text = |(name, addrs): (&&str, &Vec<String>)| {
        let first = &addrs[..addrs.len().min(MAX_NAMES)];
        format!("{name} ({})", first.join(", "))
    };
    let first: Vec<_> = shared.by_ref().take(MAX_NAMES).map(text).collect();
    match shared.count() {
        _ if first.is_empty() => None,
        0 => Some(first.join(", ")),
        more => Some(format!("{}, and {more} more", first.join(", "))),
    }
}

/// All errors, one per line.
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

/// Reads both files, and reports the errors of both at once; asks Serf, if it is a source, which may fail. Blocks; waits
/// for a services file that is being written for at most `patience`, and for the resolver of host names for as long as
/// that may take.
pub fn load(path: &Path, patience: Duration, resolver: &Resolver) -> Result<Loaded, LoadErrors> {
    let (config, wrong) = Config::load(path).map_err(|error| LoadErrors(vec![error]))?;
    let file = config.services_file.as_deref();
    let read = file.map(|file| ReadFile::read(file, patience, resolver));
    let file = match (read.transpose(), wrong) {
        (Ok(file), None) => file,
        (Ok(_), Some(wrong)) => return Err(LoadErrors(vec![wrong])),
        (Err(error), wrong) => return Err(LoadErrors(wrong.into_iter().chain([error]).collect())),
    };
    let is_replaced = file
        .as_ref()
        .is_some_and(|file| file.services.look.is_replaced);
    let replaced = Look::at(path).is_replaced.then(|| path.to_owned());
    let services_file = config.services_file.clone().filter(|_| is_replaced);
    let quiet = file.as_ref().is_none_or(|file| file.quiet);
    let (list, services) = file.map(|file| (file.list, file.services)).unzip();
    Ok(Loaded {
        list: list.unwrap_or_default(),
        services,
        serf: config.serf.as_ref().map(FirstList::ask),
        quiet,
        replaced: replaced.into_iter().chain(services_file).collect(),
        config,
    })
}

/// A services file that was read.
struct ReadFile {
    list: List,
    services: LoadedServices,
    quiet: bool,
}

impl ReadFile {
    fn read(path: &Path, patience: Duration, resolver: &Resolver) -> Result<Self, ConfigError> {
        let settled = settle(path, patience);
        let listing = settled.listing?;
        let resolution = resolver.resolve(&listing);
        let invalid = |errors| ConfigError::Services(path.to_owned(), errors);
        Ok(Self {
            list: resolution.list.map_err(invalid)?,
            services: LoadedServices {
                look: settled.look,
                listing,
                addresses: resolution.addresses,
                unresolved: resolution.unresolved,
            },
            quiet: settled.quiet,
        })
    }
}
