//! Resolves the host names of a services file.
//!
//! The system's resolver blocks its thread and cannot be interrupted, so each name is looked up on one of a few threads
//! of our own, and all of them together have a time limit. A name that cannot be resolved keeps the addresses that it
//! had.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crate::model::host_name::HostName;
use crate::model::services::{LineErrors, List, Listing};

/// Interval at which names are resolved again.
pub const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);

/// Time limit for all names of a file, in addition to [`TIME_PER_NAME`] for each.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Additional time for each name.
const TIME_PER_NAME: Duration = Duration::from_millis(20);

/// Maximum number of threads, those that a resolver does not answer included.
const MAX_THREADS: usize = 16;

/// Looks up a name's addresses.
type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The addresses of host names.
pub type Addresses = BTreeMap<HostName, Vec<IpAddr>>;

/// Names that are to be looked up.
type Queue = Arc<Mutex<VecDeque<HostName>>>;

/// Resolves host names; clones share what is known.
#[derive(Clone)]
pub struct Resolver {
    lookup: Arc<Lookup>,
    /// The addresses that were found last.
    known: Arc<Mutex<Addresses>>,
    /// Each thread has a clone.
    threads: Arc<()>,
}

/// What a services file lists, by the addresses of its host names.
#[derive(Debug)]
pub struct Resolution {
    /// The nodes, or which lines give the same.
    pub list: Result<List, LineErrors>,
    /// The addresses that the names have, or had.
    pub addresses: Addresses,
    /// The names that cannot be resolved.
    pub unresolved: Vec<Unresolved>,
}

/// A host name that cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The first line that has it.
    pub line: usize,
    /// The name.
    pub host: HostName,
    /// Why.
    pub error: String,
    /// It keeps the addresses that it had.
    pub is_kept: bool,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line, host, error, ..
        } = self;
        let consequence = if self.is_kept {
            "its last addresses are still used"
        } else {
            "its line is ignored until it can be resolved"
        };
        write!(
            f,
            "line {line}: {host} cannot be resolved: {error}; {consequence}"
        )
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// The system's resolver: `/etc/hosts`, DNS and what else the system is set up for.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|host| {
            let found = (host, 0).to_socket_addrs()?;
            Ok(found.map(|addr| addr.ip()).collect())
        })
    }

    /// Names are looked up by this function, on several threads at once.
    pub fn new(lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self {
            lookup: Arc::new(lookup),
            known: Arc::default(),
            threads: Arc::default(),
        }
    }

    /// Resolves the names of a file. Blocks, but not for longer than the time limits.
    #[must_use]
    pub fn resolve(&self, listing: &Listing) -> Resolution {
        let hosts = listing.hosts();
        let mut found = self.look_up(hosts.iter().map(|(host, _)| host.clone()).collect());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut addresses = Addresses::new();
        let mut unresolved = Vec::new();
        for (host, line) in hosts {
            let last = known.remove(&host);
            let error = match found.remove(&host) {
                Some(Ok(ips)) if !ips.is_empty() => {
                    addresses.insert(host, ips);
                    continue;
                }
                Some(Ok(_)) => "the name has no addresses".to_owned(),
                Some(Err(error)) => error.to_string(),
                None => "the resolver timed out".to_owned(),
            };
            let is_kept = last.is_some();
            addresses.extend(last.map(|last| (host.clone(), last)));
            unresolved.push(Unresolved {
                line,
                host,
                error,
                is_kept,
            });
        }
        known.clone_from(&addresses);
        let of = |host: &HostName| addresses.get(host).map_or(&[][..], Vec::as_slice);
        Resolution {
            list: listing.resolved(of),
            addresses,
            unresolved,
        }
    }

    /// What the lookups gave that ended in time.
    fn look_up(&self, hosts: VecDeque<HostName>) -> BTreeMap<HostName, io::Result<Vec<IpAddr>>> {
        let (count, mut found) = (hosts.len(), BTreeMap::new());
        let names = u32::try_from(count).unwrap_or(u32::MAX);
        let deadline = Instant::now() + TIME_LIMIT + TIME_PER_NAME.saturating_mul(names);
        let running = Arc::strong_count(&self.threads) - 1;
        let queue = Arc::new(Mutex::new(hosts));
        let (sender, answers) = channel();
        for _ in running..MAX_THREADS.min(running + count) {
            self.start_thread(&queue, &sender);
        }
        // The threads have clones: without any, all has been received.
        drop(sender);
        while found.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((host, answer)) = answers.recv_timeout(left) else {
                break;
            };
            found.insert(host, answer);
        }
        // A thread that is still waiting for an answer ends with it.
        queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
        found
    }

    /// Starts a thread that looks up names until none is left. Where that fails, the other threads do its work.
    fn start_thread(&self, queue: &Queue, sender: &Sender<(HostName, io::Result<Vec<IpAddr>>)>) {
        let (lookup, queue, sender) = (self.lookup.clone(), queue.clone(), sender.clone());
        let thread = self.threads.clone();
        let next = move || {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.pop_front()
        };
        let work = move || {
            while let Some(host) = next() {
                let answer = lookup(host.as_str());
                // Nobody waits any more: it took too long.
                if sender.send((host, answer)).is_err() {
                    break;
                }
            }
            drop(thread);
        };
        _ = Builder::new().name("resolver".to_owned()).spawn(work);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::model::services::parse_listing;

    fn listing(text: &str) -> Listing {
        parse_listing(text).unwrap()
    }

    fn nodes(resolution: &Resolution) -> Vec<String> {
        let nodes = &resolution.list.as_ref().unwrap().nodes;
        nodes.iter().map(|node| node.addr.to_string()).collect()
    }

    /// A resolver that knows what the map says now.
    pub(in crate::sources) fn scripted()
    -> (Resolver, Arc<Mutex<BTreeMap<&'static str, &'static str>>>) {
        let script: Arc<Mutex<BTreeMap<&str, &str>>> = Arc::default();
        let answers = script.clone();
        let resolver = Resolver::new(move |host| match answers.lock().unwrap().get(host) {
            Some(ip) => Ok(vec![ip.parse().unwrap()]),
            None => Err(io::Error::other("unknown")),
        });
        (resolver, script)
    }

    #[test]
    fn each_name_is_resolved_and_what_cannot_be_does_not_keep_the_rest_from_it() {
        let (resolver, script) = scripted();
        script.lock().unwrap().insert("one", "10.0.0.1");
        let resolution = resolver.resolve(&listing("two 80\none 80\n10.0.0.3 80\n"));
        assert_eq!(nodes(&resolution), ["10.0.0.1:80", "10.0.0.3:80"]);
        let text = resolution.unresolved[0].to_string();
        assert_eq!(
            text,
            "line 1: two cannot be resolved: unknown; its line is ignored until it can be resolved"
        );
        assert_eq!(resolution.unresolved.len(), 1);
    }

    #[test]
    fn a_name_that_cannot_be_resolved_any_more_keeps_its_last_addresses() {
        let (resolver, script) = scripted();
        let file = listing("one 80\n");
        script.lock().unwrap().insert("one", "10.0.0.1");
        assert_eq!(nodes(&resolver.resolve(&file)), ["10.0.0.1:80"]);
        script.lock().unwrap().clear();
        // However often, and also at a reload, which has a clone.
        for resolver in [&resolver, &resolver.clone()] {
            let resolution = resolver.resolve(&file);
            assert_eq!(nodes(&resolution), ["10.0.0.1:80"]);
            assert!(resolution.unresolved[0].is_kept);
        }
        script.lock().unwrap().insert("one", "10.0.0.2");
        let resolution = resolver.resolve(&file);
        assert_eq!(nodes(&resolution), ["10.0.0.2:80"]);
        assert_eq!(resolution.unresolved, []);
    }

    #[test]
    fn a_name_without_addresses_cannot_be_resolved() {
        let resolver = Resolver::new(|_| Ok(Vec::new()));
        let resolution = resolver.resolve(&listing("one 80\n"));
        assert_eq!(resolution.unresolved[0].error, "the name has no addresses");
    }

    #[test]
    fn many_names_are_resolved_by_a_few_threads() {
        let resolver = Resolver::new(|_| Ok(vec![IpAddr::from([10, 0, 0, 1])]));
        let lines = (1..=200).map(|port| format!("web{port} {port}"));
        let lines: Vec<_> = lines.collect();
        let resolution = resolver.resolve(&listing(&lines.join("\n")));
        assert_eq!(
            (nodes(&resolution).len(), resolution.addresses.len()),
            (200, 200)
        );
    }

    #[test]
    fn a_resolver_that_answers_none_of_the_threads_gets_no_more_of_them() {
        let lookups = Arc::new(AtomicUsize::new(0));
        let counted = lookups.clone();
        let resolver = Resolver::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(vec![IpAddr::from([10, 0, 0, 1])])
        });
        // As if each of them waited for an answer.
        let threads = vec![resolver.threads.clone(); MAX_THREADS];
        let resolution = resolver.resolve(&listing("one 80\n"));
        let error = &resolution.unresolved[0].error;
        assert_eq!(error, "the resolver timed out");
        assert_eq!(lookups.load(Ordering::Relaxed), 0);
        drop(threads);
        let resolution = resolver.resolve(&listing("one 80\n"));
        assert_eq!(nodes(&resolution), ["10.0.0.1:80"]);
    }
}
