//! A stream that fails when the client takes too long: to send the head of a request, to send the next
//! request, or to accept what is written.
//!
//! hyper's own timeout for the head includes the time between requests, and it has none for writing.
//! Here the requests of a connection report, by a [`RequestPhase`] that they share with the stream, how
//! far they have come.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use hyper::body::{Bytes, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::limits::{HEAD_TIMEOUT, IDLE_TIMEOUT, WRITE_TIMEOUT};

/// What the client took too long for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimedOut {
    /// No request began.
    Idle,
    /// The head of a request began and did not end.
    Head,
    /// What was written was not accepted.
    Write,
}

/// How far the requests of one connection have come.
#[derive(Clone, Debug)]
pub(super) struct RequestPhase(Arc<Mutex<Phase>>);

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing of the next request has arrived.
    Idle { until: Instant },
    /// A part of its head has arrived.
    Head { until: Instant },
    /// A request is being processed. Its body has a timeout elsewhere, its response by being written.
    Processing,
    /// The response is complete, but may not be written yet.
    Responded,
}

impl RequestPhase {
    pub(super) fn new() -> Self {
        let until = Instant::now() + HEAD_TIMEOUT;
        Self(Arc::new(Mutex::new(Phase::Idle { until })))
    }

    /// The head of a request is complete.
    pub(super) fn request_started(&self) {
        self.update(|_| Some(Phase::Processing));
    }

    fn byte_received(&self) {
        self.update(|phase| {
            let until = Instant::now() + HEAD_TIMEOUT;
            matches!(phase, Phase::Idle { .. }).then_some(Phase::Head { until })
        });
    }

    fn all_written(&self) {
        self.update(|phase| {
            let until = Instant::now() + IDLE_TIMEOUT;
            matches!(phase, Phase::Responded).then_some(Phase::Idle { until })
        });
    }

    /// Until when bytes must arrive, and what has timed out otherwise.
    fn deadline(&self) -> Option<(Instant, TimedOut)> {
        match *self.phase() {
            Phase::Idle { until } => Some((until, TimedOut::Idle)),
            Phase::Head { until } => Some((until, TimedOut::Head)),
            Phase::Processing | Phase::Responded => None,
        }
    }

    fn update(&self, next: impl FnOnce(Phase) -> Option<Phase>) {
        let mut phase = self.phase();
        if let Some(next) = next(*phase) {
            *phase = next;
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A response's body that reports when it has been handed over, completely or not.
pub(super) struct PhasedBody {
    body: Body,
    phase: RequestPhase,
}

impl PhasedBody {
    pub(super) fn new(body: Body, phase: RequestPhase) -> Self {
        Self { body, phase }
    }
}

impl Drop for PhasedBody {
    fn drop(&mut self) {
        self.phase.update(|_| Some(Phase::Responded));
    }
}

impl HttpBody for PhasedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The stream.
pub(super) struct TimedStream<S> {
    stream: S,
    phase: RequestPhase,
    read_timer: Timer,
    write_timer: Timer,
    /// While something waits to be written.
    write_until: Option<Instant>,
    timed_out: Option<TimedOut>,
}

impl<S> TimedStream<S> {
    pub(super) fn new(stream: S, phase: RequestPhase) -> Self {
        Self {
            stream,
            phase,
            read_timer: Timer::default(),
            write_timer: Timer::default(),
            write_until: None,
            timed_out: None,
        }
    }

    /// The stream, and what has timed out, if anything.
    pub(super) fn into_inner(self) -> (S, Option<TimedOut>) {
        (self.stream, self.timed_out)
    }

    fn fail<T>(&mut self, timed_out: TimedOut) -> Poll<io::Result<T>> {
        self.timed_out = Some(timed_out);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// To be called when a write has to wait.
    fn wait_to_write<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let until = *self
            .write_until
            .get_or_insert_with(|| Instant::now() + WRITE_TIMEOUT);
        if self.write_timer.is_due(until, cx) {
            return self.fail(TimedOut::Write);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.phase.byte_received();
        }
        if read.is_pending()
            && let Some((until, timed_out)) = self.phase.deadline()
            && self.read_timer.is_due(until, cx)
        {
            return self.fail(timed_out);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Pending => self.wait_to_write(cx),
            written @ Poll::Ready(_) => written,
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(cx, bytes) {
            Poll::Pending => self.wait_to_write(cx),
            written @ Poll::Ready(_) => written,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written everything.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => self.wait_to_write(cx),
            flushed @ Poll::Ready(_) => {
                self.write_until = None;
                self.phase.all_written();
                // hyper may have polled for the next request before, and need not do so again.
                if let Some((until, _)) = self.phase.deadline() {
                    _ = self.read_timer.is_due(until, cx);
                }
                flushed
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A timer, created when it is first needed.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Whether that time has come; otherwise the task is woken when it has.
    fn is_due(&mut self, at: Instant, cx: &mut Context<'_>) -> bool {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(cx).is_ready()
    }
}
