//! Version 1 of what the listeners serve and the commands print with `--json`: its types.
//!
//! Fields are only ever added. Times of day are RFC 3339 in UTC with milliseconds; durations are milliseconds, their
//! names end in `_ms`. A node is identified as `ip:port`. What is unknown is omitted or `null`. A response in JSON is one
//! line.
//!
//! `docs/api.md` describes the requests, their responses, status codes, and what each command prints; a new field needs a
//! row there.

mod commands;
pub(crate) mod event;
pub mod hooks;
mod state;

pub use commands::{LeaveAnswer, LeaveStep, RollStep, Step};
pub use state::State;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::model::health::{Health, Severity};
use crate::model::time::Timestamp;

/// The header that each request at the node door must have, with whatever value. No browser, and no
/// webhook whose address alone can be chosen, sends it by itself.
pub const NODE_HEADER: &str = "Pollbal-Request";

/// A time of day as all of version 1 has it.
#[must_use]
pub fn time(at: Timestamp) -> String {
    humantime::format_rfc3339_millis(SystemTime::from(at)).to_string()
}

/// How all stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// pollbal's version.
    pub version: String,
    /// When this was so.
    pub time: String,
    /// Since when pollbal runs.
    pub started: String,
    /// How well it is: `ok`, `degraded` or `critical`. Of all, or of what was asked for: a node by itself,
    /// a pool with all that concerns it.
    pub health: Health,
    /// The same in a line for people, with the numbers: `DEGRADED: 5 of 12 nodes down (api 3/5, web 2/4)`.
    pub verdict: String,
    /// Why it is not `ok`, the worst first.
    pub problems: Vec<HealthProblem>,
    /// How well all is, whatever was asked for.
    pub site_health: Health,
    /// The same in a line for people.
    pub site_verdict: String,
    /// Whether `site_health` is `ok`.
    pub healthy: bool,
    /// All problems, whatever was asked for, the most severe first.
    pub site_problems: Vec<HealthProblem>,
    /// Whether each node was heard once.
    pub first_round_done: bool,
    /// Why failures put nobody out; empty when they do.
    pub frozen: Vec<Reason>,
    /// How many nodes are where.
    pub counts: Counts,
    /// The pools, by name.
    pub pools: Vec<Pool>,
    /// The nodes: all that were asked for; else those that are not simply serving.
    pub nodes: Vec<Node>,
    /// Orders for addresses that the services file does not list any more: they would hold again if it
    /// did. Not told where something else is asked for.
    #[serde(default)]
    pub gone: Vec<GoneOrders>,
    /// The pool files.
    pub files: Files,
    /// The Perlbals.
    pub perlbals: Vec<Perlbal>,
    /// The number of the last event.
    pub last_event: u64,
}

/// Something that is not well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthProblem {
    /// What kind of thing it is, such as `pool_empty`; for what `alert_hook` is told, in its words.
    pub kind: String,
    /// How much it matters: `degraded` or `critical`.
    pub severity: Severity,
    /// What it is about: a pool, a node, a Perlbal's address, a file; or `nodes` or `orders`, all of them.
    pub subject: String,
    /// What it is, for people.
    pub text: String,
    /// Since when, of one that `alert_hook` is told and that has held for some seconds.
    pub since: Option<String>,
}

/// The orders for an address that is no node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoneOrders {
    /// `ip:port`.
    pub node: String,
    /// Why it is disabled.
    pub reasons: Vec<Reason>,
    /// The leave that it was granted.
    pub grant: Option<Grant>,
}

/// How many nodes are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Nodes of the services file.
    pub nodes: usize,
    /// In a pool.
    pub members: usize,
    /// Of these, failing: not yet often enough, or held by `min_members` or a freeze.
    pub failing: usize,
    /// Out: it said so, or was granted leave.
    pub leaving: usize,
    /// Out: it serves nothing.
    pub idle: usize,
    /// Out: it did not answer properly.
    pub failed: usize,
    /// Out: it announced a pool that it may not join.
    pub refused: usize,
    /// Out: for reasons that people gave.
    pub disabled: usize,
    /// Not heard yet, or enabled and not heard since.
    pub awaited: usize,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Whether the configuration declares it.
    pub declared: bool,
    /// How many members it has, sorry servers apart.
    pub members: usize,
    /// How many of them serve, as far as is known: that have not failed `fall` times in a row.
    pub serving: usize,
    /// Its `min_members`.
    pub min_members: usize,
    /// Whether fewer serve than `min_members`.
    pub short: bool,
    /// How many members are at which version.
    pub versions: Vec<VersionCount>,
    /// Who is leaving it.
    pub leaving: usize,
    /// The sorry servers that stand in now; empty else.
    pub sorry: Vec<String>,
}

/// How many members are at a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionCount {
    /// The version; none for members that told none.
    pub version: Option<String>,
    /// How many.
    pub members: usize,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// `ip:port`.
    pub node: String,
    /// What people call it.
    pub name: String,
    /// `member`, `leaving`, `idle`, `failed`, `refused`, `disabled`, or `awaited`.
    pub state: State,
    /// The pool that it is in, or the one it last spoke of.
    pub pool: Option<String>,
    /// The version that it told there.
    pub version: Option<String>,
    /// For people, to stand beside its state: why it is out, or what is wrong though it is in.
    pub why: Option<String>,
    /// Since when it is where it is; of a member that fails, since its first failure in a row.
    pub since: Option<String>,
    /// Whether it fails, though it is a member.
    pub failing: bool,
    /// The reasons that people gave.
    pub reasons: Vec<Reason>,
    /// The leave that it was granted.
    pub grant: Option<Grant>,
    /// Whether no load balancer has it in a pool that a service uses, nor a busy connection to it; `null`
    /// for a member.
    pub at_rest: Option<bool>,
}

/// A reason that someone gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Its name.
    pub reason: String,
    /// What people should know of it.
    pub note: Option<String>,
    /// Who gave it.
    pub by: Option<String>,
    /// When.
    pub since: String,
    /// When it ends by itself.
    pub until: Option<String>,
}

/// A leave that was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// When.
    pub since: String,
    /// When it ends by itself.
    pub until: String,
}

/// The pool files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Whether they hold what is wanted.
    pub in_sync: bool,
}

/// One Perlbal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Perlbal {
    /// Its management address.
    pub address: String,
    /// Whether there is a connection to it.
    pub connected: bool,
    /// For people: which version it is, or why it is not connected and what waits to be applied there.
    pub connection: String,
    /// Why, while it is not connected.
    #[serde(default)]
    pub away: Option<Away>,
    /// Whether all is there as it is wanted.
    pub in_sync: bool,
    /// Since when that is so, or not.
    pub since: Option<String>,
    /// What is wrong there, a line each.
    pub problems: Vec<String>,
    /// Each pool as it is wanted, told and seen; those that were asked for, else those in which these
    /// differ.
    pub pools: Vec<PerlbalPool>,
    /// Removed members that are not at rest yet.
    pub unrest: Vec<Unrest>,
}

/// A load balancer that cannot be driven now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Away {
    /// Since when.
    pub since: String,
    /// How it is: `not answering`, `not reachable`, `closing connections`, `not a Perlbal`, `not usable`;
    /// empty before the first attempt has ended.
    pub state: String,
    /// What the last attempt showed, for people.
    pub cause: String,
    /// The first nodes whose changes wait to be applied: `+name` joins, `-name` is removed.
    pub not_applied: Vec<String>,
    /// How many there are in all.
    pub not_applied_count: usize,
}

/// A pool in a Perlbal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerlbalPool {
    /// Its name there.
    pub name: String,
    /// How many members are wanted.
    pub wanted: usize,
    /// How many Perlbal was told of; none when the pool is not there.
    pub told: Option<usize>,
    /// How many were seen there when it was last read.
    pub seen: Option<usize>,
    /// When that was.
    pub seen_at: Option<String>,
    /// Whether members were told since, which `seen` therefore does not show.
    #[serde(default)]
    pub told_since: bool,
    /// The services that use it.
    pub services: Vec<String>,
    /// Whether wanted, told and seen are the same members; while this Perlbal is in sync, but for those
    /// that were told since it was seen.
    pub same: bool,
}

/// A removed member that is not at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrest {
    /// `ip:port`.
    pub node: String,
    /// The pools there that it left.
    pub pools: Vec<String>,
    /// Since when.
    pub since: String,
}

/// All about one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// When this was so.
    pub time: String,
    /// How well the node is; out by order is well.
    pub health: Health,
    /// The same in a line for people.
    pub verdict: String,
    /// The node.
    pub node: Node,
    /// What it last answered.
    pub answer: Option<Answer>,
    /// Failures in a row.
    pub failures: u32,
    /// Good answers in a row.
    pub answers: u32,
    /// What must happen for it to be a member; empty when it is one.
    pub comes_back: Vec<String>,
    /// What was decided of late, the oldest first.
    pub history: Vec<Event>,
    /// Where it stands in each Perlbal.
    pub perlbals: Vec<NodeInPerlbal>,
}

/// What a node answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// In words.
    pub text: String,
    /// When it was asked.
    pub time: String,
    /// How long the whole answer took, in milliseconds.
    pub took_ms: f64,
    /// How long until it is polled next at the latest, by the interval.
    pub interval_ms: u64,
    /// For people: when it is asked again.
    #[serde(default)]
    pub next: String,
}

/// Where a node stands in a Perlbal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInPerlbal {
    /// Its management address.
    pub address: String,
    /// For people, such as "told, at rest", or that there is no connection.
    pub text: String,
    /// Whether Perlbal was told where the node is now.
    pub told: bool,
    /// Whether no service there has it in its pool, and no connection to it is busy; `null` for a member.
    pub at_rest: Option<bool>,
    /// Why it is not known, while there is no connection.
    #[serde(default)]
    pub away: Option<Away>,
}

/// The members of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The pool.
    pub pool: String,
    /// Its members, in the order of the services file.
    pub members: Vec<Member>,
}

/// A member of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `ip:port`.
    pub node: String,
    /// What people call it.
    pub name: String,
    /// The version that it told.
    pub version: Option<String>,
    /// Whether it is a sorry server.
    #[serde(default)]
    pub sorry: bool,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// The oldest first.
    pub events: Vec<Event>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up from 1 since the start of pollbal.
    pub id: u64,
    /// When.
    pub time: String,
    /// `info`, `warning` or `error`.
    pub level: String,
    /// What, in one word.
    pub kind: String,
    /// The node that it is about, `ip:port`.
    pub node: Option<String>,
    /// What people call that.
    pub name: Option<String>,
    /// The pool that it is about.
    pub pool: Option<String>,
    /// What, for people.
    pub text: String,
}

/// Puts nodes out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disable {
    /// Which.
    pub nodes: Vec<String>,
    /// The name of the reason.
    pub reason: String,
    /// What people should know of it.
    #[serde(default)]
    pub note: Option<String>,
    /// Who gives it.
    #[serde(default)]
    pub by: Option<String>,
    /// For how long; without it, until it is taken back.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// Also when that takes a pool below its `min_members`.
    #[serde(default)]
    pub force: bool,
}

/// Takes a reason away from nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enable {
    /// Which.
    pub nodes: Vec<String>,
    /// The name of the reason.
    pub reason: String,
    /// Who takes it away.
    #[serde(default)]
    pub by: Option<String>,
}

/// Takes back the leaves that nodes were granted, where they do not do so themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stay {
    /// Which; one that has no leave stays as it is.
    pub nodes: Vec<String>,
    /// Who takes them back.
    #[serde(default)]
    pub by: Option<String>,
}

/// Lets failures put nobody out, or ends that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// The name of the reason.
    pub reason: String,
    /// What people should know of it.
    #[serde(default)]
    pub note: Option<String>,
    /// Who gives it.
    #[serde(default)]
    pub by: Option<String>,
}

/// Has nodes polled now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nudge {
    /// Which; none: all.
    #[serde(default)]
    pub nodes: Vec<String>,
}

/// An order is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ordered {
    /// The nodes that it is about, as they are now.
    pub nodes: Vec<Node>,
    /// What should be known though it was done, a line each.
    pub warnings: Vec<String>,
}

/// What a reload may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// Remove the nodes that the services file does not name any more, however many they are.
    #[serde(default)]
    pub accept_removals: bool,
}

/// A reload is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// How many nodes there are now.
    pub nodes: usize,
    /// Whether all is in force that was read, and that is the newest there is; left out when it is.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub applied: bool,
    /// The names of the nodes that stay although the services file does not name them: it would remove
    /// too much at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
    /// What a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

fn yes() -> bool {
    true
}

/// How far nodes have come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Whether all have reached it.
    pub done: bool,
    /// Each of them.
    pub nodes: Vec<NodeProgress>,
}

/// How far a node has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeProgress {
    /// `ip:port`.
    pub node: String,
    /// What people call it.
    pub name: String,
    /// Whether it has reached what is waited for.
    pub done: bool,
    /// For people: where it is now.
    pub text: String,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// Out, and at rest in every Perlbal.
    Rest,
    /// A member that serves, and every Perlbal was told so.
    Serving,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// For people, perhaps of several lines.
    pub error: String,
    /// Whether the same order with `force` would be carried out; only there when it would.
    #[serde(default, skip_serializing_if = "is_false")]
    pub can_be_forced: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}
