//! The requests of operators and nodes: which are granted, and what they change.

use std::collections::BTreeMap;
use std::time::Duration;

use thiserror::Error;

use super::Membership;
use super::overrides::{Effect, LeaveDenied};
use super::shortage::Shortage;
use crate::model::node::NodeAddr;
use crate::model::overrides::{Note, Reason, ReasonName, WeightOverride, given_by_other, words};
use crate::model::time::Clock;

/// An operator's or a node's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverrideRequest {
    /// Take nodes out of their pools for a reason.
    Disable {
        /// The nodes.
        nodes: Vec<NodeAddr>,
        /// The name of the reason.
        name: ReasonName,
        /// Who gives it, why, and until when.
        reason: Reason,
        /// Also if that takes a pool below its `min_members`, or its last member.
        force: bool,
    },
    /// Remove a reason from nodes.
    Enable {
        /// The nodes.
        nodes: Vec<NodeAddr>,
        /// The name of the reason.
        name: ReasonName,
        /// Who removes it.
        by: Note,
        /// For how long the nodes ramp up when they return, if that is not left to the configuration.
        ramp: Option<Duration>,
    },
    /// Give nodes a weight.
    SetWeight {
        /// The nodes.
        nodes: Vec<NodeAddr>,
        /// The weight, who gives it, why, and until when.
        given: WeightOverride,
    },
    /// End the weights that operators gave nodes; who does.
    ResetWeight(Vec<NodeAddr>, Note),
    /// Keep failed nodes in their pools.
    Freeze(ReasonName, Reason),
    /// Lift a freeze; who does.
    Thaw(ReasonName, Note),
    /// Poll nodes now.
    Nudge(Vec<NodeAddr>),
    /// A node asks to leave its pools.
    Leave(NodeAddr),
    /// Cancel the leaves of nodes; who does.
    CancelLeave(Vec<NodeAddr>, Note),
}

/// Why an override was not applied.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OverrideError {
    /// The services file does not list the node.
    #[error("{0} is not a listed node")]
    UnknownNode(NodeAddr),
    /// Pools would have too few members.
    #[error("{}", describe_shortages(.0))]
    TooFewMembers(Vec<Shortage>),
    /// Whether pools would have too few members is not known yet.
    #[error("not every node has been polled yet, so it is unknown whether the pool can spare it")]
    FirstRound,
    /// Someone else disabled the node with a reason of that name, which only they may change.
    #[error("{0} is already disabled: {1}{details}; use a different --reason", details = .2.details())]
    DisabledByOther(String, ReasonName, Reason),
    /// Someone else gave the node a weight.
    #[error("{0} already has weight {weight}: {name}{details}; `pollbal weight {0} --reset` ends that",
            weight = .1.weight, name = .1.name, details = .1.reason.details())]
    WeighedByOther(String, WeightOverride),
    /// Someone else gave a freeze of that name.
    #[error("already frozen: {0}{details}; use a different --reason", details = .1.details())]
    FrozenByOther(ReasonName, Reason),
    /// There is no freeze of that name.
    #[error("there is no freeze \"{0}\"")]
    NotFrozen(ReasonName),
    /// The node is disabled for other reasons, but not for this one.
    #[error("{0} is not disabled for \"{1}\" (active reasons: {2})")]
    OtherReasons(String, ReasonName, String),
    /// The node may not leave yet.
    #[error("{0}")]
    LeaveDenied(LeaveDenied),
}

impl OverrideError {
    /// Whether the same request with `force` would be applied.
    #[must_use]
    pub fn can_be_forced(&self) -> bool {
        matches!(self, Self::TooFewMembers(_) | Self::FirstRound)
    }
}

/// `disabling web-1 would leave web with 0 of 1 members (min_members 1)`, for each pool.
fn describe_shortages(shortages: &[Shortage]) -> String {
    let each: Vec<_> = shortages
        .iter()
        .map(|short| format!("disabling {} would leave {short}", short.who()))
        .collect();
    each.join("; ")
}

/// A request that was granted.
#[derive(Debug, Default)]
pub struct Granted {
    /// What it changed.
    pub effect: Effect,
    /// The pools that it left with too few members because it was forced.
    pub shortages: Vec<Shortage>,
}

impl From<Effect> for Granted {
    fn from(effect: Effect) -> Self {
        Self {
            effect,
            shortages: Vec::new(),
        }
    }
}

impl Membership {
    /// Applies a request if it is acceptable. A leave that is granted expires after `leave_timeout`.
    ///
    /// # Errors
    /// Why the request is not acceptable. Then nothing has changed.
    pub fn apply(
        &mut self,
        request: OverrideRequest,
        leave_timeout: Duration,
        Clock { now, today }: Clock,
    ) -> Result<Granted, OverrideError> {
        match request {
            OverrideRequest::Disable {
                nodes,
                name,
                reason,
                force,
            } => {
                self.require_listed(&nodes)?;
                self.require_own_reason(&nodes, &name, &reason.by)?;
                if !force {
                    self.require_members_without(&nodes)?;
                }
                let shortages = self.shortages(&nodes);
                let effect = self.disable(&nodes, &name, &reason, now);
                Ok(Granted { effect, shortages })
            }
            OverrideRequest::Enable {
                nodes,
                name,
                by,
                ramp,
            } => {
                for addr in &nodes {
                    self.require_reason(*addr, &name)?;
                }
                if let Some(length) = ramp {
                    self.order_ramps(&nodes, length);
                }
                Ok(self.enable(&nodes, &name, &by, now).into())
            }
            OverrideRequest::SetWeight { nodes, given } => {
                self.require_listed(&nodes)?;
                self.require_own_weight(&nodes, &given.reason.by)?;
                Ok(self.set_weight(&nodes, &given).into())
            }
            OverrideRequest::ResetWeight(nodes, by) => {
                self.require_listed_unless(&nodes, &self.overrides.weights)?;
                Ok(self.reset_weights(&nodes, &by).into())
            }
            OverrideRequest::Freeze(name, reason) => {
                match given_by_other(&self.overrides.frozen, &name, &reason.by) {
                    Some(given) => Err(OverrideError::FrozenByOther(name, given.clone())),
                    None => Ok(self.freeze(&name, &reason).into()),
                }
            }
            OverrideRequest::Thaw(name, by) => match self.thaw(&name, &by, now) {
                Some(effect) => Ok(effect.into()),
                None => Err(OverrideError::NotFrozen(name)),
            },
            OverrideRequest::Nudge(nodes) => {
                self.require_listed(&nodes)?;
                let effect = Effect {
                    poll_now: nodes,
                    ..Effect::default()
                };
                Ok(effect.into())
            }
            OverrideRequest::Leave(addr) => {
                self.require_listed(&[addr])?;
                let granted = self.leave(addr, leave_timeout, (now, today));
                Ok(granted.map_err(OverrideError::LeaveDenied)?.into())
            }
            OverrideRequest::CancelLeave(nodes, by) => {
                self.require_listed_unless(&nodes, &self.overrides.leases)?;
                Ok(self.cancel_leaves(&nodes, &by, now).into())
            }
        }
    }

    /// Requires that the services file lists all of these nodes.
    fn require_listed(&self, addrs: &[NodeAddr]) -> Result<(), OverrideError> {
        let unlisted = |addr: &&NodeAddr| self.nodes.get_listed(**addr).is_none();
        match addrs.iter().find(unlisted) {
            Some(unknown) => Err(OverrideError::UnknownNode(*unknown)),
            None => Ok(()),
        }
    }

    /// The same, except for nodes with one of these overrides, which remain when a line is removed from the services
    /// file, and can be ended then.
    fn require_listed_unless<T>(
        &self,
        addrs: &[NodeAddr],
        overrides: &BTreeMap<NodeAddr, T>,
    ) -> Result<(), OverrideError> {
        let others = addrs.iter().filter(|addr| !overrides.contains_key(addr));
        self.require_listed(&others.copied().collect::<Vec<_>>())
    }

    /// Requires that nobody else has disabled one of these nodes with a reason of this name: the new reason would
    /// replace theirs, and end it.
    fn require_own_reason(
        &self,
        addrs: &[NodeAddr],
        name: &ReasonName,
        by: &Note,
    ) -> Result<(), OverrideError> {
        let given = addrs.iter().find_map(|addr| {
            let reasons = self.overrides.reasons(*addr)?;
            Some((*addr, given_by_other(reasons, name, by)?.clone()))
        });
        match given {
            Some((addr, given)) => {
                let node = self.name_of(addr);
                Err(OverrideError::DisabledByOther(node, name.clone(), given))
            }
            None => Ok(()),
        }
    }

    /// Requires that nobody else has given one of these nodes a weight, which the new one would end.
    fn require_own_weight(&self, addrs: &[NodeAddr], by: &Note) -> Result<(), OverrideError> {
        let given = addrs.iter().find_map(|addr| {
            let given = self.overrides.weights.get(addr)?;
            (given.reason.by != *by).then(|| (*addr, given.clone()))
        });
        match given {
            Some((addr, given)) => Err(OverrideError::WeighedByOther(self.name_of(addr), given)),
            None => Ok(()),
        }
    }

    /// Requires that every pool has enough members without these nodes.
    fn require_members_without(&self, addrs: &[NodeAddr]) -> Result<(), OverrideError> {
        if !self.first_round_done {
            return Err(OverrideError::FirstRound);
        }
        match self.shortages(addrs) {
            none if none.is_empty() => Ok(()),
            shortages => Err(OverrideError::TooFewMembers(shortages)),
        }
    }

    /// Requires that the node is disabled for this reason, or for none. One that is disabled only for other reasons
    /// would stay out: the name was probably mistyped.
    fn require_reason(&self, addr: NodeAddr, name: &ReasonName) -> Result<(), OverrideError> {
        let Some(reasons) = self.overrides.reasons(addr) else {
            return self.require_listed(&[addr]);
        };
        if reasons.contains_key(name) {
            return Ok(());
        }
        let (node, others) = (self.name_of(addr), words(reasons.keys()));
        Err(OverrideError::OtherReasons(node, name.clone(), others))
    }

    fn name_of(&self, addr: NodeAddr) -> String {
        let node = self.nodes.get_listed(addr);
        node.map_or_else(|| addr.to_string(), |node| node.node.name.clone())
    }
}
