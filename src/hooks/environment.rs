//! What hooks are told of nodes and alerts: variables, and the same with more in JSON.

use std::ffi::OsString;

use serde::Serialize;

use super::{Variable, Words};
use crate::api::event::event;
use crate::api::hooks;
use crate::api::hooks::{Alert, NodeState};
use crate::model::change::{Change, Place};
use crate::model::journal::Event;
use crate::model::node::Node;
use crate::model::text::shortened;

/// No variable is longer, in characters: the system takes no more than 128 KB of each.
const MAX_VARIABLE: usize = 8_192;

/// A node went into a pool, out of one, or from one to another.
#[derive(Clone, Debug)]
pub struct NodeChange<'a> {
    event: &'a Event,
    node: &'a Node,
    /// Where it is, or was if it is out.
    place: &'a Place,
    from: Option<&'a Place>,
    state: NodeState,
    reason: String,
}

impl<'a> NodeChange<'a> {
    /// What `change`, which the journal has as `event`, means for a node's membership; `None` when
    /// it does not touch that.
    #[must_use]
    pub fn of(change: &'a Change, event: &'a Event) -> Option<Self> {
        let (node, place, from, state, reason) = match change {
            Change::Joined(node, place) => (node, place, None, NodeState::In, String::new()),
            Change::Moved(node, from, to) => {
                (node, to, Some(from), NodeState::Moved, String::new())
            }
            Change::Left(node, from, why) => (node, from, None, NodeState::Out, why.to_string()),
            Change::Removed(node, from) => {
                let reason = "gone from the services file".to_owned();
                (node, from, None, NodeState::Out, reason)
            }
            _ => return None,
        };
        Some(Self {
            event,
            node,
            place,
            from,
            state,
            reason,
        })
    }

    pub(super) fn words(&self) -> Words {
        let (pool, version) = texts(Some(self.place));
        let (from_pool, from_version) = texts(self.from);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let environment = vec![
            variable("POLLBAL_NODE", &self.node.addr.to_string()),
            variable("POLLBAL_NODE_NAME", &self.node.name),
            variable("POLLBAL_POOL", &text(&pool)),
            variable("POLLBAL_VERSION", &text(&version)),
            variable("POLLBAL_STATE", self.state.word()),
            variable("POLLBAL_REASON", &self.reason),
            variable("POLLBAL_FROM_POOL", &text(&from_pool)),
            variable("POLLBAL_FROM_VERSION", &text(&from_version)),
        ];
        let json = hooks::NodeChange {
            event: event(self.event),
            state: self.state,
            version,
            from_pool,
            from_version,
            reason: self.reason.clone(),
        };
        Words {
            subject: Some(self.node.addr.to_string()),
            environment,
            input: line(&json),
        }
    }
}

/// What `alert_hook` is told.
pub(super) fn alert(alert: &Alert) -> Words {
    let environment = vec![
        variable("POLLBAL_ALERT", &alert.alert),
        variable("POLLBAL_ALERT_STATE", alert.state.word()),
        variable("POLLBAL_SUBJECT", &alert.subject),
        variable("POLLBAL_TEXT", &alert.text),
        variable("POLLBAL_LEFT_OUT", &alert.left_out.to_string()),
    ];
    Words {
        subject: None,
        environment,
        input: line(alert),
    }
}

/// Pool and version.
fn texts(place: Option<&Place>) -> (Option<String>, Option<String>) {
    let pool = place.map(|place| place.pool.to_string());
    let version = place.and_then(|place| place.version.as_ref());
    (pool, version.map(ToString::to_string))
}

/// Nothing that is told here has a control character in it, so no NUL either, which the system
/// does not take.
fn variable(name: &'static str, value: &str) -> Variable {
    (name, OsString::from(shortened(value, MAX_VARIABLE)))
}

fn line(json: &impl Serialize) -> Option<Vec<u8>> {
    let mut line = serde_json::to_vec(json).ok()?;
    line.push(b'\n');
    Some(line)
}
