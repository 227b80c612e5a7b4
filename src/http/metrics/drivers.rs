//! The Perlbals: what pollbal does there, and what each tells of itself.
//!
//! What a Perlbal does not tell, as while it is not reached, has no sample: a number that is not known
//! is not 0.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeCounterValue, EncodeGaugeValue};

use super::families::{Families, HistogramData, Labels};
use crate::drivers::perlbal::counters::{Counters, Histogram};
use crate::drivers::perlbal::statistics::{NodeStatistics, Nodes, Queues, Statistics, Waiting};
use crate::model::node::NodeAddr;

/// One Perlbal.
#[derive(Clone, Debug, Default)]
pub(super) struct Perlbal {
    /// Its management address.
    pub(super) address: String,
    pub(super) connected: bool,
    pub(super) in_sync: bool,
    /// Removed members that are not at rest.
    pub(super) unrest: u64,
    /// What its manager told; nothing when that did not answer in time.
    pub(super) known: Option<Known>,
    /// What Perlbal tells of itself.
    pub(super) statistics: Option<Arc<Statistics>>,
}

/// What a manager knows.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Since when it is in sync or is not, in seconds since 1970.
    pub(super) in_sync_since: f64,
    pub(super) counters: Counters,
}

/// All Perlbals.
pub(super) struct Perlbals<'a>(pub(super) &'a [Perlbal]);

impl<'a> Perlbals<'a> {
    pub(super) fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        self.write_standing(families)?;
        self.write_counters(families)?;
        self.write_times(families)?;
        self.write_process(families)?;
        self.write_queues(families)?;
        self.write_connections(families)?;
        self.write_nodes(families)
    }

    /// A gauge with one sample for each Perlbal that has the value.
    fn gauge<V: EncodeGaugeValue>(
        &self,
        families: &mut Families<'_>,
        (name, help): (&'static str, &str),
        value: impl Fn(&Perlbal) -> Option<V>,
    ) -> fmt::Result {
        families.gauges(name, help, self.samples(value))
    }

    /// A counter with one sample for each Perlbal that has the value.
    fn counter<V: EncodeCounterValue>(
        &self,
        families: &mut Families<'_>,
        (name, help): (&'static str, &str),
        value: impl Fn(&Perlbal) -> Option<V>,
    ) -> fmt::Result {
        families.counters(name, help, self.samples(value))
    }

    fn samples<V>(
        &self,
        value: impl Fn(&'a Perlbal) -> Option<V>,
    ) -> impl Iterator<Item = (Labels<'a, 1>, V)> {
        self.0.iter().filter_map(move |perlbal| {
            let labels = [("perlbal", perlbal.address.as_str())];
            Some((labels, value(perlbal)?))
        })
    }

    /// What those that tell of themselves told.
    fn told(&self) -> impl Iterator<Item = (&'a str, &'a Statistics)> {
        let told = self.0.iter();
        told.filter_map(|perlbal| Some((perlbal.address.as_str(), perlbal.statistics.as_deref()?)))
    }

    fn write_standing(&self, families: &mut Families<'_>) -> fmt::Result {
        self.gauge(
            families,
            (
                "pollbal_perlbal_connected",
                "Whether Perlbal is reached and was read.",
            ),
            |perlbal| Some(u64::from(perlbal.connected)),
        )?;
        self.gauge(
            families,
            (
                "pollbal_perlbal_in_sync",
                "Whether all is in Perlbal as it is wanted, read back.",
            ),
            |perlbal| Some(u64::from(perlbal.in_sync)),
        )?;
        self.gauge(
            families,
            (
                "pollbal_perlbal_in_sync_since_timestamp_seconds",
                "Since when pollbal_perlbal_in_sync has its value, in seconds since 1970.",
            ),
            |perlbal| Some(perlbal.known.as_ref()?.in_sync_since),
        )?;
        self.gauge(
            families,
            (
                "pollbal_perlbal_unrest_nodes",
                "Removed members to which Perlbal may still have busy connections.",
            ),
            |perlbal| Some(perlbal.unrest),
        )
    }

    fn write_counters(&self, families: &mut Families<'_>) -> fmt::Result {
        let commands = self.0.iter().flat_map(|perlbal| {
            let known = perlbal.known.iter();
            let commands = known.flat_map(|known| &known.counters.commands);
            commands.map(|(command, count)| {
                let labels = [("perlbal", perlbal.address.as_str()), ("command", *command)];
                (labels, *count)
            })
        });
        families.counters(
            "pollbal_perlbal_commands_total",
            "Commands that were given to Perlbal, by kind.",
            commands,
        )?;
        let mut counter = |name, value: fn(&Counters) -> u64| {
            self.counter(families, name, |perlbal| {
                Some(value(&perlbal.known.as_ref()?.counters))
            })
        };
        counter(
            (
                "pollbal_perlbal_errors_total",
                "Commands that Perlbal answered with an error.",
            ),
            |counters| counters.errors,
        )?;
        counter(
            (
                "pollbal_perlbal_connections_total",
                "Connections over which Perlbal was read; all but the first are reconnects.",
            ),
            |counters| counters.connections,
        )?;
        counter(
            (
                "pollbal_perlbal_readings_total",
                "Readings of what is in Perlbal that came to their end.",
            ),
            |counters| counters.readings,
        )
    }

    fn write_times(&self, families: &mut Families<'_>) -> fmt::Result {
        let times = |histogram: fn(&Counters) -> &Histogram| {
            self.samples(move |perlbal| {
                let histogram = histogram(&perlbal.known.as_ref()?.counters);
                Some(HistogramData {
                    bounds: &Histogram::BOUNDS,
                    counts: histogram.counts(),
                    sum: histogram.sum(),
                })
            })
        };
        families.histograms(
            "pollbal_answer_to_ok_seconds",
            "From a node's answer to Perlbal's last OK to the change that it caused.",
            times(|counters| &counters.answer_to_ok),
        )?;
        families.histograms(
            "pollbal_snapshot_to_ok_seconds",
            "From a change of what is wanted to Perlbal's last OK to it.",
            times(|counters| &counters.snapshot_to_ok),
        )
    }

    fn write_process(&self, families: &mut Families<'_>) -> fmt::Result {
        self.gauge(
            families,
            (
                "perlbal_up",
                "Whether Perlbal told of itself when it was asked.",
            ),
            |perlbal| Some(u64::from(perlbal.statistics.is_some())),
        )?;
        let versions = self.told().filter_map(|(perlbal, told)| {
            let version = told.version.as_deref()?;
            Some(([("perlbal", perlbal), ("version", version)], 1_u64))
        });
        families.gauges("perlbal_build_info", "Perlbal's version.", versions)?;
        self.gauge(
            families,
            (
                "perlbal_start_time_seconds",
                "When Perlbal was started, in seconds since 1970.",
            ),
            |perlbal| perlbal.statistics.as_ref()?.start,
        )?;
        let cpu = self.told().flat_map(|(perlbal, told)| {
            let modes = [
                ("user", told.process.user_time),
                ("system", told.process.system_time),
            ];
            modes.into_iter().filter_map(move |(mode, time)| {
                Some(([("perlbal", perlbal), ("mode", mode)], time?.as_secs_f64()))
            })
        });
        families.counters(
            "perlbal_cpu_seconds_total",
            "Time that Perlbal spent on processors.",
            cpu,
        )?;
        self.counter(
            families,
            (
                "perlbal_requests_total",
                "Requests of clients, of all services of Perlbal.",
            ),
            |perlbal| perlbal.statistics.as_ref()?.process.requests,
        )
    }

    fn write_queues(&self, families: &mut Families<'_>) -> fmt::Result {
        let queues = |told: &'a Statistics| {
            let queues = told.queues.iter();
            queues.flat_map(|(service, queues)| by_priority(service.as_str(), *queues))
        };
        let samples = || {
            self.told().flat_map(move |(perlbal, told)| {
                queues(told).map(move |([service, priority], waiting)| {
                    ([("perlbal", perlbal), service, priority], waiting)
                })
            })
        };
        families.gauges(
            "perlbal_queue_clients",
            "Clients that wait for a connection to a node, by service and priority.",
            samples().map(|(labels, waiting)| (labels, waiting.count)),
        )?;
        families.gauges(
            "perlbal_queue_oldest_seconds",
            "For how long the first of them has waited.",
            samples().map(|(labels, waiting)| (labels, seconds(waiting.oldest))),
        )
    }

    fn write_connections(&self, families: &mut Families<'_>) -> fmt::Result {
        let pending = || {
            self.told().flat_map(|(perlbal, told)| {
                let pending = told.pending.iter();
                pending.map(move |(service, waiting)| {
                    (
                        [("perlbal", perlbal), ("service", service.as_str())],
                        waiting,
                    )
                })
            })
        };
        families.gauges(
            "perlbal_pending_connections",
            "Connections to nodes that are being made, by service.",
            pending().map(|(labels, waiting)| (labels, waiting.count)),
        )?;
        families.gauges(
            "perlbal_pending_oldest_seconds",
            "For how long the first of them is being made.",
            pending().map(|(labels, waiting)| (labels, seconds(waiting.oldest))),
        )?;
        self.gauge(
            families,
            (
                "perlbal_failed_verifications",
                "Nodes that failed verification of late (`verify_backend`).",
            ),
            |perlbal| Some(perlbal.statistics.as_ref()?.failed_verifications.len() as u64),
        )?;
        let sockets = self.told().flat_map(|(perlbal, told)| {
            told.sockets.iter().map(move |((kind, state), count)| {
                let labels = [("perlbal", perlbal), ("kind", kind), ("state", state)];
                (labels, *count)
            })
        });
        families.gauges(
            "perlbal_sockets",
            "Perlbal's sockets, by kind and state.",
            sockets,
        )
    }

    fn write_nodes(&self, families: &mut Families<'_>) -> fmt::Result {
        let told: Vec<_> = self
            .told()
            .filter_map(|(perlbal, told)| Some((perlbal, by_node(&told.nodes)?)))
            .collect();
        let samples = |value: fn(&NodeStatistics) -> u64| {
            told.iter().flat_map(move |(perlbal, nodes)| {
                nodes.iter().map(move |(node, counted)| {
                    (
                        [("perlbal", *perlbal), ("node", node.as_str())],
                        value(counted),
                    )
                })
            })
        };
        families.gauges(
            "perlbal_node_connections",
            "Perlbal's open connections to a node.",
            samples(|node| node.connections),
        )?;
        families.counters(
            "perlbal_node_requests_total",
            "Requests that a node answered on connections that could then be used again.",
            samples(|node| node.requests),
        )?;
        families.counters(
            "perlbal_node_connection_attempts_total",
            "Connections to a node that Perlbal began.",
            samples(|node| node.attempts),
        )
    }
}

type Label<'a> = (&'static str, &'a str);

fn by_priority(service: &str, queues: Queues) -> impl Iterator<Item = ([Label<'_>; 2], Waiting)> {
    let priorities = [
        ("normal", queues.normal),
        ("high", queues.high_priority),
        ("low", queues.low_priority),
    ];
    let samples = priorities.into_iter();
    samples
        .map(move |(priority, waiting)| ([("service", service), ("priority", priority)], waiting))
}

/// What is told by node, with the nodes' addresses as texts.
fn by_node(nodes: &Nodes) -> Option<Vec<(String, &NodeStatistics)>> {
    let Nodes::Told(nodes) = nodes else {
        return None;
    };
    Some(texts(nodes))
}

fn texts(nodes: &BTreeMap<NodeAddr, NodeStatistics>) -> Vec<(String, &NodeStatistics)> {
    let nodes = nodes.iter();
    nodes
        .map(|(addr, counted)| (addr.to_string(), counted))
        .collect()
}

/// Perlbal tells whole ones.
fn seconds(time: Duration) -> u64 {
    time.as_secs()
}
