//! The daemon's side of the doors: opened before anything else, told which nodes there are, moved by
//! a reload. A dry run and a single round have none.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::Options;
use crate::config::Config;
use crate::control::ControlHandle;
use crate::drivers::Mode;
use crate::drivers::pool_files::earlier::owned_files;
use crate::fd_limits::open_files;
use crate::files::is_same;
use crate::http::{Changes, Contents, DoorError, Doors, KnownHosts, Standing};
use crate::load::{Loaded, PATIENCE, load};
use crate::logging::chain;
use crate::model::node::Node;
use crate::model::node_index::NodeIndex;
use crate::state_file::{StateFile, Taken};
use crate::supervision::Watcher;

/// The doors, if there are any.
pub(super) struct Entrance {
    doors: Option<Doors>,
    /// Who is who, always the latest.
    node_index: watch::Sender<Arc<NodeIndex>>,
    /// The names by which the status listener may be asked for.
    hosts: watch::Sender<KnownHosts>,
}

/// Opens the doors, if the daemon is to have any.
pub(super) fn open(options: &Options, config: &Config) -> Result<Option<Changes>, DoorError> {
    let has_doors = options.mode == Mode::Live && !options.once;
    let open = || Standing::default().open_changed(&config.doors);
    has_doors.then(open).transpose()
}

/// What a reload read and opened.
pub(super) struct Fresh {
    pub(super) loaded: Loaded,
    pub(super) doors: Changes,
    /// The state file.
    pub(super) state_file: Option<Arc<StateFile>>,
    /// The pool files that stay in the directory that is left, if it is another one now.
    pub(super) left: Option<Vec<String>>,
}

/// What there is before a reload.
pub(super) struct Present {
    pub(super) config: PathBuf,
    pub(super) standing: Option<Standing>,
    pub(super) state_file: Option<Arc<StateFile>>,
    pub(super) pool_directory: PathBuf,
    pub(super) is_service: bool,
}

impl Present {
    /// Reads everything again and opens the doors that are elsewhere now; or says what is wrong.
    pub(super) fn read_again(self) -> Result<Fresh, String> {
        let loaded = load(&self.config, PATIENCE).map_err(|errors| errors.to_string())?;
        if !loaded.quiet {
            let file = loaded.config.services_file.display();
            return Err(format!(
                "{file} is changed all the time; try again when it is whole"
            ));
        }
        let state_file = self.take_state_file(loaded.config.state_file.as_deref());
        let state_file = state_file.map_err(|taken| taken.to_string())?;
        let open = |standing: Standing| standing.open_changed(&loaded.config.doors);
        let doors = self.standing.map(open);
        let doors = doors.transpose().map_err(|error| chain(&error))?;
        let is_left = !is_same(&loaded.config.pool_directory, &self.pool_directory);
        Ok(Fresh {
            left: is_left.then(|| owned_files(&self.pool_directory)),
            loaded,
            doors: doors.unwrap_or_default(),
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

impl Entrance {
    /// Serves at what was opened.
    pub(super) fn start(
        opened: Option<Changes>,
        control: ControlHandle,
        config: &Config,
        nodes: &[Node],
    ) -> io::Result<Self> {
        // There from the first request on: who asks right after a restart is not told that a node is unknown.
        let node_index = watch::Sender::new(Arc::new(NodeIndex::new(nodes)));
        let hosts = watch::Sender::new(KnownHosts::new(&config.doors.status_hosts));
        let contents = Contents::new(
            node_index.subscribe(),
            control,
            hosts.subscribe(),
            open_files(),
        );
        let start = |opened| Doors::start(opened, contents);
        Ok(Self {
            doors: opened.map(start).transpose()?,
            node_index,
            hosts,
        })
    }

    /// These are the nodes from now on.
    pub(super) fn set_nodes(&self, nodes: &[Node]) {
        self.node_index
            .send_replace(Arc::new(NodeIndex::new(nodes)));
    }

    /// Looks whether their thread hangs.
    pub(super) fn watcher(&self) -> Option<Watcher> {
        self.doors.as_ref().map(|doors| Watcher::new(doors.pulse()))
    }

    pub(super) fn standing(&self) -> Option<Standing> {
        self.doors.as_ref().map(Doors::standing)
    }

    pub(super) fn change(&mut self, changes: Changes, config: &Config) {
        let hosts = KnownHosts::new(&config.doors.status_hosts);
        self.hosts.send_replace(hosts);
        if let Some(doors) = &mut self.doors {
            doors.change(changes);
        }
    }

    pub(super) async fn stop(&mut self) {
        if let Some(doors) = self.doors.take() {
            doors.stop().await;
        }
    }
}
