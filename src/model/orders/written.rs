//! A grant as a state file has it, an older one too.

use serde::Deserialize;

use super::Grant;
use crate::model::names::{PoolName, Version};
use crate::model::time::Timestamp;

/// A [`Grant`] as it may be written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
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

/// Whether an older version wrote it is another matter than what was written.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Left {
    #[default]
    #[serde(skip)]
    Unwritten,
    Written(Option<PoolName>),
}

impl From<Written> for Grant {
    /// Before `left` was written the pool stood for it: a leave must not stop to count by an update.
    fn from(written: Written) -> Self {
        Self {
            left: match written.left {
                Left::Unwritten => written.pool.clone(),
                Left::Written(left) => left,
            },
            pool: written.pool,
            version: written.version,
            since: written.since,
            until: written.until,
            was_away: written.was_away,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_grant_that_was_written_without_left_counts_for_its_pool_and_one_of_no_pool_for_none() {
        let mut grant = json!({"pool": "api", "since": 1, "until": 2});
        let left = |grant: &serde_json::Value| {
            let grant: Grant = serde_json::from_value(grant.clone()).unwrap();
            grant.left.map(|pool| pool.to_string())
        };
        assert_eq!(left(&grant).as_deref(), Some("api"));
        grant["left"] = json!(null);
        assert_eq!(left(&grant), None);
        grant["left"] = json!("web");
        assert_eq!(left(&grant).as_deref(), Some("web"));
    }
}
