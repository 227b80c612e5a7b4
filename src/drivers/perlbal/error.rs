//! Why a connection to Perlbal failed or ended. Pure.

use std::io;
use std::time::Duration;

use humantime::format_duration;
use thiserror::Error;

use super::protocol::{Command, ProtocolError};

/// Why a connection failed or ended.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The host name of the address does not resolve.
    #[error("the name {name} does not resolve")]
    Resolve {
        /// The host name.
        name: String,
        /// The resolver's error.
        source: io::Error,
    },
    /// The resolver did not answer.
    #[error("the name {name} was not resolved within {}", format_duration(*.limit))]
    ResolverSilent {
        /// The host name.
        name: String,
        /// The time limit.
        limit: Duration,
    },
    /// The connection was refused, or failed otherwise.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The connection was neither accepted nor refused.
    #[error("no answer to a connection attempt within {}", format_duration(*.0))]
    Unanswered(Duration),
    /// The connection was accepted, and nothing was received over it.
    #[error("accepts connections, no reply within {}", format_duration(*.0))]
    Silent(Duration),
    /// Another server responds.
    #[error("it sent \"{received}\"")]
    NotPerlbal {
        /// The beginning of what was received, made printable.
        received: String,
    },
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// Perlbal closed the connection.
    #[error("the connection was closed")]
    Closed,
    /// A response was not complete within the time limit.
    #[error("accepts connections, no complete response to {command} within {}", format_duration(*.limit))]
    Timeout {
        /// The command.
        command: String,
        /// The time limit.
        limit: Duration,
    },
    /// Perlbal does not read what is sent.
    #[error("accepts connections, takes no commands within {}", format_duration(*.0))]
    Stuck(Duration),
    /// A line is no response to the command.
    #[error("the response to {command} cannot be parsed")]
    Protocol {
        /// The command.
        command: String,
        /// What was received.
        source: ProtocolError,
    },
    /// A query was answered with an error.
    #[error("{command} was answered with an error: {error}")]
    Rejected {
        /// The command.
        command: String,
        /// Perlbal's error.
        error: String,
    },
    /// Something was received although no response was due.
    #[error("Perlbal sent \"{0}\" although no response was due")]
    Unsolicited(String),
    /// A response exceeds a limit.
    #[error("the response to {command} is too large: {excess}")]
    TooLarge {
        /// The command.
        command: String,
        /// The limit that it exceeds, as text.
        excess: String,
    },
}

impl SessionError {
    /// A query was answered with an error.
    pub(super) fn rejected(command: &Command, error: String) -> Self {
        Self::Rejected {
            command: command.to_string(),
            error,
        }
    }

    /// A line is no response to `command`.
    pub(super) fn protocol(command: &Command, source: ProtocolError) -> Self {
        Self::Protocol {
            command: command.to_string(),
            source,
        }
    }

    /// The response to `command` exceeds a limit.
    pub(super) fn too_large(command: &Command, excess: String) -> Self {
        Self::TooLarge {
            command: command.to_string(),
            excess,
        }
    }

    /// The state of a Perlbal with this error, as text that precedes "for 18 s".
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
            | Self::Rejected { .. }
            | Self::Unsolicited(_)
            | Self::TooLarge { .. } => "not usable",
        }
    }

    /// Whether it responds, but with what cannot be used: to query it again costs both sides a read
    /// of everything, and will hardly help.
    pub(super) fn is_unusable(&self) -> bool {
        self.state() == "not usable"
    }
}
