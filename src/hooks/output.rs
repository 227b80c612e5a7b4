//! What a run of a hook prints: into the log line by line, within a quota. The rest is read and
//! thrown away, so that the hook does not block, and counted.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::sleep;
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Decoder, LinesCodec};
use tracing::{info, warn};

use crate::logging::count;
use crate::model::text::printable;

/// No line of output in the log is longer; one that is longer is left out.
const MAX_LINE_BYTES: usize = 4_096;

/// So many lines of one run are in the log, of both its outputs together.
const MAX_LINES: usize = 100;

/// And no more is read for them than this.
const MAX_BYTES: usize = 64 * 1_024;

/// So much is read at a time; a pipe holds as much.
const PIECE: usize = 64 * 1_024;

/// Between two pieces that are thrown away. A hook that prints without end is read at some 10 MB a
/// second, which takes a hundredth of the thread's time at most; polls and decisions are on it too.
const PAUSE: Duration = Duration::from_millis(5);

/// What one run printed so far; its outputs share it.
pub(super) struct Output {
    hook: &'static str,
    printed: Mutex<Printed>,
}

#[derive(Default)]
struct Printed {
    lines: usize,
    bytes: usize,
    left_out: usize,
}

impl Output {
    pub(super) fn new(hook: &'static str) -> Self {
        Self {
            hook,
            printed: Mutex::default(),
        }
    }

    /// Reads one output to its end.
    pub(super) async fn read(&self, mut output: impl AsyncRead + Unpin) {
        let mut received = BytesMut::new();
        if self.log(&mut output, &mut received).await {
            self.throw_away(output, &received).await;
        }
    }

    /// Says how much was left out.
    pub(super) fn report(&self) {
        let left_out = self.with(|printed| printed.left_out);
        if left_out > 0 {
            let hook = self.hook;
            info!(hook, "{hook}: {} left out", count(left_out, "more line"));
        }
    }

    /// Logs lines as long as there is room for them; then there may be more.
    async fn log(&self, output: &mut (impl AsyncRead + Unpin), received: &mut BytesMut) -> bool {
        let hook = self.hook;
        let mut codec = LinesCodec::new_with_max_length(MAX_LINE_BYTES);
        while self.has_room() {
            match codec.decode(received) {
                Ok(Some(line)) => self.line(&line),
                Ok(None) => match output.read_buf(received).await {
                    Ok(0) | Err(_) => {
                        if let Ok(Some(line)) = codec.decode_eof(received) {
                            self.line(&line);
                        }
                        return false;
                    }
                    Ok(bytes) => self.with(|printed| printed.bytes += bytes),
                },
                Err(error) => {
                    self.with(|printed| printed.lines += 1);
                    warn!(hook, "{hook}: a line of output is left out: {error}");
                }
            }
        }
        true
    }

    fn line(&self, line: &str) {
        let hook = self.hook;
        self.with(|printed| printed.lines += 1);
        info!(hook, "{hook}: {}", printable(line));
    }

    /// Counts the lines of what was received and of all that comes. Counted as they come: whoever
    /// waits for them may give up.
    async fn throw_away(&self, mut output: impl AsyncRead + Unpin, received: &[u8]) {
        let mut in_line = self.leave_out(received, false);
        let mut piece = vec![0; PIECE];
        while let Ok(bytes @ 1..) = output.read(&mut piece).await {
            in_line = self.leave_out(&piece[..bytes], in_line);
            sleep(PAUSE).await;
        }
    }

    /// Counts the lines that begin here; gives whether the last of them goes on.
    fn leave_out(&self, bytes: &[u8], in_line: bool) -> bool {
        let Some(last) = bytes.last() else {
            return in_line;
        };
        let goes_on = *last != b'\n';
        let ends = bytes.split(|byte| *byte == b'\n').count() - 1;
        let begun = ends + usize::from(goes_on) - usize::from(in_line);
        self.with(|printed| printed.left_out += begun);
        goes_on
    }

    fn has_room(&self) -> bool {
        self.with(|printed| printed.lines < MAX_LINES && printed.bytes < MAX_BYTES)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Printed) -> T) -> T {
        act(&mut self.printed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that were told, and left out.
    async fn read(outputs: &[&[u8]]) -> (usize, usize) {
        let output = Output::new("test_hook");
        for bytes in outputs {
            output.read(*bytes).await;
        }
        output.with(|printed| (printed.lines, printed.left_out))
    }

    #[tokio::test(start_paused = true)]
    async fn lines_beyond_the_quota_are_left_out_and_counted() {
        let line = |number: usize| "y\n".repeat(number).into_bytes();
        assert_eq!(read(&[&line(100)]).await, (100, 0));
        assert_eq!(read(&[&line(103)]).await, (100, 3));
        assert_eq!(read(&[&line(90), &line(30)]).await, (100, 20));
        assert_eq!(read(&[&line(1_000_000)]).await, (100, 999_900));
        assert_eq!(read(&[&line(100), b"not ended"]).await, (100, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn output_without_an_end_of_line_is_not_read_for_ever_for_one() {
        let (lines, left_out) = read(&[&vec![b'y'; 10_000_000]]).await;
        assert_eq!((lines, left_out), (1, 1));
        let long = [vec![b'y'; 2_000], vec![b'\n']].concat().repeat(100);
        let (lines, left_out) = read(&[&long]).await;
        assert!((20..40).contains(&lines), "{lines}");
        // The one that is cut counts as one.
        assert_eq!(lines + left_out, 100);
    }
}
