//! The names of pools and version pools at load balancers.
//!
//! A load balancer may know fewer names than nodes can announce: `api` and `API` may be one pool
//! there. Two pools with one name would be mixed, so the model has to know that they would meet
//! (see [`membership`](super::membership)), though not why.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::change::Assignment;
use super::names::{PoolName, Version};

/// The one name of a pool or version pool: those that have the same cannot be distinguished.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalName(Arc<str>);

/// A name at one place: there it can have one pool or version pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldName {
    /// The place: the index of its [`Naming`].
    place: usize,
    /// The name there.
    pub name: CanonicalName,
}

/// What pools and version pools are called at each of several places. Two that have one name at one of them would be
/// mixed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namings(Vec<Naming>);

/// How names are made of what nodes announce.
#[derive(Clone, Copy)]
pub struct Scheme {
    /// Where names are made like this: a kind of load balancer, for people.
    pub place: &'static str,
    /// The name of a pool.
    pub of_pool: fn(&PoolName) -> String,
    /// The name of a version pool of the pool that has the first name.
    pub of_version: fn(&str, &Version) -> String,
}

/// What pools and version pools are called.
#[derive(Clone)]
pub struct Naming {
    scheme: Scheme,
    /// Names that the configuration gives.
    given: BTreeMap<PoolName, CanonicalName>,
}

/// Each pool and version pool has a name of its own, as its file has.
const EXACT: Scheme = Scheme {
    place: "the pool directory",
    of_pool: |pool| pool.to_string(),
    // A pool name has no dot.
    of_version: |pool, version| format!("{pool}.{version}"),
};

impl Naming {
    /// Names by this scheme, but for those that are given.
    #[must_use]
    pub fn new(scheme: Scheme, given: impl IntoIterator<Item = (PoolName, String)>) -> Self {
        let given = given.into_iter();
        let given = given.map(|(pool, name)| (pool, CanonicalName(name.into())));
        Self {
            scheme,
            given: given.collect(),
        }
    }

    /// Where these names are in use.
    #[must_use]
    pub fn place(&self) -> &'static str {
        self.scheme.place
    }

    /// The name that the configuration gives a pool, if it does.
    #[must_use]
    pub fn given(&self, pool: &PoolName) -> Option<&CanonicalName> {
        self.given.get(pool)
    }

    /// The name of a pool, or with a version of a version pool.
    #[must_use]
    pub fn of(&self, Assignment { pool, version }: &Assignment) -> CanonicalName {
        let given = self.given.get(pool).cloned();
        let name = given.unwrap_or_else(|| CanonicalName((self.scheme.of_pool)(pool).into()));
        match version {
            Some(version) => CanonicalName((self.scheme.of_version)(&name.0, version).into()),
            None => name,
        }
    }
}

impl Default for Naming {
    /// Each name as it is announced.
    fn default() -> Self {
        Self::new(EXACT, [])
    }
}

impl Namings {
    /// The names of a pool or version pool, one at each place.
    pub fn names_of(&self, assignment: &Assignment) -> impl Iterator<Item = HeldName> {
        let named = self.0.iter().enumerate();
        named.map(|(place, naming)| HeldName {
            place,
            name: naming.of(assignment),
        })
    }

    /// Where a name is in use.
    #[must_use]
    pub fn place(&self, name: &HeldName) -> &'static str {
        self.0[name.place].place()
    }

    /// The names that the configuration gives a pool, each with the place.
    pub fn given(&self, pool: &PoolName) -> impl Iterator<Item = (&'static str, &CanonicalName)> {
        let namings = self.0.iter();
        namings.filter_map(|naming| Some((naming.place(), naming.given(pool)?)))
    }
}

/// Of load balancers that name alike one counts. Where there is none, names are those of files.
impl FromIterator<Naming> for Namings {
    fn from_iter<I: IntoIterator<Item = Naming>>(namings: I) -> Self {
        let mut distinct = Vec::new();
        for naming in namings {
            if !distinct.contains(&naming) {
                distinct.push(naming);
            }
        }
        if distinct.is_empty() {
            distinct.push(Naming::default());
        }
        Self(distinct)
    }
}

impl Default for Namings {
    fn default() -> Self {
        [].into_iter().collect()
    }
}

impl PartialEq for Naming {
    fn eq(&self, other: &Self) -> bool {
        // A function cannot be compared; each scheme has a place of its own.
        self.scheme.place == other.scheme.place && self.given == other.given
    }
}

impl Eq for Naming {}

impl fmt::Debug for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut naming = f.debug_struct("Naming");
        naming.field("place", &self.scheme.place);
        naming.field("given", &self.given).finish()
    }
}

impl CanonicalName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CanonicalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(pool: &str, version: Option<&str>) -> Assignment {
        Assignment {
            pool: pool.parse().unwrap(),
            version: version.map(|version| version.parse().unwrap()),
        }
    }

    #[test]
    fn by_itself_each_pool_and_version_pool_has_a_name_of_its_own() {
        let naming = Naming::default();
        let places = [
            place("api", None),
            place("API", None),
            place("api__v1", None),
            place("api", Some("v1")),
            place("api", Some("V1")),
        ];
        for (index, one) in places.iter().enumerate() {
            for other in &places[..index] {
                assert_ne!(naming.of(one), naming.of(other), "{one} and {other}");
            }
        }
    }

    #[test]
    fn a_given_name_is_that_of_the_pool_and_begins_those_of_its_versions() {
        let naming = Naming::new(EXACT, [("api".parse().unwrap(), "web".to_owned())]);
        assert_eq!(naming.of(&place("api", None)).to_string(), "web");
        assert_eq!(naming.of(&place("api", Some("1"))).to_string(), "web.1");
        assert_eq!(
            naming.of(&place("web", None)),
            naming.of(&place("api", None))
        );
    }
}
