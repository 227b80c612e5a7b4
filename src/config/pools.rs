//! The keys of membership: `rise`, `fall`, `pools` and their limits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::poll::{PoolHeaders, read_headers};
use super::reader::{ObjectReader, expected_message, is_comment};
use crate::drivers::registry::PoolKeys;
use crate::model::addr_block::AddrBlock;
use crate::model::names::PoolName;
use crate::model::naming::Namings;
use crate::model::node::{Node, NodeAddr};
use crate::model::ramp::{MIN_STEP, RampRules};
use crate::model::rules::{PoolRules, Rules};
use crate::model::weight::Weight;

/// Maximum of `rise` and `fall`; beyond it, a typo is more likely.
const MAX_IN_A_ROW: u32 = 1_000;

/// Maximum of `max_versions`: each version has a file, which is checked whenever its pool changes.
const MAX_VERSIONS: u32 = 10_000;

pub(super) fn read_rules(reader: &ObjectReader<'_>) -> (Rules, PoolKeys, Vec<PoolHeaders>) {
    let undeclared = PoolRules {
        rise: reader.integer("rise", 1, 1..=MAX_IN_A_ROW),
        fall: reader.integer("fall", 1, 1..=MAX_IN_A_ROW),
        min_members: 0,
        max_leaving: read_max_leaving(reader, 1),
        max_versions: read_max_versions(reader, 100),
        nodes: None,
        weight: read_weight(reader, Weight::default()),
        ramp: read_ramp(reader, RampRules::default()),
        sorry: Vec::new(),
    };
    let mut declared = BTreeMap::new();
    let mut keys = PoolKeys::default();
    let mut headers = Vec::new();
    let pools = reader.read("pools", "an object with a key per pool", Value::as_object);
    for (key, value) in pools
        .into_iter()
        .flatten()
        .filter(|(key, _)| !is_comment(key))
    {
        let path = format!("pools.{key}");
        let pool: PoolName = match key.parse() {
            Ok(pool) => pool,
            Err(error) => {
                reader.error(&path, format!("{error}"));
                continue;
            }
        };
        let Some(map) = value.as_object() else {
            reader.error(
                &path,
                expected_message(
                    "an object, `{}` for a pool without settings of its own",
                    value,
                ),
            );
            continue;
        };
        let object = reader.child(&path, map);
        keys.read(&object, &pool);
        let rules = read_pool(&object, &undeclared);
        headers.extend(read_pool_headers(&object, &pool, &rules));
        declared.insert(pool, rules);
        object.finish();
    }
    keys.report_shared(reader, declared.keys());
    let rules = Rules {
        undeclared,
        declared,
        accept_undeclared: reader.boolean("accept_undeclared_pools", true),
        max_undeclared: reader.integer("max_undeclared_pools", 100, 0..=u32::MAX) as usize,
        // Set from other keys by the caller.
        grace: Duration::ZERO,
        namings: Namings::default(),
    };
    (rules, keys, headers)
}

/// Requires `nodes`: the fields are sent before a node announces its pool.
fn read_pool_headers(
    object: &ObjectReader<'_>,
    pool: &PoolName,
    rules: &PoolRules,
) -> Option<PoolHeaders> {
    let headers = read_headers(object)?;
    let Some(blocks) = &rules.nodes else {
        let why = "requires `nodes`: a node's pool is known only from its response";
        object.error("poll_headers", why);
        return None;
    };
    Some((pool.clone(), blocks.clone(), headers))
}

fn read_pool(object: &ObjectReader<'_>, default: &PoolRules) -> PoolRules {
    PoolRules {
        rise: object.integer("rise", default.rise, 1..=MAX_IN_A_ROW),
        fall: object.integer("fall", default.fall, 1..=MAX_IN_A_ROW),
        min_members: object.integer("min_members", 0, 0..=u32::MAX) as usize,
        max_leaving: read_max_leaving(object, default.max_leaving),
        max_versions: read_max_versions(object, default.max_versions),
        nodes: read_blocks(object),
        weight: read_weight(object, default.weight),
        ramp: read_ramp(object, default.ramp),
        sorry: read_sorry(object),
    }
}

/// At least 1, otherwise no node could ever leave.
fn read_max_leaving(reader: &ObjectReader<'_>, default: usize) -> usize {
    let default = u32::try_from(default).unwrap_or(u32::MAX);
    reader.integer("max_leaving", default, 1..=u32::MAX) as usize
}

fn read_max_versions(reader: &ObjectReader<'_>, default: usize) -> usize {
    let default = u32::try_from(default).unwrap_or(MAX_VERSIONS);
    reader.integer("max_versions", default, 0..=MAX_VERSIONS) as usize
}

fn read_weight(reader: &ObjectReader<'_>, default: Weight) -> Weight {
    let range = Weight::MIN.get().into()..=Weight::MAX.get().into();
    let number = reader.integer("weight", default.get().into(), range);
    let weight = u16::try_from(number)
        .ok()
        .and_then(|number| number.try_into().ok());
    weight.unwrap_or(default)
}

fn read_ramp(reader: &ObjectReader<'_>, default: RampRules) -> RampRules {
    let length = reader.time("ramp", default.length, Duration::ZERO);
    if !length.is_zero() && length < MIN_STEP {
        reader.error("ramp", "expected \"0s\" for none, or a time of at least 1s");
    }
    RampRules {
        length,
        after: reader.time("ramp_after", default.after, Duration::ZERO),
    }
}

fn read_blocks(object: &ObjectReader<'_>) -> Option<Vec<AddrBlock>> {
    let expected = "an array of IP addresses and CIDR blocks (without host bits), \
                    such as [\"10.0.0.1\", \"10.1.0.0/16\", \"2001:db8::/32\"]";
    let read = |value: &Value| -> Option<Vec<AddrBlock>> {
        value
            .as_array()?
            .iter()
            .map(|block| block.as_str()?.parse().ok())
            .collect()
    };
    object.read("nodes", expected, read)
}

fn read_sorry(object: &ObjectReader<'_>) -> Vec<Arc<Node>> {
    let expected = "an array of addresses of servers that are not nodes, without duplicates, \
                    such as [\"10.0.0.9:80\"]; [] is none";
    let read = |value: &Value| -> Option<Vec<NodeAddr>> {
        let addrs = value.as_array()?.iter();
        addrs.map(|addr| addr.as_str()?.parse().ok()).collect()
    };
    let each_once = |addrs: &Vec<NodeAddr>| {
        let mut distinct = BTreeSet::new();
        addrs.iter().all(|addr| distinct.insert(*addr))
    };
    let read = |value: &Value| read(value).filter(each_once);
    let addrs = object.read("sorry", expected, read).unwrap_or_default();
    addrs.into_iter().map(PoolRules::sorry_server).collect()
}
