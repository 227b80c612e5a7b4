//! What a person should know about a Perlbal although everything there is as desired. Pure.

use std::collections::BTreeSet;
use std::fmt;

use super::desired::Desired;
use super::plan::Actual;
use crate::drivers::perlbal::name::PerlbalName;
use crate::logging::count;
use crate::model::text::printable;

/// Maximum number of pools, and of members, that are named in one line of the log.
const NAMED: usize = 8;

/// What a person should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remark {
    /// The pool's nodefile, at this path, is not one of our pool files.
    ForeignFile(PerlbalName, String),
    /// No service uses the pool.
    Unused(PerlbalName),
    /// The pool was pollbal's in an earlier run and is not now; these services use it.
    Former(PerlbalName, Vec<PerlbalName>),
    /// No node has served in the pool yet; these were its members, and stay.
    Unserved(PerlbalName, Vec<String>),
}

impl Remark {
    /// Whether the other remark need not be logged after this one: only the members that stay differ.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unserved(name, _), Self::Unserved(other, _)) => name == other,
            _ => self == other,
        }
    }
}

/// All remarks; `former` were pollbal's pools in an earlier run and are not now.
#[must_use]
pub fn remarks(
    desired: &Desired,
    actual: &Actual,
    former: &BTreeSet<PerlbalName>,
) -> BTreeSet<Remark> {
    let used: BTreeSet<_> = actual.used_pools().collect();
    let mut remarks = BTreeSet::new();
    let ours = desired.pools.keys();
    for (name, pool) in ours.filter_map(|name| Some((name, actual.pools.get(name)?))) {
        if let Some(path) = &pool.foreign_file {
            remarks.insert(Remark::ForeignFile(name.clone(), printable(path)));
        }
        let kept: Vec<_> = desired.pools[name]
            .kept()
            .map(|member| member.to_string())
            .collect();
        if !kept.is_empty() {
            remarks.insert(Remark::Unserved(name.clone(), kept));
        }
        if !used.contains(name) {
            remarks.insert(Remark::Unused(name.clone()));
        }
    }
    for name in former.iter().filter(|name| used.contains(*name)) {
        let pool = actual.pools.get(name);
        if pool.is_some_and(|pool| !pool.members.is_empty()) {
            let users = actual.users(name).map(|(service, _)| service.clone());
            remarks.insert(Remark::Former(name.clone(), users.collect()));
        }
    }
    remarks
}

/// Lines for the log: a single one for all pools that no service uses, which may be many.
pub fn lines<'a>(remarks: impl Iterator<Item = &'a Remark>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut unused = Vec::new();
    for remark in remarks {
        match remark {
            Remark::Unused(name) => unused.push(name.as_str()),
            other => lines.push(other.to_string()),
        }
    }
    match &unused[..] {
        [] => {}
        [name] => lines.push(unused_text(&format!("pool {name}"))),
        names if names.len() <= NAMED => {
            lines.push(unused_text(&format!("pools {}", names.join(", "))));
        }
        names => {
            let more = count(names.len() - NAMED, "other");
            let names = names[..NAMED].join(", ");
            lines.push(unused_text(&format!("pools {names} and {more}")));
        }
    }
    lines
}

fn unused_text(pools: &str) -> String {
    format!("no service in Perlbal uses {pools}: what pollbal does there reaches no client")
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignFile(name, path) => write!(
                f,
                "pool {name} follows {path} in Perlbal, which is not one of pollbal's pool files: when that file changes, \
                 or Perlbal restarts, its content replaces the members until pollbal corrects it; run SET {name} nodefile \
                 = <its file in pool_directory>, or none, in Perlbal's configuration"
            ),
            Self::Unserved(name, members) => {
                write!(
                    f,
                    "pool {name}: no node serves in it yet; members that were there stay: "
                )?;
                let named = members.iter().take(NAMED).map(String::as_str);
                f.write_str(&named.collect::<Vec<_>>().join(", "))?;
                match members.len().saturating_sub(NAMED) {
                    0 => Ok(()),
                    more => write!(f, " and {}", count(more, "other")),
                }
            }
            Self::Unused(name) => f.write_str(&unused_text(&format!("pool {name}"))),
            Self::Former(name, services) => {
                let services: Vec<_> = services.iter().map(PerlbalName::as_str).collect();
                write!(
                    f,
                    "pool {name} was pollbal's in an earlier run and is not any more (by perlbal_pool, pools or \
                     accept_undeclared_pools); its members stay as they are, and still get the requests of {}: \
                     remove them there, or give the service its new pool",
                    services.join(", ")
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::perlbal::desired::DesiredPool;
    use crate::drivers::perlbal::plan::ActualPool;
    use crate::drivers::perlbal::protocol::{Endpoint, Service};

    fn name(text: &str) -> PerlbalName {
        text.parse().unwrap()
    }

    fn desired(names: &[&str]) -> Desired {
        let pool = |text: &&str| (name(text), DesiredPool::default());
        Desired {
            pools: names.iter().map(pool).collect(),
        }
    }

    /// Pools, and a service on each of those that are used.
    fn actual(pools: &[&str], used: &[&str]) -> Actual {
        let pool = |text: &&str| (name(text), ActualPool::default());
        let service = |text: &&str| {
            let service = Service {
                pool: Some(name(text)),
                connect_ahead: 0,
            };
            (name(&format!("on_{text}")), service)
        };
        Actual {
            pools: pools.iter().map(pool).collect(),
            services: used.iter().map(service).collect(),
        }
    }

    #[test]
    fn pools_of_ours_that_no_service_uses_are_remarked_and_others_are_not() {
        let actual = actual(&["api", "web", "mine"], &["web"]);
        let remarks = remarks(&desired(&["api", "web", "missing"]), &actual, &[].into());
        assert_eq!(remarks, [Remark::Unused(name("api"))].into());
    }

    #[test]
    fn only_a_foreign_file_of_ours_is_remarked() {
        let mut actual = actual(&["api", "mine"], &["api", "mine"]);
        for pool in actual.pools.values_mut() {
            pool.foreign_file = Some("/etc/x".to_owned());
        }
        let remarks = remarks(&desired(&["api"]), &actual, &[].into());
        let foreign = Remark::ForeignFile(name("api"), "/etc/x".to_owned());
        assert_eq!(remarks, [foreign].into());
    }

    #[test]
    fn a_former_pool_is_remarked_while_a_service_uses_it_and_it_has_members() {
        let mut actual = actual(&["old", "unused"], &["old"]);
        for pool in actual.pools.values_mut() {
            let member = Endpoint::Node("10.0.0.1:80".parse().unwrap());
            pool.members = [member].into();
        }
        let former = ["old", "unused", "missing"].map(name).into();
        let former = remarks(&Desired::default(), &actual, &former);
        let old = Remark::Former(name("old"), vec![name("on_old")]);
        assert_eq!(former, [old].into());
    }

    #[test]
    fn very_many_unused_pools_are_one_line() {
        let unused: Vec<_> = (1..=20)
            .map(|number| Remark::Unused(name(&format!("p{number}"))))
            .collect();
        let lines = lines(unused.iter());
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("p8 and 12 others:"), "{lines:?}");
    }
}
