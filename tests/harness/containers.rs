//! The world of containers: the stack of `docker-compose.yml` under a project name and on a network of its own.
//!
//! The images must be there; `perlbal/harness` builds them. Nodes and Perlbal's services are reached by their
//! containers' addresses, as other machines would; what is on Perlbal's machine (its loopback, the pool directory) is
//! asked by `docker exec` on that machine.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::common;
use crate::common::docker::{docker, run_name, shell, succeed, text, tidy};

use super::balancer::Balancer;
use super::clock::{self, Clock};
use super::world::{
    FILLER, NODES, Needs, Part, PoolFile, PoolFiles, World, pollbal_config, pool_index,
    services_lines,
};

/// The port on which anyone who listens has a network, whichever test program it is.
const CLAIM_PORT: u16 = 26_214;

/// Where in the directory is what pollbal's container sees as `/etc/pollbal`.
const ETC: &str = "etc";

/// libfaketime in the image whose clock can be set.
const FAKETIME: &str = "/usr/lib/libfaketimeMT.so.1";

/// How long a part may take to end after SIGTERM before Docker kills it, in seconds.
const STOP_SECONDS: &str = "10";

/// The exit code of a process that SIGKILL ended, as Docker tells it.
const KILLED: &str = "137";

/// A shell's commands that give each file in the pool directory: a line with its name, size, inode and time of
/// modification, and then what is in it. It is opened first, since it may be replaced at any time.
const FILES: &str = r#"cd /run/pool && for file in $(ls -A); do
    { exec 3<"$file"; } 2>/dev/null || continue
    stat -L -c "$file %s %i %.9Y" /dev/fd/3 && cat <&3
done"#;

/// The stack; dropped, it is torn down.
pub(crate) struct Containers {
    balancer: &'static dyn Balancer,
    /// The project's name, with which all names in Docker begin.
    project: String,
    /// The third byte of its network's addresses.
    net: u8,
    /// `etc/`, which pollbal's container sees, and the changes to `docker-compose.yml`.
    dir: TempDir,
    /// The versions that nodes announce from their start.
    versions: [String; NODES.len()],
    /// None unless the scenario sets it.
    clock: Option<Clock>,
    _claim: TcpListener,
}

impl Containers {
    pub(crate) fn new(needs: Needs, balancer: &'static dyn Balancer) -> Self {
        let (net, claim) = claim_net();
        let dir = TempDir::with_prefix("pollbal-harness-").expect("failed to make a directory");
        fs::create_dir(dir.path().join(ETC)).expect("failed to make a directory");
        let containers = Self {
            balancer,
            project: format!("{}-{net}", run_name()),
            net,
            versions: NODES.map(|node| node.version.to_owned()),
            clock: needs
                .clock
                .then(|| Clock::new(dir.path().join(ETC).join("clock"))),
            dir,
            _claim: claim,
        };
        containers.write_etc();
        containers.write_changes();
        // The machine is no part: Perlbal and pollbal end and start on it. It must run before these are made, or
        // docker-compose 1.29 gives them a network of their own.
        containers.compose(&["up", "--detach", "--no-build", "machine"]);
        containers.compose(&["up", "--no-start", "--no-build"]);
        containers
    }

    /// The first three bytes of the network's addresses, as `docker-compose.yml` gets them.
    pub(crate) fn net(&self) -> String {
        format!("198.18.{}", self.net)
    }

    /// The address of this machine on which the stack's ports are open.
    pub(crate) fn published(&self) -> String {
        format!("127.15.{}.1", self.net)
    }

    fn ip(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.net, host)
    }

    fn etc(&self) -> PathBuf {
        self.dir.path().join(ETC)
    }

    fn write_etc(&self) {
        let settings = self
            .balancer
            .settings(self.balancer.management_in_container());
        let mut config = pollbal_config(
            Path::new("/run/pool"),
            Path::new("/etc/pollbal/services"),
            settings,
        );
        // As `perlbal/stack/pollbal.json` has them.
        config["status_listen"] = "0.0.0.0:8098".into();
        config["node_listen"] = "0.0.0.0:8099".into();
        let services = common::text(&services_lines(|node| self.node_addr(node)));
        self.write("etc/pollbal.json", &config.to_string());
        self.write("etc/services", &services);
    }

    /// What this stack has otherwise than `docker-compose.yml` says: also names, since those that Compose gives depend
    /// on its version.
    fn write_changes(&self) {
        let on_machine = ["machine", "pollbal", "perlbal"].map(|service| {
            let mut changes = json!({ "container_name": self.container(service) });
            if service == "perlbal" {
                // Where it keeps its sockets.
                changes["tmpfs"] = json!(["/run/haproxy"]);
                changes["image"] = self.balancer.image().into();
            }
            if service == "pollbal" && self.clock.is_some() {
                let observed =
                    clock::environment(Path::new("/etc/pollbal/clock"), Path::new(FAKETIME));
                changes["image"] = "pollbal-clock".into();
                changes["environment"] = observed.into_iter().collect();
            }
            (service.to_owned(), changes)
        });
        let nodes = NODES.iter().zip(&self.versions).map(|(node, version)| {
            let name = self.container(node.name);
            let environment = json!({ "NODE_VERSION": version });
            let changes = json!({ "container_name": name, "environment": environment });
            (node.name.to_owned(), changes)
        });
        let services: Map<String, Value> = on_machine.into_iter().chain(nodes).collect();
        // JSON is YAML too.
        self.write("changes.yml", &json!({ "services": services }).to_string());
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    }

    fn compose(&self, args: &[&str]) {
        succeed(&mut self.compose_command(args));
    }

    fn compose_command(&self, args: &[&str]) -> Command {
        let [program, words @ ..] = compose() else {
            unreachable!("Compose has a name")
        };
        let mut command = Command::new(program);
        command.args(words).args(args).envs(self.environment());
        command
    }

    /// What makes Compose speak of this stack.
    pub(crate) fn environment(&self) -> [(&'static str, String); 5] {
        let changes = self.dir.path().join("changes.yml");
        let original = concat!(env!("CARGO_MANIFEST_DIR"), "/docker-compose.yml");
        [
            ("COMPOSE_PROJECT_NAME", self.project.clone()),
            ("COMPOSE_FILE", format!("{original}:{}", changes.display())),
            ("POLLBAL_NET", self.net()),
            ("POLLBAL_PUBLISH", self.published()),
            ("POLLBAL_ETC", self.etc().display().to_string()),
        ]
    }

    /// The container of a service of `docker-compose.yml`.
    fn container(&self, service: &str) -> String {
        format!("{}-{service}", self.project)
    }

    fn part(&self, part: Part) -> String {
        self.container(match part {
            Part::Balancer => "perlbal",
            Part::Pollbal => "pollbal",
            Part::Node(node) => NODES[node].name,
        })
    }

    /// Runs a shell's commands on Perlbal's machine, as pollbal's user.
    fn on_machine(&self, commands: &str) -> Output {
        shell(&self.container("machine"), commands, "")
    }

    fn network(&self) -> String {
        format!("{}_site", self.project)
    }
}

impl World for Containers {
    fn start(&mut self, part: Part) {
        if let Part::Node(node) = part {
            return self.start_at(node, NODES[node].version);
        }
        docker(&["start", &self.part(part)]);
    }

    fn start_at(&mut self, node: usize, version: &str) {
        if self.versions[node] != version {
            version.clone_into(&mut self.versions[node]);
            self.write_changes();
            self.compose(&["up", "--no-start", "--no-build", NODES[node].name]);
        }
        docker(&["start", &self.part(Part::Node(node))]);
    }

    fn kill(&mut self, part: Part) {
        docker(&["kill", &self.part(part)]);
    }

    fn stop(&mut self, part: Part) -> Option<Duration> {
        let id = self.part(part);
        let start = Instant::now();
        docker(&["stop", "--time", STOP_SECONDS, &id]);
        let took = start.elapsed();
        let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", &id]);
        (code.trim() != KILLED).then_some(took)
    }

    fn pause(&mut self, part: Part) {
        docker(&["pause", &self.part(part)]);
    }

    fn resume(&mut self, part: Part) {
        docker(&["unpause", &self.part(part)]);
    }

    fn cut(&mut self, nodes: &[usize]) {
        for &node in nodes {
            let id = self.part(Part::Node(node));
            docker(&["network", "disconnect", &self.network(), &id]);
        }
    }

    fn heal(&mut self, nodes: &[usize]) {
        for &node in nodes {
            let ip = self.node_addr(node).ip().to_string();
            let id = self.part(Part::Node(node));
            docker(&["network", "connect", "--ip", &ip, &self.network(), &id]);
        }
    }

    fn node_addr(&self, node: usize) -> SocketAddrV4 {
        let host = 11 + u8::try_from(node).expect("few nodes");
        SocketAddrV4::new(self.ip(host), 8080)
    }

    fn service_addr(&self, pool: &str) -> SocketAddrV4 {
        SocketAddrV4::new(self.ip(10), [8001, 8002][pool_index(pool)])
    }

    fn balancer(&self) -> &'static dyn Balancer {
        self.balancer
    }

    fn reload(&mut self) {
        docker(&["kill", "--signal", "USR2", &self.part(Part::Balancer)]);
    }

    fn management(&self, command: &str) -> Result<Vec<String>, String> {
        self.balancer.ask_in(&self.container("machine"), command)
    }

    fn pool_files(&self) -> PoolFiles {
        let output = self.on_machine(FILES);
        assert!(output.status.success(), "{}", text(&output));
        let mut rest = String::from_utf8(output.stdout).expect("pool files are text");
        let mut files = PoolFiles::new();
        while let Some((head, behind)) = rest.split_once('\n') {
            let mut words = head.splitn(3, ' ');
            let mut word = || words.next().expect("a name, a size and a stamp").to_owned();
            let (name, size, stamp) = (word(), word(), word());
            let (content, behind) = behind.split_at(size.parse().expect("a size in bytes"));
            let text = content.to_owned();
            rest = behind.to_owned();
            files.insert(name, PoolFile { text, stamp });
        }
        files.remove(FILLER);
        files
    }

    fn fill_disk(&mut self) {
        let fill = format!("cat /dev/zero >/run/pool/{FILLER}");
        let output = self.on_machine(&fill);
        assert!(
            text(&output).contains("No space left on device"),
            "the disk is not full: {}",
            text(&output)
        );
    }

    fn free_disk(&mut self) {
        let output = self.on_machine(&format!("rm /run/pool/{FILLER}"));
        assert!(output.status.success(), "{}", text(&output));
    }

    fn set_clock(&mut self, seconds_ahead: i64) {
        self.clock.as_ref().expect("a clock").set(seconds_ahead);
    }

    fn output(&self, part: Part) -> String {
        docker(&["logs", &self.part(part)])
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        tidy(&mut self.compose_command(&["down", "--volumes", "--timeout", "0"]));
    }
}

/// The first network of 198.18.0.0/16 that no other test has, and what keeps it. These addresses are for tests of
/// machines by themselves (RFC 2544), so no network around uses them.
fn claim_net() -> (u8, TcpListener) {
    /// That of `docker-compose.yml` as it stands, which may run here too.
    const TAKEN: u8 = 42;
    static NEXT: AtomicU32 = AtomicU32::new(0);

    let start = process::id();
    for _ in 0..=u8::MAX {
        let number = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let [.., net] = number.to_be_bytes();
        let claim = SocketAddrV4::new(Ipv4Addr::new(127, 15, net, 254), CLAIM_PORT);
        if net == TAKEN {
            continue;
        }
        if let Ok(listener) = TcpListener::bind(claim) {
            return (net, listener);
        }
    }
    panic!("no network of 198.18.0.0/16 is free");
}

/// Compose as a part of Docker where it is, else the program by itself.
pub(crate) fn compose() -> &'static [&'static str] {
    static PART_OF_DOCKER: OnceLock<bool> = OnceLock::new();
    let part_of_docker = *PART_OF_DOCKER.get_or_init(|| {
        let version = Command::new("docker").args(["compose", "version"]).output();
        version.is_ok_and(|output| output.status.success())
    });
    if part_of_docker {
        &["docker", "compose"]
    } else {
        &["docker-compose"]
    }
}
