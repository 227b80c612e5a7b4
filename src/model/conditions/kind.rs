//! The kinds of problems: their words, how much each matters, and how long each must last.

use std::time::Duration;

use crate::model::health::Severity;

/// What kind of thing a condition is; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A pool has no member: requests to it wait, unless a load balancer still has some of before.
    PoolEmpty,
    /// A pool has no member, and its sorry servers stand in.
    SorryServer,
    /// A pool has fewer serving members than its `min_members`.
    PoolShort,
    /// There is no connection to a Perlbal.
    PerlbalLost,
    /// A Perlbal is reached and not as it should be.
    PerlbalNotInSync,
    /// Pool files are not as they should be.
    FilesNotWritten,
    /// Nodes do not answer as they should, and are out.
    NodesDown,
    /// Nodes announce a pool that they may not join.
    NodesRefused,
    /// Members fail, and are kept in by `min_members` or a freeze.
    MembersKept,
    /// The state file was refused at the start: what was taken out by order is in.
    StateRefused,
    /// The configuration, or the services file with it, was refused at a reload.
    ReloadRefused,
    /// A changed services file was refused.
    ServicesRefused,
    /// A list of nodes is not obeyed in what it would remove.
    RemovalsWithheld,
    /// A file is mounted by itself and was replaced where it comes from: no change of it is seen.
    FileReplaced,
    /// The state file cannot be written.
    StateNotWritten,
    /// There is no state file, so that orders end with this run.
    OrdersNotKept,
    /// Failures put nobody out.
    Frozen,
    /// Not every node was heard yet, so that nothing is decided.
    Starting,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::PoolEmpty,
        Self::SorryServer,
        Self::PoolShort,
        Self::PerlbalLost,
        Self::PerlbalNotInSync,
        Self::FilesNotWritten,
        Self::NodesDown,
        Self::NodesRefused,
        Self::MembersKept,
        Self::StateRefused,
        Self::ReloadRefused,
        Self::ServicesRefused,
        Self::RemovalsWithheld,
        Self::FileReplaced,
        Self::StateNotWritten,
        Self::OrdersNotKept,
        Self::Frozen,
        Self::Starting,
    ];

    /// Its word, which stays the same for ever, so that programs may rely on it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::PoolEmpty => "pool_empty",
            Self::SorryServer => "sorry_server",
            Self::PoolShort => "pool_short",
            Self::PerlbalLost => "perlbal_lost",
            Self::PerlbalNotInSync => "perlbal_not_in_sync",
            Self::FilesNotWritten => "files_not_written",
            Self::NodesDown => "nodes_down",
            Self::NodesRefused => "nodes_refused",
            Self::MembersKept => "members_kept",
            Self::StateRefused => "state_refused",
            Self::ReloadRefused => "reload_refused",
            Self::ServicesRefused => "services_refused",
            Self::RemovalsWithheld => "removals_withheld",
            Self::FileReplaced => "file_replaced",
            Self::StateNotWritten => "state_not_written",
            Self::OrdersNotKept => "orders_not_kept",
            Self::Frozen => "frozen",
            Self::Starting => "starting",
        }
    }

    /// The kind that has this word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// How much it matters.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            // Clients are not served, or not by all that should serve them.
            Self::PoolEmpty
            | Self::SorryServer
            | Self::PoolShort
            | Self::PerlbalLost
            | Self::PerlbalNotInSync
            | Self::FilesNotWritten => Severity::Critical,
            // Others serve meanwhile; the last good state stays in force; or what people ordered may be
            // lost.
            Self::NodesDown
            | Self::NodesRefused
            | Self::MembersKept
            | Self::StateRefused
            | Self::ReloadRefused
            | Self::ServicesRefused
            | Self::RemovalsWithheld
            | Self::FileReplaced
            | Self::StateNotWritten
            | Self::OrdersNotKept
            | Self::Frozen
            | Self::Starting => Severity::Degraded,
        }
    }

    /// How a verdict sums up several of it, behind their number: `3 pools without members`.
    #[must_use]
    pub fn of_several(self) -> &'static str {
        match self {
            Self::PoolEmpty => "pools without members",
            Self::SorryServer => "pools with a sorry server alone",
            Self::PoolShort => "pools below min_members",
            Self::PerlbalLost => "Perlbals not connected",
            Self::PerlbalNotInSync => "Perlbals not in sync",
            Self::FilesNotWritten => "pool directories not written",
            Self::NodesDown => "nodes down",
            Self::NodesRefused => "nodes refused",
            Self::MembersKept => "members kept in though failing",
            Self::StateRefused => "state files refused",
            Self::ReloadRefused => "reloads refused",
            Self::ServicesRefused => "services files refused",
            Self::RemovalsWithheld => "lists with removals withheld",
            Self::FileReplaced => "mounted files replaced",
            Self::StateNotWritten => "state files not written",
            Self::OrdersNotKept => "orders not kept",
            Self::Frozen => "freezes",
            Self::Starting => "nodes not heard yet",
        }
    }

    /// So long it must hold before it counts, and be away before it counts as over: what comes and
    /// goes by itself sooner is nothing to wake anyone for. `None`: nobody is alerted of it, it is
    /// only shown.
    #[must_use]
    pub fn settles(self) -> Option<Duration> {
        let seconds = match self {
            // Someone did it just now; or it is so from the start on.
            Self::ReloadRefused | Self::StateRefused | Self::FileReplaced => 0,
            // A node that changes its pool is in none for a moment; a file that is written in pieces may
            // seem to be quiet for one.
            Self::PoolEmpty | Self::SorryServer | Self::PoolShort | Self::RemovalsWithheld => 2,
            // A restart of Perlbal; an editor that writes the services file in pieces.
            Self::PerlbalLost
            | Self::FilesNotWritten
            | Self::ServicesRefused
            | Self::StateNotWritten
            // That it begins waits for `alert_nodes_down_after`.
            | Self::NodesDown => 5,
            // What is put right at the next reading.
            Self::PerlbalNotInSync => 10,
            // The log has an error; a pool that it makes short or empty has an alert of its own; or a
            // person ordered it.
            Self::NodesRefused
            | Self::MembersKept
            | Self::OrdersNotKept
            | Self::Frozen
            | Self::Starting => return None,
        };
        Some(Duration::from_secs(seconds))
    }
}
