//! When and how nodes are polled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::request::Template;
use crate::config::poll::{Headers, PollSettings};
use crate::model::node::{Node, NodeAddr};

/// Preferred number of nodes per slot. They are polled together, so that the process does not wake up for each of them.
const NODES_PER_SLOT: u32 = 10;

/// Maximum length of a slot, absolute and as a divisor of the interval: a few nodes are spread all the same.
const MAX_SLOT: (Duration, u32) = (Duration::from_millis(25), 40);

/// Minimum length of a slot: waking up a hundred times a second costs little. It is also limited to this divisor of the
/// interval, so that no more than 1% of the nodes are ever polled together.
const MIN_SLOT: (Duration, u32) = (Duration::from_millis(10), 100);

/// Maximum relative deviation of a retry delay.
const JITTER: f64 = 0.2;

/// Which nodes are polled, when and how; shared by all pollers.
#[derive(Debug, Default)]
pub(super) struct PollPlan {
    /// `None` until the first plan is set.
    settings: Option<Arc<PollSettings>>,
    nodes: HashMap<NodeAddr, NodePlan>,
}

/// What differs between nodes.
#[derive(Clone, Debug)]
struct NodePlan {
    /// When the node is polled, from the start of each interval.
    offset: Duration,
    /// The request, shared by all nodes that get the same.
    template: Arc<Template>,
}

/// When and how one node is polled.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) settings: Arc<PollSettings>,
    node: NodePlan,
}

impl PollPlan {
    /// Spreads the nodes over the interval, in their order.
    pub(super) fn new(nodes: &[Node], settings: &PollSettings) -> Self {
        let mut templates = Templates::new(settings);
        let count = nodes.len();
        let nodes = nodes.iter().enumerate().map(|(index, node)| {
            let plan = NodePlan {
                offset: offset(settings.interval, index, count),
                template: templates.of(settings.headers_of(node.addr)),
            };
            (node.addr, plan)
        });
        Self {
            nodes: nodes.collect(),
            settings: Some(Arc::new(settings.clone())),
        }
    }

    /// The schedule of a node; `None` if it is not polled.
    pub(super) fn schedule_of(&self, addr: NodeAddr) -> Option<Schedule> {
        Some(Schedule {
            node: self.nodes.get(&addr)?.clone(),
            settings: self.settings.clone()?,
        })
    }
}

/// Builds one template per distinct set of header fields.
struct Templates<'a> {
    settings: &'a PollSettings,
    built: Vec<(&'a Headers, Arc<Template>)>,
}

impl<'a> Templates<'a> {
    fn new(settings: &'a PollSettings) -> Self {
        Self {
            settings,
            built: Vec::new(),
        }
    }

    fn of(&mut self, headers: &'a Headers) -> Arc<Template> {
        // The settings have one `Headers` per block of nodes, so those of the same block have the same address.
        let built = self
            .built
            .iter()
            .find(|(built, _)| std::ptr::eq(*built, headers));
        if let Some((_, template)) = built {
            return template.clone();
        }
        let template = Arc::new(Template::new("GET", &self.settings.path, headers));
        self.built.push((headers, template.clone()));
        template
    }
}

/// When the `index`th of `count` nodes is polled: they are spread evenly over the interval, rounded down to a slot.
fn offset(interval: Duration, index: usize, count: usize) -> Duration {
    // Never zero; slots of one nanosecond leave each node its own.
    let slot = slot(interval, count).as_nanos().max(1);
    let share = interval.as_nanos() * index as u128 / count as u128;
    Duration::from_nanos(u64::try_from(share / slot * slot).unwrap_or(0))
}

/// The length of a slot.
fn slot(interval: Duration, count: usize) -> Duration {
    let limit = |(slot, divisor): (Duration, u32)| slot.min(interval / divisor);
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let shared = interval.checked_mul(NODES_PER_SLOT).map(|all| all / count);
    let max = limit(MAX_SLOT);
    shared.unwrap_or(max).clamp(limit(MIN_SLOT), max)
}

impl Schedule {
    /// The request to the node.
    pub(super) fn template(&self) -> &Template {
        &self.node.template
    }

    /// Delay before an early retry, if the last poll took `took`: nodes are never polled faster than they respond. With
    /// jitter, so that nodes that failed together are not retried together.
    pub(super) fn retry_delay(&self, took: Duration) -> Duration {
        let jitter = 1.0 + JITTER * (2.0 * fastrand::f64() - 1.0);
        self.settings.retry_interval.mul_f64(jitter).max(took)
    }

    /// When the node is polled next after `now`; intervals are counted from `epoch`.
    pub(super) fn next_poll(&self, epoch: Instant, now: Instant) -> Instant {
        let first = epoch + self.node.offset;
        let Some(passed) = now.checked_duration_since(first) else {
            return first;
        };
        let interval = self.settings.interval.as_nanos();
        let into = u64::try_from(passed.as_nanos() % interval).unwrap_or(0);
        now - Duration::from_nanos(into) + self.settings.interval
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn offset(interval: u64, index: usize, count: usize) -> Duration {
        super::offset(Duration::from_millis(interval), index, count)
    }

    /// The second of four nodes, polled every second.
    fn schedule() -> Schedule {
        let interval = Duration::from_secs(1);
        let settings = PollSettings {
            interval,
            timeout: interval,
            retry_interval: interval / 10,
            ..PollSettings::default()
        };
        let template = Template::new("GET", &settings.path, &settings.headers);
        Schedule {
            settings: Arc::new(settings),
            node: NodePlan {
                offset: offset(1000, 1, 4),
                template: Arc::new(template),
            },
        }
    }

    #[test]
    fn nodes_are_spread_evenly_over_the_interval() {
        let offsets = (0..4).map(|index| offset(1000, index, 4).as_millis());
        assert_eq!(offsets.collect::<Vec<_>>(), [0, 250, 500, 750]);
    }

    #[test]
    fn nodes_share_slots_evenly() {
        for (interval, count, slots) in [
            (1_000, 10, 10),
            (1_000, 100, 40),
            (1_000, 1_000, 100),
            (1_000, 10_000, 100),
            (10_000, 10_000, 1_000),
            (50, 10_000, 100),
        ] {
            let mut nodes_at = BTreeMap::new();
            for index in 0..count {
                *nodes_at.entry(offset(interval, index, count)).or_insert(0) += 1;
            }
            assert_eq!(nodes_at.len(), slots, "{count} nodes in {interval} ms");
            let share = count.div_ceil(slots);
            assert!(nodes_at.values().all(|nodes| *nodes <= share));
        }
    }

    #[test]
    fn a_nodes_schedule_does_not_depend_on_how_long_its_polls_take() {
        let epoch = Instant::now();
        let at = |millis| epoch + Duration::from_millis(millis);
        let schedule = schedule();
        assert_eq!(schedule.next_poll(epoch, at(0)), at(250));
        assert_eq!(
            schedule.next_poll(epoch, at(250)),
            at(1250),
            "the poll of now is over"
        );
        assert_eq!(schedule.next_poll(epoch, at(1249)), at(1250));
        assert_eq!(
            schedule.next_poll(epoch, at(9999)),
            at(10_250),
            "missed polls are not made up for"
        );
    }

    #[test]
    fn a_node_is_retried_soon_but_never_faster_than_it_responds() {
        let schedule = schedule();
        for _ in 0..100 {
            let delay = schedule.retry_delay(Duration::from_millis(1)).as_millis();
            assert!((80..=120).contains(&delay), "{delay}");
        }
        let slow = Duration::from_millis(300);
        assert_eq!(schedule.retry_delay(slow), slow);
    }
}
