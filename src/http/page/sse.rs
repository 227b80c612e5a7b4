//! Server-sent events that notify a page when to fetch its changing part.
//!
//! They carry no state: a page that fetches shows the present state, however many events it has missed.

use std::convert::Infallible;
use std::mem;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::CACHE_CONTROL;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::http::AppState;

/// Delay between a change and its event, so that changes at the same time are one event. A view is kept
/// for less than this, so what is fetched then was queried after the change.
const GATHER_DELAY: Duration = Duration::from_millis(250);

/// Minimum delay between an event and the next change.
const MIN_INTERVAL: Duration = Duration::from_millis(250);

/// Interval of events without a change, by which the page knows that the connection works, and a client
/// that has gone is noticed. The script relies on this time too.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Delay before a browser reconnects.
const RETRY: Duration = Duration::from_secs(2);

/// Sends `changed`, at most twice per second, when something may have changed, otherwise `alive`. The
/// stream ends with the daemon, or when the client stops reading.
pub(super) async fn changes(State(state): State<AppState>) -> Response {
    let changes = ChangeStream::new(state.control.changed());
    let events = stream::unfold(changes, |mut changes| async {
        let name = changes.next().await?;
        Some((Ok::<_, Infallible>(changes.event(name)), changes))
    });
    let headers = [
        (CACHE_CONTROL, "no-store"),
        // nginx as a reverse proxy would gather events until its buffer is full.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Sse::new(events)).into_response()
}

struct ChangeStream {
    pulse: watch::Receiver<u64>,
    /// Delay before the next event.
    delay: Duration,
}

impl ChangeStream {
    fn new(mut pulse: watch::Receiver<u64>) -> Self {
        // The page may be older than this connection.
        pulse.mark_changed();
        Self {
            pulse,
            delay: Duration::ZERO,
        }
    }

    /// The name of the next event; none once the daemon has ended.
    async fn next(&mut self) -> Option<&'static str> {
        sleep(mem::replace(&mut self.delay, MIN_INTERVAL)).await;
        let Ok(change) = timeout(HEARTBEAT, self.pulse.changed()).await else {
            return Some("alive");
        };
        change.ok()?;
        // What changes meanwhile has not been marked as unchanged, and causes another event.
        sleep(GATHER_DELAY).await;
        Some("changed")
    }

    /// Browsers ignore events without data.
    fn event(&self, name: &str) -> Event {
        let pulse = self.pulse.borrow().to_string();
        let event = Event::default().event(name).id(&pulse).data(&pulse);
        event.retry(RETRY)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// The next event, and how long it took to come.
    async fn next(changes: &mut ChangeStream) -> (Option<&'static str>, Duration) {
        let begun = Instant::now();
        (changes.next().await, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_page_is_notified_to_fetch_at_once() {
        let (_beat, pulse) = watch::channel(0);
        let mut changes = ChangeStream::new(pulse);
        assert_eq!(next(&mut changes).await, (Some("changed"), GATHER_DELAY));
    }

    #[tokio::test(start_paused = true)]
    async fn changes_at_the_same_time_are_one_event_and_later_ones_another() {
        let (beat, pulse) = watch::channel(0);
        let mut changes = ChangeStream::new(pulse);
        beat.send_replace(1);
        beat.send_replace(2);
        let meanwhile = async {
            sleep(GATHER_DELAY / 2).await;
            beat.send_replace(3);
        };
        let (event, ()) = tokio::join!(next(&mut changes), meanwhile);
        assert_eq!(event, (Some("changed"), GATHER_DELAY));
        // The page may have been rendered before the last change.
        let event = next(&mut changes).await;
        assert_eq!(event, (Some("changed"), MIN_INTERVAL + GATHER_DELAY));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_change_it_sends_that_it_is_alive() {
        let (_beat, pulse) = watch::channel(0);
        let mut changes = ChangeStream::new(pulse);
        next(&mut changes).await;
        for _ in 0..3 {
            assert_eq!(
                next(&mut changes).await,
                (Some("alive"), MIN_INTERVAL + HEARTBEAT)
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_daemon() {
        let (beat, pulse) = watch::channel(0);
        let mut changes = ChangeStream::new(pulse);
        next(&mut changes).await;
        drop(beat);
        assert_eq!(next(&mut changes).await.0, None);
    }
}
