//! What a scenario can do to a world: the parts that run and fail on their own, and what is observed of them from
//! outside.
//!
//! A world has one load balancer, one pollbal and four nodes, and is new for each scenario. Everything is made and nothing
//! runs when it is new; dropped, it is gone with all its parts, whatever happened. Only what every world can really do
//! is here, so that a scenario is written once.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::balancer::Balancer;

/// What can run, and fail, on its own. A node is meant by its place in [`NODES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Balancer,
    Pollbal,
    Node(usize),
}

/// A node as it is first started; it serves at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeSpec {
    pub(crate) name: &'static str,
    pub(crate) pool: &'static str,
    /// Empty where it announces none.
    pub(crate) version: &'static str,
}

/// All nodes of a world, in the order of the services file.
pub(crate) const NODES: [NodeSpec; 4] = [
    node("api-node-1", "api", "v23"),
    node("api-node-2", "api", "v24"),
    node("website-node-1", "website", ""),
    node("website-node-2", "website", ""),
];

const fn node(name: &'static str, pool: &'static str, version: &'static str) -> NodeSpec {
    NodeSpec {
        name,
        pool,
        version,
    }
}

/// The pools that pollbal declares; the load balancer has a service on each, in the order of its configuration.
pub(crate) const POOLS: [&str; 2] = ["api", "website"];

/// The place of a pool in [`POOLS`].
#[track_caller]
pub(crate) fn pool_index(pool: &str) -> usize {
    let index = POOLS.iter().position(|known| *known == pool);
    index.unwrap_or_else(|| panic!("no service on {pool}"))
}

/// The lines of the services file, with all nodes.
pub(crate) fn services_lines(addr: impl Fn(usize) -> SocketAddrV4) -> Vec<String> {
    let nodes = NODES.iter().enumerate();
    nodes
        .map(|(node, spec)| format!("{} # {}", addr(node), spec.name))
        .collect()
}

/// What a scenario needs beyond the usual; a world may leave out what nobody asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    /// [`World::cut`] and [`World::heal`].
    pub(crate) cuts: bool,
    /// [`World::fill_disk`] and [`World::free_disk`].
    pub(crate) small_disk: bool,
    /// [`World::set_clock`].
    pub(crate) clock: bool,
}

/// What fills the disk, in the pool directory because that is the whole disk; not shown among the pool files.
pub(crate) const FILLER: &str = ".filler";

/// A file in the pool directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PoolFile {
    pub(crate) text: String,
    /// Its inode and its time of modification in full: another after every write, even of the same text.
    pub(crate) stamp: String,
}

/// The pool directory, hidden files too, by name.
pub(crate) type PoolFiles = BTreeMap<String, PoolFile>;

/// One world; everything in it panics with the reason when the world itself fails.
pub(crate) trait World {
    /// Starts the part, which does not run, and returns when it was started, not when it serves. A node begins as
    /// [`NODES`] says. A load balancer that does not find its pool files ends and is started again, without end,
    /// as a service manager does.
    fn start(&mut self, part: Part);

    /// Starts a node that announces this version from its first answer on.
    fn start_at(&mut self, node: usize, version: &str);

    /// SIGKILL; the part is gone, and stays so, when it returns.
    fn kill(&mut self, part: Part);

    /// SIGTERM; the part is gone, and stays so, when it returns. How long that took, or `None` if it had to be killed
    /// in the end.
    fn stop(&mut self, part: Part) -> Option<Duration>;

    /// The part stands still: it is connected to, and answers nothing.
    fn pause(&mut self, part: Part);

    fn resume(&mut self, part: Part);

    /// From now on packets between these nodes and everyone else vanish; nobody is notified.
    fn cut(&mut self, nodes: &[usize]);

    /// The nodes that were cut off are reached again, at the same addresses.
    fn heal(&mut self, nodes: &[usize]);

    /// Where the node is polled, and reached from here, whether it runs or not.
    fn node_addr(&self, node: usize) -> SocketAddrV4;

    /// Where clients, such as we here, ask the load balancer for that pool.
    fn service_addr(&self, pool: &str) -> SocketAddrV4;

    /// Its load balancer.
    fn balancer(&self) -> &'static dyn Balancer;

    /// The load balancer replaces its process by one that has read the configuration again.
    fn reload(&mut self);

    /// Sends a command to the load balancer's management socket and gives the lines of the answer; or why there is
    /// none, as when it does not run.
    fn management(&self, command: &str) -> Result<Vec<String>, String>;

    /// All files in the pool directory but what fills the disk, whether pollbal runs or not.
    fn pool_files(&self) -> PoolFiles;

    /// Fills the disk on which the pool directory is, up to the last byte.
    fn fill_disk(&mut self);

    fn free_disk(&mut self);

    /// The wall clock that pollbal sees jumps: from now on it is this many seconds ahead of the true one, or behind if
    /// negative. It goes on at its pace, and pollbal is not restarted.
    fn set_clock(&mut self, seconds_ahead: i64);

    /// What the part said on standard output and standard error, over all its runs; of pollbal that is the log.
    fn output(&self, part: Part) -> String;
}

/// pollbal's configuration, the same in all worlds but for the places.
pub(crate) fn pollbal_config(
    pool_directory: &Path,
    services_file: &Path,
    (key, balancer): (&str, Value),
) -> Value {
    json!({
        "pool_directory": pool_directory,
        "services_file": services_file,
        key: balancer,
        "pools": { "api": {}, "website": {} },
        "poll_interval": "200ms",
        // A node that a busy machine keeps from answering must not count as failed.
        "service_timeout": "2s",
    })
}
