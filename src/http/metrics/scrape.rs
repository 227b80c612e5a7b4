//! Asking for all that is told, at most once a second, however many scrape.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::core::Site;
use super::drivers::{Known, Perlbal};
use super::format::{Format, to_prometheus};
use super::hooks::Outside;
use super::http;
use super::nodes::Node;
use super::process::Process;
use super::render::Values;
use crate::control::{FullState, Stopped, Summary};
use crate::drivers::PerlbalHandle;
use crate::http::Shared;
use crate::model::time::Clock;
use crate::supervision::contain;

/// For so long the same text is given.
const KEPT: Duration = Duration::from_secs(1);

/// So long a manager and its Perlbal have to tell; what comes later is told at the next scrape.
/// Prometheus waits for 10 s.
const PERLBAL: Duration = Duration::from_secs(2);

/// The wall clock was set when it has moved by more than this.
const CLOCK_WAS_SET: Duration = Duration::from_millis(500);

/// What outlasts a scrape. Who comes while the text is made waits for the same.
#[derive(Default)]
pub(super) struct Scraper(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    texts: Option<(Instant, Texts)>,
    clock: SteadyClock,
}

/// The metrics, in each format.
#[derive(Clone)]
pub(super) struct Texts {
    open_metrics: Bytes,
    prometheus: Bytes,
}

impl Texts {
    /// Writes them; nothing if that fails, as it never should.
    fn of(values: Values) -> Option<Self> {
        let open_metrics = values.render().ok()?;
        let prometheus = to_prometheus(&open_metrics).into();
        Some(Self {
            open_metrics: open_metrics.into(),
            prometheus,
        })
    }

    pub(super) fn in_format(self, format: Format) -> Bytes {
        match format {
            Format::OpenMetrics => self.open_metrics,
            Format::Prometheus => self.prometheus,
        }
    }
}

impl Scraper {
    /// What is so, or was within the last second; nothing if it cannot be written.
    pub(super) async fn texts(&self, shared: &Shared) -> Result<Option<Texts>, Stopped> {
        let mut kept = self.0.lock().await;
        if let Some((made, texts)) = &kept.texts
            && made.elapsed() < KEPT
        {
            return Ok(Some(texts.clone()));
        }
        let whole = shared.overview().await?;
        let each = if whole.metrics_per_node {
            Some(shared.view().await?)
        } else {
            None
        };
        let clock = kept.clock.at(whole.clock);
        let texts = write(shared, whole, each, clock).await;
        kept.texts = texts.clone().map(|texts| (Instant::now(), texts));
        Ok(texts)
    }
}

/// Asks for what the overview does not have, and writes it all.
async fn write(
    shared: &Shared,
    whole: Arc<Summary>,
    each: Option<Arc<FullState>>,
    clock: Clock,
) -> Option<Texts> {
    let asks = whole.managers.iter();
    let asks = asks.map(|manager| ask(manager, whole.metrics_per_node, clock));
    let perlbals = join_all(asks).await;
    let entrances = http::all(&shared.counters);
    // Away from the doors: with thousands of nodes or sockets it takes some milliseconds.
    let make = move || {
        let nodes = each.iter().flat_map(|view| &view.nodes);
        Texts::of(Values {
            site: Site::of(&whole),
            perlbals,
            outside: Outside::of(&whole),
            entrances,
            process: Process::read(seconds(clock, whole.started.now)),
            nodes: nodes.map(|seen| Node::of(&seen.view)).collect(),
        })
    };
    let written = spawn_blocking(|| contain(make));
    written.await.ok().flatten()
}

/// One moment by both clocks, by which all others are told. The same at each scrape, since a time
/// that is told anew a millisecond later looks like a change; another when the wall clock was set.
#[derive(Default)]
struct SteadyClock(Option<Clock>);

impl SteadyClock {
    fn at(&mut self, present: Clock) -> Clock {
        let was_set = |known: &mut Clock| {
            let expected = known.of(present.now);
            let moved = expected
                .since(present.today)
                .max(present.today.since(expected));
            moved > CLOCK_WAS_SET
        };
        self.0.take_if(was_set);
        *self.0.get_or_insert(present)
    }
}

/// When that was, in seconds since 1970.
#[allow(
    clippy::cast_precision_loss,
    reason = "milliseconds of this age have 41 bits"
)]
fn seconds(clock: Clock, at: Instant) -> f64 {
    clock.of(at).millis() as f64 / 1_000.0
}

/// Asks what is known of a Perlbal, and Perlbal itself.
async fn ask(manager: &PerlbalHandle, by_node: bool, clock: Clock) -> Perlbal {
    let (known, statistics) = tokio::join!(
        timeout(PERLBAL, manager.view()),
        timeout(PERLBAL, manager.statistics(by_node)),
    );
    let standing = manager.standing();
    let known = known.ok().flatten().map(|view| Known {
        in_sync_since: seconds(clock, view.in_sync_since),
        counters: view.counters,
    });
    Perlbal {
        address: manager.address.clone(),
        connected: standing.connected,
        in_sync: standing.connected && standing.in_sync,
        unrest: standing.unrest.len() as u64,
        known,
        statistics: statistics.ok().and_then(Result::ok),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;

    #[test]
    fn a_moment_is_told_alike_at_each_scrape_until_the_clock_is_set() {
        let (start, mut clock) = (Instant::now(), SteadyClock::default());
        let after = |millis| start + Duration::from_millis(millis);
        let mut told = |passed, today| {
            let present = Clock {
                now: after(passed),
                today: Timestamp::from_millis(today),
            };
            let clock = clock.at(present);
            [0, 7_000].map(|moment| clock.of(after(moment)).millis())
        };
        assert_eq!(told(0, 1_000_000), [1_000_000, 1_007_000]);
        // A millisecond is lost by rounding, or the clock is slewed.
        assert_eq!(told(8_000, 1_007_999), [1_000_000, 1_007_000]);
        assert_eq!(told(9_000, 1_069_000), [1_060_000, 1_067_000]);
        assert_eq!(told(10_000, 1_009_000), [999_000, 1_006_000]);
    }
}
