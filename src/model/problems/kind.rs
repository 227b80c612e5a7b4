//! The kinds of problems: identifier, severity, and the time that each must last to count.

use std::time::Duration;

use crate::model::health::Severity;

/// The kind of a problem; the most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A pool has no member: requests to it wait, unless a load balancer still has earlier members.
    PoolEmpty,
    /// A pool has no member, and its sorry servers serve.
    SorryServer,
    /// A pool has fewer serving members than its `min_members`.
    PoolShort,
    /// A load balancer is not connected.
    LoadBalancerLost,
    /// A load balancer is connected, but not in sync.
    LoadBalancerNotInSync,
    /// Pool files do not have the desired content.
    FilesNotWritten,
    /// Nodes have failed and are out.
    NodesDown,
    /// Nodes announce a pool that they may not join.
    NodesRefused,
    /// Nodes have addresses that a load balancer, or the format of pool files, cannot have.
    NodesSkipped,
    /// Members fail, and are kept in by `min_members` or a freeze.
    MembersKept,
    /// The state file was rejected at the start: disabled nodes are back in their pools.
    StateRefused,
    /// The configuration, or the services file with it, was rejected at a reload.
    ReloadRefused,
    /// A changed services file was rejected.
    ServicesRefused,
    /// Host names of the services file cannot be resolved.
    HostsUnresolved,
    /// A source of nodes besides the services file cannot be reached, or has a list that must not be believed.
    SourceLost,
    /// Entries of such a source should be nodes and cannot be.
    MembersRejected,
    /// Nodes are missing from the list of nodes, and their removal is withheld.
    RemovalsWithheld,
    /// A file that is mounted by itself was replaced where it comes from, so that pollbal sees none of its changes.
    FileReplaced,
    /// The state file cannot be written.
    StateNotWritten,
    /// There is no state file, so that overrides end with this run.
    OrdersNotKept,
    /// Failed members are kept in by a freeze.
    Frozen,
    /// Not every node has been polled yet, so nothing is decided.
    Starting,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 22] = [
        Self::PoolEmpty,
        Self::SorryServer,
        Self::PoolShort,
        Self::LoadBalancerLost,
        Self::LoadBalancerNotInSync,
        Self::FilesNotWritten,
        Self::NodesDown,
        Self::NodesRefused,
        Self::NodesSkipped,
        Self::MembersKept,
        Self::StateRefused,
        Self::ReloadRefused,
        Self::ServicesRefused,
        Self::HostsUnresolved,
        Self::SourceLost,
        Self::MembersRejected,
        Self::RemovalsWithheld,
        Self::FileReplaced,
        Self::StateNotWritten,
        Self::OrdersNotKept,
        Self::Frozen,
        Self::Starting,
    ];

    /// Its identifier, which never changes, so that programs may rely on it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::PoolEmpty => "pool_empty",
            Self::SorryServer => "sorry_server",
            Self::PoolShort => "pool_short",
            Self::LoadBalancerLost => "load_balancer_lost",
            Self::LoadBalancerNotInSync => "load_balancer_not_in_sync",
            Self::FilesNotWritten => "files_not_written",
            Self::NodesDown => "nodes_down",
            Self::NodesRefused => "nodes_refused",
            Self::NodesSkipped => "nodes_skipped",
            Self::MembersKept => "members_kept",
            Self::StateRefused => "state_refused",
            Self::ReloadRefused => "reload_refused",
            Self::ServicesRefused => "services_refused",
            Self::HostsUnresolved => "hosts_unresolved",
            Self::SourceLost => "source_lost",
            Self::MembersRejected => "members_rejected",
            Self::RemovalsWithheld => "removals_withheld",
            Self::FileReplaced => "file_replaced",
            Self::StateNotWritten => "state_not_written",
            Self::OrdersNotKept => "orders_not_kept",
            Self::Frozen => "frozen",
            Self::Starting => "starting",
        }
    }

    /// The kind with this identifier.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Its severity.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            // Clients are not served, or not by all nodes that should serve them.
            Self::PoolEmpty
            | Self::SorryServer
            | Self::PoolShort
            | Self::LoadBalancerLost
            | Self::LoadBalancerNotInSync
            | Self::FilesNotWritten => Severity::Critical,
            // Other nodes serve meanwhile, the last good state remains active, or overrides may be lost.
            Self::NodesDown
            | Self::NodesRefused
            | Self::NodesSkipped
            | Self::MembersKept
            | Self::StateRefused
            | Self::ReloadRefused
            | Self::ServicesRefused
            | Self::HostsUnresolved
            | Self::SourceLost
            | Self::MembersRejected
            | Self::RemovalsWithheld
            | Self::FileReplaced
            | Self::StateNotWritten
            | Self::OrdersNotKept
            | Self::Frozen
            | Self::Starting => Severity::Degraded,
        }
    }

    /// Describes several problems of this kind, after their number: `3 pools without members`.
    #[must_use]
    pub fn of_several(self) -> &'static str {
        match self {
            Self::PoolEmpty => "pools without members",
            Self::SorryServer => "pools with a sorry server alone",
            Self::PoolShort => "pools below min_members",
            Self::LoadBalancerLost => "load balancers not connected",
            Self::LoadBalancerNotInSync => "load balancers not in sync",
            Self::FilesNotWritten => "pool directories not written",
            Self::NodesDown => "nodes down",
            Self::NodesRefused => "nodes refused",
            Self::NodesSkipped => "load balancers or pool directories that skip nodes",
            Self::MembersKept => "members kept in though failing",
            Self::StateRefused => "state files rejected",
            Self::ReloadRefused => "reloads rejected",
            Self::ServicesRefused => "services files rejected",
            Self::HostsUnresolved => "services files with unresolved host names",
            Self::SourceLost => "sources of nodes lost",
            Self::MembersRejected => "sources with rejected members",
            Self::RemovalsWithheld => "lists with removals withheld",
            Self::FileReplaced => "mounted files replaced",
            Self::StateNotWritten => "state files not written",
            Self::OrdersNotKept => "orders not kept",
            Self::Frozen => "freezes",
            Self::Starting => "nodes not polled yet",
        }
    }

    /// Minimum time that it must last before it counts, and be absent before it counts as over: what disappears sooner
    /// by itself is no reason to wake anyone. `None`: it is never a reason for an alert, it is only shown.
    #[must_use]
    pub fn hold_time(self) -> Option<Duration> {
        let seconds = match self {
            // The result of an action, or present from the start.
            Self::ReloadRefused | Self::StateRefused | Self::FileReplaced => 0,
            // A node that changes its pool is briefly in none; a file that is written in pieces may seem complete for a
            // moment.
            Self::PoolEmpty | Self::SorryServer | Self::PoolShort | Self::RemovalsWithheld => 2,
            // A restart of a load balancer; an editor that writes the services file in pieces.
            Self::LoadBalancerLost
            | Self::FilesNotWritten
            | Self::ServicesRefused
            | Self::HostsUnresolved
            | Self::SourceLost
            | Self::StateNotWritten
            // It begins after `alert_nodes_down_after` instead.
            | Self::NodesDown => 5,
            // Usually corrected at the next resync.
            Self::LoadBalancerNotInSync => 10,
            // The log reports it; a pool that it makes short or empty has its own alert; or an operator requested it.
            Self::NodesRefused
            | Self::MembersRejected
            | Self::NodesSkipped
            | Self::MembersKept
            | Self::OrdersNotKept
            | Self::Frozen
            | Self::Starting => return None,
        };
        Some(Duration::from_secs(seconds))
    }
}
