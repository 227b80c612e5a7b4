//! Where a node is, and the words for that.

use super::Node;
pub use crate::model::node_view::NodeStatus as State;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_own_word() {
        for state in State::ALL {
            assert_eq!(serde_json::json!(state), state.word());
        }
    }
}
