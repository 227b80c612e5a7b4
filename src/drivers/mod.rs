//! Drivers: what makes a directory or a load balancer show the wanted pools.
//!
//! Each gets the whole wanted state, always the latest, by a `watch` channel; reads what is really
//! there; makes a plan, a plain value, by a pure function; and executes it. They do not know each
//! other: the daemon connects the pool files' output to the Perlbals' input, so that a file is
//! written before a socket is told.

pub mod console;
pub mod perlbal;
pub mod pool_files;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};

use self::perlbal::standing::Standing;
use self::perlbal::statistics::{Statistics, StatisticsError};
use self::perlbal::view::{PerlbalView, Question};
use crate::model::ownership::Known;
use crate::model::pools::Pools;

/// A snapshot on its way through the drivers.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts up with each snapshot.
    pub serial: u64,
    /// The wanted state.
    pub pools: Arc<Pools>,
    /// The pool files that are known to hold it, by name, if Perlbal reads their form rightly.
    pub current_files: Arc<BTreeSet<String>>,
    /// When the answer came that caused it, the first where several did; `None` where it was caused
    /// by something else.
    pub cause: Option<Instant>,
}

/// How far a driver has come, by a `watch` channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The serial of the last snapshot that was brought in force, or failed to be; 0 before there is one, when
    /// only the declared pools' files are made.
    pub serial: u64,
    /// Whether it is in force whole.
    pub in_sync: bool,
    /// Why it is not, for people, where the driver tells that here: the pool files do.
    pub why: Option<Arc<str>>,
}

impl Progress {
    /// `: <why>`, as far as that is known; behind the words that it is not in force.
    #[must_use]
    pub fn because(&self) -> String {
        let why = self.why.as_deref();
        why.map_or_else(String::new, |why| format!(": {why}"))
    }
}

/// Whether a driver changes the world or says what it would change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It changes the world.
    Live,
    /// It prints to standard output what it would do: commands as they are, the rest as comments.
    DryRun,
}

/// How others learn of a Perlbal.
#[derive(Clone, Debug)]
pub struct PerlbalHandle {
    /// Its management socket, as the configuration has it.
    pub address: String,
    /// How it stands.
    pub standing: watch::Receiver<Standing>,
    /// What pollbal owns there, told when its manager ends.
    pub last_owned: watch::Receiver<Option<Known>>,
    /// What its manager is asked.
    pub questions: mpsc::Sender<Question>,
}

impl PerlbalHandle {
    /// How it stands now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// What its manager knows; nothing when that has ended.
    pub async fn view(&self) -> Option<PerlbalView> {
        let (answer, known) = oneshot::channel();
        self.questions.send(Question::View(answer)).await.ok()?;
        known.await.ok()
    }

    /// What pollbal owns there; when its manager has ended, what it was then.
    pub async fn owned(&self) -> Option<Known> {
        let (answer, known) = oneshot::channel();
        if self.questions.send(Question::Owned(answer)).await.is_ok()
            && let Ok(known) = known.await
        {
            return Some(known);
        }
        self.last_owned.borrow().clone()
    }

    /// What it tells of itself in numbers, by node too if `by_node`.
    pub async fn statistics(&self, by_node: bool) -> Result<Arc<Statistics>, StatisticsError> {
        let (answer, told) = oneshot::channel();
        let question = Question::Statistics { by_node, answer };
        let asked = self.questions.send(question).await;
        asked.map_err(|_| StatisticsError::NotConnected)?;
        told.await.unwrap_or(Err(StatisticsError::NotConnected))
    }
}
