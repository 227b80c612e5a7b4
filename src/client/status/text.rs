//! The answer of `pollbal status` in words: pools first, then nodes, load balancers, what is not right.

use std::fmt::Write;

use super::super::terminal::{Paint, Table, Tone};
use super::super::words::{ago, between, named, reason, span};
use super::phrases::{
    connection, counts, granted, health_tone, is_out, remark, states, sync, tone, urgency,
    versions, why,
};
use crate::api::{Draining, LoadBalancer, LoadBalancerPool, Node, Status};
use crate::logging::count;
use crate::model::text::printable;

/// So many rows of what is not right are shown; more of them nobody reads.
const ROWS: usize = 20;

/// The whole view. What was `asked` for by name is shown whatever its length.
pub(super) fn render(status: &Status, asked: bool, paint: Paint) -> String {
    let Parts { body, verdict } = parts(status, asked, paint);
    format!("{body}\n{verdict}")
}

/// A view in two, for where not all of it may have room.
pub(super) struct Parts {
    /// How all stands.
    pub(super) body: String,
    /// The problems, and the verdict in its last line.
    pub(super) verdict: String,
}

/// The whole view, in two.
pub(super) fn parts(status: &Status, asked: bool, paint: Paint) -> Parts {
    let view = View {
        status,
        asked,
        paint,
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
    asked: bool,
    paint: Paint,
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
            let told = reason(freeze, &status.time);
            let line = format!("frozen, failures put nobody out: {told}");
            text += &self.line(Tone::Notable, &line);
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
            let (tone, remark) = remark(pool);
            table.row(
                tone,
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
        table.render(&[1, 2, 3, 4], self.paint)
    }

    fn nodes(&self) -> String {
        let mut nodes: Vec<_> = self.status.nodes.iter().collect();
        if nodes.is_empty() {
            return String::new();
        }
        let shown = if self.asked { nodes.len() } else { ROWS };
        if nodes.len() > shown {
            // What needs a person comes first.
            nodes.sort_by_key(|node| urgency(node));
        }
        let mut table = Table::new(&["NODE", "ADDRESS", "POOL", "STATE", "SINCE", "WHY"]);
        for node in nodes.iter().take(shown) {
            table.row(tone(node), &self.node(node));
        }
        let mut text = table.render(&[], self.paint);
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
        let since = node.since.as_ref().map(|since| ago(since, now));
        [
            node.name.clone(),
            node.node.clone(),
            pool,
            node.word().to_owned(),
            since.unwrap_or_default(),
            why(node, now),
        ]
    }

    /// Orders for addresses that are no nodes, and how each is taken back.
    fn gone(&self) -> String {
        let mut table = Table::new(&["ORDER FOR NO NODE", "WHY", "TO TAKE IT BACK"]);
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
            reasons.chain(grant)
        });
        let rows: Vec<_> = rows.collect();
        if rows.is_empty() {
            return String::new();
        }
        for (node, why, back) in rows.iter().take(ROWS) {
            table.row(Tone::Notable, &[(*node).clone(), why.clone(), back.clone()]);
        }
        let mut text = table.render(&[], self.paint);
        if rows.len() > ROWS {
            _ = writeln!(text, "and {} more: `--json` tells all", rows.len() - ROWS);
        }
        text
    }

    fn load_balancers(&self) -> String {
        let status = self.status;
        let mut table = Table::new(&["LOAD BALANCER", "STATE", "SINCE", "DRAINING", ""]);
        for one in &status.load_balancers {
            let draining = match one.draining.len() {
                0 if one.connected => "none".to_owned(),
                0 => "unknown".to_owned(),
                busy => busy.to_string(),
            };
            let since = one.since.as_ref().map(|since| ago(since, &status.time));
            let (tone, state) = sync(one);
            let row = [
                one.address.clone(),
                state.to_owned(),
                since.unwrap_or_default(),
                draining,
                connection(one, &status.time),
            ];
            table.row(tone, &row);
        }
        let mut text = if status.load_balancers.is_empty() {
            String::new()
        } else {
            table.render(&[], self.paint)
        };
        if !status.files.in_sync {
            text += &self.line(Tone::Bad, "pool files: not in sync");
        }
        text + &self.load_balancer_pools()
    }

    /// Desired, sent and observed members, pool by pool.
    fn load_balancer_pools(&self) -> String {
        let rows: Vec<_> = self
            .status
            .load_balancers
            .iter()
            // Where all is in sync, what else there is to say of a pool is no news.
            .filter(|one| self.asked || !one.in_sync)
            .flat_map(|one| one.pools.iter().map(move |pool| (one, pool)))
            .collect();
        if rows.is_empty() {
            return String::new();
        }
        let shown = if self.asked { rows.len() } else { ROWS };
        let mut table = Table::new(&[
            "POOL THERE",
            "LOAD BALANCER",
            "DESIRED",
            "SENT",
            "OBSERVED",
            "CHECKED",
            "SERVICES",
        ]);
        for (one, pool) in rows.iter().take(shown) {
            let tone = if pool.same || one.in_sync {
                Tone::Plain
            } else {
                Tone::Bad
            };
            table.row(tone, &self.load_balancer_pool(one, pool));
        }
        let mut text = format!("\n{}", table.render(&[2, 3, 4], self.paint));
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

    /// Removed members that still have requests.
    fn draining(&self) -> String {
        let all: Vec<_> = self
            .status
            .load_balancers
            .iter()
            .flat_map(|one| one.draining.iter().map(move |draining| (one, draining)))
            .collect();
        let mut text = String::new();
        for (one, draining) in all.iter().take(ROWS) {
            text += &self.line(Tone::Notable, &self.busy(one, draining));
        }
        if all.len() > ROWS {
            _ = writeln!(text, "and {} more: `--json` shows all", all.len() - ROWS);
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
            (health_tone(problem.severity.health()), text)
        });
        let there = status.load_balancers.iter().flat_map(|one| {
            let told = |problem: &String| (Tone::Bad, format!("{}: {problem}", one.address));
            one.problems.iter().map(told)
        });
        let lines: Vec<_> = problems.chain(there).collect();
        for (tone, line) in lines.iter().take(ROWS) {
            text += &self.line(*tone, line);
        }
        if lines.len() > ROWS {
            _ = writeln!(text, "and {} more: `--json` shows all", lines.len() - ROWS);
        }
        // Whoever looks at a part must not take it for all.
        if status.site_health > status.health {
            let line = format!("of all: {}", status.site_verdict);
            text += &self.line(health_tone(status.site_health), &line);
        }
        text + &self.line(health_tone(status.health), &status.verdict)
    }

    fn line(&self, tone: Tone, text: &str) -> String {
        let text = printable(text);
        self.paint.tone(tone, &text) + "\n"
    }
}

#[cfg(test)]
mod tests;
