//! The input of `node_hook` and `alert_hook`: environment variables, and the same with more detail as JSON on standard
//! input.

use std::ffi::OsString;

use serde::Serialize;

use super::{HookInput, Variable};
use crate::api::event::event;
use crate::api::hooks;
use crate::api::hooks::{Alert, NodeState};
use crate::model::change::{Assignment, Change};
use crate::model::event::Event;
use crate::model::node::Node;
use crate::model::text::shortened;

/// Maximum length of a variable, in characters: Linux allows 128 KiB for each.
const MAX_VARIABLE: usize = 8_192;

/// The input of `node_hook`: a node joined a pool, left one, or moved from one to another.
#[derive(Clone, Debug)]
pub struct NodeHookInput<'a> {
    event: &'a Event,
    node: &'a Node,
    /// The pool and version it is in now, or was in last if it is out.
    place: &'a Assignment,
    from: Option<&'a Assignment>,
    state: NodeState,
    reason: String,
}

impl<'a> NodeHookInput<'a> {
    /// The input for `change`, which is recorded as `event`; `None` if it does not affect a node's membership.
    #[must_use]
    pub fn of(change: &'a Change, event: &'a Event) -> Option<Self> {
        let (node, place, from, state, reason) = match change {
            Change::Joined(node, place) => (node, place, None, NodeState::In, String::new()),
            Change::Moved(node, from, to) => {
                (node, to, Some(from), NodeState::Moved, String::new())
            }
            Change::Left(node, from, why) => (node, from, None, NodeState::Out, why.to_string()),
            Change::Removed(node, from) => {
                let reason = format!("no longer in {}", node.origin.source());
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

    pub(super) fn to_input(&self) -> HookInput {
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
        HookInput {
            subject: Some(self.node.addr.to_string()),
            environment,
            stdin: json_line(&json),
        }
    }
}

/// The input of `alert_hook`.
pub(super) fn alert_input(alert: &Alert) -> HookInput {
    let environment = vec![
        variable("POLLBAL_ALERT", &alert.alert),
        variable("POLLBAL_ALERT_STATE", alert.state.word()),
        variable("POLLBAL_SEVERITY", alert.severity.word()),
        variable("POLLBAL_SUBJECT", &alert.subject),
        variable("POLLBAL_TEXT", &alert.text),
        variable("POLLBAL_LEFT_OUT", &alert.left_out.to_string()),
    ];
    HookInput {
        subject: None,
        environment,
        stdin: json_line(alert),
    }
}

/// Pool and version as text.
fn texts(place: Option<&Assignment>) -> (Option<String>, Option<String>) {
    let pool = place.map(|place| place.pool.to_string());
    let version = place.and_then(|place| place.version.as_ref());
    (pool, version.map(ToString::to_string))
}

/// `value` has no control characters, so none of the NULs that the system would reject.
fn variable(name: &'static str, value: &str) -> Variable {
    (name, OsString::from(shortened(value, MAX_VARIABLE)))
}

fn json_line(json: &impl Serialize) -> Option<Vec<u8>> {
    let mut line = serde_json::to_vec(json).ok()?;
    line.push(b'\n');
    Some(line)
}
