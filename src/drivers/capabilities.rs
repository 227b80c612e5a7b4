//! What kinds of load balancers can do.

use std::collections::BTreeSet;

/// Something that a load balancer can do, or cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Members may have different shares of the requests.
    Weights,
    /// A member that leaves stays listed, without new requests, until it is drained.
    DrainInPlace,
    /// It shows whether a removed member still works on a request.
    ProveDrained,
    /// Pools may have version pools.
    VersionPools,
    /// A pool that is missing there can be created, and is.
    CreatePools,
    /// A pool that is not needed any more can be deleted.
    DeletePools,
    /// Nodes may have IPv6 addresses.
    Ipv6,
}

/// What a load balancer can do, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities(BTreeSet<Capability>);

impl Capability {
    const ALL: [Self; 7] = [
        Self::Weights,
        Self::DrainInPlace,
        Self::ProveDrained,
        Self::VersionPools,
        Self::CreatePools,
        Self::DeletePools,
        Self::Ipv6,
    ];

    /// For people, after "no".
    fn text(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::DrainInPlace => "draining in place",
            Self::ProveDrained => "proof that a node is drained",
            Self::VersionPools => "version pools",
            Self::CreatePools => "creation of pools",
            Self::DeletePools => "deletion of pools",
            Self::Ipv6 => "IPv6 nodes",
        }
    }
}

impl Capabilities {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Capability::ALL.into_iter().collect()
    }

    /// These without that one.
    #[must_use]
    pub fn without(mut self, capability: Capability) -> Self {
        self.0.remove(&capability);
        self
    }

    /// Whether this is among them.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }

    /// `no weights, no IPv6 nodes`; `None` if nothing is lacking.
    #[must_use]
    pub fn lacking(&self) -> Option<String> {
        let lacks = Capability::ALL.into_iter().filter(|one| !self.has(*one));
        let lacks: Vec<_> = lacks.map(|one| format!("no {}", one.text())).collect();
        (!lacks.is_empty()).then(|| lacks.join(", "))
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(capabilities.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_listed_for_people() {
        assert_eq!(Capabilities::all().lacking(), None);
        let most = Capability::ALL.into_iter();
        let most = most.filter(|one| !matches!(one, Capability::Weights | Capability::Ipv6));
        let most: Capabilities = most.collect();
        assert_eq!(most.lacking().as_deref(), Some("no weights, no IPv6 nodes"));
    }
}
