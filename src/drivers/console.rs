//! Standard output of a dry run: text that has its effect when it is piped into Perlbal's
//! management port as it is.
//!
//! How Perlbal takes lines is ClientManage.pm's `event_read`: it reads [`READ_BYTES`] at a time and
//! runs all whole lines of a read before anything else; it closes the connection at a line that
//! ends in `exit` or begins with `quit`, comments too; an empty line at the start of a read wedges
//! the connection.

use std::io::{self, IsTerminal, Write};

use tracing::error;

use crate::logging;

/// What Perlbal reads at a time, in bytes.
pub const READ_BYTES: usize = 1_024;

/// A command or a comment with its end, and with a blank, which Perlbal drops, where it would
/// otherwise end in `exit`.
#[must_use]
pub fn sayable(line: &str) -> String {
    let blank = if line.ends_with("exit") { " " } else { "" };
    format!("{line}{blank}\n")
}

/// Prints commands, each piece of which Perlbal has to read as a whole, or comments.
pub fn say(pieces: &[String]) {
    // A person does not need what only fills up.
    if io::stdout().is_terminal() {
        print(&pieces.concat());
    } else {
        print(&lay_out(pieces));
    }
}

/// Prints a text. When nobody reads it any more the program ends: it would go on for nobody.
pub fn print(text: &str) {
    if let Err(error) = write(text) {
        error!("failed to print: {error}");
        logging::finish();
        std::process::exit(1);
    }
}

/// Prints a text, all of it at once.
pub fn write(text: impl AsRef<[u8]>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_ref())?;
    stdout.flush()
}

/// Puts blank comments between the pieces, so that none lies across the end of a read, and behind
/// them, so that the next text begins with a read of its own.
fn lay_out(pieces: &[String]) -> String {
    let mut text = String::new();
    for piece in pieces {
        let room = READ_BYTES - text.len() % READ_BYTES;
        // What is longer than a read cannot be kept whole; comments need not be.
        if piece.len() > room && piece.len() <= READ_BYTES {
            text.push_str(&filler(room));
        }
        text.push_str(piece);
    }
    match text.len() % READ_BYTES {
        0 => text,
        used => text + &filler(READ_BYTES - used),
    }
}

/// A comment of so many bytes, or of a whole read more when that is too short for one.
fn filler(bytes: usize) -> String {
    let bytes = if bytes < "#\n".len() {
        bytes + READ_BYTES
    } else {
        bytes
    };
    format!("#{}\n", " ".repeat(bytes - "#\n".len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_that_ends_in_exit_gets_a_blank() {
        assert_eq!(sayable("SHOW POOL myexit"), "SHOW POOL myexit \n");
        assert_eq!(sayable("SHOW POOL exits"), "SHOW POOL exits\n");
    }

    proptest! {
        #[test]
        fn no_piece_lies_across_the_end_of_a_read_and_no_line_is_empty(
            lengths in proptest::collection::vec(2..=READ_BYTES, 0..30),
        ) {
            let pieces: Vec<_> = (0u8..).zip(lengths).map(|(number, length)| {
                let letter = char::from(b'a' + number % 26).to_string();
                letter.repeat(length - 1) + "\n"
            }).collect();
            let text = lay_out(&pieces);
            prop_assert_eq!(text.len() % READ_BYTES, 0);
            let mut said = Vec::new();
            let mut start = 0;
            for line in text.split_inclusive('\n') {
                prop_assert!(line.len() > 1);
                let end = start + line.len();
                if !line.starts_with('#') {
                    prop_assert_eq!(start / READ_BYTES, (end - 1) / READ_BYTES);
                    said.push(line);
                }
                start = end;
            }
            prop_assert_eq!(said, pieces);
        }
    }
}
