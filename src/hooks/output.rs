//! The output of a hook: logged line by line up to a limit. The rest is read and discarded, so that the hook does not
//! block, and its lines are counted.

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

/// Maximum length of a logged line; longer ones are dropped.
const MAX_LINE_BYTES: usize = 4_096;

/// Maximum logged lines per run, from standard output and standard error together.
const MAX_LINES: usize = 100;

/// Maximum output that is read for the log per run.
const MAX_BYTES: usize = 64 * 1_024;

/// Maximum size of one read when discarding; the capacity of a pipe.
const CHUNK_BYTES: usize = 64 * 1_024;

/// Delay between two reads when discarding. A hook that prints endlessly is then read at about 10 MB per second, which
/// takes at most 1% of the thread that also polls and decides.
const DISCARD_DELAY: Duration = Duration::from_millis(5);

/// The output of one run so far, shared by its two streams.
pub(super) struct Output {
    hook: &'static str,
    printed: Mutex<Printed>,
}

#[derive(Default)]
struct Printed {
    lines: usize,
    bytes: usize,
    dropped: usize,
}

impl Output {
    pub(super) fn new(hook: &'static str) -> Self {
        Self {
            hook,
            printed: Mutex::default(),
        }
    }

    /// Reads one stream to its end.
    pub(super) async fn read(&self, mut output: impl AsyncRead + Unpin) {
        let mut received = BytesMut::new();
        if self.log(&mut output, &mut received).await {
            self.discard(output, &received).await;
        }
    }

    /// Logs how many lines were dropped, if any.
    pub(super) fn log_dropped(&self) {
        let dropped = self.with(|printed| printed.dropped);
        if dropped > 0 {
            let hook = self.hook;
            info!(hook, "{hook}: {} dropped", count(dropped, "more line"));
        }
    }

    /// Logs lines up to the limit. Returns whether there may be more.
    async fn log(&self, output: &mut (impl AsyncRead + Unpin), received: &mut BytesMut) -> bool {
        let hook = self.hook;
        let mut codec = LinesCodec::new_with_max_length(MAX_LINE_BYTES);
        while self.has_room() {
            match codec.decode(received) {
                Ok(Some(line)) => self.log_line(&line),
                Ok(None) => match output.read_buf(received).await {
                    Ok(0) | Err(_) => {
                        if let Ok(Some(line)) = codec.decode_eof(received) {
                            self.log_line(&line);
                        }
                        return false;
                    }
                    Ok(bytes) => self.with(|printed| printed.bytes += bytes),
                },
                Err(error) => {
                    self.with(|printed| printed.lines += 1);
                    warn!(hook, "{hook}: a line of output is dropped: {error}");
                }
            }
        }
        true
    }

    fn log_line(&self, line: &str) {
        let hook = self.hook;
        self.with(|printed| printed.lines += 1);
        info!(hook, "{hook}: {}", printable(line));
    }

    /// Reads the rest of the stream and counts its lines, with those in `received`. They are counted as they come,
    /// since this may be cancelled.
    async fn discard(&self, mut output: impl AsyncRead + Unpin, received: &[u8]) {
        let mut in_line = self.count_dropped(received, false);
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(bytes @ 1..) = output.read(&mut chunk).await {
            in_line = self.count_dropped(&chunk[..bytes], in_line);
            sleep(DISCARD_DELAY).await;
        }
    }

    /// Counts the lines that begin in `bytes`. Returns whether the last of them is incomplete.
    fn count_dropped(&self, bytes: &[u8], in_line: bool) -> bool {
        let Some(last) = bytes.last() else {
            return in_line;
        };
        let is_incomplete = *last != b'\n';
        let ends = bytes.split(|byte| *byte == b'\n').count() - 1;
        let begun = ends + usize::from(is_incomplete) - usize::from(in_line);
        self.with(|printed| printed.dropped += begun);
        is_incomplete
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

    /// Lines that were logged, and dropped.
    async fn read(outputs: &[&[u8]]) -> (usize, usize) {
        let output = Output::new("test_hook");
        for bytes in outputs {
            output.read(*bytes).await;
        }
        output.with(|printed| (printed.lines, printed.dropped))
    }

    #[tokio::test(start_paused = true)]
    async fn lines_beyond_the_limit_are_dropped_and_counted() {
        let line = |number: usize| "y\n".repeat(number).into_bytes();
        assert_eq!(read(&[&line(100)]).await, (100, 0));
        assert_eq!(read(&[&line(103)]).await, (100, 3));
        assert_eq!(read(&[&line(90), &line(30)]).await, (100, 20));
        assert_eq!(read(&[&line(1_000_000)]).await, (100, 999_900));
        assert_eq!(read(&[&line(100), b"not ended"]).await, (100, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn endless_output_without_a_line_end_is_dropped() {
        let (lines, dropped) = read(&[&vec![b'y'; 10_000_000]]).await;
        assert_eq!((lines, dropped), (1, 1));
        let long = [vec![b'y'; 2_000], vec![b'\n']].concat().repeat(100);
        let (lines, dropped) = read(&[&long]).await;
        assert!((20..40).contains(&lines), "{lines}");
        // The line at the limit counts once.
        assert_eq!(lines + dropped, 100);
    }
}
