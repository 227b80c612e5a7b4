//! A machine with systemd, in a container without a network: nothing but its own loopback.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::docker::{ask_perlbal, docker, run_name, shell, succeed, text, tidy};
use crate::common::{becomes, eventually};

/// The target `systemd` of `perlbal/Dockerfile`; `perlbal/harness` builds it.
const IMAGE: &str = "pollbal-systemd";

/// For what systemd does, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The first package, and one with a higher version.
pub(crate) const PACKAGE: &str = "/packages/pollbal_*-1_*.deb";
pub(crate) const NEXT_PACKAGE: &str = "/packages/pollbal_*-2_*.deb";

/// What runs systemd in a container without all rights. `apparmor` is there for Ubuntu, where it forbids mounts.
const RIGHTS: [&str; 12] = [
    "--network=none",
    "--cap-add=SYS_ADMIN",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--tmpfs=/run",
    "--tmpfs=/run/lock",
    "--tmpfs=/tmp",
    "--env=container=docker",
    "--env=DEBIAN_FRONTEND=noninteractive",
    "--env=LC_ALL=C.UTF-8",
    "--env=SYSTEMD_COLORS=0",
    "--env=SYSTEMD_PAGER=",
];

/// A mock node on 127.0.0.<number>:8081, started at each boot.
const NODE: &str = "\
[Service]
Environment=NODE_LISTEN=127.0.0.%i:8081 NODE_NAME=node-%i
EnvironmentFile=/etc/node-%i
ExecStart=/usr/bin/mock-node
[Install]
WantedBy=multi-user.target
";

/// A machine; dropped, it is gone.
pub(crate) struct Machine {
    name: String,
}

impl Machine {
    /// Boots a machine without our package.
    pub(crate) fn boot() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let machine = Self {
            name: format!("{}-systemd-{number}", run_name()),
        };
        let mut command = Command::new("docker");
        command
            .args(["run", "--detach", "--name", &machine.name])
            .args(RIGHTS)
            .args(cgroups())
            .arg(IMAGE);
        succeed(&mut command);
        machine.wait_boot();
        machine
    }

    /// Boots a machine and installs our package, by itself.
    pub(crate) fn with_pollbal() -> Self {
        let machine = Self::boot();
        machine.install("--no-install-recommends", PACKAGE);
        machine
    }

    /// Boots it again: what is in memory is gone, such as `/run`.
    pub(crate) fn reboot(&self) {
        docker(&["restart", "--time=20", &self.name]);
        self.wait_boot();
    }

    fn wait_boot(&self) {
        eventually(PATIENCE, "systemd is up", || {
            // `degraded`: a unit failed; the trials say which must not.
            let state = self.try_sh("systemctl is-system-running");
            ["running", "degraded"]
                .contains(&text(&state).trim())
                .then_some(())
        });
    }

    /// As a person would, from packages that are there.
    pub(crate) fn install(&self, options: &str, package: &str) {
        self.sh(&format!(
            "apt-get -q install -y -o Dir::Cache::archives=/packages {options} {package}"
        ));
    }

    /// Runs a shell's commands, which may fail.
    pub(crate) fn try_sh(&self, commands: &str) -> Output {
        shell(&self.name, commands, "")
    }

    /// Runs a shell's commands, which must succeed; gives what they print, without the end of the last line.
    #[track_caller]
    pub(crate) fn sh(&self, commands: &str) -> String {
        let output = self.try_sh(commands);
        assert!(
            output.status.success(),
            "{commands}: {}\n{}",
            output.status,
            text(&output)
        );
        let printed = String::from_utf8_lossy(&output.stdout);
        printed.trim_end().to_owned()
    }

    /// Waits until the commands print this.
    #[track_caller]
    pub(crate) fn wait_sh(&self, commands: &str, printed: &str) {
        becomes(PATIENCE, commands, &printed.to_owned(), || {
            text(&self.try_sh(commands)).trim_end().to_owned()
        });
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let mut child = Command::new("docker")
            .args(["exec", "--interactive", &self.name])
            .args(["sh", "-c", "mkdir -p \"${0%/*}\" && cat >\"$0\"", path])
            .stdin(Stdio::piped())
            .spawn()
            .expect("failed to start docker");
        let mut pipe = child.stdin.take().expect("it is piped");
        pipe.write_all(content.as_bytes())
            .expect("failed to write to docker");
        drop(pipe);
        let ended = child.wait().expect("failed to wait for docker");
        assert!(ended.success(), "failed to write {path}");
    }

    /// A property of a unit, as systemd has it.
    #[track_caller]
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        self.sh(&show_property(unit, name))
    }

    #[track_caller]
    pub(crate) fn wait_property(&self, unit: &str, name: &str, value: &str) {
        self.wait_sh(&show_property(unit, name), value);
    }

    /// Starts a mock node that announces this, now and at each boot, and lists it in the services file.
    pub(crate) fn node(&self, number: u8, pool: &str) {
        self.write("/etc/systemd/system/node@.service", NODE);
        self.write(
            &format!("/etc/node-{number}"),
            &format!("NODE_POOL={pool}\n"),
        );
        self.sh(&format!("systemctl enable --now node@{number}"));
        self.sh(&format!(
            "echo 127.0.0.{number}:8081 node-{number} >>/etc/pollbal.services"
        ));
    }

    /// What Perlbal's management socket answers, without the last line; nothing while Perlbal does not run.
    pub(crate) fn perlbal(&self, command: &str) -> Vec<String> {
        ask_perlbal(&self.name, command).unwrap_or_default()
    }

    /// What happened, for a trial that failed.
    fn report(&self) -> String {
        let commands = "systemctl status --no-pager --lines=0 pollbal perlbal; journalctl --no-pager --lines=200";
        text(&self.try_sh(commands))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- {}\n{}", self.name, self.report());
        }
        let mut remove = Command::new("docker");
        remove.args(["rm", "--force", "--volumes", &self.name]);
        tidy(&mut remove);
    }
}

fn show_property(unit: &str, name: &str) -> String {
    format!("systemctl show --property={name} --value {unit}")
}

/// systemd needs to see its control groups; those of version 2 it must be able to make, too.
fn cgroups() -> &'static [&'static str] {
    if docker(&["info", "--format", "{{.CgroupVersion}}"]).trim() == "2" {
        &[
            "--cgroupns=host",
            "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
        ]
    } else {
        &["--volume=/sys/fs/cgroup:/sys/fs/cgroup:ro"]
    }
}
