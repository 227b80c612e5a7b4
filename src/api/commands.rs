//! What `pollbal roll` and `pollbal leave` print with `--json`.

use serde::{Deserialize, Serialize};

/// A line of `pollbal roll --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RollStep {
    /// When it happened.
    pub time: String,
    /// The node that it is about, `ip:port`; none for the roll as a whole. At the end, those that were not
    /// rolled, or stay disabled, have a line each.
    pub node: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// What happens.
    pub step: Step,
    /// The same for people, with all details.
    pub text: String,
}

/// What happens in a roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Waiting until the node may be taken out, is drained, or serves.
    Waiting,
    /// It is out, and may still be draining.
    Disabled,
    /// It is drained, and the command is running.
    Command,
    /// The command has succeeded, and the node is being enabled.
    Enabled,
    /// It serves again.
    Done,
    /// It was skipped, since others keep it out.
    PassedOver,
    /// It failed; the roll ends.
    Failed,
    /// Something to know about the roll as a whole.
    Note,
    /// The roll has ended, and how.
    Ended,
}

impl Step {
    /// Whether the node has had its turn.
    #[must_use]
    pub fn is_last(self) -> bool {
        matches!(self, Self::Done | Self::PassedOver | Self::Failed)
    }
}

/// A line of `pollbal leave --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LeaveStep {
    /// When it happened.
    pub time: String,
    /// The load balancer that it is about.
    pub load_balancer: String,
    /// Its response, or what became of it.
    pub answer: LeaveAnswer,
    /// The same for people, with all details.
    pub text: String,
}

/// How far a leave has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LeaveAnswer {
    /// The node may not go yet.
    Wait,
    /// It is out, and still draining.
    Granted,
    /// It is drained.
    Gone,
    /// The load balancer responds that it cannot say at present; the request is repeated.
    Busy,
    /// The load balancer does not respond; the request is repeated.
    Dead,
    /// It has not responded for a long time, and is skipped.
    PassedOver,
    /// The node stays.
    TakenBack,
    /// It knows that the node is back, whose next response brings it in.
    Back,
    /// The load balancer rejects the request to stay, or the report that the node is back.
    Refused,
}
