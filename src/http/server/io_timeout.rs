//! A stream that fails when the other side takes too long: for the head of a request, between two
//! requests, or to take what is written.
//!
//! hyper's own limit for the head also counts the time between requests. Here the requests of a
//! connection say, by a [`Course`] that they share with the stream, how far they have come.
//!
//! To a head that it does not understand hyper answers by itself, with a status and no reason. The
//! stream keeps that back, so that the connection can say why.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use hyper::body::{Bytes, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::http::server::limits::{HEAD_TIME, IDLE_TIME, WRITE_TIME};

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// No request began.
    Idle,
    /// A request's head began and did not end.
    Head,
    /// What was written was not taken.
    Write,
}

/// How far the requests of one connection have come.
#[derive(Clone, Debug)]
pub(crate) struct Course(Arc<Mutex<Stage>>);

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// No byte of the next request is there.
    Waiting { until: Instant },
    /// Some of its head is.
    Head { until: Instant },
    /// A request is being answered. Its body has a limit elsewhere, its answer by being written.
    UnderWay,
    /// The answer is complete, but may not be written yet.
    Answered,
}

impl Course {
    pub(crate) fn new() -> Self {
        let until = Instant::now() + HEAD_TIME;
        Self(Arc::new(Mutex::new(Stage::Waiting { until })))
    }

    /// A request's head is there.
    pub(crate) fn request_begins(&self) {
        self.change(|_| Some(Stage::UnderWay));
    }

    fn byte_came(&self) {
        self.change(|stage| {
            let until = Instant::now() + HEAD_TIME;
            matches!(stage, Stage::Waiting { .. }).then_some(Stage::Head { until })
        });
    }

    fn all_written(&self) {
        self.change(|stage| {
            let until = Instant::now() + IDLE_TIME;
            matches!(stage, Stage::Answered).then_some(Stage::Waiting { until })
        });
    }

    /// Whether all requests are answered, and the answers written: nobody but hyper itself speaks.
    fn is_between_requests(&self) -> bool {
        matches!(*self.stage(), Stage::Waiting { .. } | Stage::Head { .. })
    }

    /// Until when bytes must come, and what is late if they do not.
    fn limit(&self) -> Option<(Instant, Late)> {
        match *self.stage() {
            Stage::Waiting { until } => Some((until, Late::Idle)),
            Stage::Head { until } => Some((until, Late::Head)),
            Stage::UnderWay | Stage::Answered => None,
        }
    }

    fn change(&self, change: impl FnOnce(Stage) -> Option<Stage>) {
        let mut stage = self.stage();
        if let Some(next) = change(*stage) {
            *stage = next;
        }
    }

    fn stage(&self) -> std::sync::MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body that tells the course when it is given away, whole or not.
pub(crate) struct Answer {
    body: Body,
    course: Course,
}

impl Answer {
    pub(crate) fn new(body: Body, course: Course) -> Self {
        Self { body, course }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.course.change(|_| Some(Stage::Answered));
    }
}

impl HttpBody for Answer {
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

/// How a stream came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// What was late, if something was.
    pub(crate) late: Option<Late>,
    /// Nothing was said yet to what came last.
    pub(crate) between_requests: bool,
}

/// The stream.
pub(crate) struct Watched<S> {
    stream: S,
    course: Course,
    read_alarm: Alarm,
    write_alarm: Alarm,
    /// While something waits to be written.
    write_until: Option<Instant>,
    late: Option<Late>,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, course: Course) -> Self {
        Self {
            stream,
            course,
            read_alarm: Alarm::default(),
            write_alarm: Alarm::default(),
            write_until: None,
            late: None,
        }
    }

    /// The stream, and how it came to its end.
    pub(crate) fn into_inner(self) -> (S, Ending) {
        let ending = Ending {
            late: self.late,
            between_requests: self.course.is_between_requests(),
        };
        (self.stream, ending)
    }

    fn fail<T>(&mut self, late: Late) -> Poll<io::Result<T>> {
        self.late = Some(late);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// To be called when a write has to wait.
    fn wait_to_write<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let until = *self
            .write_until
            .get_or_insert_with(|| Instant::now() + WRITE_TIME);
        if self.write_alarm.rings(until, cx) {
            return self.fail(Late::Write);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.course.byte_came();
        }
        if read.is_pending()
            && let Some((until, late)) = self.course.limit()
            && self.read_alarm.rings(until, cx)
        {
            return self.fail(late);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.course.is_between_requests() {
            return Poll::Ready(Ok(bytes.len()));
        }
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
        if self.course.is_between_requests() {
            return Poll::Ready(Ok(bytes.iter().map(|bytes| bytes.len()).sum()));
        }
        match Pin::new(&mut self.stream).poll_write_vectored(cx, bytes) {
            Poll::Pending => self.wait_to_write(cx),
            written @ Poll::Ready(_) => written,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written all that it has.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => self.wait_to_write(cx),
            flushed @ Poll::Ready(_) => {
                self.write_until = None;
                self.course.all_written();
                // hyper may have looked for the next request before, and need not do so again.
                if let Some((until, _)) = self.course.limit() {
                    _ = self.read_alarm.rings(until, cx);
                }
                flushed
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A timer, made when it is first needed.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether that time has come; else the task is woken when it has.
    fn rings(&mut self, at: Instant, cx: &mut Context<'_>) -> bool {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(cx).is_ready()
    }
}
