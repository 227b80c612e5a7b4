//! Renders numbers as text. Pure.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use super::core::CoreStats;
use super::drivers::{LoadBalancer, LoadBalancers};
use super::families::Families;
use super::hooks::HookStats;
use super::http::{self, ListenerStats};
use super::nodes::{self, Node};
use super::process::Process;

/// All numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    pub(super) core: CoreStats,
    pub(super) load_balancers: Vec<LoadBalancer>,
    pub(super) hooks: HookStats,
    pub(super) listeners: Vec<ListenerStats>,
    pub(super) process: Process,
    /// Only with `metrics_per_node`.
    pub(super) nodes: Vec<Node>,
}

impl Values {
    /// The text, in `OpenMetrics`.
    pub(super) fn render(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut open_metrics = String::new();
        text::encode(&mut open_metrics, &registry)?;
        Ok(open_metrics)
    }
}

impl Collector for Values {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families::new(encoder);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        families.gauges(
            "pollbal_build_info",
            "pollbal's version.",
            [(version, 1_u64)],
        )?;
        self.core.write(&mut families)?;
        self.hooks.write(&mut families)?;
        http::write(&self.listeners, &mut families)?;
        LoadBalancers(&self.load_balancers).write(&mut families)?;
        nodes::write(&self.nodes, &mut families)?;
        self.process.write(&mut families)
    }
}

#[cfg(test)]
mod tests;
