//! Names of pool files: `POOL.pool`, and `POOL.VERSION.pool` for the members at a version.

use crate::model::names::{PoolName, Version};

/// The name of a pool's file, or of a version pool's.
#[must_use]
pub fn file_name(pool: &PoolName, version: Option<&Version>) -> String {
    match version {
        Some(version) => format!("{pool}.{version}.pool"),
        None => format!("{pool}.pool"),
    }
}

/// The pool, and the version, whose file has this name; `None` if it is not the name of a pool file.
#[must_use]
pub fn parse_file_name(name: &str) -> Option<(PoolName, Option<Version>)> {
    let stem = name.strip_suffix(".pool")?;
    // A pool name has no dot, so the first one precedes the version.
    match stem.split_once('.') {
        Some((pool, version)) => Some((pool.parse().ok()?, Some(version.parse().ok()?))),
        None => Some((stem.parse().ok()?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_tells_its_pool_and_version() {
        let (pool, version) = ("api".parse().unwrap(), "1.2.pool".parse().unwrap());
        for version in [None, Some(version)] {
            let name = file_name(&pool, version.as_ref());
            assert_eq!(parse_file_name(&name), Some((pool.clone(), version)));
        }
        for other in [
            "disabled_services",
            ".pool",
            "a b.pool",
            "api..pool",
            "api.pool.tmp",
        ] {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }
}
