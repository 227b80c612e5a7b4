//! The world of containers: the stack of `docker-compose.yml` under a project name and on a network of its own.
//!
//! The images must be there; `perlbal/harness` builds them. Nodes and Perlbal's services are reached by their
//! containers' addresses, as other machines would; what is on Perlbal's machine (its loopback, the pool directory) is
//! asked by `docker exec` on that machine.

use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::common;
use crate::common::docker::{docker, shell, text};

use super::balancer::Balancer;
use super::clock::{self, Clock};
use super::stack::Stack;
use super::world::{
    FILLER, NODES, Needs, Part, PoolFile, PoolFiles, World, pollbal_config, pool_index,
    services_lines,
};

/// Where in the directory is what pollbal's container sees as `/etc/pollbal`.
const ETC: &str = "etc";

/// The file there with the changes to `docker-compose.yml`.
const CHANGES: &str = "changes.yml";

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
    /// Before the directory, which it needs to be torn down.
    stack: Stack,
    /// `etc/`, which pollbal's container sees, and the changes to `docker-compose.yml`.
    dir: TempDir,
    /// The versions that nodes announce from their start.
    versions: [String; NODES.len()],
    /// None unless the scenario sets it.
    clock: Option<Clock>,
}

impl Containers {
    pub(crate) fn new(needs: Needs, balancer: &'static dyn Balancer) -> Self {
        let dir = TempDir::with_prefix("pollbal-harness-").expect("failed to make a directory");
        fs::create_dir(dir.path().join(ETC)).expect("failed to make a directory");
        let mut stack = Stack::new("docker-compose.yml");
        stack.change(&dir.path().join(CHANGES));
        stack.set("POLLBAL_ETC", dir.path().join(ETC).display().to_string());
        let containers = Self {
            balancer,
            stack,
            versions: NODES.map(|node| node.version.to_owned()),
            clock: needs
                .clock
                .then(|| Clock::new(dir.path().join(ETC).join("clock"))),
            dir,
        };
        containers.write_etc();
        containers.write_changes();
        // The machine is no part: Perlbal and pollbal end and start on it. It must run before these are made, or
        // docker-compose 1.29 gives them a network of their own.
        let stack = &containers.stack;
        stack.compose(&["up", "--detach", "--no-build", "machine"]);
        stack.compose(&["up", "--no-start", "--no-build"]);
        containers
    }

    /// What Compose knows it by.
    pub(crate) fn stack(&self) -> &Stack {
        &self.stack
    }

    fn write_etc(&self) {
        let directory = Path::new("/run/pool");
        let settings = self
            .balancer
            .settings(directory, self.balancer.management_in_container());
        let mut config = pollbal_config(directory, Path::new("/etc/pollbal/services"), settings);
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
        self.write(CHANGES, &json!({ "services": services }).to_string());
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    }

    /// The container of a service of `docker-compose.yml`.
    fn container(&self, service: &str) -> String {
        format!("{}-{service}", self.stack.project())
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
        format!("{}_site", self.stack.project())
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
            let up = ["up", "--no-start", "--no-build", NODES[node].name];
            self.stack.compose(&up);
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
        SocketAddrV4::new(self.stack.ip(host), 8080)
    }

    fn service_addr(&self, pool: &str) -> SocketAddrV4 {
        SocketAddrV4::new(self.stack.ip(10), [8001, 8002][pool_index(pool)])
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
