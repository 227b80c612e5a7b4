//! Which files of the pool directory are pollbal's own.
//!
//! Only these are emptied and deleted. A file that somebody else put there, or that pollbal cannot know
//! to be its own, stays as it is. The list lies in the directory itself, so that it is there as long as
//! the files are, and a name is added to it before its file is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use super::names::parse_file_name;
use super::plan::{DISABLED_SERVICES, Files};
use crate::files::{LIST_BYTES, read_text};

/// The list's name; hidden, and no pool's.
pub(super) const NAME: &str = ".pollbal-owned";

/// What the name of the list's temporary file begins with, which differs from a pool file's; both are removed at the
/// start.
pub(super) const TEMPORARY_PREFIX: &str = ".pollbal-owned-";

const README: &str =
    "# The files of this directory that pollbal wrote. It empties and deletes no others.";

/// The names of the files.
#[derive(Debug, Default)]
pub(super) struct Owned {
    names: BTreeSet<String>,
    /// The list has none but these.
    written: bool,
}

impl Owned {
    /// Adds the entries of the list in the directory. One that cannot be read has none.
    pub(super) fn read(&mut self, directory: &Path) {
        let Ok(text) = read_text(&directory.join(NAME), LIST_BYTES) else {
            // Gone, or never there: it is written again.
            self.written = false;
            return;
        };
        let names = text.lines().filter(|name| parse_file_name(name).is_some());
        let listed: BTreeSet<_> = names.map(str::to_owned).collect();
        self.written = self.names.is_subset(&listed);
        self.names.extend(listed);
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Adds the desired files, and drops what is neither desired nor there; gives the list, if it is to be
    /// written.
    pub(super) fn change<File>(
        &mut self,
        desired: &Files,
        there: &BTreeMap<String, File>,
    ) -> Option<String> {
        let before = self.names.len();
        self.names
            .retain(|name| there.contains_key(name) || desired.contains_key(name));
        self.written &= self.names.len() == before;
        for name in desired.keys().filter(|name| *name != DISABLED_SERVICES) {
            if !self.names.contains(name) {
                self.names.insert(name.clone());
                self.written = false;
            }
        }
        if self.written || self.names.is_empty() && before == 0 {
            return None;
        }
        let mut list = README.to_owned() + "\n";
        for name in &self.names {
            // Nothing fails to be written into a `String`.
            _ = writeln!(list, "{name}");
        }
        Some(list)
    }

    pub(super) fn is_written(&mut self) {
        self.written = true;
    }
}
