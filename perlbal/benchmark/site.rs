//! A site to measure: mock nodes, and beside them Perlbal and pollbal, `HAProxy`, or the floor.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::driven::{Haproxy, Perlbal};
use crate::listeners::Listeners;
use crate::nodes::address;
use crate::nodes::request::pool_name;
use crate::process::Process;
use crate::remote::Nodes;
use crate::rooms::Room;
use crate::{FLOOR, Outcome, eventually};

/// Until what is started does what it is for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How pollbal is run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) nodes: usize,
    pub(crate) interval: Duration,
    pub(crate) resync: Duration,
    /// Addresses beside those of the nodes.
    pub(crate) more: Vec<SocketAddrV4>,
    /// Where it reaches Perlbal, if not directly.
    pub(crate) relay: Option<SocketAddrV4>,
    pub(crate) listeners: Listeners,
    pub(crate) metrics_per_node: bool,
}

impl Settings {
    pub(crate) fn new(nodes: usize, interval: Duration) -> Self {
        Self {
            nodes,
            interval,
            resync: Duration::from_secs(30),
            more: Vec::new(),
            relay: None,
            listeners: Listeners::usual(),
            metrics_per_node: false,
        }
    }
}

/// The mock nodes and a directory.
pub(crate) struct Site {
    room: Room,
    pub(crate) nodes: Nodes,
    /// Where the pool files are, if not in the directory.
    directory: Option<Room>,
    /// The pools of the nodes, `api` first.
    pools: Vec<String>,
}

impl Site {
    /// With the pool files on the disk of the directory for temporary files.
    pub(crate) fn new() -> Outcome<Self> {
        Self::with_pools(None)
    }

    /// With the pool files somewhere else.
    pub(crate) fn with_pools(parent: Option<&Path>) -> Outcome<Self> {
        let room = Room::new()?;
        let nodes = Nodes::start(room.path(), free_port(Ipv4Addr::UNSPECIFIED)?)?;
        let directory = parent.map(Room::within).transpose()?;
        Ok(Self {
            room,
            nodes,
            directory,
            pools: vec!["api".to_owned()],
        })
    }

    pub(crate) fn pool_directory(&self) -> PathBuf {
        self.directory
            .as_ref()
            .unwrap_or(&self.room)
            .path()
            .join("pool")
    }

    /// Where pollbal's admin socket is, if it is open.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.room.path().join("admin.sock")
    }

    /// Lets only each `step`th node be in `api`, and the others in `web`; before Perlbal starts.
    pub(crate) fn split(&mut self, step: usize) -> Outcome<()> {
        self.pools.push("web".to_owned());
        self.nodes.home(step)
    }

    /// Lets the nodes be in this many pools by turns.
    pub(crate) fn spread(&mut self, pools: u32) -> Outcome<()> {
        self.pools = (0..pools).map(pool_name).collect();
        self.nodes.pools(pools)
    }

    pub(crate) fn pools(&self) -> &[String] {
        &self.pools
    }

    /// A Perlbal whose pools follow the pool files, with a service on `api`.
    pub(crate) fn perlbal(&self) -> Outcome<Perlbal> {
        let directory = self.pool_directory();
        fs::create_dir_all(&directory)?;
        let mut text = String::new();
        for pool in &self.pools {
            let file = directory.join(format!("{pool}.pool"));
            fs::write(&file, "")?;
            let file = file.display();
            writeln!(text, "CREATE POOL {pool}\n  SET nodefile = {file}")?;
        }
        let management = SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)?);
        let service = SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)?);
        let config = self.room.path().join("perlbal.conf");
        write!(
            text,
            "CREATE SERVICE rest\n  SET role = reverse_proxy\n  SET listen = {service}\n  SET pool = api\n  \
             SET persist_client = on\n  SET persist_backend = on\n  SET backend_persist_cache = 16\nENABLE rest\n\
             CREATE SERVICE management\n  SET role = management\n  SET listen = {management}\nENABLE management\n"
        )?;
        fs::write(&config, text)?;
        let command = [
            "perlbal".to_owned(),
            format!("--config={}", config.display()),
        ];
        let mut process = Process::start("perlbal", self.room.path(), &command)?;
        let stream = eventually(PATIENCE, "Perlbal listens", || {
            process.check()?;
            Ok(TcpStream::connect(management).ok())
        })?;
        stream.set_read_timeout(Some(PATIENCE / 2))?;
        Ok(Perlbal::new(process, management, service, stream))
    }

    /// pollbal with that Perlbal.
    pub(crate) fn pollbal(
        &self,
        program: &Path,
        settings: &Settings,
        perlbal: &Perlbal,
    ) -> Outcome<Process> {
        let perlbal = json!({
            "address": settings.relay.unwrap_or(perlbal.management).to_string(),
            "resync_interval": format!("{}ms", settings.resync.as_millis()),
            // A pool of 10,000 takes Perlbal its time.
            "timeout": "20s",
        });
        self.pollbal_with(program, settings, ("perlbal", perlbal))
    }

    /// pollbal with the load balancer that this key of the configuration names.
    pub(crate) fn pollbal_with(
        &self,
        program: &Path,
        settings: &Settings,
        (key, balancer): (&str, Value),
    ) -> Outcome<Process> {
        let services = self.room.path().join("services");
        let mut text = String::new();
        for node in 0..settings.nodes {
            writeln!(text, "{} {} # node-{node}", address(node), self.nodes.port)?;
        }
        for more in &settings.more {
            writeln!(text, "{} {} # beside-{more}", more.ip(), more.port())?;
        }
        fs::write(&services, text)?;
        let config = self.room.path().join("pollbal.json");
        let open = |listener: Option<SocketAddrV4>| {
            listener.map_or_else(String::new, |listener| listener.to_string())
        };
        let listeners = settings.listeners;
        let pools: BTreeMap<_, _> = self.pools.iter().map(|pool| (pool, json!({}))).collect();
        let text = json!({
            "services_file": services,
            "pool_directory": self.pool_directory(),
            "state_file": self.room.path().join("state.json"),
            "admin_socket": if listeners.admin { self.admin_socket() } else { PathBuf::new() },
            "status_listen": open(listeners.status),
            "node_listen": open(listeners.node),
            "metrics_per_node": settings.metrics_per_node,
            key: balancer,
            "pools": pools,
            "poll_interval": format!("{}ms", settings.interval.as_millis()),
        });
        fs::write(&config, text.to_string())?;
        let command = [program.as_os_str(), "--config".as_ref(), config.as_os_str()];
        Process::start("pollbal", self.room.path(), &command)
    }

    /// Waits until the pool file has this many members.
    pub(crate) fn wait_file(&self, process: &mut Process, members: usize) -> Outcome<()> {
        let file = self.pool_directory().join("api.pool");
        let what = format!("{members} members in the pool file");
        let mut observed = None;
        eventually(PATIENCE, &what, || {
            process.check()?;
            let Ok(about) = fs::metadata(&file) else {
                return Ok(None);
            };
            let now = Some((about.len(), about.modified()?));
            if now == observed {
                return Ok(None);
            }
            observed = now;
            let lines = fs::read_to_string(&file)?.lines().count();
            Ok((lines == members).then_some(()))
        })
    }

    /// pollbal, once its files and Perlbal have all members and it has polled each node twice more.
    pub(crate) fn settled_pollbal(
        &mut self,
        program: &Path,
        settings: &Settings,
        perlbal: &mut Perlbal,
    ) -> Outcome<Process> {
        let mut pollbal = self.pollbal(program, settings, perlbal)?;
        self.wait_file(&mut pollbal, settings.nodes)?;
        perlbal.wait_members(settings.nodes)?;
        self.settle(settings.nodes, settings.interval)?;
        Ok(pollbal)
    }

    /// Waits until each node was polled twice more.
    pub(crate) fn settle(&mut self, nodes: usize, interval: Duration) -> Outcome<()> {
        self.nodes
            .wait_polls(2 * nodes as u64, PATIENCE + 2 * interval)
    }

    fn settle_with(
        &mut self,
        process: &mut Process,
        nodes: usize,
        interval: Duration,
    ) -> Outcome<()> {
        let patience = PATIENCE + 2 * interval;
        let (before, _) = self.nodes.count()?;
        let expected = before + 2 * nodes as u64;
        eventually(patience, "two rounds of polls", || {
            process.check()?;
            sleep(Duration::from_millis(20));
            Ok((self.nodes.count()?.0 >= expected).then_some(()))
        })
    }

    /// A settled `HAProxy` that checks all nodes at that interval.
    pub(crate) fn haproxy(&mut self, nodes: usize, interval: Duration) -> Outcome<Process> {
        let mut text = format!(
            "global\n  nbthread 1\n  maxconn 1000\n  spread-checks 0\n\
             defaults\n  mode http\n  timeout connect 500ms\n  timeout check 500ms\n  timeout client 10s\n  timeout server 10s\n\
             frontend rest\n  bind 127.0.0.1:{}\n  default_backend api\n\
             backend api\n  option httpchk GET /pool\n  http-check expect status 200\n",
            free_port(Ipv4Addr::LOCALHOST)?
        );
        let (port, interval_ms) = (self.nodes.port, interval.as_millis());
        for node in 0..nodes {
            let address = address(node);
            writeln!(
                text,
                "  server s{node} {address}:{port} check inter {interval_ms}ms"
            )?;
        }
        let mut process = self.start_haproxy(&text)?;
        self.settle_with(&mut process, nodes, interval)?;
        Ok(process)
    }

    /// A `HAProxy` with a backend for each pool that has this many empty slots.
    pub(crate) fn haproxy_with_slots(&self, slots: usize) -> Outcome<Haproxy> {
        let management = SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)?);
        let mut text = format!(
            "global\n  nbthread 1\n  maxconn 1000\n  stats socket ipv4@{management} level admin\n\
             defaults\n  mode http\n  timeout connect 500ms\n  timeout client 10s\n  timeout server 10s\n\
             frontend rest\n  bind 127.0.0.1:{}\n  default_backend {}\n",
            free_port(Ipv4Addr::LOCALHOST)?,
            self.pools[0]
        );
        for pool in &self.pools {
            writeln!(
                text,
                "backend {pool}\n  server-template pb 1-{slots} 127.0.0.1:1 weight 100 disabled"
            )?;
        }
        let mut process = self.start_haproxy(&text)?;
        eventually(PATIENCE, "HAProxy listens", || {
            process.check()?;
            Ok(TcpStream::connect(management).ok())
        })?;
        Ok(Haproxy::new(process, management))
    }

    fn start_haproxy(&self, configuration: &str) -> Outcome<Process> {
        let file = self.room.path().join("haproxy.cfg");
        fs::write(&file, configuration)?;
        let command = [
            "haproxy".as_ref(),
            "-db".as_ref(),
            "-f".as_ref(),
            file.as_os_str(),
        ];
        Process::start("haproxy", self.room.path(), &command)
    }

    /// A settled floor.
    pub(crate) fn floor(&mut self, nodes: usize, interval: Duration) -> Outcome<Process> {
        let program = std::env::current_exe()?.to_string_lossy().into_owned();
        let numbers = [
            self.nodes.port.to_string(),
            nodes.to_string(),
            interval.as_millis().to_string(),
        ];
        let command = [vec![program, FLOOR.to_owned()], numbers.to_vec()].concat();
        let mut process = Process::start("floor", self.room.path(), &command)?;
        self.settle_with(&mut process, nodes, interval)?;
        Ok(process)
    }
}

/// A port on which nobody listens, below those that the kernel gives away itself; another one each time.
pub(crate) fn free_port(ip: Ipv4Addr) -> Outcome<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let first: u32 = range.split_whitespace().next().unwrap_or("").parse()?;
    let ports = first.clamp(12_000, 32_768) - 10_000;
    for _ in 0..ports {
        let number = std::process::id() + GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(10_000 + number % ports)?;
        if TcpListener::bind((ip, port)).is_ok() {
            return Ok(port);
        }
    }
    Err("there is no free port".into())
}
