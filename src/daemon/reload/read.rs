//! Reads what a reload needs, on a thread of its own: the files may be on a disk that hangs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::drivers::pool_files::earlier::owned_files;
use crate::files::is_same;
use crate::http::{Bound, Changes};
use crate::load::{Loaded, PATIENCE, load};
use crate::logging::chain;
use crate::sources::resolver::Resolver;
use crate::state_file::{StateFile, Taken};

/// What a reload has read and opened.
pub(in crate::daemon) struct NewState {
    pub(in crate::daemon) loaded: Loaded,
    pub(in crate::daemon) listeners: Changes,
    pub(in crate::daemon) state_file: Option<Arc<StateFile>>,
    /// The pool files that remain in the previous pool directory, if it has changed.
    pub(in crate::daemon) left: Option<Vec<String>>,
}

/// What is active before a reload, as far as reading depends on it.
pub(in crate::daemon) struct CurrentState {
    pub(in crate::daemon) config: PathBuf,
    pub(in crate::daemon) bound: Option<Bound>,
    pub(in crate::daemon) state_file: Option<Arc<StateFile>>,
    pub(in crate::daemon) pool_directory: PathBuf,
    pub(in crate::daemon) is_service: bool,
    pub(in crate::daemon) resolver: Resolver,
}

impl CurrentState {
    /// Reads everything again, and opens the listeners whose addresses have changed. Fails with a description.
    pub(in crate::daemon) fn read_new(self) -> Result<NewState, String> {
        let loaded =
            load(&self.config, PATIENCE, &self.resolver).map_err(|errors| errors.to_string())?;
        if !loaded.quiet {
            let file = loaded.config.sources();
            return Err(format!(
                "{file} is changed all the time; try again when it is whole"
            ));
        }
        let state_file = self.take_state_file(loaded.config.state_file.as_deref());
        let state_file = state_file.map_err(|taken| taken.to_string())?;
        let open = |bound: Bound| bound.open_changed(&loaded.config.listeners);
        let listeners = self.bound.map(open);
        let listeners = listeners.transpose().map_err(|error| chain(&error))?;
        let is_left = !is_same(&loaded.config.pool_directory, &self.pool_directory);
        Ok(NewState {
            left: is_left.then(|| owned_files(&self.pool_directory)),
            loaded,
            listeners: listeners.unwrap_or_default(),
            state_file,
        })
    }

    fn take_state_file(&self, path: Option<&Path>) -> Result<Option<Arc<StateFile>>, Taken> {
        let is_present = match (path, &self.state_file) {
            (Some(path), Some(present)) => present.is_at(path),
            (path, present) => path.is_none() && present.is_none(),
        };
        if !self.is_service || is_present {
            return Ok(self.state_file.clone());
        }
        let taken = path.map(StateFile::take).transpose()?;
        Ok(taken.map(Arc::new))
    }
}
