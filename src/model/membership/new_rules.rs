//! What other rules would do to who is in which pool, before they are active.

use super::Membership;
use super::nodes::State;
use crate::model::change::Assignment;
use crate::model::names::PoolName;
use crate::model::naming::HeldName;
use crate::model::node::NodeAddr;
use crate::model::removals::refusals::Refused;
use crate::model::rules::{JoinDenied, NameTaken, Rules};

impl Membership {
    /// The members that these rules would refuse where they are, in the order of the services file.
    #[must_use]
    pub fn refused_by(&self, rules: &Rules) -> Vec<Refused> {
        let refused = self.nodes.listed().iter().filter_map(|node| {
            let State::Member { place, .. } = &node.state else {
                return None;
            };
            let pool = &place.pool;
            let refusal = rules.refusal(pool, node.node.addr);
            let refusal = refusal.or_else(|| rules.declared_instead(pool))?;
            Some((node.node.clone(), pool.clone(), refusal))
        });
        refused.collect()
    }
}

impl Rules {
    /// What they have against a node in a pool.
    pub(super) fn refusal(&self, pool: &PoolName, addr: NodeAddr) -> Option<JoinDenied> {
        if let Some(blocks) = &self.of(pool).nodes
            && !blocks.iter().any(|block| block.contains(addr.ip()))
        {
            return Some(JoinDenied::NotListed(pool.clone()));
        }
        let undeclared = !self.declared.contains_key(pool);
        (undeclared && !self.accept_undeclared).then(|| JoinDenied::Undeclared(pool.clone()))
    }

    /// That a declared pool has the name of an undeclared one.
    fn declared_instead(&self, pool: &PoolName) -> Option<JoinDenied> {
        if self.declared.contains_key(pool) {
            return None;
        }
        let whole = |pool: &PoolName| Assignment {
            pool: pool.clone(),
            version: None,
        };
        let place = whole(pool);
        let has =
            |by: &Assignment, name: &HeldName| self.namings.names_of(by).any(|of| of == *name);
        let taken = self.namings.names_of(&place).find_map(|name| {
            let mut declared = self.declared.keys().map(whole);
            let by = declared.find(|by| has(by, &name))?;
            Some(self.name_taken(&place, &by, name))
        });
        Some(JoinDenied::NameTaken(Box::new(taken?)))
    }

    /// The rejection because `by` already has a name of the place.
    pub(super) fn name_taken(
        &self,
        place: &Assignment,
        by: &Assignment,
        name: HeldName,
    ) -> NameTaken {
        NameTaken {
            place: place.clone(),
            by: by.clone(),
            at: self.namings.place(&name),
            name: name.name,
        }
    }
}
