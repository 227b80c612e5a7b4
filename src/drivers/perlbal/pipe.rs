//! The form of text that has its effect when it is piped into Perlbal's management port as it is.
//!
//! ClientManage.pm's `event_read` reads [`READ_BYTES`] at a time and runs all whole lines of a read
//! before anything else. It closes the connection at a line that ends in `exit` or begins with `quit`,
//! even a comment; an empty line at the start of a read wedges the connection.

/// Number of bytes that Perlbal reads at a time.
pub const READ_BYTES: usize = 1_024;

/// A command or a comment as a line, with a trailing blank, which Perlbal drops, if it would otherwise
/// end in `exit`.
#[must_use]
pub fn escape_line(line: &str) -> String {
    let blank = if line.ends_with("exit") { " " } else { "" };
    format!("{line}{blank}\n")
}

/// Joins pieces, with blank comments between them so that none crosses the end of a read, and after
/// them so that the next text begins with a read of its own.
#[must_use]
pub fn align_to_reads(pieces: &[String]) -> String {
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

/// A comment of this length, or longer by a whole read if that is too short for a comment.
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
        assert_eq!(escape_line("SHOW POOL myexit"), "SHOW POOL myexit \n");
        assert_eq!(escape_line("SHOW POOL exits"), "SHOW POOL exits\n");
    }

    proptest! {
        #[test]
        fn no_piece_crosses_the_end_of_a_read_and_no_line_is_empty(
            lengths in proptest::collection::vec(2..=READ_BYTES, 0..30),
        ) {
            let pieces: Vec<_> = (0u8..).zip(lengths).map(|(number, length)| {
                let letter = char::from(b'a' + number % 26).to_string();
                letter.repeat(length - 1) + "\n"
            }).collect();
            let text = align_to_reads(&pieces);
            prop_assert_eq!(text.len() % READ_BYTES, 0);
            let mut commands = Vec::new();
            let mut start = 0;
            for line in text.split_inclusive('\n') {
                prop_assert!(line.len() > 1);
                let end = start + line.len();
                if !line.starts_with('#') {
                    prop_assert_eq!(start / READ_BYTES, (end - 1) / READ_BYTES);
                    commands.push(line);
                }
                start = end;
            }
            prop_assert_eq!(commands, pieces);
        }
    }
}
