//! What nodes last let be known of where they serve: what decides in a load balancer's pool in which no node has
//! served yet.
//!
//! Any node in such a pool was put there by hand, or by a run of which nothing is left, and may serve there although
//! pollbal has not polled it. Only who is known to be out goes.

use std::collections::BTreeMap;

use super::change::Assignment;
use super::names::{PoolName, Version};
use super::node::NodeAddr;

/// What a node let be known last, whatever it failed to say since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// It serves in no pool: by its own word or by order, or because the rules refuse what it announced.
    Out,
    /// It announced that it serves here, and may.
    Serves(Assignment),
}

/// The words of the nodes that gave any.
pub type Words = BTreeMap<NodeAddr, Word>;

/// Whether a node is known not to serve in a pool, or not at that version.
#[must_use]
pub fn is_out(words: &Words, addr: NodeAddr, pool: &PoolName, version: Option<&Version>) -> bool {
    match words.get(&addr) {
        None => false,
        Some(Word::Out) => true,
        Some(Word::Serves(place)) => {
            place.pool != *pool || (version.is_some() && place.version.as_ref() != version)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_serves_elsewhere_or_nowhere_is_out_and_who_said_nothing_is_not() {
        let addr = |host: u8| -> NodeAddr { format!("10.0.0.{host}:80").parse().unwrap() };
        let (api, web): (PoolName, PoolName) = ("api".parse().unwrap(), "web".parse().unwrap());
        let v1: Version = "v1".parse().unwrap();
        let place = Assignment {
            pool: api.clone(),
            version: Some(v1.clone()),
        };
        let words = [(addr(1), Word::Out), (addr(2), Word::Serves(place))].into();
        let out = |host, pool, version: Option<&str>| {
            let version: Option<Version> = version.map(|version| version.parse().unwrap());
            is_out(&words, addr(host), pool, version.as_ref())
        };
        assert!(out(1, &api, None) && out(1, &api, Some("v1")));
        assert!(!out(2, &api, None) && !out(2, &api, Some("v1")));
        assert!(out(2, &api, Some("v2")) && out(2, &web, None));
        assert!(!out(3, &api, None) && !out(3, &api, Some("v1")));
    }
}
