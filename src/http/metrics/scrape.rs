//! Queries everything for a scrape, at most once per second, however many scrapes there are.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::future::join_all;
use thiserror::Error;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::core::CoreStats;
use super::drivers::{Known, LoadBalancer};
use super::format::{Format, to_prometheus};
use super::hooks::HookStats;
use super::http;
use super::nodes::Node;
use super::process::Process;
use super::render::Values;
use crate::control::{FullState, Stopped, Summary};
use crate::drivers::{DriverHandle, PoolFilter};
use crate::http::AppState;
use crate::http::cache::Cache;
use crate::model::time::Clock;
use crate::supervision::contain;

/// Maximum age of the text.
const TTL: Duration = Duration::from_secs(1);

/// Time for a driver and its load balancer to respond; what comes later is in the next scrape. Prometheus
/// waits for 10 s.
const DRIVER_TIMEOUT: Duration = Duration::from_secs(2);

/// Minimum difference by which the wall clock counts as set.
const CLOCK_STEP: Duration = Duration::from_millis(500);

/// What outlives a scrape.
pub(super) struct Scraper {
    texts: Cache<(), Texts>,
    clock: Mutex<SteadyClock>,
}

impl Default for Scraper {
    fn default() -> Self {
        Self {
            texts: Cache::new(TTL, 1),
            clock: Mutex::default(),
        }
    }
}

/// Why there are no metrics.
#[derive(Debug, Error)]
pub(super) enum ScrapeError {
    /// pollbal is shutting down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// A bug.
    #[error("failed to render the metrics")]
    Render,
}

/// The metrics, in each format.
#[derive(Clone)]
pub(super) struct Texts {
    open_metrics: Bytes,
    prometheus: Bytes,
}

impl Texts {
    /// Renders them; none if that fails, as it never should.
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
    /// The present values, or those of up to a second ago.
    pub(super) async fn texts(&self, state: &AppState) -> Result<Texts, ScrapeError> {
        self.texts.get((), Box::pin(self.query(state))).await
    }

    async fn query(&self, state: &AppState) -> Result<Texts, ScrapeError> {
        let summary = state.summary().await?;
        let nodes = if summary.metrics_per_node {
            Some(state.full_state().await?)
        } else {
            None
        };
        let clock = {
            let steady = self.clock.lock();
            let mut steady = steady.unwrap_or_else(PoisonError::into_inner);
            steady.at(summary.clock)
        };
        let texts = render(state, summary, nodes, clock).await;
        texts.ok_or(ScrapeError::Render)
    }
}

/// Queries the drivers, and renders everything.
async fn render(
    state: &AppState,
    whole: Arc<Summary>,
    each: Option<Arc<FullState>>,
    clock: Clock,
) -> Option<Texts> {
    let queries = whole.handles.iter();
    let queries = queries.map(|driver| query(driver, whole.metrics_per_node, clock));
    let load_balancers = join_all(queries).await;
    let listeners = http::all(&state.counters);
    // Off the listeners' thread: with thousands of nodes or sockets it takes milliseconds.
    let make = move || {
        let nodes = each.iter().flat_map(|view| &view.nodes);
        Texts::of(Values {
            core: CoreStats::of(&whole),
            load_balancers,
            hooks: HookStats::of(&whole),
            listeners,
            process: Process::read(seconds(clock, whole.started.now)),
            nodes: nodes.map(|entry| Node::of(&entry.view)).collect(),
        })
    };
    let written = spawn_blocking(|| contain(make));
    written.await.ok().flatten()
}

/// A moment by both clocks, from which all other times are calculated. It stays the same, since a time
/// that differs by a millisecond at each scrape looks like a change, until the wall clock is set.
#[derive(Default)]
struct SteadyClock(Option<Clock>);

impl SteadyClock {
    fn at(&mut self, present: Clock) -> Clock {
        let was_set = |known: &mut Clock| {
            let expected = known.of(present.now);
            let moved = expected
                .since(present.today)
                .max(present.today.since(expected));
            moved > CLOCK_STEP
        };
        self.0.take_if(was_set);
        *self.0.get_or_insert(present)
    }
}

/// That time in seconds since 1970.
#[allow(
    clippy::cast_precision_loss,
    reason = "milliseconds of this age have 41 bits"
)]
fn seconds(clock: Clock, at: Instant) -> f64 {
    clock.of(at).millis() as f64 / 1_000.0
}

/// Queries a driver, and through it its load balancer.
async fn query(driver: &DriverHandle, per_node: bool, clock: Clock) -> LoadBalancer {
    let (details, statistics) = tokio::join!(
        timeout(DRIVER_TIMEOUT, driver.details(PoolFilter::Differing)),
        timeout(DRIVER_TIMEOUT, driver.statistics(per_node)),
    );
    let status = driver.status();
    let known = details.ok().flatten().map(|details| Known {
        in_sync_since: seconds(clock, details.in_sync_since),
        counters: details.counters,
    });
    LoadBalancer {
        id: driver.id.clone(),
        connected: status.connected,
        in_sync: status.connected && status.in_sync,
        draining: status.draining.len() as u64,
        known,
        statistics: statistics.ok().and_then(Result::ok),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Timestamp;

    #[test]
    fn a_time_is_the_same_at_each_scrape_until_the_clock_is_set() {
        let (start, mut clock) = (Instant::now(), SteadyClock::default());
        let after = |millis| start + Duration::from_millis(millis);
        let mut shown = |passed, today| {
            let present = Clock {
                now: after(passed),
                today: Timestamp::from_millis(today),
            };
            let clock = clock.at(present);
            [0, 7_000].map(|moment| clock.of(after(moment)).millis())
        };
        assert_eq!(shown(0, 1_000_000), [1_000_000, 1_007_000]);
        // A millisecond is lost by rounding, or the clock is slewed.
        assert_eq!(shown(8_000, 1_007_999), [1_000_000, 1_007_000]);
        assert_eq!(shown(9_000, 1_069_000), [1_060_000, 1_067_000]);
        assert_eq!(shown(10_000, 1_009_000), [999_000, 1_006_000]);
    }
}
