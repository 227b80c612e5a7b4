//! Writing metric families: a name with its help, and under it a sample for each set of labels.
//!
//! Names are written as they are scraped, including `_total` and the unit, so that a search finds them.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::drivers::family::{Family, FamilyKind, Sample, Value};

/// The labels of a sample: names and values, which may be any text.
pub(super) type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

/// A distribution of durations.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HistogramData<'a> {
    /// The upper bounds of the buckets, in seconds.
    pub(super) bounds: &'a [f64],
    /// Number of durations per bucket, not cumulative; the last is for those above all bounds.
    pub(super) counts: &'a [u64],
    /// Sum of all durations.
    pub(super) sum: Duration,
}

/// Writes families.
pub(super) struct Families<'a>(DescriptorEncoder<'a>);

impl<'a> Families<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// A value that can go up and down.
    pub(super) fn gauge(
        &mut self,
        name: &'static str,
        help: &str,
        value: impl EncodeGaugeValue,
    ) -> fmt::Result {
        self.gauges(name, help, [([], value)])
    }

    /// A value that goes up and down, by labels. Without a sample nothing is written.
    pub(super) fn gauges<'l, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &'static str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result {
        self.family(
            (name, help, MetricType::Gauge),
            samples,
            |encoder, value| encoder.encode_gauge(&value),
        )
    }

    /// A number that only grows.
    pub(super) fn counter(
        &mut self,
        name: &'static str,
        help: &str,
        value: impl EncodeCounterValue,
    ) -> fmt::Result {
        self.counters(name, help, [([], value)])
    }

    /// A number that only grows, by labels. Without a sample nothing is written.
    pub(super) fn counters<'l, const N: usize, V: EncodeCounterValue>(
        &mut self,
        name: &'static str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result {
        self.family(
            (without_total(name), help, MetricType::Counter),
            samples,
            |encoder, value| encoder.encode_counter::<NoLabelSet, _, f64>(&value, None),
        )
    }

    /// A distribution of durations, by labels. Without a sample nothing is written.
    pub(super) fn histograms<'l, const N: usize>(
        &mut self,
        name: &'static str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, HistogramData<'l>)>,
    ) -> fmt::Result {
        self.family(
            (name, help, MetricType::Histogram),
            samples,
            |encoder, times| {
                let bounds = times.bounds.iter().copied().chain([f64::INFINITY]);
                let buckets: Vec<_> = bounds.zip(times.counts.iter().copied()).collect();
                let count = times.counts.iter().sum();
                let sum = times.sum.as_secs_f64();
                encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
            },
        )
    }

    /// A family that is a value already. Without a sample nothing is written.
    pub(super) fn write(&mut self, family: &Family) -> fmt::Result {
        if family.samples.is_empty() {
            return Ok(());
        }
        let (name, kind) = match family.kind {
            FamilyKind::Gauge => (family.name, MetricType::Gauge),
            FamilyKind::Counter => (without_total(family.name), MetricType::Counter),
        };
        let (name, unit) = split_unit(name);
        let mut encoder = self
            .0
            .encode_descriptor(name, family.help, unit.as_ref(), kind)?;
        for Sample { labels, value } in &family.samples {
            let mut encoder = encoder.encode_family(labels)?;
            match (family.kind, value) {
                (FamilyKind::Gauge, Value::Whole(value)) => encoder.encode_gauge(value)?,
                (FamilyKind::Gauge, Value::Real(value)) => encoder.encode_gauge(value)?,
                (FamilyKind::Counter, Value::Whole(value)) => {
                    encoder.encode_counter::<NoLabelSet, _, f64>(value, None)?;
                }
                (FamilyKind::Counter, Value::Real(value)) => {
                    encoder.encode_counter::<NoLabelSet, _, f64>(value, None)?;
                }
            }
        }
        Ok(())
    }

    fn family<'l, const N: usize, V>(
        &mut self,
        (name, help, kind): (&str, &str, MetricType),
        samples: impl IntoIterator<Item = (Labels<'l, N>, V)>,
        write: impl Fn(&mut MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let (name, unit) = split_unit(name);
        let mut encoder = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for (labels, value) in samples {
            if N == 0 {
                write(&mut encoder, value)?;
            } else {
                write(&mut encoder.encode_family(&labels)?, value)?;
            }
        }
        Ok(())
    }
}

/// The name without `_total`, which the encoder adds again to each sample.
fn without_total(name: &str) -> &str {
    name.strip_suffix("_total").unwrap_or(name)
}

/// The name without its unit, which the encoder adds again.
fn split_unit(name: &str) -> (&str, Option<Unit>) {
    for unit in [Unit::Seconds, Unit::Bytes] {
        let stem = name.strip_suffix(unit.as_str());
        if let Some(stem) = stem.and_then(|stem| stem.strip_suffix('_')) {
            return (stem, Some(unit));
        }
    }
    (name, None)
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;
    use proptest::prelude::*;

    use super::*;

    /// Something that writes families.
    struct Writing<W>(W);

    impl<W> fmt::Debug for Writing<W> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Writing")
        }
    }

    impl<W> Collector for Writing<W>
    where
        W: Fn(&mut Families<'_>) -> fmt::Result + Send + Sync + 'static,
    {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            self.0(&mut Families::new(encoder))
        }
    }

    fn written<W>(write: W) -> String
    where
        W: Fn(&mut Families<'_>) -> fmt::Result + Send + Sync + 'static,
    {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Writing(write)));
        let mut text = String::new();
        text::encode_registry(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn a_family_is_named_as_it_is_scraped() {
        let text = written(|families| {
            families.gauge("a_frozen", "Whether.", 1_u32)?;
            families.counters("a_cpu_seconds_total", "Time.", [([("mode", "user")], 0.5)])?;
            families.gauges::<1, u64>("a_absent", "Nobody.", [])
        });
        let expected = "\
            # HELP a_frozen Whether.\n\
            # TYPE a_frozen gauge\n\
            a_frozen 1\n\
            # HELP a_cpu_seconds Time.\n\
            # TYPE a_cpu_seconds counter\n\
            # UNIT a_cpu_seconds seconds\n\
            a_cpu_seconds_total{mode=\"user\"} 0.5\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn buckets_are_cumulated_up_to_infinity() {
        let text = written(|families| {
            let times = HistogramData {
                bounds: &[0.0005, 1.0],
                counts: &[2, 0, 3],
                sum: Duration::from_millis(9_500),
            };
            families.histograms("a_seconds", "Times.", [([("who", "x")], times)])
        });
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "a_seconds_sum{who=\"x\"} 9.5",
            "a_seconds_count{who=\"x\"} 5",
            "a_seconds_bucket{le=\"0.0005\",who=\"x\"} 2",
            "a_seconds_bucket{le=\"1.0\",who=\"x\"} 2",
            "a_seconds_bucket{le=\"+Inf\",who=\"x\"} 5",
        ];
        assert_eq!(samples, expected);
    }

    /// A label's value as a scraper parses it: up to the quote that ends it.
    fn read_value(text: &str) -> Option<(String, &str)> {
        let mut value = String::new();
        let mut chars = text.strip_prefix('"')?.chars();
        loop {
            value.push(match chars.next()? {
                '"' => return Some((value, chars.as_str())),
                '\n' => return None,
                '\\' => match chars.next()? {
                    'n' => '\n',
                    escaped @ ('\\' | '"') => escaped,
                    _ => return None,
                },
                plain => plain,
            });
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_a_label(one in any::<String>(), other in r#"[\\"\n{}, a]{0,20}"#) {
            let (told_one, told_other) = (one.clone(), other.clone());
            let text = written(move |families| {
                let labels = [("one", told_one.as_str()), ("other", told_other.as_str())];
                families.gauges("a", "Help.", [(labels, 1_u32)])
            });
            let sample = text.strip_prefix("# HELP a Help.\n# TYPE a gauge\na{one=").unwrap();
            let (read_one, rest) = read_value(sample).unwrap();
            let (read_other, rest) = read_value(rest.strip_prefix(",other=").unwrap()).unwrap();
            prop_assert_eq!((read_one, read_other, rest), (one, other, "} 1\n"));
        }
    }
}
