//! The world of processes on loopback: the built pollbal, a real load balancer and a mock-node process per node, each node on
//! an address of its own.

mod disk;
mod link;
mod process;

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddrV4;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::stage::Stage;

use super::balancer::Balancer;
use super::clock::Clock;
use super::world::{
    FILLER, NODES, Needs, POOLS, Part, PoolFile, PoolFiles, World, pollbal_config, pool_index,
    services_lines,
};
use disk::Disk;
use link::Link;
use process::Process;

/// A node that is behind a link listens at its number and this.
const BEHIND_LINK: u8 = 100;

/// See the module's documentation. What runs ends before the disk on which it writes is gone.
pub(crate) struct Loopback {
    kind: &'static dyn Balancer,
    balancer: Process,
    pollbal: Process,
    nodes: Vec<Process>,
    /// Where the load balancer serves, in the order of [`POOLS`].
    services: Vec<SocketAddrV4>,
    management: SocketAddrV4,
    /// None unless the scenario cuts.
    links: Vec<Link>,
    clock: Option<Clock>,
    disk: Option<Disk>,
    stage: Stage,
}

impl Loopback {
    pub(crate) fn new(needs: Needs, kind: &'static dyn Balancer) -> Self {
        let stage = Stage::new();
        let process = |name: &str| Process::new(name, stage.path(name));
        let link = |node| Link::start(addr(&stage, node), behind(&stage, node));
        let cuts = if needs.cuts { NODES.len() } else { 0 };
        let small_disk = needs.small_disk;
        let world = Self {
            kind,
            balancer: process("balancer"),
            pollbal: process("pollbal"),
            nodes: NODES.iter().map(|node| process(node.name)).collect(),
            services: POOLS.iter().map(|_| stage.free_addr()).collect(),
            management: stage.free_addr(),
            links: (0..cuts).map(link).collect(),
            clock: needs.clock.then(|| Clock::new(stage.path("clock"))),
            disk: small_disk.then(|| Disk::mount(&stage.pool_directory())),
            stage,
        };
        world.write_configuration();
        world
    }

    fn write_configuration(&self) {
        let stage = &self.stage;
        stage.write_services(&services_lines(|node| addr(stage, node)));
        let directory = stage.pool_directory();
        let settings = self.kind.settings(&directory, self.management);
        let config = pollbal_config(&directory, &stage.services_file(), settings);
        stage.write_config(&config);
        let kind = self.kind;
        let text = kind.configuration(&directory, &self.services, self.management);
        let written = fs::write(self.configuration(), text);
        written.expect("failed to write the load balancer's configuration");
    }

    fn process(&self, part: Part) -> &Process {
        match part {
            Part::Balancer => &self.balancer,
            Part::Pollbal => &self.pollbal,
            Part::Node(node) => &self.nodes[node],
        }
    }

    fn process_mut(&mut self, part: Part) -> &mut Process {
        match part {
            Part::Balancer => &mut self.balancer,
            Part::Pollbal => &mut self.pollbal,
            Part::Node(node) => &mut self.nodes[node],
        }
    }

    fn configuration(&self) -> PathBuf {
        self.stage.path("balancer.conf")
    }

    fn balancer_command(&self) -> Command {
        let words = self.kind.command(&self.configuration());
        let [program, arguments @ ..] = &words[..] else {
            unreachable!("there is a program")
        };
        let mut command = command(self.disk.as_ref(), program);
        command.args(arguments);
        command
    }

    fn start_pollbal(&mut self) {
        let mut command = command(self.disk.as_ref(), env!("CARGO_BIN_EXE_pollbal").as_ref());
        let config = self.stage.path("pollbal.json");
        command
            .env_remove("POLLBAL_CONFIG")
            .arg("--config")
            .arg(config);
        if let Some(clock) = &self.clock {
            clock.give_to(&mut command);
        }
        self.pollbal.start(command);
    }
}

impl World for Loopback {
    fn start(&mut self, part: Part) {
        match part {
            Part::Balancer => {
                let command = self.balancer_command();
                self.balancer.start_managed(command);
            }
            Part::Pollbal => self.start_pollbal(),
            Part::Node(node) => self.start_at(node, NODES[node].version),
        }
    }

    fn start_at(&mut self, node: usize, version: &str) {
        let own = match self.links.get(node) {
            Some(_) => behind(&self.stage, node),
            None => addr(&self.stage, node),
        };
        let mut command = Command::new(mock_node());
        command
            .env("NODE_LISTEN", own.to_string())
            .env("NODE_NAME", NODES[node].name)
            .env("NODE_POOL", NODES[node].pool)
            .env("NODE_VERSION", version);
        self.nodes[node].start(command);
    }

    fn kill(&mut self, part: Part) {
        self.process_mut(part).kill();
    }

    fn stop(&mut self, part: Part) -> Option<Duration> {
        self.process_mut(part).stop()
    }

    fn pause(&mut self, part: Part) {
        self.process(part).signal(Signal::STOP);
    }

    fn resume(&mut self, part: Part) {
        self.process(part).signal(Signal::CONT);
    }

    fn cut(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.links[*node].cut();
        }
    }

    fn heal(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.links[*node].heal();
        }
    }

    fn node_addr(&self, node: usize) -> SocketAddrV4 {
        addr(&self.stage, node)
    }

    fn service_addr(&self, pool: &str) -> SocketAddrV4 {
        self.services[pool_index(pool)]
    }

    fn balancer(&self) -> &'static dyn Balancer {
        self.kind
    }

    fn reload(&mut self) {
        let mut command = self.balancer_command();
        let pid = self.balancer.pid();
        command.args(self.kind.takeover(&self.configuration(), pid));
        self.balancer.replace(command);
    }

    fn management(&self, command: &str) -> Result<Vec<String>, String> {
        self.kind.ask(self.management, command)
    }

    fn pool_files(&self) -> PoolFiles {
        let directory = match &self.disk {
            Some(disk) => disk.directory(),
            None => self.stage.pool_directory(),
        };
        // Before pollbal's first start there is no directory yet.
        let entries = fs::read_dir(directory).into_iter().flatten();
        let files = entries.filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            Some((name, read(&entry.path())?))
        });
        files.filter(|(name, _)| name != FILLER).collect()
    }

    fn fill_disk(&mut self) {
        self.disk.as_ref().expect("a small disk").fill();
    }

    fn free_disk(&mut self) {
        self.disk.as_ref().expect("a small disk").free();
    }

    fn set_clock(&mut self, seconds_ahead: i64) {
        self.clock.as_ref().expect("a clock").set(seconds_ahead);
    }

    fn output(&self, part: Part) -> String {
        self.process(part).output()
    }
}

/// Where the node is reached.
fn addr(stage: &Stage, node: usize) -> SocketAddrV4 {
    stage.node_addr(number(node))
}

/// Where it listens when a link is before it.
fn behind(stage: &Stage, node: usize) -> SocketAddrV4 {
    stage.node_addr(number(node) + BEHIND_LINK)
}

fn number(node: usize) -> u8 {
    u8::try_from(node + 1).expect("few nodes")
}

/// The program, where it sees the pool directory.
fn command(disk: Option<&Disk>, program: &OsStr) -> Command {
    disk.map_or_else(|| Command::new(program), |disk| disk.command(program))
}

/// A file that is gone again is none.
fn read(path: &Path) -> Option<PoolFile> {
    // Of the file that is open, not of the one that may be in its place a moment later.
    let file = fs::File::open(path).ok()?;
    let about = file.metadata().ok()?;
    Some(PoolFile {
        text: std::io::read_to_string(file).ok()?,
        stamp: format!(
            "{} {}.{:09}",
            about.ino(),
            about.mtime(),
            about.mtime_nsec()
        ),
    })
}

/// Beside the program that is tested: cargo builds examples with the tests.
fn mock_node() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_pollbal"));
    let path = program.with_file_name("examples").join("mock-node");
    assert!(
        path.exists(),
        "{} is missing; say: cargo build --example mock-node",
        path.display()
    );
    path
}
