//! The daemon's side of the doors: opened before anything else, told which nodes there are, moved by
//! a reload. A dry run and a single round have none.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::Options;
use crate::asks::Desk;
use crate::config::Config;
use crate::doors::{Changes, Contents, DoorError, Doors, Standing};
use crate::drivers::Mode;
use crate::lifecycle::open_files;
use crate::load::{Loaded, load};
use crate::logging::chain;
use crate::model::address_book::AddressBook;
use crate::model::node::Node;

/// The doors, if there are any.
pub(super) struct Entrance {
    doors: Option<Doors>,
    /// Who is who, always the latest.
    book: watch::Sender<Arc<AddressBook>>,
}

/// Opens the doors, if the daemon is to have any.
pub(super) fn open(options: &Options, config: &Config) -> Result<Option<Changes>, DoorError> {
    let has_doors = options.mode == Mode::Live && !options.once;
    let open = || Standing::default().open_changed(&config.doors);
    has_doors.then(open).transpose()
}

/// Reads everything anew and opens the doors that are elsewhere now; or says what is wrong.
pub(super) fn read_anew(
    config: &Path,
    standing: Option<Standing>,
) -> Result<(Loaded, Changes), String> {
    let loaded = load(config).map_err(|errors| errors.to_string())?;
    let changes = standing.map(|standing| standing.open_changed(&loaded.config.doors));
    let changes = changes.transpose().map_err(|error| chain(&error))?;
    Ok((loaded, changes.unwrap_or_default()))
}

impl Entrance {
    /// Serves at what was opened.
    pub(super) fn start(opened: Option<Changes>, desk: Desk) -> io::Result<Self> {
        let book = watch::Sender::default();
        let contents = Contents::new(book.subscribe(), desk, open_files());
        let start = |opened| Doors::start(opened, contents);
        Ok(Self {
            doors: opened.map(start).transpose()?,
            book,
        })
    }

    /// These are the nodes from now on.
    pub(super) fn set_nodes(&self, nodes: &[Node]) {
        self.book.send_replace(Arc::new(AddressBook::new(nodes)));
    }

    pub(super) fn standing(&self) -> Option<Standing> {
        self.doors.as_ref().map(Doors::standing)
    }

    pub(super) fn change(&mut self, changes: Changes) {
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
