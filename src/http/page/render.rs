//! Makes the page's text of what is so: pure.
//!
//! The templates lie beside this file; askama builds them into the program and escapes every text in
//! them. An address and a pool's name can stand in a link as they are: all their characters may.

use askama::Template;

use super::summary::{Group, Groups};
use super::time::When;
use super::{format, versions};
use crate::api;
use crate::model::health::Health;
use crate::model::text::shortened;

pub(super) const STYLE: &str = include_str!("page.css");
pub(super) const SCRIPT: &str = include_str!("page.js");

/// So many nodes are shown, unless all are asked for.
const NODES: usize = 100;

/// With more nodes than these, why they are out is told in sum too.
const FEW: usize = 20;

/// So many problems are listed.
const PROBLEMS: usize = 12;

/// So much of the verdict stands in the title, in characters.
const TITLE: usize = 60;

/// How much needs a person, for the style sheet.
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
        /// Also all nodes that do not simply serve, however many.
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
    /// What was asked for is not there; why.
    Nothing(&'a str),
}

/// The part of the page that changes with what is so.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "main.html", config = "src/http/page/askama.toml")]
pub(super) struct Page<'a> {
    /// This machine's name.
    pub(super) host: &'a str,
    /// How all stands, as far as the page is about it; but for the nodes.
    pub(super) status: &'a api::Status,
    /// The nodes.
    pub(super) listed: &'a Listed,
    /// What it is about.
    pub(super) about: About<'a>,
    /// The last events, the oldest first.
    pub(super) events: &'a [api::Event],
}

/// The nodes of a page.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Those that are shown.
    nodes: Vec<api::Node>,
    /// So many there are.
    all: usize,
    /// Why they are where they are, where they are too many to read.
    reasons: Vec<Group>,
}

impl Listed {
    /// Of these the first are shown, or all; `tell` is asked for no more than is needed. What they
    /// have in common is told in sum of the site's.
    pub(super) fn of<T>(
        nodes: impl Iterator<Item = T>,
        about: About<'_>,
        tell: impl Fn(T) -> api::Node,
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
            let node = tell(node);
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

    /// Only its part that changes, for the script.
    pub(super) fn fragment(&self) -> askama::Result<String> {
        self.render()
    }

    /// How well that is which the page is about, in a line.
    fn verdict(&self) -> &'a str {
        match self.about {
            About::Node(explained) => &explained.verdict,
            About::Site { .. } | About::Pool { .. } => &self.status.verdict,
            About::Nothing(_) => &self.status.site_verdict,
        }
    }

    /// How much needs a person: of what the page is about, or of all where that is worse. A page that is
    /// green is green for all.
    fn health(&self) -> Health {
        let health = match self.about {
            About::Node(explained) => explained.health,
            _ => self.status.health,
        };
        health.max(self.status.site_health)
    }

    /// Of the verdict, for the style sheet.
    fn class(&self) -> &'static str {
        class(self.health())
    }

    /// Of the page's icon.
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

    /// Without the script, the page is loaded anew so often; a long one less often.
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

    /// Where all are shown.
    fn all_nodes(&self) -> String {
        match self.about {
            About::Pool { name, .. } => format!("?pool={name}&all=1"),
            _ => "?all=1".to_owned(),
        }
    }

    /// The nodes, counted: in words, how much that needs a person, and how many.
    fn counts(&self) -> [(&'static str, &'static str, usize); 9] {
        let counts = &self.status.counts;
        [
            ("nodes", "", counts.nodes),
            ("members", "good", counts.members),
            ("of these failing", "warning", counts.failing),
            ("failed", "bad", counts.failed),
            ("refused", "bad", counts.refused),
            ("disabled", "ordered", counts.disabled),
            ("leaving", "leaving", counts.leaving),
            ("idle", "quiet", counts.idle),
            ("awaited", "quiet", counts.awaited),
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
