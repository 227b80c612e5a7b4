//! Formats the status for people: pools first, then nodes, load balancers, and problems.

use std::fmt::Write;

use super::super::format::{age, ago, between, named, reason, span};
use super::super::terminal::{Colors, Style, Table};
use super::format::{
    connection, counts, granted, health_style, is_out, remark, states, style, sync, urgency,
    versions, why,
};
use crate::api::{Draining, LoadBalancer, LoadBalancerPool, Node, Status};
use crate::logging::count;
use crate::model::text::printable;

/// Maximum number of rows per table or list, unless pools or nodes were named.
const MAX_ROWS: usize = 20;

/// The whole text. If pools or nodes were `named`, all of their rows are shown.
pub(super) fn render(status: &Status, named: bool, colors: Colors) -> String {
    let Parts { body, verdict } = parts(status, named, colors);
    format!("{body}\n{verdict}")
}

/// The text in two parts, for a screen that may be too small for both.
pub(super) struct Parts {
    /// The tables.
    pub(super) body: String,
    /// The problems, and the verdict as the last line.
    pub(super) verdict: String,
}

/// The whole text, in two parts.
pub(super) fn parts(status: &Status, named: bool, colors: Colors) -> Parts {
    let view = View {
        status,
        named,
        colors,
    };
    let sections = [
        view.head(),
        view.pools(),
        view.nodes(),
        view.gone(),
        view.load_balancers(),
        view.draining(),
    ];
    let sections: Vec<_> = sections
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect();
    Parts {
        body: sections.join("\n"),
        verdict: view.verdict(),
    }
}

struct View<'a> {
    status: &'a Status,
    named: bool,
    colors: Colors,
}

impl View<'_> {
    fn head(&self) -> String {
        let status = self.status;
        let up = between(&status.started, &status.time).map(span);
        let mut text = format!(
            "pollbal {}, up {}: {}\n",
            status.version,
            up.unwrap_or_else(|| format!("since {}", status.started)),
            counts(&status.counts)
        );
        for freeze in &status.frozen {
            let reason = reason(freeze, &status.time);
            let line = format!("frozen, failed nodes stay in: {reason}");
            text += &self.line(Style::Warning, &line);
        }
        text
    }

    fn pools(&self) -> String {
        if self.status.pools.is_empty() {
            return String::new();
        }
        let mut table = Table::new(&["POOL", "MEMBERS", "SERVING", "MIN", "OUT", "VERSIONS", ""]);
        for pool in &self.status.pools {
            let out = self
                .status
                .nodes
                .iter()
                .filter(|node| is_out(node) && node.pool.as_ref() == Some(&pool.name))
                .count();
            let (style, remark) = remark(pool);
            table.row(
                style,
                &[
                    pool.name.clone(),
                    pool.members.to_string(),
                    pool.serving.to_string(),
                    pool.min_members.to_string(),
                    out.to_string(),
                    versions(&pool.versions),
                    remark,
                ],
            );
        }
        table.render(&[1, 2, 3, 4], self.colors)
    }

    fn nodes(&self) -> String {
        let mut nodes: Vec<_> = self.status.nodes.iter().collect();
        if nodes.is_empty() {
            return String::new();
        }
        let shown = if self.named { nodes.len() } else { MAX_ROWS };
        if nodes.len() > shown {
            // What needs attention comes first.
            nodes.sort_by_key(|node| urgency(node));
        }
        let mut table = Table::new(&["NODE", "ADDRESS", "POOL", "STATE", "FOR", "WHY"]);
        for node in nodes.iter().take(shown) {
            table.row(style(node), &self.node(node));
        }
        let mut text = table.render(&[], self.colors);
        if let Some(rest) = nodes.get(shown..).filter(|rest| !rest.is_empty()) {
            _ = writeln!(
                text,
                "and {} more ({}): `pollbal status POOL` shows all nodes of a pool, `--json` all that are not serving",
                rest.len(),
                states(rest)
            );
        }
        text
    }

    fn node(&self, node: &Node) -> [String; 6] {
        let now = &self.status.time;
        let pool = match (&node.pool, &node.version) {
            (Some(pool), Some(version)) => format!("{pool} {version}"),
            (Some(pool), None) => pool.clone(),
            (None, _) => "-".to_owned(),
        };
        let since = node.since.as_ref().map(|since| age(since, now));
        [
            node.name.clone(),
            node.node.clone(),
            pool,
            node.word().to_owned(),
            since.unwrap_or_default(),
            why(node, now),
        ]
    }

    /// Orders for addresses that are no longer nodes, and the command that removes each.
    fn gone(&self) -> String {
        let mut table = Table::new(&["ORDER FOR UNLISTED NODE", "WHY", "REMOVED BY"]);
        let now = &self.status.time;
        let rows = self.status.gone.iter().flat_map(|gone| {
            let reasons = gone.reasons.iter().map(|given| {
                let back = format!("pollbal enable {} --reason {}", gone.node, given.reason);
                (&gone.node, reason(given, now), back)
            });
            let grant = gone.grant.iter().map(|grant| {
                let why = granted(grant, now);
                let back = format!("pollbal enable {} --leave", gone.node);
                (&gone.node, why, back)
            });
            let weight = gone.weight.iter().map(|given| {
                let why = format!("weight {}: {}", given.weight, reason(&given.reason, now));
                let back = format!("pollbal weight {} --reset", gone.node);
                (&gone.node, why, back)
            });
            reasons.chain(grant).chain(weight)
        });
        let rows: Vec<_> = rows.collect();
        if rows.is_empty() {
            return String::new();
        }
        for (node, why, back) in rows.iter().take(MAX_ROWS) {
            table.row(
                Style::Warning,
                &[(*node).clone(), why.clone(), back.clone()],
            );
        }
        let mut text = table.render(&[], self.colors);
        if rows.len() > MAX_ROWS {
            _ = writeln!(
                text,
                "and {} more: `--json` shows all",
                rows.len() - MAX_ROWS
            );
        }
        text
    }

    fn load_balancers(&self) -> String {
        let status = self.status;
        let mut table = Table::new(&["LOAD BALANCER", "STATE", "FOR", "DRAINING", ""]);
        for one in &status.load_balancers {
            let draining = match one.draining.len() {
                0 if one.connected => "none".to_owned(),
                0 => "unknown".to_owned(),
                busy => busy.to_string(),
            };
            let since = one.since.as_ref().map(|since| age(since, &status.time));
            let (style, state) = sync(one);
            let row = [
                one.address.clone(),
                state.to_owned(),
                since.unwrap_or_default(),
                draining,
                connection(one, &status.time),
            ];
            table.row(style, &row);
        }
        let mut text = if status.load_balancers.is_empty() {
            String::new()
        } else {
            table.render(&[], self.colors)
        };
        if !status.files.in_sync {
            text += &self.line(Style::Error, "pool files: not in sync");
        }
        text + &self.load_balancer_pools()
    }

    /// For each pool, the number of members that are desired, acknowledged and observed.
    fn load_balancer_pools(&self) -> String {
        let rows: Vec<_> = self
            .status
            .load_balancers
            .iter()
            // Where everything is in sync, remarks on a pool are no news.
            .filter(|one| self.named || !one.in_sync)
            .flat_map(|one| one.pools.iter().map(move |pool| (one, pool)))
            .collect();
        if rows.is_empty() {
            return String::new();
        }
        let shown = if self.named { rows.len() } else { MAX_ROWS };
        let mut table = Table::new(&[
            "POOL",
            "LOAD BALANCER",
            "DESIRED",
            "ACKED",
            "OBSERVED",
            "CHECKED",
            "SERVICES",
        ]);
        for (one, pool) in rows.iter().take(shown) {
            let style = if pool.same || one.in_sync {
                Style::Plain
            } else {
                Style::Error
            };
            table.row(style, &self.load_balancer_pool(one, pool));
        }
        let mut text = format!("\n{}", table.render(&[2, 3, 4], self.colors));
        if rows.len() > shown {
            let more = count(rows.len() - shown, "pool");
            _ = writeln!(text, "and {more} more: `--json` shows all that differ");
        }
        text
    }

    fn load_balancer_pool(&self, one: &LoadBalancer, pool: &LoadBalancerPool) -> [String; 7] {
        let number = |number: Option<usize>| number.map_or("-".to_owned(), |n| n.to_string());
        let checked = pool.observed_at.as_ref().map(|at| {
            let ago = ago(at, &self.status.time);
            if pool.sent_since {
                format!("{ago}, before the last change")
            } else {
                ago
            }
        });
        [
            pool.name.clone(),
            one.address.clone(),
            pool.desired.to_string(),
            number(pool.sent),
            number(pool.observed),
            checked.unwrap_or_else(|| "never".to_owned()),
            pool.services.join(", "),
        ]
    }

    /// Removed members that are still draining.
    fn draining(&self) -> String {
        let all: Vec<_> = self
            .status
            .load_balancers
            .iter()
            .flat_map(|one| one.draining.iter().map(move |draining| (one, draining)))
            .collect();
        let mut text = String::new();
        for (one, draining) in all.iter().take(MAX_ROWS) {
            text += &self.line(Style::Warning, &self.busy(one, draining));
        }
        if all.len() > MAX_ROWS {
            _ = writeln!(
                text,
                "and {} more: `--json` shows all",
                all.len() - MAX_ROWS
            );
        }
        text
    }

    fn busy(&self, one: &LoadBalancer, draining: &Draining) -> String {
        let known = self
            .status
            .nodes
            .iter()
            .find(|node| node.node == draining.node);
        let name = known.map_or(draining.node.as_str(), |node| &node.name);
        format!(
            "{} is still draining in {} (removed from {} {})",
            named(name, &draining.node),
            one.address,
            draining.pools.join(", "),
            ago(&draining.since, &self.status.time)
        )
    }

    fn verdict(&self) -> String {
        let status = self.status;
        let mut text = String::new();
        let problems = status.problems.iter().map(|problem| {
            let since = problem.since.as_ref();
            let since = since.map(|since| format!(" (since {})", ago(since, &status.time)));
            let text = format!("{}{}", problem.text, since.unwrap_or_default());
            (health_style(problem.severity.health()), text)
        });
        let reported = status.load_balancers.iter().flat_map(|one| {
            let line = |problem: &String| (Style::Error, format!("{}: {problem}", one.address));
            one.problems.iter().map(line)
        });
        let lines: Vec<_> = problems.chain(reported).collect();
        for (style, line) in lines.iter().take(MAX_ROWS) {
            text += &self.line(*style, line);
        }
        if lines.len() > MAX_ROWS {
            _ = writeln!(
                text,
                "and {} more: `--json` shows all",
                lines.len() - MAX_ROWS
            );
        }
        // A verdict on a part must not be mistaken for the overall one.
        if status.site_health > status.health {
            let line = format!("overall: {}", status.site_verdict);
            text += &self.line(health_style(status.site_health), &line);
        }
        text + &self.line(health_style(status.health), &status.verdict)
    }

    fn line(&self, style: Style, text: &str) -> String {
        let text = printable(text);
        self.colors.paint(style, &text) + "\n"
    }
}

#[cfg(test)]
mod tests;
