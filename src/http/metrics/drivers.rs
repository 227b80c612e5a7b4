//! The load balancers: what pollbal does there, and each one's own statistics.
//!
//! What is not known, as while a load balancer is not connected, has no sample: a number that is not
//! known is not 0.

use std::fmt;
use std::sync::Arc;

use super::families::{Families, HistogramData, Labels};
use crate::drivers::details::{Counters, Histogram};
use crate::drivers::family::{Family, Sample};
use crate::model::driver_status::DriverId;

/// One load balancer.
#[derive(Clone, Debug)]
pub(super) struct LoadBalancer {
    pub(super) id: DriverId,
    pub(super) connected: bool,
    pub(super) in_sync: bool,
    /// Number of removed members that are not drained.
    pub(super) draining: u64,
    /// What its driver knows; `None` if it did not answer in time.
    pub(super) known: Option<Known>,
    /// Its own statistics.
    pub(super) statistics: Option<Arc<[Family]>>,
}

/// What a driver knows.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Since when it is in sync or is not, in seconds since 1970.
    pub(super) in_sync_since: f64,
    pub(super) counters: Counters,
}

/// All load balancers.
pub(super) struct LoadBalancers<'a>(pub(super) &'a [LoadBalancer]);

impl<'a> LoadBalancers<'a> {
    pub(super) fn write(&self, families: &mut Families<'_>) -> fmt::Result {
        self.write_status(families)?;
        self.write_counters(families)?;
        self.write_times(families)?;
        self.write_statistics(families)
    }

    fn samples<V>(
        &self,
        value: impl Fn(&'a LoadBalancer) -> Option<V>,
    ) -> impl Iterator<Item = (Labels<'a, 2>, V)> {
        let each = self.0.iter();
        each.filter_map(move |one| Some((labels(&one.id), value(one)?)))
    }

    fn write_status(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauges(
            "pollbal_lb_connected",
            "1 if the load balancer is connected and was read.",
            self.samples(|one| Some(u64::from(one.connected))),
        )?;
        families.gauges(
            "pollbal_lb_in_sync",
            "1 if the load balancer has everything as desired, as read back.",
            self.samples(|one| Some(u64::from(one.in_sync))),
        )?;
        families.gauges(
            "pollbal_lb_in_sync_since_timestamp_seconds",
            "Since when pollbal_lb_in_sync has its value, in seconds since 1970.",
            self.samples(|one| Some(one.known.as_ref()?.in_sync_since)),
        )?;
        families.gauges(
            "pollbal_lb_draining_nodes",
            "Removed members to which the load balancer may still have busy connections.",
            self.samples(|one| Some(one.draining)),
        )
    }

    fn write_counters(&self, families: &mut Families<'_>) -> fmt::Result {
        let commands = self.0.iter().flat_map(|one| {
            let known = one.known.iter();
            let commands = known.flat_map(|known| &known.counters.commands);
            commands.map(|(command, count)| {
                let [driver, address] = labels(&one.id);
                ([driver, address, ("command", *command)], *count)
            })
        });
        families.counters(
            "pollbal_lb_commands_total",
            "Commands given to the load balancer, by kind.",
            commands,
        )?;
        let mut counter = |name, help, value: fn(&Counters) -> u64| {
            let value = |one: &LoadBalancer| Some(value(&one.known.as_ref()?.counters));
            families.counters(name, help, self.samples(value))
        };
        counter(
            "pollbal_lb_errors_total",
            "Commands that the load balancer answered with an error.",
            |counters| counters.errors,
        )?;
        counter(
            "pollbal_lb_connections_total",
            "Connections over which the load balancer was read; all but the first are reconnects.",
            |counters| counters.connections,
        )?;
        counter(
            "pollbal_lb_reads_total",
            "Completed reads of the load balancer's state.",
            |counters| counters.reads,
        )
    }

    fn write_times(&self, families: &mut Families<'_>) -> fmt::Result {
        let times = |histogram: fn(&Counters) -> &Histogram| {
            self.samples(move |one| {
                let histogram = histogram(&one.known.as_ref()?.counters);
                Some(HistogramData {
                    bounds: &Histogram::BOUNDS,
                    counts: histogram.counts(),
                    sum: histogram.sum(),
                })
            })
        };
        families.histograms(
            "pollbal_lb_propagation_seconds",
            "From a node's response to the load balancer's acknowledgement of the last change that it caused.",
            times(|counters| &counters.propagation),
        )?;
        families.histograms(
            "pollbal_lb_apply_seconds",
            "From a change of the desired state to the load balancer's acknowledgement of it.",
            times(|counters| &counters.apply),
        )
    }

    /// The families that the drivers bring, each with the samples of all load balancers.
    fn write_statistics(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauges(
            "pollbal_lb_up",
            "1 if the load balancer returned its own statistics.",
            self.samples(|one| Some(u64::from(one.statistics.is_some()))),
        )?;
        let mut all: Vec<Family> = Vec::new();
        for one in self.0 {
            for family in one.statistics.iter().flat_map(|families| families.iter()) {
                let samples = family
                    .samples
                    .iter()
                    .map(|sample| labelled(&one.id, sample));
                match all.iter_mut().find(|known| known.name == family.name) {
                    Some(known) => known.samples.extend(samples),
                    None => all.push(Family {
                        samples: samples.collect(),
                        ..family.clone()
                    }),
                }
            }
        }
        all.iter().try_for_each(|family| families.write(family))
    }
}

fn labels(id: &DriverId) -> Labels<'_, 2> {
    [("driver", id.kind.key), ("address", &id.address)]
}

/// The sample of a driver's own family, whose name has the kind of load balancer.
fn labelled(id: &DriverId, sample: &Sample) -> Sample {
    let address = ("address", id.address.to_string());
    let labels = sample.labels.iter().cloned();
    Sample {
        labels: [address].into_iter().chain(labels).collect(),
        value: sample.value,
    }
}
