//! The state of a Perlbal, and what commands make of it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::super::protocol::{Command, Endpoint, Service};
use crate::drivers::perlbal::name::PerlbalName;

/// The state of a Perlbal, as far as is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actual {
    /// Its pools.
    pub pools: BTreeMap<PerlbalName, ActualPool>,
    /// Its services.
    pub services: BTreeMap<PerlbalName, Service>,
}

/// The state of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActualPool {
    /// Its members.
    pub members: BTreeSet<Endpoint>,
    /// Its nodefile, if that is one of our pool files.
    pub own_file: Option<OwnFile>,
    /// Its nodefile, if it is not.
    pub foreign_file: Option<String>,
    /// Entries that are no members (any more), but may have connections that no seal has reached.
    pub unsealed: BTreeSet<Endpoint>,
}

/// A nodefile that is one of our pool files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFile {
    /// The pool file's name.
    pub name: String,
    /// Its path, as Perlbal has it.
    pub path: String,
}

impl Actual {
    /// The services that use the pool.
    pub fn users<'a>(
        &'a self,
        pool: &PerlbalName,
    ) -> impl Iterator<Item = (&'a PerlbalName, &'a Service)> {
        let uses = move |service: &Service| service.pool.as_ref() == Some(pool);
        self.services
            .iter()
            .filter(move |(_, service)| uses(service))
    }

    /// The pools that services use; one that several use, several times.
    pub fn used_pools(&self) -> impl Iterator<Item = &PerlbalName> {
        self.services
            .values()
            .filter_map(|service| service.pool.as_ref())
    }

    /// Changes this state as `command` changes Perlbal.
    pub fn apply(&mut self, command: &Command) {
        self.set_service(command);
        let Some(name) = command.changes() else {
            return;
        };
        if let Command::CreatePool(_) = command {
            self.pools.entry(name.clone()).or_default();
        }
        let Some(pool) = self.pools.get_mut(name) else {
            return;
        };
        match command {
            Command::Add(_, addr) => _ = pool.members.insert(Endpoint::Node(*addr)),
            Command::AddSpare(_, text) => _ = pool.members.insert(Endpoint::Unparsed(text.clone())),
            Command::Remove(_, endpoint) => {
                pool.members.remove(endpoint);
                pool.unsealed.remove(endpoint);
            }
            Command::Reload { members, .. } => {
                pool.members = members.iter().copied().map(Endpoint::Node).collect();
            }
            _ => {}
        }
    }

    fn set_service(&mut self, command: &Command) {
        let (Command::Seal { service, .. } | Command::Wake { service, .. }) = command else {
            return;
        };
        let Some(known) = self.services.get_mut(service) else {
            return;
        };
        match command {
            Command::Seal { pool, .. } => known.pool = Some(pool.clone()),
            Command::Wake { connect_ahead, .. } => known.connect_ahead = *connect_ahead,
            _ => {}
        }
    }
}
