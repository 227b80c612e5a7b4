//! Standard output: texts written at once, and the end of the program when nobody reads them.

use std::io::{self, Write};

use tracing::error;

use crate::logging;

/// Prints a text. The program ends if that fails: nobody reads what it prints any more.
pub fn print(text: &str) {
    if let Err(error) = write(text) {
        error!("failed to print: {error}");
        logging::finish();
        std::process::exit(1);
    }
}

/// Writes a text, all of it at once.
pub fn write(text: impl AsRef<[u8]>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_ref())?;
    stdout.flush()
}
