//! Version 1 of what the doors answer and the commands print with `--json`.
//!
//! Fields are only ever added. Times of day are RFC 3339 in UTC with milliseconds; lengths of time
//! are milliseconds, their names end in `_ms`. A node is told as `ip:port`. What is not known is left
//! out or `null`. An answer in JSON is one line.
//!
//! | request at the admin door | answer |
//! | --- | --- |
//! | `GET /v1/status[?node=N…][&pool=P…][&of=W…]` | [`Status`]; with `node` or `pool` only of these; W is either, a pool if there is one |
//! | `GET /v1/explain?node=N` | [`Explanation`] |
//! | `GET /v1/members?pool=P` | [`Members`] |
//! | `GET /v1/events[?after=ID][&limit=N][&follow=true]` | [`Events`]; followed, an [`Event`] a line for ever |
//! | `GET /v1/wait?node=N…&until=rest\|serving[&timeout_ms=T][&again=true]` | [`Progress`], as soon as all is reached or the time is over; `again`: asked before, so a node that is gone from the services file since is told instead of refused |
//! | `POST /v1/disable` [`Disable`] | [`Ordered`] |
//! | `POST /v1/enable` [`Enable`] | [`Ordered`] |
//! | `POST /v1/stay` [`Stay`] | [`Ordered`] |
//! | `POST /v1/freeze`, `/v1/thaw` [`Freeze`] | [`Ordered`] |
//! | `POST /v1/nudge` [`Nudge`] | [`Ordered`] |
//! | `POST /v1/reload` | [`Reloaded`] |
//! | `GET /`, `/stream`, `/metrics`, `/healthz`, `/readyz` | the page, what tells it to look again, metrics, and probes: a line of text each |
//!
//! N is a node's name, `ip:port`, or `ip` where only one node has it; W a pool's name where there is
//! such a pool, else an N. The status door answers the same `GET`s, but for `/v1/wait`. What is refused is
//! answered by [`Problem`]; at the status door only below `/v1/`, else by its `error` as a line of text,
//! as at the node door.
//!
//! | status | why |
//! | --- | --- |
//! | 400 | the request is wrong |
//! | 403 | who asks is no node of the services file (node door) |
//! | 404 | there is no such node or pool, or no such path |
//! | 405 | the path is not for this method |
//! | 408 | head or body of the request came too slowly |
//! | 409 | refused as things are: `min_members` asks for it, or an order is somebody else's, or there is none to take back |
//! | 413 | the body is too long |
//! | 422 | a reload's errors |
//! | 429 | asked too often (node door); `Retry-After` says when to ask again |
//! | 431 | the head is too long |
//! | 500 | a fault of pollbal; its log says more |
//! | 503 | pollbal is ending, or has too much to do: ask again; of `/readyz`: not ready |
//!
//! | command with `--json` | prints |
//! | --- | --- |
//! | `status` | [`Status`]; with `--watch` one a line, whenever it changes |
//! | `explain` | [`Explanation`] |
//! | `members` | [`Members`] |
//! | `events` | [`Events`]; with `--follow` an [`Event`] a line |
//! | `wait` | [`Progress`], in the end |
//! | `disable`, `enable` | [`Ordered`]; with `--wait` [`Progress`] instead |
//! | `nudge`, `freeze`, `thaw` | [`Ordered`] |
//! | `reload` | [`Reloaded`] |
//! | `roll` | a [`RollStep`] a line |
//! | `leave` | a [`LeaveStep`] a line |
//!
//! A command that the daemon refuses prints the [`Problem`]. For people the same stands on standard
//! error, as does what no JSON tells: that no daemon answers, and what a command of `roll` or
//! `leave --back` says.

mod commands;
pub(crate) mod event;
pub mod hooks;
mod state;

pub use commands::{LeaveAnswer, LeaveStep, RollStep, Step};
pub use state::State;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::model::time::Timestamp;

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
    /// Whether all is in sync and there is enough of it: each node was heard, files and Perlbals are in
    /// sync, no declared pool is below its `min_members`, and no sorry server stands in. Then the exit
    /// code of `status` is 0. Whether a person must know something all the same, `conditions` tells.
    pub all_right: bool,
    /// What is not, a line each.
    pub troubles: Vec<String>,
    /// What a person must know besides: of that which `alert_hook` is told, all that stands and that
    /// `troubles` does not say.
    #[serde(default)]
    pub conditions: Vec<Condition>,
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
    /// The pool files.
    pub files: Files,
    /// The Perlbals.
    pub perlbals: Vec<Perlbal>,
    /// The number of the last event.
    pub last_event: u64,
}

/// Something that holds and that a person must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What kind of thing it is, such as `services_refused`, in the words of `alert_hook`.
    pub kind: String,
    /// What it is about: a file.
    pub subject: String,
    /// What it is, for people.
    pub text: String,
    /// Since when it holds.
    pub since: String,
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
    /// Whether no load balancer has a busy connection to it; `null` for a member.
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
    /// For people: which version it is, or why it is not connected.
    pub connection: String,
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
    /// Whether no connection to it is busy there; `null` for a member.
    pub at_rest: Option<bool>,
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

/// A reload is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// How many nodes the services file names.
    pub nodes: usize,
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
}
