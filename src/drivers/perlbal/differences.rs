//! How a Perlbal that is not in sync differs from what is desired, as text, for alerts. Pure.

use std::collections::BTreeSet;

use super::protocol::Endpoint;
use super::view::{PerlbalView, PoolView};
use crate::drivers::change_list::still_needs;

/// Maximum number of pools that are described.
const MAX_POOLS: usize = 5;

impl PerlbalView {
    /// How each pool differs from what is desired, `pool api still needs +10.0.0.1:80
    /// -10.0.0.9:80`, and what cannot be corrected. Empty if nothing differs.
    #[must_use]
    pub fn differences(&self) -> String {
        let all: Vec<_> = self.pools.iter().filter_map(PoolView::difference).collect();
        let mut texts = all.iter().take(MAX_POOLS).cloned().collect::<Vec<_>>();
        if all.len() > MAX_POOLS {
            texts.push(format!("{} more pools differ", all.len() - MAX_POOLS));
        }
        texts.join("; ")
    }
}

impl PoolView {
    fn difference(&self) -> Option<String> {
        if !self.problems.is_empty() {
            return Some(self.problems.join("; "));
        }
        // A version pool that nobody created is not desired.
        self.sent.as_ref()?;
        let desired: BTreeSet<_> = self.desired.iter().copied().map(Endpoint::Node).collect();
        let observed = self.observed_members();
        still_needs(
            &self.name,
            desired.difference(&observed),
            observed.difference(&desired),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::drivers::details::Counters;
    use crate::drivers::perlbal::view::{Connection, Difference, ObservedView};
    use crate::model::node::NodeAddr;

    fn addr(number: usize) -> NodeAddr {
        format!("10.0.0.{number}:80").parse().unwrap()
    }

    fn pool(name: &str, desired: usize, observed: Difference) -> PoolView {
        PoolView {
            name: name.parse().unwrap(),
            services: Vec::new(),
            desired: (1..=desired).map(addr).collect(),
            sent: Some(Difference::default()),
            observed: Some(ObservedView {
                at: Instant::now(),
                difference: observed,
            }),
            problems: Vec::new(),
        }
    }

    fn text_of(pools: Vec<PoolView>) -> String {
        let now = Instant::now();
        let view = PerlbalView {
            address: "127.0.0.1:16000".to_owned(),
            connection: Connection::Connected { since: now },
            version: None,
            start: None,
            desired: Some(1),
            sent: 1,
            in_sync: false,
            in_sync_since: now,
            pools,
            leavers: Vec::new(),
            remarks: Vec::new(),
            counters: Counters::default(),
        };
        view.differences()
    }

    #[test]
    fn missing_and_extra_members_are_named_by_pool() {
        let differs = Difference {
            missing: vec![addr(2)],
            extra: vec![Endpoint::Node(addr(9))],
        };
        let right = pool("web", 2, Difference::default());
        let api = pool("api", 2, differs);
        let text = "pool api still needs +10.0.0.2:80 -10.0.0.9:80";
        assert_eq!(text_of(vec![api.clone(), right.clone()]), text);
        assert_eq!(text_of(vec![right.clone()]), "");
        // Sent, and without effect.
        let mut unsent = right.clone();
        unsent.sent = Some(Difference {
            missing: vec![addr(1)],
            extra: Vec::new(),
        });
        assert_eq!(text_of(vec![unsent]), "pool web still needs +10.0.0.1:80");
        // What cannot be corrected is described as the problem is.
        let missing = PoolView {
            sent: None,
            problems: vec!["there is no pool api".to_owned()],
            ..api
        };
        let unmade = PoolView {
            sent: None,
            ..right
        };
        assert_eq!(text_of(vec![missing, unmade]), "there is no pool api");
    }

    #[test]
    fn of_very_many_pools_and_members_some_are_named() {
        let lacks = |desired| Difference {
            missing: (1..=desired).map(addr).collect(),
            extra: Vec::new(),
        };
        let pools: Vec<_> = (0..7)
            .map(|number| pool(&format!("p{number}"), 200, lacks(200)))
            .collect();
        let text = text_of(pools);
        assert!(text.contains("+10.0.0.8:80 +192 more; pool p1 "), "{text}");
        assert!(text.ends_with("; 2 more pools differ"), "{text}");
    }
}
