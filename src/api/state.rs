//! Where a node is, and the words for that.

use serde::{Deserialize, Serialize};

use super::Node;

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// In a pool.
    Member,
    /// Out: it said so, or was granted leave.
    Leaving,
    /// Out: it serves nothing.
    Idle,
    /// Out: it did not answer properly.
    Failed,
    /// Out: it announced a pool that it may not join.
    Refused,
    /// Out: for reasons that people gave.
    Disabled,
    /// Not heard yet, or enabled and not heard since.
    Awaited,
}

impl State {
    /// Its word, as JSON and metrics have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Leaving => "leaving",
            Self::Idle => "idle",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Disabled => "disabled",
            Self::Awaited => "awaited",
        }
    }
}

impl Node {
    /// Where it is, in one word for people.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.state {
            State::Member if self.failing => "failing",
            State::Member => "serving",
            out => out.word(),
        }
    }
}
