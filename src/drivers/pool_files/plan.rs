//! The desired content of pool files, and the steps that lead to it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::{Duration, Instant};

use super::names::file_name;
use crate::config::PoolFileFormat;
use crate::drivers::steps::line as step_line;
use crate::model::names::Version;
use crate::model::node::{Node, NodeAddr};
use crate::model::pools::Pools;
use crate::model::skipped::SkippedNodes;

/// The name of the file that lists the nodes in no pool.
pub const DISABLED_SERVICES: &str = "disabled_services";

/// Contents of files, by name.
pub type Files = BTreeMap<String, String>;

/// A file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActualFile {
    /// Its content.
    pub content: String,
    /// Since when it is known to be empty.
    pub empty_since: Option<Instant>,
}

/// Something to do in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Give a file this content.
    Write(String, String),
    /// Delete a file, which is empty.
    Remove(String),
}

impl Step {
    /// The file's name.
    #[must_use]
    pub fn name(&self) -> &str {
        let (Self::Write(name, _) | Self::Remove(name)) = self;
        name
    }
}

/// The files that a snapshot desires.
#[must_use]
pub fn desired_files(pools: &Pools, format: PoolFileFormat) -> Files {
    let mut files = Files::new();
    for (name, pool) in &pools.pools {
        let mut all = String::new();
        let mut versions: BTreeMap<&Version, String> = BTreeMap::new();
        let recipients = pool.recipients();
        for (node, version) in recipients.filter(|(node, _)| is_listed(node.addr, format)) {
            let begin = all.len();
            push_line(&mut all, node, format);
            if let Some(version) = version {
                versions.entry(version).or_default().push_str(&all[begin..]);
            }
        }
        if pool.declared || !all.is_empty() {
            files.insert(file_name(name, None), all);
        }
        let versions = versions.into_iter();
        files.extend(versions.map(|(version, content)| (file_name(name, Some(version)), content)));
    }
    let mut disabled = String::new();
    for node in pools.disabled.iter() {
        push_line(&mut disabled, node, PoolFileFormat::Services);
    }
    files.insert(DISABLED_SERVICES.to_owned(), disabled);
    files
}

/// Whether a format has such addresses: a nodefile has no IPv6 ones.
fn is_listed(addr: NodeAddr, format: PoolFileFormat) -> bool {
    format == PoolFileFormat::Services || addr.ipv4().is_some()
}

/// The nodes that the pool files of a snapshot cannot have in this format.
#[must_use]
pub fn skipped(pools: &Pools, format: PoolFileFormat) -> SkippedNodes {
    match format {
        PoolFileFormat::Nodefile => SkippedNodes::ipv6(pools),
        PoolFileFormat::Services => SkippedNodes::default(),
    }
}

/// `10.0.0.1 80 # name`. In a nodefile, what follows the address is a port only after a colon;
/// otherwise the port is 80 (Pool.pm, `_parse_nodefile`).
///
/// The format "services" has any address, IPv6 ones without brackets.
fn push_line(text: &mut String, Node { addr, name, .. }: &Node, format: PoolFileFormat) {
    let blank = format == PoolFileFormat::Services || addr.port() == 80;
    let between = if blank { ' ' } else { ':' };
    // Nothing fails to be written into a `String`.
    _ = writeln!(text, "{}{between}{} # {name}", addr.ip(), addr.port());
}

/// The steps that give the directory the desired content. A file that is not desired is emptied at
/// once, so that its readers see its members go, and deleted when it has been empty for `grace`: a
/// reader may keep the members of a deleted file for ever.
#[must_use]
pub fn plan(
    desired: &Files,
    actual: &BTreeMap<String, ActualFile>,
    grace: Duration,
    now: Instant,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for (name, content) in desired {
        if actual.get(name).is_none_or(|file| file.content != *content) {
            steps.push(Step::Write(name.clone(), content.clone()));
        }
    }
    for (name, file) in actual
        .iter()
        .filter(|(name, _)| !desired.contains_key(*name))
    {
        if !file.content.is_empty() {
            steps.push(Step::Write(name.clone(), String::new()));
        } else if file.empty_since.is_some_and(|since| now >= since + grace) {
            steps.push(Step::Remove(name.clone()));
        }
    }
    steps
}

/// When the next file will be due for deletion.
#[must_use]
pub fn next_removal(
    desired: &Files,
    actual: &BTreeMap<String, ActualFile>,
    grace: Duration,
) -> Option<Instant> {
    let undesired = actual
        .iter()
        .filter(|(name, _)| !desired.contains_key(*name));
    undesired
        .filter_map(|(_, file)| Some(file.empty_since? + grace))
        .min()
}

/// The difference of two contents for people: a `#` comment per line, added lines with `+`.
#[must_use]
pub fn describe(path: &str, before: Option<&str>, step: &Step) -> Vec<String> {
    let (verb, after) = match step {
        Step::Write(_, content) if content.is_empty() && before.is_none() => ("make", ""),
        Step::Write(_, content) if content.is_empty() => ("empty", ""),
        Step::Write(_, content) => ("write", content.as_str()),
        Step::Remove(_) => ("delete", ""),
    };
    let before = before.unwrap_or_default();
    let (old, desired): (BTreeSet<_>, BTreeSet<_>) =
        (before.lines().collect(), after.lines().collect());
    let gone = before.lines().filter(|line| !desired.contains(line));
    let new = after.lines().filter(|line| !old.contains(line));
    let gone = gone.map(|line| step_line(&format!("#   - {line}")));
    let new = new.map(|line| step_line(&format!("#   + {line}")));
    [step_line(&format!("# {verb} {path}"))]
        .into_iter()
        .chain(gone)
        .chain(new)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::pools::{Member, Pool};
    use crate::model::rules::PoolRules;

    const GRACE: Duration = Duration::from_secs(60);

    fn node(addr: &str) -> Arc<Node> {
        let addr = addr.parse().unwrap();
        Arc::new(Node::new(addr, "n"))
    }

    fn file(content: &str, empty_since: Option<Instant>) -> ActualFile {
        ActualFile {
            content: content.to_owned(),
            empty_since,
        }
    }

    #[test]
    fn each_pool_each_version_and_the_rest_have_a_file() {
        let member = |addr, version: Option<&str>| {
            Member::new(node(addr), version.map(|version| version.parse().unwrap()))
        };
        let members = vec![
            member("10.0.0.2:80", Some("v1")),
            member("10.0.0.1:8080", None),
        ];
        let api = Pool {
            members,
            announced: true,
            ..Pool::default()
        };
        let declared = Pool {
            declared: true,
            ..Pool::default()
        };
        let empty = Pool {
            announced: true,
            ..Pool::default()
        };
        let sorry = Pool {
            declared: true,
            sorry: vec![PoolRules::sorry_server("10.0.0.9:81".parse().unwrap())],
            ..Pool::default()
        };
        let pools = [
            ("api", api),
            ("web", declared),
            ("old", empty),
            ("shop", sorry),
        ];
        let pools = pools
            .into_iter()
            .map(|(name, pool)| (name.parse().unwrap(), Arc::new(pool)))
            .collect();
        let pools = Pools {
            pools,
            disabled: [node("10.0.0.3:81")].into(),
            ..Pools::default()
        };
        let expected = [
            ("api.pool", "10.0.0.2 80 # n\n10.0.0.1:8080 # n\n"),
            ("api.v1.pool", "10.0.0.2 80 # n\n"),
            ("disabled_services", "10.0.0.3 81 # n\n"),
            ("shop.pool", "10.0.0.9:81 # sorry server\n"),
            ("web.pool", ""),
        ];
        let expected = expected.map(|(name, content)| (name.to_owned(), content.to_owned()));
        assert_eq!(
            desired_files(&pools, PoolFileFormat::Nodefile),
            expected.into()
        );
        let services = desired_files(&pools, PoolFileFormat::Services);
        assert_eq!(services["api.pool"], "10.0.0.2 80 # n\n10.0.0.1 8080 # n\n");
    }

    #[test]
    fn ipv6_nodes_are_only_in_the_services_format() {
        let members = ["10.0.0.1:80", "[::1]:80"]
            .map(|addr| Member::new(node(addr), Some("v1".parse().unwrap())));
        let api = Pool {
            members: members.into(),
            ..Pool::default()
        };
        let pools = Pools {
            pools: [("api".parse().unwrap(), Arc::new(api))].into(),
            disabled: [node("[::2]:8080")].into(),
            ..Pools::default()
        };
        let nodefiles = desired_files(&pools, PoolFileFormat::Nodefile);
        for name in ["api.pool", "api.v1.pool"] {
            assert_eq!(nodefiles[name], "10.0.0.1 80 # n\n");
        }
        let text = skipped(&pools, PoolFileFormat::Nodefile).text("files");
        assert_eq!(text.as_deref(), Some("files: [::1]:80 in pool api skipped"));
        assert_eq!(
            skipped(&pools, PoolFileFormat::Services).text("files"),
            None
        );
        // No load balancer reads this one.
        assert_eq!(nodefiles[DISABLED_SERVICES], "::2 8080 # n\n");
        let services = desired_files(&pools, PoolFileFormat::Services);
        for name in ["api.pool", "api.v1.pool"] {
            assert_eq!(services[name], "10.0.0.1 80 # n\n::1 80 # n\n");
        }
    }

    #[test]
    fn what_is_not_wanted_is_emptied_first_and_deleted_after_the_grace() {
        let start = Instant::now();
        let desired = Files::from([("web.pool".to_owned(), "x\n".to_owned())]);
        let mut actual: BTreeMap<_, _> = [
            ("web.pool".to_owned(), file("x\n", None)),
            ("old.pool".to_owned(), file("y\n", None)),
        ]
        .into();
        let empty = Step::Write("old.pool".to_owned(), String::new());
        assert_eq!(plan(&desired, &actual, GRACE, start), [empty]);
        actual.insert("old.pool".to_owned(), file("", Some(start)));
        let just_before = start + GRACE.saturating_sub(Duration::from_millis(1));
        assert_eq!(plan(&desired, &actual, GRACE, just_before), []);
        assert_eq!(next_removal(&desired, &actual, GRACE), Some(start + GRACE));
        assert_eq!(
            plan(&desired, &actual, GRACE, start + GRACE),
            [Step::Remove("old.pool".to_owned())]
        );
    }

    #[test]
    fn a_description_is_made_of_comments_only() {
        let step = Step::Write("api.pool".to_owned(), "a\nb\n".to_owned());
        let text = describe("/run/pool/api.pool", Some("b\nc\n"), &step);
        assert_eq!(
            text,
            ["# write /run/pool/api.pool\n", "#   - c\n", "#   + a\n"]
        );
    }

    #[test]
    fn an_empty_file_that_is_missing_is_made_and_one_that_is_there_is_emptied() {
        let step = Step::Write("api.pool".to_owned(), String::new());
        assert_eq!(describe("x", None, &step), ["# make x\n"]);
        assert_eq!(
            describe("x", Some("a\n"), &step),
            ["# empty x\n", "#   - a\n"]
        );
    }

    #[test]
    fn a_node_called_exit_does_not_end_what_a_dry_run_is_piped_into() {
        let step = Step::Write("api.pool".to_owned(), "10.0.0.1 80 # exit\n".to_owned());
        assert_eq!(describe("x", None, &step)[1], "#   + 10.0.0.1 80 # exit \n");
    }
}
