//! Events: what happened, with the one text that both the log and the [event log](super::event_log) show.

use std::sync::Arc;

use humantime::format_duration;

use super::change::{Assignment, Change, OutReason};
use super::names::PoolName;
use super::node::Node;
use super::node_view::Retention;
use super::observation::Failure;
use super::overrides::{WeightOverride, words};
use super::time::Timestamp;

/// Something that happened, as the event log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Counts up from 1 since the program started.
    pub id: u64,
    /// When it happened.
    pub at: Timestamp,
    /// How serious it is.
    pub severity: Severity,
    /// What happened, as a stable identifier: programs may rely on it.
    pub kind: &'static str,
    /// The node that it concerns.
    pub node: Option<Arc<Node>>,
    /// The pool that it concerns.
    pub pool: Option<PoolName>,
    /// Whether it results from a request of an operator or the node, or from the end of one, rather than from polls.
    pub requested: bool,
    /// Whether the log omits it, because it has a line about the pool or a problem instead.
    pub quiet: bool,
    /// What happened, for people.
    pub text: String,
}

/// The content of an event before the event log gives it a number: usually describes a [`Change`].
#[derive(Clone, Debug)]
pub struct EventText<'a> {
    /// How serious it is.
    pub severity: Severity,
    /// What happened, as a stable identifier: programs may rely on it.
    pub kind: &'static str,
    /// The node that it concerns.
    pub node: Option<&'a Arc<Node>>,
    /// The pool that it concerns.
    pub pool: Option<&'a PoolName>,
    /// Whether it results from a request of an operator or the node, or from the end of one, rather than from polls.
    pub requested: bool,
    /// Whether the log omits it, because it has a line about the pool or a problem instead.
    pub quiet: bool,
    /// What happened, for people.
    pub text: String,
}

/// How serious an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Normal operation.
    Info,
    /// Something failed.
    Warning,
    /// Something is wrong and remains so until someone fixes it.
    Error,
}

impl Event {
    /// The name of the node or pool that it concerns, or `pollbal`.
    #[must_use]
    pub fn subject(&self) -> &str {
        match (&self.node, &self.pool) {
            (Some(node), _) => &node.name,
            (None, Some(pool)) => pool.as_str(),
            (None, None) => "pollbal",
        }
    }
}

impl<'a> EventText<'a> {
    /// Describes a change.
    #[must_use]
    pub fn from_change(change: &'a Change) -> Self {
        match change {
            Change::Joined(node, place) => Self::member(
                "joined",
                node,
                place,
                format!("{} joins {place}", node.name),
            ),
            Change::Moved(node, from, to) => {
                let text = format!("{} moves from {from} to {to}", node.name);
                Self::member("moved", node, to, text)
            }
            Change::Unversioned(node, place, refusal) => {
                let text = format!(
                    "{} is in {}, but in no version pool: {refusal}",
                    node.name, place.pool
                );
                Self {
                    severity: Severity::Warning,
                    ..Self::member("unversioned", node, place, text)
                }
            }
            Change::Left(node, from, why) => Self::left(node, from, why),
            Change::RemainsOut(node, why) => Self {
                severity: severity(why),
                pool: refused_pool(why),
                ..Self::node("out", node, format!("{} is in no pool: {why}", node.name))
            },
            Change::Removed(node, from) => {
                let source = node.origin.source();
                let text = format!("{} removed from {from}: no longer in {source}", node.name);
                Self::member("removed", node, from, text)
            }
            Change::Held(pool, min_members) => Self {
                severity: Severity::Warning,
                ..Self::pool(
                    "held",
                    pool,
                    format!(
                        "{pool} would drop below min_members ({min_members}): keeping failed members in"
                    ),
                )
            },
            Change::Released(pool) => {
                let text = format!("{pool} no longer keeps failed members in");
                Self::pool("released", pool, text)
            }
            Change::Kept(node, place, by, failure) => Self {
                severity: Severity::Warning,
                quiet: *by == Retention::Held,
                ..Self::member("kept", node, place, kept(node, place, *by, failure))
            },
            Change::Recovered(node, place, by) => {
                let text = format!("{} responds again, in {place}", node.name);
                Self {
                    quiet: *by == Retention::Held,
                    ..Self::member("recovered", node, place, text)
                }
            }
            Change::Reweighted(node, place, weight) => {
                let text = format!("{} has weight {weight} in {place} now", node.name);
                Self::member("reweighted", node, place, text)
            }
            Change::RampStarted(node, place, weight, length) => {
                let length = format_duration(*length);
                let text = format!(
                    "{} ramps up to weight {weight} in {place} for {length}",
                    node.name
                );
                Self::member("ramp-started", node, place, text)
            }
            Change::RampOver(node, place, weight) => {
                let text = format!("{} has reached its weight {weight} in {place}", node.name);
                Self::member("ramp-over", node, place, text)
            }
            Change::SorryOn(pool, sorry) => Self {
                severity: Severity::Warning,
                ..Self::pool("sorry-on", pool, takes_over(pool, sorry))
            },
            Change::SorryOff(pool, 0) => {
                let text = format!("pool {pool} has no sorry server any more, and no member");
                Self {
                    severity: Severity::Warning,
                    ..Self::pool("sorry-off", pool, text)
                }
            }
            Change::SorryOff(pool, _) => {
                let text = format!("pool {pool} has members again: its sorry server goes");
                Self::pool("sorry-off", pool, text)
            }
            change => Self::from_override(change),
        }
    }

    /// Describes what someone requested, or how an override ended.
    fn from_override(change: &'a Change) -> Self {
        let text = match change {
            Change::Disabled(node, word, reason) => {
                let text = format!("{} is disabled: {word}{}", node.name, reason.details());
                Self::node("disabled", node, text)
            }
            Change::Enabled(node, name, how, remaining) => {
                let state = match remaining.as_slice() {
                    [] => "re-enabled".to_owned(),
                    remaining => format!("still disabled for {}", words(remaining)),
                };
                let text = format!("{} {state} ({name} {how})", node.name);
                Self::node("enabled", node, text)
            }
            Change::LeaveGranted(node, pool) => {
                let from = pool
                    .as_ref()
                    .map_or(String::new(), |pool| format!(" from {pool}"));
                let text = format!("{} granted leave{from}", node.name);
                Self {
                    pool: pool.as_ref(),
                    ..Self::node("leave-granted", node, text)
                }
            }
            Change::LeaveOver(node, how) => Self::node(
                "leave-over",
                node,
                format!("leave of {} ended: {how}", node.name),
            ),
            Change::WeightSet(node, given) => {
                let (name, details) = (&given.name, given.reason.details());
                let text = format!(
                    "{} gets weight {}: {name}{details}",
                    node.name, given.weight
                );
                Self::node("weight-set", node, text)
            }
            Change::WeightReset(node, given, how, weight) => {
                let WeightOverride {
                    weight: before,
                    name,
                    ..
                } = given;
                let text = format!(
                    "weight of {} is {weight} again, no longer {before} ({name} {how})",
                    node.name
                );
                Self::node("weight-reset", node, text)
            }
            Change::Frozen(word, reason) => {
                let details = reason.details();
                Self {
                    severity: Severity::Warning,
                    ..Self::site(
                        "frozen",
                        format!("frozen: {word}{details}; failed nodes stay in until it is thawed"),
                    )
                }
            }
            Change::Thawed(word, by) => {
                let by = match by.as_str() {
                    "" => String::new(),
                    by => format!(" by {by}"),
                };
                Self::site("thawed", format!("freeze {word} lifted{by}"))
            }
            _ => Self::site("", String::new()),
        };
        Self {
            requested: true,
            ..text
        }
    }

    fn left(node: &'a Arc<Node>, from: &'a Assignment, why: &OutReason) -> Self {
        let severity = severity(why);
        let goes = if severity == Severity::Info {
            "leaves"
        } else {
            "removed from"
        };
        let text = format!("{} {goes} {from}: {why}", node.name);
        Self {
            severity,
            ..Self::member("left", node, from, text)
        }
    }

    fn member(
        kind: &'static str,
        node: &'a Arc<Node>,
        place: &'a Assignment,
        text: String,
    ) -> Self {
        Self {
            pool: Some(&place.pool),
            ..Self::node(kind, node, text)
        }
    }

    fn node(kind: &'static str, node: &'a Arc<Node>, text: String) -> Self {
        Self {
            node: Some(node),
            ..Self::site(kind, text)
        }
    }

    fn pool(kind: &'static str, pool: &'a PoolName, text: String) -> Self {
        Self {
            pool: Some(pool),
            ..Self::site(kind, text)
        }
    }

    fn site(kind: &'static str, text: String) -> Self {
        Self {
            severity: Severity::Info,
            kind,
            node: None,
            pool: None,
            requested: false,
            quiet: false,
            text,
        }
    }
}

/// What a number of nodes did, for an [`EventText::kind`]; completes a sentence such as "5 more nodes …".
#[must_use]
pub fn describe_many(kind: &str) -> &'static str {
    match kind {
        "joined" => "joined a pool",
        "moved" => "moved to another pool or version",
        "left" => "left a pool",
        "out" => "stayed out of all pools",
        "removed" => "were removed from a pool, no longer listed",
        "unversioned" => "got into no version pool",
        "kept" => "stayed in though failing",
        "recovered" => "responded again",
        "reweighted" => "changed their weight",
        "ramp-started" => "began to ramp up to their weight",
        "ramp-over" => "reached their weight",
        _ => "changed",
    }
}

fn takes_over(pool: &PoolName, sorry: &[Arc<Node>]) -> String {
    let addrs: Vec<_> = sorry.iter().map(|sorry| sorry.addr.to_string()).collect();
    let (servers, take) = match sorry.len() {
        1 => ("server", "takes"),
        _ => ("servers", "take"),
    };
    let addrs = addrs.join(", ");
    format!("pool {pool} has no member: its sorry {servers} {addrs} {take} over")
}

fn kept(node: &Node, place: &Assignment, by: Retention, failure: &Failure) -> String {
    let by = match by {
        Retention::Frozen => "a freeze keeps it",
        Retention::Held => "`min_members` keeps it",
        Retention::Failing | Retention::Serving => "it stays",
    };
    format!("{} fails, but {by} in {place}: {failure}", node.name)
}

fn severity(why: &OutReason) -> Severity {
    match why {
        OutReason::Leaving
        | OutReason::Idle
        | OutReason::Disabled(_)
        | OutReason::Granted
        | OutReason::Awaited => Severity::Info,
        OutReason::Failed(_) => Severity::Warning,
        OutReason::Refused(_) => Severity::Error,
    }
}

fn refused_pool(why: &OutReason) -> Option<&PoolName> {
    match why {
        OutReason::Refused(refusal) => Some(refusal.pool()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
