//! What an earlier run left in the pool directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::directory::{names, read_file};
use super::names::parse_file_name;
use super::owned::Owned;
use super::plan::DISABLED_SERVICES;
use crate::model::change::Assignment;
use crate::model::names::{PoolName, Version};
use crate::model::node::{Node, NodeAddr};
use crate::model::rules::{Rules, SORRY_SERVER};
use crate::model::services;

/// A pool of an earlier run, according to its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EarlierPool {
    /// Its members.
    pub members: BTreeMap<NodeAddr, Assignment>,
    /// Its versions, those of empty files too.
    pub versions: Vec<Version>,
}

/// What a run before left in the directory.
#[derive(Debug, Default)]
pub struct Earlier {
    /// Its pools.
    pub pools: BTreeMap<PoolName, EarlierPool>,
    /// All nodes that it had: those in pools, and those in none.
    pub nodes: BTreeMap<NodeAddr, Node>,
}

/// The pool files in a directory that have members and that pollbal wrote.
#[must_use]
pub fn owned_files(path: &Path) -> Vec<String> {
    let mut owned = Owned::default();
    owned.read(path);
    let files = owned.iter().filter(|name| {
        let about = fs::metadata(path.join(name));
        about.is_ok_and(|about| about.len() > 0)
    });
    files.map(str::to_owned).collect()
}

/// What an earlier run left, according to those files that are its own. What cannot be read is
/// passed over: it is brought in line when the first round is done.
#[must_use]
pub fn earlier(path: &Path, rules: &Rules) -> Earlier {
    let mut earlier = Earlier::default();
    let mut owned = Owned::default();
    owned.read(path);
    let mut found: Vec<_> = names(path).unwrap_or_default();
    // `api.pool` before `api.v1.pool`, which knows more of its members.
    found.sort_by_key(String::len);
    for name in found {
        let place = parse_file_name(&name);
        let is_declared = |(pool, _): &(PoolName, _)| rules.declared.contains_key(pool);
        let is_own = name == DISABLED_SERVICES
            || place.as_ref().is_some_and(is_declared)
            || owned.contains(&name);
        if !is_own {
            continue;
        }
        let Ok(text) = read_file(&path.join(&name)) else {
            continue;
        };
        let Ok(nodes) = services::parse(&text) else {
            continue;
        };
        let Some((pool, version)) = place else {
            let nodes = nodes.into_iter().map(|node| (node.addr, node));
            earlier.nodes.extend(nodes);
            continue;
        };
        let known = earlier.pools.entry(pool.clone()).or_default();
        known.versions.extend(version.clone());
        let members = &mut known.members;
        for node in nodes {
            let place = Assignment {
                pool: pool.clone(),
                version: version.clone(),
            };
            if version.is_none() || members.contains_key(&node.addr) {
                members.insert(node.addr, place);
            }
            // It may be a node of another pool, but was here as a sorry server.
            if !rules.of(&pool).is_sorry(node.addr) && node.name != SORRY_SERVER {
                earlier.nodes.insert(node.addr, node);
            }
        }
    }
    earlier
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::directory::Directory;
    use super::*;

    #[test]
    fn the_pools_of_an_earlier_run_are_read_with_their_versions() {
        let temporary = tempfile::tempdir().unwrap();
        let mut directory = Directory::new(temporary.path().to_owned());
        directory.open().unwrap();
        let now = Instant::now();
        directory
            .write("api.pool", "10.0.0.1 80 # a\n10.0.0.2:81 # b\n", now)
            .unwrap();
        directory
            .write(
                "api.v1.pool",
                "10.0.0.2:81 # b\n10.0.0.3:80 # not in api.pool\n",
                now,
            )
            .unwrap();
        directory.write("old.pool", "", now).unwrap();
        directory.write("old.v2.pool", "", now).unwrap();
        directory.write("broken.pool", "what is this", now).unwrap();
        let own = [
            "api.pool",
            "api.v1.pool",
            "old.pool",
            "old.v2.pool",
            "broken.pool",
            "shop.pool",
        ];
        let own = own.map(|name| (name.to_owned(), String::new()));
        directory.own(&own.into()).unwrap();
        fs::write(directory.path("foreign.pool"), "10.0.0.8:80\n").unwrap();
        let list = "10.0.0.4 80 # d\n";
        directory.write(DISABLED_SERVICES, list, now).unwrap();
        directory
            .write("shop.pool", "10.0.0.9:80 # sorry server\n", now)
            .unwrap();
        let (config, _) = crate::config::Config::from_value(&serde_json::json!({}));
        let Earlier { mut pools, nodes } = earlier(temporary.path(), &config.rules);
        pools.remove("shop");
        let nodes: Vec<_> = nodes.values().map(|node| node.name.as_str()).collect();
        assert_eq!(nodes, ["a", "b", "not in api.pool", "d"]);
        let names: Vec<_> = pools.keys().map(PoolName::as_str).collect();
        assert_eq!(names, ["api", "old"]);
        let api: Vec<_> = pools["api"]
            .members
            .iter()
            .map(|(addr, place)| format!("{addr} {place}"))
            .collect();
        assert_eq!(api, ["10.0.0.1:80 api", "10.0.0.2:81 api (v1)"]);
        let versions = pools.values().flat_map(|pool| &pool.versions);
        let versions: Vec<_> = versions.map(ToString::to_string).collect();
        assert_eq!(versions, ["v1", "v2"], "those of empty files too");
    }
}
