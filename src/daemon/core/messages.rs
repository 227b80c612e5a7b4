//! What goes into the core and comes out of it: inputs, settings and effects.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::ListOutcome;
use crate::control::{Applied, OverrideError, OverrideRequest};
use crate::drivers::Snapshot;
use crate::drivers::pool_files::earlier::Earlier;
use crate::model::alerts::Transition;
use crate::model::change::Change;
use crate::model::event::Event;
use crate::model::node::{Node, NodeAddr};
use crate::model::ownership::Owned;
use crate::model::problems::PoolHealth;
use crate::model::removals::MaxRemoved;
use crate::model::report::Report;
use crate::model::rules::Rules;
use crate::model::services::List;
use crate::model::time::Standstill;
use crate::poller::Observed;

/// Something that happened.
#[derive(Debug)]
pub(in crate::daemon) enum Input {
    /// Polls have finished.
    Polls(Vec<Observed>),
    /// An operator or a node requests something.
    Override(OverrideRequest),
    /// The first list of nodes was read, and what the previous run left.
    Start {
        list: List,
        accept_removals: bool,
        earlier: Earlier,
        owned: Arc<Owned>,
    },
    /// A source lists other nodes than before.
    List(List),
    /// A source says how nodes are that are not polled.
    Reports(Vec<Report>),
    /// A reload was accepted.
    Reload {
        rules: Rules,
        settings: Settings,
        list: List,
        accept_removals: bool,
    },
    /// A problem was raised or cleared.
    Problem(Transition),
    /// pollbal itself was suspended for this time.
    Pause(Standstill),
    /// The time of [`Core::next_timer`](super::Core::next_timer) has come.
    Timer,
}

/// What the supervisor has to do.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Effects {
    /// Log these events, and run hooks for them.
    pub(in crate::daemon) events: Vec<Recorded>,
    /// Wake everyone who waits for a change.
    pub(in crate::daemon) notify_watchers: bool,
    /// Nodes may have got elsewhere, or have begun or ceased to fail: save when.
    pub(in crate::daemon) save_node_times: bool,
    /// A ramp began, which a restart must not skip: save it within a moment.
    pub(in crate::daemon) save_node_times_soon: bool,
    /// Poll these nodes now.
    pub(in crate::daemon) poll_now: Vec<NodeAddr>,
    /// Poll these nodes again soon: one more response decides.
    pub(in crate::daemon) poll_soon: Vec<NodeAddr>,
    /// Poll these nodes from now on, and no others.
    pub(in crate::daemon) nodes: Option<Vec<Node>>,
    /// What became of a list of nodes.
    pub(in crate::daemon) list: Option<ListOutcome>,
    /// Give drivers this desired state.
    pub(in crate::daemon) snapshot: Option<Snapshot>,
    /// Report this state of the pools.
    pub(in crate::daemon) pool_health: Option<Vec<PoolHealth>>,
    /// Ask these nodes to stay, and no others.
    pub(in crate::daemon) stay_requests: Option<BTreeSet<NodeAddr>>,
    /// Reply to [`Input::Override`].
    pub(in crate::daemon) applied: Option<Result<Applied, OverrideError>>,
    /// Number of leaves that a pause of pollbal extended.
    pub(in crate::daemon) extended_leaves: usize,
}

/// An event to log.
#[derive(Debug)]
pub(in crate::daemon) struct Recorded {
    pub(in crate::daemon) event: Arc<Event>,
    /// The change that it describes, if `node_hook` may run for it. What the first snapshot shows is no change, since
    /// the state before it is unknown.
    pub(in crate::daemon) change: Option<Change>,
}

/// What the core needs of the configuration, besides the rules.
#[derive(Clone, Copy, Debug)]
pub(in crate::daemon) struct Settings {
    pub(in crate::daemon) max_removed: MaxRemoved,
    pub(in crate::daemon) leave_timeout: Duration,
    /// Whether members that their pool cannot do without are asked to stay.
    pub(in crate::daemon) request_stay: bool,
}
