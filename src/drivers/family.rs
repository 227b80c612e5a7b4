//! Metric families that drivers bring: the load balancers' own statistics, as plain values.

/// A metric family: samples of the same name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Its name as it is scraped, with `_total` and unit.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// How its values change.
    pub kind: FamilyKind,
    /// Its samples. The load balancer's address is added to their labels.
    pub samples: Vec<Sample>,
}

/// How the values of a family change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    /// They go up and down.
    Gauge,
    /// They only grow, until the load balancer is restarted.
    Counter,
}

/// A value with its labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Names and values, which may be any text.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: Value,
}

/// A value: a count stays one, and is written without a decimal point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A count.
    Whole(u64),
    /// A measure.
    Real(f64),
}

impl Family {
    /// A value that goes up and down.
    pub fn gauge<const N: usize>(
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = ([(&'static str, String); N], Value)>,
    ) -> Self {
        Self::new(FamilyKind::Gauge, name, help, samples)
    }

    /// A number that only grows.
    pub fn counter<const N: usize>(
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = ([(&'static str, String); N], Value)>,
    ) -> Self {
        Self::new(FamilyKind::Counter, name, help, samples)
    }

    fn new<const N: usize>(
        kind: FamilyKind,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = ([(&'static str, String); N], Value)>,
    ) -> Self {
        let sample = |(labels, value): ([_; N], Value)| Sample {
            labels: labels.into(),
            value,
        };
        Self {
            name,
            help,
            kind,
            samples: samples.into_iter().map(sample).collect(),
        }
    }
}
