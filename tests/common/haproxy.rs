//! A real `HAProxy`, its configuration, and commands that ask it what is so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::stage::Stage;
use super::{SOON, becomes, eventually};

/// Where Debian has it; users do not look there.
pub(crate) const PROGRAM: &str = "/usr/sbin/haproxy";

/// The line that makes `count` slots of weight 100.
pub(crate) fn slots(count: usize) -> String {
    format!("server-template pb 1-{count} 127.0.0.1:1 weight 100 disabled")
}

/// The same for a state file: servers take their addresses from it only if they have a host name.
pub(crate) fn kept_slots(count: usize) -> String {
    format!(
        "server-template pb 1-{count} pollbal.invalid:80 weight 100 disabled init-addr last,127.0.0.1"
    )
}

/// What the name of a sorry server begins with that pollbal added.
const SORRY: &str = "pollbal-sorry:";

/// The name of such a sorry server.
pub(crate) fn sorry_name(addr: SocketAddr) -> String {
    format!("{SORRY}{}:{}", addr.ip(), addr.port())
}

/// `HAProxy`'s configuration file, in the order in which it is built up.
pub(crate) struct Config {
    level: &'static str,
    state_file: Option<PathBuf>,
    sections: String,
    services: Vec<(String, SocketAddrV4)>,
}

impl Config {
    pub(crate) fn new() -> Self {
        Self {
            level: "admin",
            state_file: None,
            sections: String::new(),
            services: Vec::new(),
        }
    }

    /// What the stats socket allows.
    pub(crate) fn level(mut self, level: &'static str) -> Self {
        self.level = level;
        self
    }

    /// From which file it takes its state when it starts.
    pub(crate) fn state_file(mut self, path: PathBuf) -> Self {
        self.state_file = Some(path);
        self
    }

    /// A backend with these lines.
    pub(crate) fn backend(mut self, name: &str, lines: &[&str]) -> Self {
        self.section(&format!("backend {name}"), lines);
        self
    }

    /// A frontend of that backend.
    pub(crate) fn service(mut self, stage: &Stage, name: &str, backend: &str) -> Self {
        let listen = stage.free_addr();
        let bind = format!("bind {listen}");
        let backend = format!("default_backend {backend}");
        self.section(&format!("frontend {name}"), &[&bind, &backend]);
        self.services.push((name.to_owned(), listen));
        self
    }

    fn section(&mut self, heading: &str, lines: &[&str]) {
        let lines = lines.join("\n  ");
        writeln!(self.sections, "{heading}\n  {lines}").expect("a string takes every line");
    }

    /// The whole file.
    fn text(&self, socket: &Path) -> String {
        let (socket, level) = (socket.display(), self.level);
        let (state_file, load) = match &self.state_file {
            Some(path) => (
                format!("  server-state-file {}\n", path.display()),
                "  load-server-state-from-file global\n",
            ),
            None => (String::new(), ""),
        };
        format!(
            "global\n  stats socket {socket} mode 600 level {level} expose-fd listeners\n{state_file}\
             defaults\n{load}  mode http\n  timeout connect 1s\n  timeout client 60s\n  timeout server 60s\n  \
             timeout queue 5s\n  option redispatch 1\n{}",
            self.sections
        )
    }

    /// Starts `HAProxy` with this configuration and waits until it answers.
    pub(crate) fn start(self, stage: &Stage) -> Haproxy {
        // More than one may run on a stage.
        let name = format!("haproxy-{}", stage.free_addr().port());
        let socket = stage.path(&format!("{name}.sock"));
        let config = stage.path(&format!("{name}.cfg"));
        fs::write(&config, self.text(&socket)).expect("failed to write HAProxy's configuration");
        let services = self.services.iter();
        let services: Vec<_> = services.map(|(name, at)| (name.as_str(), *at)).collect();
        Haproxy::of_file(config, socket, &services)
    }
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
        let old = self.child.take().expect("HAProxy runs");
        let pid = old.id().to_string();
        self.replaced.push(old);
        let socket = self.socket.clone();
        let socket = socket.to_str().expect("a path of ASCII");
        self.spawn(&["-x", socket, "-sf", &pid]);
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
        let child = Command::new(PROGRAM)
            .args(["-db", "-f"])
            .arg(&self.config)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("failed to share HAProxy's log"))
            .stdout(log)
            .spawn()
            .expect("failed to start HAProxy (perlbal/setup test installs it)");
        let pid = format!("Pid: {}\n", child.id());
        self.child = Some(child);
        eventually(SOON, "HAProxy answers", || {
            self.assert_alive();
            let info = try_ask(&self.socket, "show info").ok()?;
            info.contains(&pid).then_some(())
        });
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
        self.replaced
            .retain_mut(|child| child.try_wait().is_ok_and(|status| status.is_none()));
        !self.replaced.is_empty()
    }

    /// Ends at once, as in a crash; everything sent over the socket is gone.
    pub(crate) fn kill(&mut self) {
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
        let answer = self.ask(&format!("show servers state {backend}"));
        let rows = answer.lines().skip(2).filter(|row| !row.is_empty());
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
            let addr = ip.map_or("-".to_owned(), |ip| SocketAddr::new(ip, port).to_string());
            let weight = fields[7].parse().expect("a weight");
            (
                fields[3].to_owned(),
                Server {
                    addr,
                    state,
                    weight,
                },
            )
        };
        rows.map(server).collect()
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
        let mut servers = self.servers(backend);
        servers.retain(|name, _| name != "backup" && !name.starts_with(SORRY));
        let ready = servers.into_values();
        let ready = ready.filter(|server| server.state == "ready");
        ready.map(|server| server.addr).collect()
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
