//! A real `HAProxy`, and commands that ask it what is so.

mod config;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

#[allow(unused_imports, reason = "each test binary uses its own part of this")]
pub(crate) use self::config::{Config, kept_slots, slots};
use super::notify::Notify;
use super::process::{children, runs};
use super::{SOON, becomes, eventually};

/// Where Debian has it; users do not look there.
pub(crate) const PROGRAM: &str = "/usr/sbin/haproxy";

/// What a master reports when it can be reloaded.
const READY: &str = "READY=1";

/// What the name of a sorry server begins with that pollbal added.
const SORRY: &str = "pollbal-sorry:";

/// The name of such a sorry server.
pub(crate) fn sorry_name(addr: SocketAddr) -> String {
    format!("{SORRY}{}:{}", addr.ip(), addr.port())
}

/// A server as `show servers state` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) addr: String,
    /// `ready`, `drain` or `maint`.
    pub(crate) state: &'static str,
    pub(crate) weight: u32,
}

/// An `HAProxy`; dropped, its processes are killed.
pub(crate) struct Haproxy {
    config: PathBuf,
    socket: PathBuf,
    services: Vec<(String, SocketAddrV4)>,
    /// Where a master reports that it is ready.
    manager: Option<Notify>,
    child: Option<Child>,
    /// Processes that end once their requests have ended.
    replaced: Vec<Child>,
}

impl Haproxy {
    /// Starts one whose configuration is already written, and waits until it answers.
    pub(crate) fn of_file(
        config: PathBuf,
        socket: PathBuf,
        services: &[(&str, SocketAddrV4)],
    ) -> Self {
        let services = services.iter();
        let services = services.map(|(name, at)| ((*name).to_owned(), *at));
        let mut haproxy = Self {
            config,
            socket,
            services: services.collect(),
            manager: None,
            child: None,
            replaced: Vec::new(),
        };
        haproxy.start();
        haproxy
    }

    /// Where `pollbal` reaches it.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where clients reach a service.
    pub(crate) fn service(&self, name: &str) -> SocketAddrV4 {
        let found = self.services.iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no service {name}")).1
    }

    /// Starts (again), with the same configuration on the same ports.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "HAProxy runs already");
        self.spawn(&[]);
        for (_, at) in &self.services {
            eventually(SOON, "HAProxy listens", || TcpStream::connect(at).ok());
        }
    }

    /// Replaces the process by another one, which reads the configuration again; the old one serves the requests that
    /// are in progress.
    #[track_caller]
    pub(crate) fn reload(&mut self) {
        if self.manager.is_some() {
            return self.reload_by_signal();
        }
        let old = self.child.take().expect("HAProxy runs");
        let pid = old.id().to_string();
        self.replaced.push(old);
        let socket = self.socket.clone();
        let socket = socket.to_str().expect("a path of ASCII");
        self.spawn(&["-x", socket, "-sf", &pid]);
    }

    /// By its master; the new worker answers when it returns.
    #[track_caller]
    fn reload_by_signal(&mut self) {
        let before = self.pid();
        let manager = self.manager.as_ref().expect("it has a master");
        let child = self.child.as_ref().expect("HAProxy runs");
        // A signal that comes before the master is ready is lost.
        let ready = manager.with(READY).len();
        kill_process(Pid::from_child(child), Signal::USR2).expect("failed to signal HAProxy");
        manager.wait(READY, ready + 1);
        eventually(SOON, "another worker answers", || {
            self.pid().filter(|pid| before != Some(*pid))
        });
    }

    /// The process that answers.
    pub(crate) fn pid(&self) -> Option<u32> {
        let info = try_ask(&self.socket, "show info").ok()?;
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid: "))?;
        pid.parse().ok()
    }

    /// The same with another text for part of the configuration.
    #[track_caller]
    pub(crate) fn reload_with(&mut self, part: &str, other: &str) {
        let text = fs::read_to_string(&self.config).expect("failed to read the configuration");
        assert!(text.contains(part), "{part} is not in {text}");
        fs::write(&self.config, text.replace(part, other)).expect("failed to write it");
        self.reload();
    }

    #[track_caller]
    fn spawn(&mut self, arguments: &[&str]) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.config.with_extension("log"))
            .expect("failed to make HAProxy's log");
        let mut command = Command::new(PROGRAM);
        match &self.manager {
            Some(manager) => command.arg("-Ws").env("NOTIFY_SOCKET", manager.path()),
            None => command.arg("-db"),
        };
        let child = command
            .arg("-f")
            .arg(&self.config)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("failed to share HAProxy's log"))
            .stdout(log)
            .spawn()
            .expect("failed to start HAProxy (perlbal/setup test installs it)");
        let own = child.id();
        self.child = Some(child);
        eventually(SOON, "HAProxy answers", || {
            self.assert_alive();
            let is_right = |pid: &u32| *pid == own || self.manager.is_some();
            self.pid().filter(is_right)
        });
        if let Some(manager) = &self.manager {
            manager.wait(READY, 1);
        }
    }

    #[track_caller]
    fn assert_alive(&mut self) {
        let child = self.child.as_mut().expect("HAProxy was started");
        if let Some(status) = child.try_wait().expect("failed to look after HAProxy") {
            let log = fs::read_to_string(self.config.with_extension("log")).unwrap_or_default();
            panic!("HAProxy ended with {status}:\n{log}");
        }
    }

    /// Whether a process that was replaced still runs.
    pub(crate) fn has_replaced(&mut self) -> bool {
        if self.manager.is_some() {
            return self.workers().len() > 1;
        }
        self.replaced
            .retain_mut(|child| child.try_wait().is_ok_and(|status| status.is_none()));
        !self.replaced.is_empty()
    }

    /// The processes that a master has started.
    fn workers(&self) -> Vec<Pid> {
        let masters = self.child.iter().filter(|_| self.manager.is_some());
        let workers = masters.flat_map(|master| children(Pid::from_child(master)));
        workers.filter(|worker| runs(*worker)).collect()
    }

    /// Ends at once, as in a crash; everything sent over the socket is gone.
    pub(crate) fn kill(&mut self) {
        for worker in self.workers() {
            let _ = kill_process(worker, Signal::KILL);
        }
        for mut child in self.child.take().into_iter().chain(self.replaced.drain(..)) {
            // It may have ended by itself; then there is nothing left but to reap it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The answer to a command.
    #[track_caller]
    pub(crate) fn ask(&self, command: &str) -> String {
        try_ask(&self.socket, command).expect("failed to ask HAProxy")
    }

    /// Sends a command that must succeed without a word.
    #[track_caller]
    pub(crate) fn tell(&self, command: &str) {
        assert_eq!(self.ask(command).trim(), "", "{command}");
    }

    /// The servers of a backend, by name.
    #[track_caller]
    pub(crate) fn servers(&self, backend: &str) -> BTreeMap<String, Server> {
        servers(&self.ask(&format!("show servers state {backend}")))
    }

    /// A server of a backend.
    #[track_caller]
    pub(crate) fn server(&self, backend: &str, name: &str) -> Server {
        let mut servers = self.servers(backend);
        servers
            .remove(name)
            .unwrap_or_else(|| panic!("no server {name}: {servers:?}"))
    }

    /// The addresses of the servers that are ready, except for those of the operator's `backup` and of sorry servers that
    /// stand by.
    #[track_caller]
    pub(crate) fn members(&self, backend: &str) -> BTreeSet<String> {
        members(self.servers(backend))
    }

    /// The same, if this process answers.
    #[track_caller]
    pub(crate) fn members_at(&self, pid: u32, backend: &str) -> Option<BTreeSet<String>> {
        let answer = self.ask(&format!("show info;show servers state {backend}"));
        let is_it = answer.contains(&format!("\nPid: {pid}\n"));
        is_it.then(|| members(servers(&answer)))
    }

    /// The sorry servers that stand by in a backend, by name.
    #[track_caller]
    pub(crate) fn standby(&self, backend: &str) -> BTreeMap<String, Server> {
        let mut servers = self.servers(backend);
        servers.retain(|name, _| name.starts_with(SORRY));
        servers
    }

    /// Waits until these nodes get requests, and no others.
    #[track_caller]
    pub(crate) fn wait_members(&self, backend: &str, nodes: &BTreeSet<SocketAddrV4>) {
        let expected = nodes.iter().map(ToString::to_string).collect();
        becomes(SOON, backend, &expected, || self.members(backend));
    }

    /// The server that has a node.
    #[track_caller]
    pub(crate) fn server_of(&self, backend: &str, node: SocketAddrV4) -> String {
        let node = node.to_string();
        let servers = self.servers(backend);
        let mut servers = servers.iter();
        let found = servers.find(|(_, server)| server.addr == node);
        found
            .unwrap_or_else(|| panic!("nobody has {node}"))
            .0
            .clone()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a command on a connection of its own.
fn try_ask(socket: &Path, command: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(format!("{command}\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The servers in an answer to `show servers state`, by name.
fn servers(answer: &str) -> BTreeMap<String, Server> {
    let lines = answer.lines();
    let rows = lines.skip_while(|line| !line.starts_with("# be_id"));
    let rows = rows.skip(1).filter(|row| !row.is_empty());
    let server = |row: &str| {
        let fields: Vec<&str> = row.split(' ').collect();
        let mask: u32 = fields[6].parse().expect("a mask");
        let state = match mask {
            0 | 4 => "ready",
            mask if mask & 0x23 != 0 => "maint",
            _ => "drain",
        };
        let ip: Result<IpAddr, _> = fields[4].parse();
        let port = fields[18].parse().expect("a port");
        let server = Server {
            addr: ip.map_or("-".to_owned(), |ip| SocketAddr::new(ip, port).to_string()),
            state,
            weight: fields[7].parse().expect("a weight"),
        };
        (fields[3].to_owned(), server)
    };
    rows.map(server).collect()
}

/// The addresses of those that [`Haproxy::members`] gives.
fn members(mut servers: BTreeMap<String, Server>) -> BTreeSet<String> {
    servers.retain(|name, _| name != "backup" && !name.starts_with(SORRY));
    let ready = servers.into_values();
    let ready = ready.filter(|server| server.state == "ready");
    ready.map(|server| server.addr).collect()
}
