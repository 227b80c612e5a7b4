//! Perlbal, which follows the pool files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use pollbal::drivers::perlbal::spare::address_of;
use serde_json::{Value, json};

use super::{Ask, Balancer, Uses, replace_all};
use crate::common::docker::ask_perlbal;
use crate::common::perlbal::Management;

/// See the module's documentation.
pub(crate) struct Perlbal;

impl Balancer for Perlbal {
    fn name(&self) -> &'static str {
        "Perlbal"
    }

    fn image(&self) -> &'static str {
        "pollbal-perlbal"
    }

    fn starts_from_files(&self) -> bool {
        true
    }

    fn reloads(&self) -> bool {
        false
    }

    fn settings(&self, _pool_directory: &Path, management: SocketAddrV4) -> (&'static str, Value) {
        // Nothing that a scenario waits for is to come by the timer.
        let settings = json!({ "address": management, "resync_interval": "5m" });
        ("perlbal", settings)
    }

    fn configuration(
        &self,
        pool_directory: &Path,
        services: &[SocketAddrV4],
        management: SocketAddrV4,
    ) -> String {
        let text = include_str!("../../../perlbal/perlbal.conf").to_owned();
        let places = [
            ("/run/pool", pool_directory.display().to_string()),
            ("0.0.0.0:8001", services[0].to_string()),
            ("0.0.0.0:8002", services[1].to_string()),
            ("127.0.0.1:16000", management.to_string()),
        ];
        replace_all(text, &places)
    }

    fn command(&self, configuration: &Path) -> Vec<OsString> {
        let config = format!("--config={}", configuration.display());
        vec!["perlbal".into(), config.into()]
    }

    fn takeover(&self, _configuration: &Path, _pid: u32) -> Vec<OsString> {
        unreachable!("Perlbal is not reloaded")
    }

    fn ask(&self, management: SocketAddrV4, command: &str) -> Result<Vec<String>, String> {
        let answer = Management::try_connect(management)
            .and_then(|mut connection| connection.try_ask(command));
        answer.map_err(|why| why.to_string())
    }

    fn ask_in(&self, container: &str, command: &str) -> Result<Vec<String>, String> {
        ask_perlbal(container, command)
    }

    fn management_in_container(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, 16_000)
    }

    fn pid(&self, _ask: Ask<'_>) -> Option<u32> {
        None
    }

    fn uses(&self, ask: Ask<'_>, pool: &str) -> Uses {
        let mut answer = ask(&format!("SHOW POOL {pool}"))?;
        answer.retain(|line| !is_spare(line));
        let member = |line: &String| {
            let (addr, uses) = line.split_once(' ')?;
            Some((addr.parse().ok()?, uses.parse().ok()?))
        };
        let members: Option<Vec<_>> = answer.iter().map(member).collect();
        members.ok_or_else(|| format!("not understood: {answer:?}"))
    }

    fn busy(&self, ask: Ask<'_>, node: SocketAddrV4) -> Result<Vec<String>, String> {
        let to = format!(" to {node}:");
        let mut lines = ask("SOCKS")?;
        lines.retain(|line| {
            line.contains("BackendHTTP") && line.contains(&to) && !line.contains("; bored")
        });
        Ok(lines)
    }

    /// It makes no more connections at a time than a pool has entries, and counts those to nodes that are out until it
    /// gives them up after 15 s (Service.pm, `spawn_backends`): pollbal makes up for that by spare entries.
    fn can_connect(&self, ask: Ask<'_>, pool: &str, gone: &[SocketAddrV4]) -> bool {
        let (made, entries) = (ask("PENDING"), ask(&format!("SHOW POOL {pool}")));
        let is_to_any = |line: &String| {
            let mut words = line.split(' ');
            words.any(|word| gone.iter().any(|node| word == node.to_string()))
        };
        let has_spare = entries.is_ok_and(|lines| lines.iter().any(|line| is_spare(line)));
        has_spare || made.is_ok_and(|lines| !lines.iter().any(is_to_any))
    }

    fn swap(&self, ask: Ask<'_>, pool: &str, goes: SocketAddrV4, comes: SocketAddrV4) {
        for command in [
            format!("POOL {pool} REMOVE {goes}"),
            format!("POOL {pool} ADD {comes}"),
        ] {
            let answer = ask(&command);
            assert_eq!(answer.as_deref(), Ok(&[][..]), "{command}");
        }
    }

    /// It logs no requests.
    fn logged(&self, _output: &str) -> Option<BTreeMap<u64, SocketAddrV4>> {
        None
    }
}

/// Whether a line of `SHOW POOL` is a spare entry, which is there while a node vanishes.
fn is_spare(line: &str) -> bool {
    line.split(' ').next().and_then(address_of).is_some()
}
