//! A real Perlbal, its configuration, and a management connection that asks it what is so.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write as _};
use std::net::{SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_quickack;
use rustix::process::{Pid, Signal, kill_process};

use pollbal::drivers::perlbal::spare::address_of;

use super::stage::Stage;
use super::{SOON, becomes, eventually};

/// Connections that are used again and again, idle ones without end, of which there is room for all of a test's traffic.
pub(crate) const KEPT_ALIVE: [(&str, &str); 3] = [
    ("persist_client", "on"),
    ("persist_backend", "on"),
    ("backend_persist_cache", "64"),
];

/// With it Perlbal opens a new connection now and then, by which a member that came back gets requests again.
pub(crate) const USED_UP: (&str, &str) = ("max_backend_uses", "100");

/// Connections that are used again and again, but not without end.
pub(crate) const RENEWED: [(&str, &str); 4] =
    [KEPT_ALIVE[0], KEPT_ALIVE[1], KEPT_ALIVE[2], USED_UP];

/// The members of a pool, or `None` where there is no such pool.
pub(crate) type Members = Option<BTreeSet<SocketAddrV4>>;

/// Perlbal's configuration file, in the order in which it is built up.
pub(crate) struct Config {
    text: String,
    services: Vec<(String, SocketAddrV4)>,
}

impl Config {
    pub(crate) fn new() -> Self {
        Self {
            text: String::new(),
            services: Vec::new(),
        }
    }

    /// A pool that only the socket fills.
    pub(crate) fn pool(self, name: &str) -> Self {
        self.pool_with(name, &[])
    }

    /// A pool that has members from the start.
    pub(crate) fn pool_with(mut self, name: &str, members: &[SocketAddrV4]) -> Self {
        self.line(format_args!("CREATE POOL {name}"));
        for member in members {
            self.line(format_args!("  POOL {name} ADD {member}"));
        }
        self
    }

    /// A pool that follows a file, which is made empty if it is missing: without it Perlbal does not start.
    pub(crate) fn nodefile_pool(mut self, name: &str, file: &Path) -> Self {
        if !file.exists() {
            let parent = file.parent().expect("a pool file has a directory");
            fs::create_dir_all(parent).expect("failed to make the pool directory");
            File::create(file).expect("failed to make the pool file");
        }
        self.line(format_args!("CREATE POOL {name}"));
        self.line(format_args!("  SET nodefile = {}", file.display()));
        self
    }

    /// A reverse proxy on that pool which keeps connections alive on both sides: the hard case for a removal.
    pub(crate) fn service(self, stage: &Stage, name: &str, pool: &str) -> Self {
        self.service_with(stage, name, pool, &KEPT_ALIVE)
    }

    /// A reverse proxy on that pool with these options and Perlbal's defaults for all others.
    pub(crate) fn service_with(
        mut self,
        stage: &Stage,
        name: &str,
        pool: &str,
        options: &[(&str, &str)],
    ) -> Self {
        let listen = stage.free_addr();
        self.line(format_args!("CREATE SERVICE {name}"));
        self.line(format_args!("  SET role = reverse_proxy"));
        self.line(format_args!("  SET listen = {listen}"));
        self.line(format_args!("  SET pool = {pool}"));
        for (key, value) in options {
            self.line(format_args!("  SET {key} = {value}"));
        }
        self.line(format_args!("ENABLE {name}"));
        self.services.push((name.to_owned(), listen));
        self
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a string takes every line");
    }

    /// Starts Perlbal with this configuration and waits until it listens everywhere.
    pub(crate) fn start(mut self, stage: &Stage) -> Perlbal {
        let management = stage.free_addr();
        self.line(format_args!("CREATE SERVICE management"));
        self.line(format_args!("  SET role = management"));
        self.line(format_args!("  SET listen = {management}"));
        self.line(format_args!("ENABLE management"));

        // More than one may run on a stage.
        let config = stage.path(&format!("perlbal-{}.conf", management.port()));
        fs::write(&config, self.text).expect("failed to write Perlbal's configuration");
        let mut perlbal = Perlbal {
            config,
            management,
            services: self.services,
            child: None,
            asking: Mutex::new(None),
        };
        perlbal.start();
        perlbal
    }
}

/// A Perlbal process; dropped, it is killed.
pub(crate) struct Perlbal {
    config: PathBuf,
    management: SocketAddrV4,
    services: Vec<(String, SocketAddrV4)>,
    child: Option<Child>,
    asking: Mutex<Option<Management>>,
}

impl Perlbal {
    /// Starts one with a single pool, which only the socket fills, and a reverse proxy on it.
    pub(crate) fn with_service(stage: &Stage, service: &str, pool: &str) -> Self {
        Config::new()
            .pool(pool)
            .service(stage, service, pool)
            .start(stage)
    }

    /// Where `pollbal` reaches it.
    pub(crate) fn management(&self) -> SocketAddrV4 {
        self.management
    }

    /// Where clients reach a service.
    pub(crate) fn service(&self, name: &str) -> SocketAddrV4 {
        let found = self.services.iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no service {name}")).1
    }

    /// Starts (again), with the same configuration on the same ports.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "Perlbal runs already");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .expect("failed to make Perlbal's log");
        let child = Command::new("perlbal")
            .arg(format!("--config={}", self.config.display()))
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("failed to share Perlbal's log"))
            .stdout(log)
            .spawn()
            .expect("failed to start perlbal: install it (apt-get install perlbal)");
        self.child = Some(child);

        let mut listeners: Vec<SocketAddrV4> = self.services.iter().map(|(_, at)| *at).collect();
        listeners.push(self.management);
        for at in listeners {
            eventually(SOON, "Perlbal listens", || {
                self.assert_alive();
                TcpStream::connect(at).ok()
            });
        }
    }

    fn log_file(&self) -> PathBuf {
        self.config.with_extension("log")
    }

    #[track_caller]
    fn assert_alive(&mut self) {
        let child = self.child.as_mut().expect("Perlbal was started");
        if let Some(status) = child.try_wait().expect("failed to look after Perlbal") {
            let log = fs::read_to_string(self.log_file()).unwrap_or_default();
            panic!("Perlbal ended with {status}:\n{log}");
        }
    }

    /// Ends at once, as in a crash; everything sent over the socket is gone.
    pub(crate) fn kill(&mut self) {
        self.forget_connection();
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing left but to reap it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stands still, as a process under a debugger or on a machine that swaps.
    pub(crate) fn pause(&mut self) {
        // Anyone who asks now would wait for ever.
        self.forget_connection();
        self.signal(Signal::STOP);
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("Perlbal runs");
        kill_process(Pid::from_child(child), signal).expect("failed to signal Perlbal");
    }

    fn forget_connection(&mut self) {
        *self
            .asking
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Sends a management command, as by telnet, and gives the lines of the answer without its end (`.` or `OK`).
    #[track_caller]
    pub(crate) fn ask(&self, command: &str) -> Vec<String> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = asking.get_or_insert_with(|| Management::connect(self.management));
        connection.ask(command)
    }

    /// Sends a command that must succeed with `OK`.
    #[track_caller]
    pub(crate) fn tell(&self, command: &str) {
        let answer = self.ask(command);
        assert!(answer.is_empty(), "{command}: {answer:?}");
    }

    /// Sends commands in one write, so that Perlbal does nothing else between them; each must be answered with `OK`.
    #[track_caller]
    pub(crate) fn tell_together(&self, commands: &[&str]) {
        let mut connection = Management::connect(self.management);
        let mut answer = connection.ask(&commands.join("\r\n"));
        for _ in &commands[1..] {
            answer.extend(connection.answer().expect("failed to ask Perlbal"));
        }
        assert!(answer.is_empty(), "{commands:?}: {answer:?}");
    }

    #[track_caller]
    pub(crate) fn add(&self, pool: &str, member: SocketAddrV4) {
        self.tell(&format!("POOL {pool} ADD {member}"));
    }

    #[track_caller]
    pub(crate) fn remove(&self, pool: &str, member: SocketAddrV4) {
        self.tell(&format!("POOL {pool} REMOVE {member}"));
    }

    /// What `SHOW POOL` says of it, without the spare entries that are there while a node vanishes.
    #[track_caller]
    pub(crate) fn members(&self, pool: &str) -> Members {
        let mut answer = self.ask(&format!("SHOW POOL {pool}"));
        answer.retain(|line| line.split(' ').next().and_then(address_of).is_none());
        if answer.iter().any(|line| line.starts_with("ERROR")) {
            return None;
        }
        let member = |line: &String| {
            let addr = line.split(' ').next()?.parse().ok()?;
            Some(addr)
        };
        let members: Option<BTreeSet<SocketAddrV4>> = answer.iter().map(member).collect();
        let members = members.unwrap_or_else(|| panic!("not understood: {answer:?}"));
        assert_eq!(members.len(), answer.len(), "a member twice: {answer:?}");
        Some(members)
    }

    /// All pools by name.
    #[track_caller]
    pub(crate) fn pools(&self) -> BTreeSet<String> {
        let answer = self.ask("SHOW POOL");
        let names = answer.iter().filter_map(|line| line.split_once(" nodes "));
        names.map(|(name, _)| name.to_owned()).collect()
    }

    /// How many requests wait for a connection to a node.
    #[track_caller]
    pub(crate) fn waiting(&self, service: &str) -> usize {
        let count = |line: &String| {
            let (queue, count) = line.split_once(".count ")?;
            let (of, _) = queue.rsplit_once('-')?;
            if of == service {
                count.parse::<usize>().ok()
            } else {
                None
            }
        };
        self.ask("QUEUES").iter().filter_map(count).sum()
    }

    /// Waits until this many requests wait for a connection to a node.
    #[track_caller]
    pub(crate) fn wait_waiting(&self, service: &str, count: usize) {
        becomes(SOON, "requests that wait", &count, || self.waiting(service));
    }

    /// Waits until the pool has these members.
    #[track_caller]
    pub(crate) fn wait_members(&self, pool: &str, members: &BTreeSet<SocketAddrV4>) {
        self.wait_members_for(SOON, pool, members);
    }

    #[track_caller]
    pub(crate) fn wait_members_for(
        &self,
        deadline: Duration,
        pool: &str,
        members: &BTreeSet<SocketAddrV4>,
    ) {
        let what = format!("the members of pool {pool}");
        becomes(deadline, &what, &Some(members.clone()), || {
            self.members(pool)
        });
    }
}

impl Drop for Perlbal {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = fs::read_to_string(self.log_file()).unwrap_or_default();
            eprintln!("--- Perlbal on {} said:\n{log}", self.management);
        }
    }
}

/// A management connection of the test's own, as an operator's telnet.
pub(crate) struct Management {
    stream: BufReader<TcpStream>,
}

impl Management {
    #[track_caller]
    pub(crate) fn connect(addr: SocketAddrV4) -> Self {
        Self::try_connect(addr).expect("failed to reach Perlbal's management port")
    }

    pub(crate) fn try_connect(addr: SocketAddrV4) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(SOON))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, command: &str) -> Vec<String> {
        let answer = self.try_ask(command);
        answer.expect("failed to ask Perlbal")
    }

    pub(crate) fn try_ask(&mut self, command: &str) -> io::Result<Vec<String>> {
        // The blank keeps a name that ends in `exit` from closing the connection.
        let line = format!("{command} \r\n");
        self.stream.get_mut().write_all(line.as_bytes())?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Vec<String>> {
        let mut answer = Vec::new();
        loop {
            let line = self.line()?;
            match line.as_str() {
                "." | "OK" => return Ok(answer),
                error if error.starts_with("ERROR") => {
                    answer.push(line);
                    return Ok(answer);
                }
                _ => answer.push(line),
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        // Perlbal writes line by line; delayed acknowledgements would make each answer take 44 ms.
        set_tcp_quickack(self.stream.get_ref(), true)?;
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            let why = "Perlbal closed the management connection";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        Ok(line.trim_end().to_owned())
    }
}
