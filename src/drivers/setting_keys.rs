//! The keys that each kind of load balancer has in the configuration: its own, and that of pools for their names there.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde_json::Value;

use crate::config::reader::{ObjectReader, expected_message};
use crate::model::driver_status::DriverKind;
use crate::model::names::PoolName;

/// Names at load balancers of one kind that differ from those that follow from the announced ones.
pub(crate) type GivenNames<N> = BTreeMap<PoolName, N>;

/// The key of a kind of load balancer: one of them or an array of them, each written as its address or as an object.
pub(crate) struct KindKey<A> {
    /// The kind, whose key it is.
    pub(crate) kind: DriverKind,
    /// The address's key in an object.
    pub(crate) address: &'static str,
    /// What an address is, with an example, for errors.
    pub(crate) expected: &'static str,
    /// A valid address. It stands in for one that is not, so that errors in other keys are found as well.
    pub(crate) example: fn() -> A,
    /// Parses an address.
    pub(crate) parse: fn(&str) -> Option<A>,
}

/// The key of a pool that gives it another name at load balancers of one kind.
pub(crate) struct NameKey<N> {
    pub(crate) key: &'static str,
    /// What a name is, for errors.
    pub(crate) expected: &'static str,
    /// The kind of load balancer, for people.
    pub(crate) place: &'static str,
    /// A pool's name there if none is given.
    pub(crate) of_pool: fn(&PoolName) -> N,
    /// Parses a name.
    pub(crate) parse: fn(&str) -> Option<N>,
}

impl<A: Clone + Display + PartialEq> KindKey<A> {
    /// Reads all of this kind: `new` makes the settings of one with defaults, `read` reads the keys of its object but
    /// the address.
    pub(crate) fn read<S>(
        &self,
        reader: &ObjectReader<'_>,
        new: impl Fn(A) -> S,
        read: impl Fn(&ObjectReader<'_>, S) -> S,
    ) -> Vec<S> {
        let values = match reader.get(self.kind.key) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(values)) => values.iter().collect(),
            Some(value) => vec![value],
        };
        let mut addresses = Vec::new();
        let mut all = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            let key = format!("{}[{index}]", self.kind.key);
            let Some((address, settings)) = self.read_one(reader, &key, value, &new, &read) else {
                continue;
            };
            if addresses.contains(&address) {
                reader.error(self.kind.key, format!("{address} is listed twice"));
            }
            addresses.push(address);
            all.push(settings);
        }
        all
    }

    fn read_one<S>(
        &self,
        reader: &ObjectReader<'_>,
        key: &str,
        value: &Value,
        new: impl Fn(A) -> S,
        read: impl Fn(&ObjectReader<'_>, S) -> S,
    ) -> Option<(A, S)> {
        let parse = |value: &Value| value.as_str().and_then(self.parse);
        let Some(map) = value.as_object() else {
            let address = parse(value);
            if address.is_none() {
                let expected = format!("{}, or an object with `{}`", self.expected, self.address);
                reader.error(key, expected_message(&expected, value));
            }
            return address.map(|address| (address.clone(), new(address)));
        };
        let object = reader.child(key, map);
        let address = object.read(self.address, self.expected, parse);
        if map.get(self.address).is_none() {
            object.error(self.address, format!("missing; write {}", self.expected));
        }
        let settings = new(address.clone().unwrap_or_else(self.example));
        let settings = read(&object, settings);
        object.finish();
        address.map(|address| (address, settings))
    }
}

impl<N: Clone + Display + Ord> NameKey<N> {
    /// Adds the name that a pool's object gives, if it does.
    pub(crate) fn read(
        &self,
        object: &ObjectReader<'_>,
        pool: &PoolName,
        names: &mut GivenNames<N>,
    ) {
        let parse = |value: &Value| value.as_str().and_then(self.parse);
        let name = object.read(self.key, self.expected, parse);
        names.extend(name.map(|name| (pool.clone(), name)));
    }

    /// Reports declared pools that would share one name, before they do.
    pub(crate) fn report_shared<'a>(
        &self,
        reader: &ObjectReader<'_>,
        declared: impl Iterator<Item = &'a PoolName>,
        names: &GivenNames<N>,
    ) {
        let mut taken: BTreeMap<N, &PoolName> = BTreeMap::new();
        for pool in declared {
            let name = self.name_of(pool, names);
            if let Some(other) = taken.insert(name.clone(), pool) {
                let (place, key) = (self.place, self.key);
                reader.error(
                    &format!("pools.{pool}"),
                    format!("has the same name in {place} as pools.{other}, `{name}`; give one a different `{key}`"),
                );
            }
        }
    }

    /// The name of a pool.
    pub(crate) fn name_of(&self, pool: &PoolName, names: &GivenNames<N>) -> N {
        let given = names.get(pool).cloned();
        given.unwrap_or_else(|| (self.of_pool)(pool))
    }
}
