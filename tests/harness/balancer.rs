//! The load balancers that a world can have, and what scenarios ask them.

pub(crate) mod haproxy;
pub(crate) mod perlbal;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddrV4;
use std::path::Path;

use serde_json::Value;

/// All of them: Debian 12's, once more with a state file, and the `HAProxy` of Debian 13.
pub(crate) const ALL: [&dyn Balancer; 4] = [
    &perlbal::Perlbal,
    &haproxy::DEBIAN_12,
    &haproxy::WITH_STATE_FILE,
    &haproxy::DEBIAN_13,
];

/// The members of a pool, each with how many requests it got since it became one.
pub(crate) type Uses = Result<Vec<(SocketAddrV4, u64)>, String>;

/// What its own view is asked by: a command on its management socket in this world.
pub(crate) type Ask<'a> = &'a dyn Fn(&str) -> Result<Vec<String>, String>;

/// A kind of load balancer.
pub(crate) trait Balancer: Sync {
    /// As pollbal's log calls it.
    fn name(&self) -> &'static str;

    /// As trials call it.
    fn label(&self) -> &'static str {
        self.name()
    }

    /// Whether that world has it: not all are installed here.
    fn is_in(&self, _world: &str) -> bool {
        true
    }

    /// Its image in the world of containers.
    fn image(&self) -> &'static str;

    /// Whether a restart without pollbal leaves it the members that the pool files have.
    fn starts_from_files(&self) -> bool;

    /// Whether it can be reloaded.
    fn reloads(&self) -> bool;

    /// Whether it differs from another one only in how it is reloaded.
    fn only_reloads(&self) -> bool {
        false
    }

    /// Its key in pollbal's configuration, at a world's places.
    fn settings(&self, pool_directory: &Path, management: SocketAddrV4) -> (&'static str, Value);

    /// The configuration of the stack of containers, at a world's places.
    fn configuration(
        &self,
        pool_directory: &Path,
        services: &[SocketAddrV4],
        management: SocketAddrV4,
    ) -> String;

    /// The program and its arguments.
    fn command(&self, configuration: &Path) -> Vec<OsString>;

    /// Further arguments with which it takes over from that process, for a kind that can be reloaded.
    fn takeover(&self, configuration: &Path, pid: u32) -> Vec<OsString>;

    /// Sends a command to its management socket.
    fn ask(&self, management: SocketAddrV4, command: &str) -> Result<Vec<String>, String>;

    /// The same where it is on the loopback of a container.
    fn ask_in(&self, container: &str, command: &str) -> Result<Vec<String>, String>;

    /// Its management socket there.
    fn management_in_container(&self) -> SocketAddrV4;

    /// The process that answers, of a kind that can be reloaded.
    fn pid(&self, ask: Ask<'_>) -> Option<u32>;

    /// The members of a pool.
    fn uses(&self, ask: Ask<'_>, pool: &str) -> Uses;

    /// Its connections to the node on which a request is.
    fn busy(&self, ask: Ask<'_>, node: SocketAddrV4) -> Result<Vec<String>, String>;

    /// Whether connections that it makes to nodes which are gone keep it from making others.
    fn can_connect(&self, ask: Ask<'_>, pool: &str, gone: &[SocketAddrV4]) -> bool;

    /// What an operator says to have another node in a pool instead of one.
    fn swap(&self, ask: Ask<'_>, pool: &str, goes: SocketAddrV4, comes: SocketAddrV4);

    /// Which node each request was sent to, by the number in its query, as its output says; `None` if it logs none.
    fn logged(&self, output: &str) -> Option<BTreeMap<u64, SocketAddrV4>>;
}

/// Replaces these texts, each of which must be there.
fn replace_all(mut text: String, places: &[(&str, String)]) -> String {
    for (theirs, ours) in places {
        assert!(text.contains(theirs), "no {theirs} in {text}");
        text = text.replace(theirs, ours);
    }
    text
}
