//! The log's output: standard error. Writing may block for as long as nobody reads it.

use std::fs::File;
use std::io::{self, ErrorKind, Write};

use rustix::event::{PollFd, PollFlags, poll};
use tracing_subscriber::fmt::MakeWriter;

use super::count_dropped;

/// Standard error, by a separate descriptor: a blocked write holds no lock that others need.
pub(super) struct Sink(File);

impl Sink {
    pub(super) fn stderr() -> io::Result<Self> {
        let stderr = rustix::io::dup(rustix::stdio::stderr())?;
        Ok(Self(stderr.into()))
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = &'a Sink;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        loop {
            match (&self.0).write(line) {
                // Another process that shares the descriptor has made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The reader is gone, or the disk is full. There is nowhere to report that.
                Err(_) => {
                    count_dropped();
                    return Ok(line.len());
                }
                Ok(written) => return Ok(written),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
