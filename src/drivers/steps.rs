//! Where a dry run prints its steps.
//!
//! What is printed takes effect when it is piped into a load balancer as it is, so its lines have the
//! form that [`pipe`] asks for.

use std::fmt;
use std::io::{IsTerminal, stdout};
use std::sync::Arc;

use super::perlbal::pipe;
use crate::stdout::print;

/// Prints pieces of text, each of which takes effect as a whole. Clones print to the same place.
#[derive(Clone)]
pub struct StepPrinter(Arc<PrintPieces>);

type PrintPieces = dyn Fn(&[String]) + Send + Sync;

impl StepPrinter {
    /// Prints to standard output. The program ends when nobody reads that any more.
    #[must_use]
    pub fn stdout() -> Self {
        Self::new(|pieces| {
            // A person does not need the padding.
            if stdout().is_terminal() {
                print(&pieces.concat());
            } else {
                print(&pipe::align_to_reads(pieces));
            }
        })
    }

    /// Gives each list of pieces to `print`.
    #[must_use]
    pub fn new(print: impl Fn(&[String]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(print))
    }

    /// Prints pieces; blocks as long as nobody reads them.
    pub fn print(&self, pieces: &[String]) {
        (self.0)(pieces);
    }
}

/// A step or a comment as a line of its own.
#[must_use]
pub fn line(text: &str) -> String {
    pipe::escape_line(text)
}

impl fmt::Debug for StepPrinter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StepPrinter")
    }
}
