//! A stack of containers: what a file of Compose describes, under a project name and on a network of its own.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::process::{self, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::common::docker::{run_name, succeed, tidy};

/// The port on which anyone who listens has a network, whichever test program it is.
const CLAIM_PORT: u16 = 26_214;

/// The networks of the stacks as their files have them, which may run here too.
const TAKEN: [u8; 2] = [42, 43];

/// The stack; dropped, it is torn down.
pub(crate) struct Stack {
    /// With it all names in Docker begin.
    project: String,
    /// The third byte of its network's addresses.
    net: u8,
    /// What makes Compose speak of it.
    environment: Vec<(&'static str, String)>,
    _claim: TcpListener,
}

impl Stack {
    /// The stack of a file, by its path from the top of the repository. Nothing of it is made yet.
    pub(crate) fn new(file: &str) -> Self {
        let (net, claim) = claim_net();
        let project = format!("{}-{net}", run_name());
        let mut stack = Self {
            project: project.clone(),
            net,
            environment: Vec::new(),
            _claim: claim,
        };
        stack.set("COMPOSE_PROJECT_NAME", project);
        let root = env!("CARGO_MANIFEST_DIR");
        stack.set("COMPOSE_FILE", format!("{root}/{file}"));
        stack.set("POLLBAL_NET", stack.net());
        stack.set("POLLBAL_PUBLISH", stack.published());
        stack
    }

    /// Sets a variable that the file knows.
    pub(crate) fn set(&mut self, name: &'static str, value: String) {
        self.environment.push((name, value));
    }

    /// Another file, with what this stack has otherwise than the first one says.
    pub(crate) fn change(&mut self, changes: &Path) {
        let files = self.environment.iter_mut();
        let mut files = files.filter(|(name, _)| *name == "COMPOSE_FILE");
        let (_, files) = files.next().expect("it has a file");
        files.push(':');
        files.push_str(&changes.display().to_string());
    }

    /// The begin of all its names in Docker.
    pub(crate) fn project(&self) -> &str {
        &self.project
    }

    /// The first three bytes of the network's addresses, as the file gets them.
    pub(crate) fn net(&self) -> String {
        format!("198.18.{}", self.net)
    }

    /// The address of this machine on which its ports are open.
    pub(crate) fn published(&self) -> String {
        format!("127.15.{}.1", self.net)
    }

    pub(crate) fn ip(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.net, host)
    }

    /// What makes Compose speak of this stack.
    pub(crate) fn environment(&self) -> &[(&'static str, String)] {
        &self.environment
    }

    /// Runs a command of Compose, which must succeed.
    #[track_caller]
    pub(crate) fn compose(&self, args: &[&str]) {
        succeed(&mut self.compose_command(args));
    }

    fn compose_command(&self, args: &[&str]) -> Command {
        let [program, words @ ..] = compose() else {
            unreachable!("Compose has a name")
        };
        let mut command = Command::new(program);
        let environment = self.environment.iter().cloned();
        command.args(words).args(args).envs(environment);
        command
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        tidy(&mut self.compose_command(&["down", "--volumes", "--timeout", "0"]));
    }
}

/// The first network of 198.18.0.0/16 that no other test has, and what keeps it. These addresses are for tests of
/// machines by themselves (RFC 2544), so no network around uses them.
fn claim_net() -> (u8, TcpListener) {
    static NEXT: AtomicU32 = AtomicU32::new(0);

    let start = process::id();
    for _ in 0..=u8::MAX {
        let number = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let [.., net] = number.to_be_bytes();
        let claim = SocketAddrV4::new(Ipv4Addr::new(127, 15, net, 254), CLAIM_PORT);
        if TAKEN.contains(&net) {
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
