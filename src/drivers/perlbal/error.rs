//! Why a connection to Perlbal ended, or did not come about. Pure.

use std::io;
use std::time::Duration;

use humantime::format_duration;
use thiserror::Error;

use super::protocol::{Command, ProtocolError};

/// Why a connection ended, or did not come about.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The address has a name that is not known.
    #[error("the name {name} does not resolve")]
    Resolve {
        /// The name.
        name: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The resolver did not answer.
    #[error("the name {name} was not resolved within {}", format_duration(*.limit))]
    ResolverSilent {
        /// The name.
        name: String,
        /// The time that it had.
        limit: Duration,
    },
    /// No connection came about.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// Nobody took or refused the connection.
    #[error("no answer to a connection attempt within {}", format_duration(*.0))]
    Unanswered(Duration),
    /// Somebody took the connection and says nothing.
    #[error("accepts connections, no reply within {}", format_duration(*.0))]
    Silent(Duration),
    /// Somebody else answers.
    #[error("it said \"{said}\"")]
    NotPerlbal {
        /// The beginning of what was said, made printable.
        said: String,
    },
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// Perlbal closed the connection.
    #[error("the connection was closed")]
    Closed,
    /// Perlbal took longer than `timeout` for an answer.
    #[error("accepts connections, no whole answer to {command} within {}", format_duration(*.limit))]
    Timeout {
        /// What was asked.
        command: String,
        /// The time that it had.
        limit: Duration,
    },
    /// Perlbal does not take what is sent.
    #[error("accepts connections, takes no commands within {}", format_duration(*.0))]
    Stuck(Duration),
    /// Perlbal said something that is no answer to what was asked.
    #[error("the answer to {command} is not understood")]
    Protocol {
        /// What was asked.
        command: String,
        /// What was said.
        source: ProtocolError,
    },
    /// Perlbal refused to tell what is there.
    #[error("{command} was answered with an error: {error}")]
    Refused {
        /// What was asked.
        command: String,
        /// What was said.
        error: String,
    },
    /// Perlbal said something although nothing was asked.
    #[error("Perlbal spoke unasked: \"{0}\"")]
    Unsolicited(String),
    /// An answer is larger than pollbal takes.
    #[error("the answer to {command} is too large: {excess}")]
    TooLarge {
        /// What was asked.
        command: String,
        /// Which limit it passes, in words.
        excess: String,
    },
}

impl SessionError {
    /// Perlbal refused to tell what is there.
    pub(super) fn refused(command: &Command, error: String) -> Self {
        Self::Refused {
            command: command.to_string(),
            error,
        }
    }

    /// What Perlbal said is no answer to `command`.
    pub(super) fn protocol(command: &Command, source: ProtocolError) -> Self {
        Self::Protocol {
            command: command.to_string(),
            source,
        }
    }

    /// The answer to `command` passes a limit.
    pub(super) fn too_large(command: &Command, excess: String) -> Self {
        Self::TooLarge {
            command: command.to_string(),
            excess,
        }
    }

    /// How a Perlbal is about which this was found, in words that go before "for 18 s".
    pub(super) fn state(&self) -> &'static str {
        match self {
            Self::Resolve { .. }
            | Self::ResolverSilent { .. }
            | Self::Connect(_)
            | Self::Unanswered(_) => "not reachable",
            Self::Silent(_) | Self::Timeout { .. } | Self::Stuck(_) => "not answering",
            Self::NotPerlbal { .. } => "not a Perlbal",
            Self::Broken(_) | Self::Closed => "closing connections",
            Self::Protocol { .. }
            | Self::Refused { .. }
            | Self::Unsolicited(_)
            | Self::TooLarge { .. } => "not usable",
        }
    }

    /// Whether it answers, but with what cannot be used: to ask again costs both sides a whole
    /// reading, and will hardly help.
    pub(super) fn is_unusable(&self) -> bool {
        self.state() == "not usable"
    }
}
