//! What a test has for itself: 254 loopback addresses, a directory, and its turn on the machine.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

use super::nodes::Node;
use super::text;
use super::turn::Turn;

/// Anyone who listens here on the last address of a block has the block, whichever test program it is: below the
/// ports that the kernel gives away, and used for nothing else.
const CLAIM_PORT: u16 = 26_214;

/// Perlbal's own address, behind those of the nodes.
const PERLBAL_HOST: u8 = 250;
const CLAIM_HOST: u8 = 254;

/// The list of the files in the pool directory that are pollbal's own.
const OWNED: &str = ".pollbal-owned";

/// A test's addresses, directory and turn; everything else is started on it.
pub(crate) struct Stage {
    net: [u8; 3],
    node_port: u16,
    dir: TempDir,
    /// Ports given away: the kernel may offer one again while its new owner does not listen yet.
    issued: Mutex<BTreeSet<u16>>,
    _claim: TcpListener,
    _turn: Turn,
}

impl Stage {
    /// For most tests, which may run beside each other.
    pub(crate) fn new() -> Self {
        Self::set_up(Turn::shared())
    }

    /// For tests that measure times: no other test of this checkout runs meanwhile.
    pub(crate) fn alone() -> Self {
        Self::set_up(Turn::alone())
    }

    fn set_up(turn: Turn) -> Self {
        let (net, claim) = claim_block();
        let dir = TempDir::with_prefix("pollbal-test-").expect("failed to make a directory");
        let [_, b, c] = net;
        let node_port = free_port(Ipv4Addr::new(127, b, c, CLAIM_HOST));
        let stage = Self {
            net,
            node_port,
            dir,
            issued: Mutex::default(),
            _claim: claim,
            _turn: turn,
        };
        stage.write_services(&[]);
        stage
    }

    pub(crate) fn ip(&self, host: u8) -> Ipv4Addr {
        let [a, b, c] = self.net;
        Ipv4Addr::new(a, b, c, host)
    }

    /// Where the node of that number (1 to 249) listens or would listen.
    pub(crate) fn node_addr(&self, number: u8) -> SocketAddrV4 {
        assert!(number < PERLBAL_HOST, "nodes end where Perlbal begins");
        SocketAddrV4::new(self.ip(number), self.node_port)
    }

    /// An address beside the nodes' on which nobody listens; ours alone, so it stays free while its owner is down.
    pub(crate) fn free_addr(&self) -> SocketAddrV4 {
        let ip = self.ip(PERLBAL_HOST);
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let port = free_port(ip);
            if issued.insert(port) {
                return SocketAddrV4::new(ip, port);
            }
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts node `number`, called `node-<number>`, with this announcement.
    pub(crate) fn node(&self, number: u8, announcement: &str) -> Node {
        let name = format!("node-{number}");
        Node::start(self.node_addr(number), &name, announcement)
    }

    /// Starts as many nodes as there are announcements, numbered from 1, and lists them in the services file.
    #[must_use = "a dropped node is dead"]
    pub(crate) fn nodes(&self, announcements: &[&str]) -> Vec<Node> {
        let nodes: Vec<Node> = (1..)
            .zip(announcements)
            .map(|(number, announcement)| self.node(number, announcement))
            .collect();
        self.list(&nodes);
        nodes
    }

    /// Makes these nodes the whole services file.
    pub(crate) fn list(&self, nodes: &[Node]) {
        let lines: Vec<String> = nodes.iter().map(Node::services_line).collect();
        self.write_services(&lines);
    }

    /// Replaces the services file by a rename, as an editor does, by one that was written long ago: it is taken at
    /// once.
    pub(crate) fn write_services(&self, lines: &[String]) {
        let new = self.path("services.new");
        fs::write(&new, text(lines)).expect("failed to write the services file");
        let long_ago = SystemTime::now() - Duration::from_secs(3_600);
        let file = File::options().write(true).open(&new);
        file.and_then(|file| file.set_modified(long_ago))
            .expect("failed to make the services file an old one");
        fs::rename(&new, self.services_file()).expect("failed to put the services file in place");
    }

    /// Makes this many nodes members of a pool as a run before would have left them, though nobody is there, and gives
    /// their lines of the services file. With as many `min_members` they stay.
    pub(crate) fn write_dead_members(&self, pool: &str, count: usize) -> Vec<String> {
        let hosts = 1..PERLBAL_HOST - 1;
        let addrs = (1..).flat_map(|port| hosts.clone().map(move |host| (host, port)));
        let (mut members, mut nodes) = (Vec::new(), Vec::new());
        for (number, (host, port)) in (1..=count).zip(addrs) {
            let ip = self.ip(host);
            members.push(format!("{ip}:{port} # dead-{number}"));
            nodes.push(format!("{ip} {port} # dead-{number}"));
        }
        fs::create_dir_all(self.pool_directory()).expect("failed to make the pool directory");
        fs::write(self.pool_file(pool), text(&members)).expect("failed to write the pool file");
        self.own(&format!("{pool}.pool"));
        nodes
    }

    pub(crate) fn services_file(&self) -> PathBuf {
        self.path("services")
    }

    pub(crate) fn pool_directory(&self) -> PathBuf {
        self.path("pool")
    }

    /// Short enough for a socket: the directory for temporary files is that of the machine.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.path("admin.sock")
    }

    /// The path of `<name>.pool`.
    pub(crate) fn pool_file(&self, name: &str) -> PathBuf {
        self.pool_directory().join(format!("{name}.pool"))
    }

    /// The lines of a file in the pool directory, or none if it is not there.
    pub(crate) fn lines(&self, file: &str) -> Option<Vec<String>> {
        let text = fs::read_to_string(self.pool_directory().join(file)).ok()?;
        assert!(
            text.is_empty() || text.ends_with('\n'),
            "{file} ends in half a line: {text:?}"
        );
        Some(text.lines().map(str::to_owned).collect())
    }

    /// Takes down that a run before wrote this file of the pool directory.
    pub(crate) fn own(&self, file: &str) {
        let path = self.pool_directory().join(OWNED);
        let mut list = File::options().create(true).append(true).open(path);
        let written = list
            .as_mut()
            .map(|list| writeln!(list, "{file}").expect("failed to write"));
        written.expect("failed to open the list of pollbal's own files");
    }

    /// The names in the pool directory, hidden ones too, in order; except for the list of those that are pollbal's own
    /// and its temporary file, which come and go behind the pool files.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.pool_directory());
        let mut names: Vec<String> = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .filter(|name| !name.starts_with(OWNED))
            .collect();
        names.sort();
        names
    }

    /// Writes a configuration: quick polls and this stage's paths, and over them the keys of `own`.
    pub(crate) fn write_config(&self, own: &Value) -> PathBuf {
        let mut config = serde_json::json!({
            "pool_directory": self.pool_directory(),
            "services_file": self.services_file(),
            "state_file": self.path("state.json"),
            "admin_socket": self.admin_socket(),
            "poll_interval": "100ms",
            "service_timeout": "1s",
        });
        super::overlay(&mut config, own);
        let path = self.path("pollbal.json");
        let text = serde_json::to_string_pretty(&config).expect("failed to write JSON");
        fs::write(&path, text).expect("failed to write the configuration");
        path
    }
}

/// The first block from a place of its own for this process that no other test has.
fn claim_block() -> ([u8; 3], TcpListener) {
    /// Blocks from 127.16.0.0 on: away from the addresses that programs of the machine use.
    const BLOCKS: u32 = 200 * 256;
    static TAKEN: AtomicU32 = AtomicU32::new(0);

    let start = process::id().wrapping_mul(97);
    for _ in 0..BLOCKS {
        let number = start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % BLOCKS;
        let [_, _, b, c] = number.to_be_bytes();
        let net = [127, b + 16, c];
        let claim = SocketAddrV4::new(Ipv4Addr::new(127, b + 16, c, CLAIM_HOST), CLAIM_PORT);
        if let Ok(listener) = TcpListener::bind(claim) {
            return (net, listener);
        }
    }
    panic!(
        "no block of loopback addresses is free: does something listen on 0.0.0.0:{CLAIM_PORT}?"
    );
}

/// A port that nobody has on this address, nor on all addresses.
fn free_port(ip: Ipv4Addr) -> u16 {
    let listener = TcpListener::bind((ip, 0)).expect("failed to find a free port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}
