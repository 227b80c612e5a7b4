//! `HAProxy`, whose slots pollbal fills.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Ask, Balancer, Uses, replace_all};
use crate::common::SOON;
use crate::common::docker::ask_haproxy;
use crate::common::haproxy::PROGRAM;
use crate::harness::world::POOLS;

/// See the module's documentation.
pub(crate) struct Haproxy {
    label: &'static str,
    image: &'static str,
    worlds: &'static [&'static str],
    has_state_file: bool,
}

/// 2.6, which the tests on this machine run too.
pub(crate) const DEBIAN_12: Haproxy = Haproxy {
    label: "HAProxy",
    image: "pollbal-haproxy",
    worlds: &["loopback", "containers"],
    has_state_file: false,
};

/// The same, where another process begins with what the last one had.
pub(crate) const WITH_STATE_FILE: Haproxy = Haproxy {
    label: "HAProxy with a state file",
    worlds: &["loopback"],
    has_state_file: true,
    ..DEBIAN_12
};

/// 3.0, which only an image has.
pub(crate) const DEBIAN_13: Haproxy = Haproxy {
    label: "HAProxy 3.0",
    image: "pollbal-haproxy-3.0",
    worlds: &["containers"],
    has_state_file: false,
};

/// Beside the pool directory, which may be a disk of its own.
fn state_file(pool_directory: &Path) -> PathBuf {
    pool_directory.with_file_name("haproxy.state")
}

impl Balancer for Haproxy {
    fn name(&self) -> &'static str {
        "HAProxy"
    }

    fn label(&self) -> &'static str {
        self.label
    }

    fn is_in(&self, world: &str) -> bool {
        self.worlds.contains(&world)
    }

    fn image(&self) -> &'static str {
        self.image
    }

    fn starts_from_files(&self) -> bool {
        false
    }

    fn reloads(&self) -> bool {
        true
    }

    fn only_reloads(&self) -> bool {
        self.has_state_file
    }

    fn settings(&self, pool_directory: &Path, management: SocketAddrV4) -> (&'static str, Value) {
        // Nothing that a scenario waits for is to come by the timer.
        let mut settings = json!({
            "socket": format!("ipv4@{management}"), "resync_interval": "5m",
        });
        if self.has_state_file {
            settings["state_file"] = json!(state_file(pool_directory));
        }
        ("haproxy", settings)
    }

    fn configuration(
        &self,
        pool_directory: &Path,
        services: &[SocketAddrV4],
        management: SocketAddrV4,
    ) -> String {
        let mut text = include_str!("../../../haproxy/haproxy.cfg").to_owned();
        if self.has_state_file {
            text = with_state_file(text, &state_file(pool_directory));
        }
        let socket = pool_directory.with_file_name("haproxy.sock");
        let places = [
            ("/run/haproxy/admin.sock", socket.display().to_string()),
            ("0.0.0.0:8001", services[0].to_string()),
            ("0.0.0.0:8002", services[1].to_string()),
            ("127.0.0.1:16001", management.to_string()),
        ];
        replace_all(text, &places)
    }

    fn command(&self, configuration: &Path) -> Vec<OsString> {
        vec![
            PROGRAM.into(),
            "-db".into(),
            "-f".into(),
            configuration.into(),
        ]
    }

    fn takeover(&self, configuration: &Path, pid: u32) -> Vec<OsString> {
        let socket = configuration.with_file_name("haproxy.sock");
        vec![
            "-x".into(),
            socket.into(),
            "-sf".into(),
            pid.to_string().into(),
        ]
    }

    fn ask(&self, management: SocketAddrV4, command: &str) -> Result<Vec<String>, String> {
        let ask = || {
            let mut stream = TcpStream::connect(management)?;
            stream.set_read_timeout(Some(SOON))?;
            stream.write_all(format!("{command}\n").as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer: std::io::Result<String> = ask();
        let answer = answer.map_err(|why| why.to_string())?;
        Ok(answer.lines().map(str::to_owned).collect())
    }

    fn ask_in(&self, container: &str, command: &str) -> Result<Vec<String>, String> {
        ask_haproxy(container, command)
    }

    fn management_in_container(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, 16_001)
    }

    fn pid(&self, ask: Ask<'_>) -> Option<u32> {
        let info = ask("show info").ok()?;
        let pid = info.iter().find_map(|line| line.strip_prefix("Pid: "))?;
        pid.trim().parse().ok()
    }

    fn uses(&self, ask: Ask<'_>, pool: &str) -> Uses {
        let servers = servers(ask, pool)?;
        let ready = servers.into_values().filter(|server| server.is_ready);
        Ok(ready.map(|server| (server.node, server.requests)).collect())
    }

    fn busy(&self, ask: Ask<'_>, node: SocketAddrV4) -> Result<Vec<String>, String> {
        let mut busy = Vec::new();
        for pool in POOLS {
            let servers = servers(ask, pool)?.into_iter();
            let of_node = servers.filter(|(_, server)| server.node == node && server.sessions > 0);
            busy.extend(of_node.map(|(name, server)| format!("{name}: {}", server.sessions)));
        }
        Ok(busy)
    }

    /// Each request makes its connection.
    fn can_connect(&self, _ask: Ask<'_>, _pool: &str, _gone: &[SocketAddrV4]) -> bool {
        true
    }

    fn swap(&self, ask: Ask<'_>, pool: &str, goes: SocketAddrV4, comes: SocketAddrV4) {
        let servers = servers(ask, pool).expect("HAProxy answers");
        let mut servers_of = servers.iter().filter(|(_, server)| server.node == goes);
        let (left, _) = servers_of.next().expect("the node has a server");
        let mut free = servers.iter().filter(|(_, server)| server.node.port() == 1);
        let (slot, _) = free.next().expect("there is a free slot");
        let (ip, port) = (comes.ip(), comes.port());
        for command in [
            format!("set server {pool}/{left} state maint"),
            format!("set server {pool}/{slot} addr {ip} port {port}"),
            format!("set server {pool}/{slot} state ready"),
        ] {
            let answer = ask(&command).expect("HAProxy answers");
            let is_done = |line: &String| line.is_empty() || line.contains("changed from");
            assert!(answer.iter().all(is_done), "{command}: {answer:?}");
        }
    }

    /// Lines such as `/?wait=4&number=7 127.0.1.1:8080 200`.
    fn logged(&self, output: &str) -> Option<BTreeMap<u64, SocketAddrV4>> {
        let entry = |line: &str| {
            let (_, rest) = line.split_once("number=")?;
            let mut words = rest.split(' ');
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        };
        Some(output.lines().filter_map(entry).collect())
    }
}

fn with_state_file(text: String, path: &Path) -> String {
    let global = format!("\nglobal\n  server-state-file {}\n", path.display());
    let defaults = "\ndefaults\n  load-server-state-from-file global\n";
    let slots = " pollbal.invalid:80 disabled init-addr last,127.0.0.1\n";
    let places = [
        ("\nglobal\n", global),
        ("\ndefaults\n", defaults.to_owned()),
        (" 127.0.0.1:1 disabled\n", slots.to_owned()),
    ];
    replace_all(text, &places)
}

/// A server of a backend.
struct Server {
    node: SocketAddrV4,
    is_ready: bool,
    /// Requests in progress, and all since the start.
    sessions: u64,
    requests: u64,
}

/// The servers of a backend, by name.
fn servers(ask: Ask<'_>, backend: &str) -> Result<BTreeMap<String, Server>, String> {
    let state = ask(&format!("show servers state {backend}"))?;
    let stat = ask(&format!("show stat {backend} 4 -1"))?;
    let not_understood = || format!("not understood: {state:?}, {stat:?}");
    let mut counts = BTreeMap::new();
    for line in stat
        .iter()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let fields: Vec<&str> = line.split(',').collect();
        let count = |field: usize| fields.get(field)?.parse().ok();
        let counted = || Some((count(4)?, count(7)?));
        let name = fields.get(1).ok_or_else(not_understood)?;
        counts.insert(*name, counted().ok_or_else(not_understood)?);
    }
    let mut servers = BTreeMap::new();
    for line in state.iter().skip(2).filter(|line| !line.is_empty()) {
        let fields: Vec<&str> = line.split(' ').collect();
        let server = || {
            let (sessions, requests) = *counts.get(fields.get(3)?)?;
            Some(Server {
                node: format!("{}:{}", fields.get(4)?, fields.get(18)?)
                    .parse()
                    .ok()?,
                // 4: its line in the configuration says `disabled`.
                is_ready: ["0", "4"].contains(fields.get(6)?),
                sessions,
                requests,
            })
        };
        let name = (*fields.get(3).ok_or_else(not_understood)?).to_owned();
        servers.insert(name, server().ok_or_else(not_understood)?);
    }
    Ok(servers)
}
