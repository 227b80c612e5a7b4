//! Renders the page: pure.
//!
//! The templates are beside this file; askama compiles them into the program and escapes every text in
//! them. Addresses and names of pools need no encoding in links: all their characters are allowed there.

use askama::Template;

use super::summary::{Group, Groups};
use super::time::When;
use super::{format, versions};
use crate::api;
use crate::model::health::Health;
use crate::model::text::shortened;
use crate::model::weight::WeightSource;

pub(super) const STYLE: &str = include_str!("page.css");
pub(super) const SCRIPT: &str = include_str!("page.js");

/// Maximum number of nodes that are shown, unless all are requested.
const NODES: usize = 100;

/// With more nodes than this, there is a summary of why they are out.
const FEW: usize = 20;

/// Maximum number of problems that are listed.
const PROBLEMS: usize = 12;

/// Maximum length of the verdict in the title, in characters.
const TITLE: usize = 60;

/// The class of the health in the style sheet.
pub(super) fn class(health: Health) -> &'static str {
    match health {
        Health::Ok => "good",
        Health::Degraded => "warning",
        Health::Critical => "bad",
    }
}

/// What a page is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum About<'a> {
    /// Everything.
    Site {
        /// All nodes not in full service, however many.
        all: bool,
    },
    /// A pool and its nodes.
    Pool {
        /// Its name.
        name: &'a str,
        /// All nodes, however many.
        all: bool,
    },
    /// A node.
    Node(&'a api::Explanation),
    /// What was requested does not exist, and why.
    Nothing(&'a str),
}

/// The changing part of the page.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "main.html", config = "src/http/page/askama.toml")]
pub(super) struct Page<'a> {
    /// The name of this machine.
    pub(super) host: &'a str,
    /// The state, as far as the page is about it, without the nodes.
    pub(super) status: &'a api::Status,
    /// The nodes.
    pub(super) listed: &'a NodeTable,
    /// What it is about.
    pub(super) about: About<'a>,
    /// Recent events, the oldest first.
    pub(super) events: &'a [api::Event],
}

/// The nodes of a page.
#[derive(Debug, Default)]
pub(super) struct NodeTable {
    /// The ones that are shown.
    nodes: Vec<api::Node>,
    /// How many there are.
    all: usize,
    /// Why they are out, if there are too many to read.
    reasons: Vec<Group>,
}

impl NodeTable {
    /// Shows the first of these, or all, and calls `convert` for no more than needed. For the whole site
    /// there is a summary.
    pub(super) fn of<T>(
        nodes: impl Iterator<Item = T>,
        about: About<'_>,
        convert: impl Fn(T) -> api::Node,
    ) -> Self {
        let (limit, summed_up) = match about {
            About::Site { all } => (if all { usize::MAX } else { NODES }, true),
            About::Pool { all, .. } => (if all { usize::MAX } else { NODES }, false),
            About::Node(_) | About::Nothing(_) => return Self::default(),
        };
        let (mut listed, mut groups) = (Self::default(), Groups::default());
        for node in nodes {
            listed.all += 1;
            if listed.nodes.len() >= limit && !summed_up {
                continue;
            }
            let node = convert(node);
            if summed_up {
                groups.count(&node);
            }
            if listed.nodes.len() < limit {
                listed.nodes.push(node);
            }
        }
        if listed.all > FEW {
            listed.reasons = groups.largest();
        }
        listed
    }

    /// There is none.
    pub(super) fn is_empty(&self) -> bool {
        self.all == 0
    }
}

/// The whole page.
#[derive(Template)]
#[template(path = "page.html", config = "src/http/page/askama.toml")]
struct Document<'a> {
    main: Page<'a>,
    style: &'static str,
    script: &'static str,
}

impl<'a> Page<'a> {
    /// The whole page.
    pub(super) fn document(&self) -> askama::Result<String> {
        let main = *self;
        let (style, script) = (STYLE, SCRIPT);
        Document {
            main,
            style,
            script,
        }
        .render()
    }

    /// Only the changing part, for the script.
    pub(super) fn fragment(&self) -> askama::Result<String> {
        self.render()
    }

    /// The verdict on what the page is about.
    fn verdict(&self) -> &'a str {
        match self.about {
            About::Node(explained) => &explained.verdict,
            About::Site { .. } | About::Pool { .. } => &self.status.verdict,
            About::Nothing(_) => &self.status.site_verdict,
        }
    }

    /// The health of what the page is about, or the overall health if that is worse: a green page means
    /// that everything is OK.
    fn health(&self) -> Health {
        let health = match self.about {
            About::Node(explained) => explained.health,
            _ => self.status.health,
        };
        health.max(self.status.site_health)
    }

    /// The class of the verdict in the style sheet.
    fn class(&self) -> &'static str {
        class(self.health())
    }

    /// The colour of the page's icon.
    fn colour(&self) -> &'static str {
        match self.health() {
            Health::Ok => "green",
            Health::Degraded => "orange",
            Health::Critical => "red",
        }
    }

    fn title(&self) -> String {
        let about = match self.about {
            About::Site { .. } => None,
            About::Pool { name, .. } => Some(name),
            About::Node(explained) => Some(explained.node.name.as_str()),
            About::Nothing(_) => Some("nothing"),
        };
        let verdict = shortened(self.verdict(), TITLE);
        let parts = [
            about,
            Some(verdict.as_str()),
            Some(self.host),
            Some("pollbal"),
        ];
        let parts: Vec<_> = parts
            .into_iter()
            .flatten()
            .filter(|part| !part.is_empty())
            .collect();
        parts.join(" · ")
    }

    /// Interval at which the page reloads without the script; longer for a long page.
    fn refresh_seconds(&self) -> u32 {
        if self.listed.nodes.len() > NODES {
            60
        } else {
            5
        }
    }

    fn is_site(&self) -> bool {
        matches!(self.about, About::Site { .. })
    }

    fn problems(&self) -> &'a [api::HealthProblem] {
        let problems = &self.status.problems;
        &problems[..problems.len().min(PROBLEMS)]
    }

    fn more_problems(&self) -> usize {
        self.status.problems.len() - self.problems().len()
    }

    fn more_nodes(&self) -> usize {
        self.listed.all - self.listed.nodes.len()
    }

    /// The link to all nodes.
    fn all_nodes(&self) -> String {
        match self.about {
            About::Pool { name, .. } => format!("?pool={name}&all=1"),
            _ => "?all=1".to_owned(),
        }
    }

    /// The number of nodes by state: label, class in the style sheet, and number.
    fn counts(&self) -> [(&'static str, &'static str, usize); 9] {
        let counts = &self.status.counts;
        [
            ("nodes", "", counts.nodes),
            ("members", "good", counts.members),
            ("failing", "warning", counts.failing),
            ("failed", "bad", counts.failed),
            ("refused", "bad", counts.refused),
            ("disabled", "ordered", counts.disabled),
            ("leaving", "leaving", counts.leaving),
            ("idle", "quiet", counts.idle),
            ("not polled yet", "quiet", counts.awaited),
        ]
    }

    fn ago(&self, time: &str) -> When {
        When::ago(time, &self.status.time)
    }

    fn length(&self, time: &str) -> When {
        When::length(time, &self.status.time)
    }

    fn clock(&self, time: &str) -> When {
        When::clock(time, &self.status.time)
    }
}
