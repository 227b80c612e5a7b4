//! Server-sent events that tell a page when to look again.
//!
//! They carry no state: a page that fetches shows what is so then, however many events it missed.

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

use crate::http::Shared;

/// From a change to its event. What is fetched then was asked of the daemon after the change, since
/// the status door keeps a view for less than this; and what changes together is one event.
const GATHERING: Duration = Duration::from_millis(250);

/// After an event, before the next change is looked at.
const REST: Duration = Duration::from_millis(250);

/// Without a change, an event comes so often: the page then knows that it is still heard, and a
/// connection whose other side is gone is noticed. The script knows this time too.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// So long a browser waits until it connects again.
const RETRY: Duration = Duration::from_secs(2);

/// Tells when something may be otherwise than before: `changed`, at most twice a second, and `alive`
/// when nothing is. It ends with the daemon, or when nobody reads any more.
pub(super) async fn changes(State(shared): State<Shared>) -> Response {
    let listener = Listener::new(shared.control.changed());
    let events = stream::unfold(listener, |mut listener| async {
        let name = listener.next().await?;
        Some((Ok::<_, Infallible>(listener.event(name)), listener))
    });
    let headers = [
        (CACHE_CONTROL, "no-store"),
        // nginx as a reverse proxy would gather events until its buffer is full.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Sse::new(events)).into_response()
}

struct Listener {
    pulse: watch::Receiver<u64>,
    /// What is left of the time before the next event may come.
    rest: Duration,
}

impl Listener {
    fn new(mut pulse: watch::Receiver<u64>) -> Self {
        // The page may be older than this connection.
        pulse.mark_changed();
        Self {
            pulse,
            rest: Duration::ZERO,
        }
    }

    /// The name of the next event; none when the daemon ends.
    async fn next(&mut self) -> Option<&'static str> {
        sleep(mem::replace(&mut self.rest, REST)).await;
        let Ok(change) = timeout(HEARTBEAT, self.pulse.changed()).await else {
            return Some("alive");
        };
        change.ok()?;
        // What changes meanwhile is not seen yet, and makes an event of its own.
        sleep(GATHERING).await;
        Some("changed")
    }

    /// A browser takes no notice of an event without data.
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
    async fn next(listener: &mut Listener) -> (Option<&'static str>, Duration) {
        let begun = Instant::now();
        (listener.next().await, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_begins_to_listen_looks_again_at_once() {
        let (_beat, pulse) = watch::channel(0);
        let mut listener = Listener::new(pulse);
        assert_eq!(next(&mut listener).await, (Some("changed"), GATHERING));
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_together_is_one_event_and_what_changes_then_another() {
        let (beat, pulse) = watch::channel(0);
        let mut listener = Listener::new(pulse);
        beat.send_replace(1);
        beat.send_replace(2);
        let meanwhile = async {
            sleep(GATHERING / 2).await;
            beat.send_replace(3);
        };
        let (event, ()) = tokio::join!(next(&mut listener), meanwhile);
        assert_eq!(event, (Some("changed"), GATHERING));
        // The page may have been made before the last one.
        let event = next(&mut listener).await;
        assert_eq!(event, (Some("changed"), REST + GATHERING));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_change_it_says_that_it_is_alive() {
        let (_beat, pulse) = watch::channel(0);
        let mut listener = Listener::new(pulse);
        next(&mut listener).await;
        for _ in 0..3 {
            assert_eq!(next(&mut listener).await, (Some("alive"), REST + HEARTBEAT));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_daemon() {
        let (beat, pulse) = watch::channel(0);
        let mut listener = Listener::new(pulse);
        next(&mut listener).await;
        drop(beat);
        assert_eq!(next(&mut listener).await.0, None);
    }
}
