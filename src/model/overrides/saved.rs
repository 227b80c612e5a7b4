//! A lease as state files contain it, including older ones.

use serde::Deserialize;

use super::LeaveLease;
use crate::model::names::{PoolName, Version};
use crate::model::time::Timestamp;

/// A [`LeaveLease`] in a state file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedLease {
    pool: Option<PoolName>,
    #[serde(default)]
    version: Option<Version>,
    #[serde(default)]
    left: Left,
    since: Timestamp,
    until: Timestamp,
    #[serde(default)]
    was_away: bool,
}

/// Distinguishes an older file, which has no such field, from one in which the field is null.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Left {
    #[default]
    #[serde(skip)]
    Absent,
    Present(Option<PoolName>),
}

impl From<SavedLease> for LeaveLease {
    /// In older files the pool implies `left`: an update of pollbal must not stop a leave from counting.
    fn from(saved: SavedLease) -> Self {
        Self {
            left: match saved.left {
                Left::Absent => saved.pool.clone(),
                Left::Present(left) => left,
            },
            pool: saved.pool,
            version: saved.version,
            since: saved.since,
            until: saved.until,
            was_away: saved.was_away,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lease_saved_without_left_counts_in_its_pool_and_one_without_a_pool_in_none() {
        let mut lease = json!({"pool": "api", "since": 1, "until": 2});
        let left = |lease: &serde_json::Value| {
            let lease: LeaveLease = serde_json::from_value(lease.clone()).unwrap();
            lease.left.map(|pool| pool.to_string())
        };
        assert_eq!(left(&lease).as_deref(), Some("api"));
        lease["left"] = json!(null);
        assert_eq!(left(&lease), None);
        lease["left"] = json!("web");
        assert_eq!(left(&lease).as_deref(), Some("web"));
    }
}
