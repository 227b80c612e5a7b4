//! What a source says of a node that is not polled.

use std::time::{Duration, Instant};

use super::node::NodeAddr;
use super::observation::Observation;

/// What a source said of one node, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The node.
    pub addr: NodeAddr,
    /// What it said.
    pub said: Said,
    /// When the source was asked.
    pub asked_at: Instant,
    /// From then until its whole answer was there.
    pub took: Duration,
}

/// What a source says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// What a poll of it would have given.
    Observed(Observation),
    /// It leaves, or has left, from wherever it is.
    Leaves,
}
