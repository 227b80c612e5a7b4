//! Changes in words: for the log and for the journal alike, so that both say the same.

use std::sync::Arc;

use super::change::{Change, Ending, Out, Place};
use super::names::PoolName;
use super::node::Node;
use super::observation::Failure;
use super::rules::Refusal;
use super::view::Kept;

/// A change, told.
#[derive(Clone, Debug)]
pub struct Telling<'a> {
    /// How much it matters.
    pub weight: Weight,
    /// What happened, in one word: stays the same for ever, so that programs may rely on it.
    pub kind: &'static str,
    /// The node that it is about.
    pub node: Option<&'a Arc<Node>>,
    /// The pool that it is about.
    pub pool: Option<&'a PoolName>,
    /// Someone ordered it; it did not come about by itself.
    pub ordered: bool,
    /// Not for the log, which says of the whole pool that it holds failed members.
    pub quiet: bool,
    /// What happened, for people.
    pub text: String,
}

/// How much a change matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It is in order.
    Info,
    /// Something fails.
    Warning,
    /// Something is wrong, and stays so until someone mends it.
    Error,
}

impl<'a> Telling<'a> {
    /// Tells a change.
    #[must_use]
    pub fn of(change: &'a Change) -> Self {
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
            Change::Left(node, from, why) => Self::left(node, from, why),
            Change::StaysOut(node, why) => Self {
                weight: weight(why),
                pool: refused_pool(why),
                ..Self::node("out", node, format!("{} is in no pool: {why}", node.name))
            },
            Change::Removed(node, from) => {
                let text = format!("{} leaves {from}: gone from the services file", node.name);
                Self::member("removed", node, from, text)
            }
            Change::Held(pool, min_members) => Self {
                weight: Weight::Warning,
                ..Self::pool(
                    "held",
                    pool,
                    format!(
                        "failures would take pool {pool} below its min_members of {min_members}: \
                     the members that it last had stay in"
                    ),
                )
            },
            Change::Released(pool) => {
                let text = format!("pool {pool} holds no failed member any more");
                Self::pool("released", pool, text)
            }
            Change::Kept(node, place, by, failure) => Self {
                weight: Weight::Warning,
                quiet: *by == Kept::Held,
                ..Self::member("kept", node, place, kept(node, place, *by, failure))
            },
            Change::Recovered(node, place, by) => {
                let text = format!("{} answers again, in {place}", node.name);
                Self {
                    quiet: *by == Kept::Held,
                    ..Self::member("recovered", node, place, text)
                }
            }
            Change::SorryOn(pool, sorry) => Self {
                weight: Weight::Warning,
                ..Self::pool("sorry-on", pool, takes_over(pool, sorry))
            },
            Change::SorryOff(pool, 0) => {
                let text = format!("pool {pool} has no sorry server any more, and no member");
                Self {
                    weight: Weight::Warning,
                    ..Self::pool("sorry-off", pool, text)
                }
            }
            Change::SorryOff(pool, _) => {
                let text = format!("pool {pool} has members again: its sorry server goes");
                Self::pool("sorry-off", pool, text)
            }
            order => Self::order(order),
        }
    }

    /// Tells what someone ordered, or how an order ended.
    fn order(change: &'a Change) -> Self {
        let telling = match change {
            Change::Disabled(node, word, reason) => {
                let text = format!("{} is disabled: {word}{}", node.name, reason.details());
                Self::node("disabled", node, text)
            }
            Change::Enabled(node, word, how) => {
                let text = format!("{} is no longer disabled by {word}: {how}", node.name);
                Self::node("enabled", node, text)
            }
            Change::LeaveGranted(node, pool) => {
                let from = pool
                    .as_ref()
                    .map_or(String::new(), |pool| format!(" {pool}"));
                let text = format!("{} asked to leave{from}, and may", node.name);
                Self {
                    pool: pool.as_ref(),
                    ..Self::node("leave-granted", node, text)
                }
            }
            Change::LeaveOver(node, how) => Self::node(
                "leave-over",
                node,
                format!("the leave of {} is over: {how}", node.name),
            ),
            Change::Frozen(word, reason) => {
                let details = reason.details();
                Self {
                    weight: Weight::Warning,
                    ..Self::site(
                        "frozen",
                        format!(
                            "frozen by {word}{details}: failures put nobody out until it is thawed"
                        ),
                    )
                }
            }
            Change::Thawed(word, by) => {
                let how = Ending::TakenBack(by.clone());
                Self::site("thawed", format!("no longer frozen by {word}: {how}"))
            }
            _ => Self::site("", String::new()),
        };
        Self {
            ordered: true,
            ..telling
        }
    }

    /// What people call the one that it is about.
    #[must_use]
    pub fn who(&self) -> &str {
        match (self.node, self.pool) {
            (Some(node), _) => &node.name,
            (None, Some(pool)) => pool.as_str(),
            (None, None) => "pollbal",
        }
    }

    fn left(node: &'a Arc<Node>, from: &'a Place, why: &Out) -> Self {
        let weight = weight(why);
        let goes = if weight == Weight::Info {
            "leaves"
        } else {
            "is put out of"
        };
        let text = format!("{} {goes} {from}: {why}", node.name);
        Self {
            weight,
            ..Self::member("left", node, from, text)
        }
    }

    fn member(kind: &'static str, node: &'a Arc<Node>, place: &'a Place, text: String) -> Self {
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
            weight: Weight::Info,
            kind,
            node: None,
            pool: None,
            ordered: false,
            quiet: false,
            text,
        }
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

fn kept(node: &Node, place: &Place, by: Kept, failure: &Failure) -> String {
    let by = match by {
        Kept::Frozen => "a freeze keeps it",
        Kept::Held => "`min_members` holds it",
        Kept::Failing | Kept::Serving => "it stays",
    };
    format!("{} fails, but {by} in {place}: {failure}", node.name)
}

fn weight(why: &Out) -> Weight {
    match why {
        Out::Leaving | Out::Idle | Out::Disabled(_) | Out::Granted | Out::Awaited => Weight::Info,
        Out::Failed(_) => Weight::Warning,
        Out::Refused(_) => Weight::Error,
    }
}

fn refused_pool(why: &Out) -> Option<&PoolName> {
    match why {
        Out::Refused(
            Refusal::Undeclared(pool) | Refusal::TooMany(pool) | Refusal::NotListed(pool),
        ) => Some(pool),
        _ => None,
    }
}
