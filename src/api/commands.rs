//! What commands print that no door answers: `pollbal roll` and `pollbal leave` with `--json`.

use serde::{Deserialize, Serialize};

/// A line of `pollbal roll --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollStep {
    /// When.
    pub time: String,
    /// The node that it is about, `ip:port`; none for the roll as a whole. In the end, those that
    /// were not rolled, or stay disabled, have a line each.
    pub node: Option<String>,
    /// What people call it.
    pub name: Option<String>,
    /// What happens.
    pub step: Step,
    /// The same for people, with all that is known of it.
    pub text: String,
}

/// What happens in a roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It is waited for: until it may go, is at rest, or serves.
    Waiting,
    /// It is out, and perhaps not yet at rest.
    Disabled,
    /// It is at rest, and the command runs.
    Command,
    /// The command is done, and the node is on its way back.
    Enabled,
    /// It serves again.
    Done,
    /// It was left to others, who keep it out.
    PassedOver,
    /// It failed; the roll ends.
    Failed,
    /// Something to know about the roll as a whole.
    Note,
    /// The roll is over; in the end, how.
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
pub struct LeaveStep {
    /// When.
    pub time: String,
    /// The load balancer that it is about.
    pub load_balancer: String,
    /// What it says, or what became of it.
    pub answer: LeaveAnswer,
    /// The same for people, with all that is known of it.
    pub text: String,
}

/// How far a leave is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveAnswer {
    /// The node may not go yet.
    Wait,
    /// It is out, and not yet at rest.
    Granted,
    /// It is at rest.
    Gone,
    /// The load balancer answers that it cannot say now, and is asked again.
    Busy,
    /// The load balancer does not answer, and is asked again.
    Dead,
    /// It did not answer for long, and is passed over.
    PassedOver,
    /// The node stays.
    TakenBack,
    /// It was told that the node is back: the next answer brings it in.
    Back,
    /// It will not hear that the node stays, or is back.
    Refused,
}
