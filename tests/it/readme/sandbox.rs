//! The place where examples are run: their addresses, ports and paths stand for a stage's own.

use std::fs::{self, File};
use std::net::{SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::book::{Block, replace};
use crate::common::stage::Stage;
use crate::common::{SOON, eventually};

/// Where examples are run.
pub(crate) struct Sandbox<'a> {
    stage: &'a Stage,
    pub(crate) management: SocketAddrV4,
    pub(crate) rest: SocketAddrV4,
    pub(crate) www: SocketAddrV4,
    /// What the examples have, and what it is here.
    words: Vec<(String, String)>,
    /// What is printed here, and what the examples show.
    back: Vec<(String, String)>,
}

impl<'a> Sandbox<'a> {
    pub(crate) fn new(stage: &'a Stage) -> Self {
        let (management, rest, www) = (stage.free_addr(), stage.free_addr(), stage.free_addr());
        let port = stage.node_addr(1).port();
        let [a, b, c, _] = stage.ip(1).octets();
        let net = format!("{a}.{b}.{c}.");
        let pools = stage.pool_directory().display().to_string();
        let (etc, var, run) = (stage.path("etc"), stage.path("var"), stage.path("run"));
        let haproxy = stage.path("haproxy");
        for directory in [
            etc.join("perlbal"),
            etc.join("haproxy"),
            var.join("www"),
            run.clone(),
            haproxy.clone(),
        ] {
            fs::create_dir_all(directory).expect("failed to make a directory");
        }
        let pair = |readme: &str, here: String| (readme.to_owned(), here);
        let etc = format!("{}/", etc.display());
        let www_root = format!("{}/www", var.display());
        let run = run.display().to_string();
        // The first that fits is taken, so the longer ones stand first.
        let words = vec![
            pair("127.0.0.1:16000", management.to_string()),
            pair(
                "127.0.0.1 16000",
                format!("{} {}", management.ip(), management.port()),
            ),
            pair("10.0.0.10:8000", rest.to_string()),
            pair("10.0.0.10:80", www.to_string()),
            pair("10.0.0.", net.clone()),
            pair("8080", port.to_string()),
            pair("/etc/", etc.clone()),
            pair("/run/pool", pools.clone()),
            pair("/run/pollbal", run.clone()),
            pair("/run/haproxy", haproxy.display().to_string()),
            pair("/var/www", www_root.clone()),
            pair("sudo ", String::new()),
        ];
        let back = vec![
            (management.to_string(), "127.0.0.1:16000".to_owned()),
            (net, "10.0.0.".to_owned()),
            (format!(":{port}"), ":8080".to_owned()),
            (format!(" {port}"), " 8080".to_owned()),
            (etc, "/etc/".to_owned()),
            (pools, "/run/pool".to_owned()),
            (run, "/run/pollbal".to_owned()),
            (www_root, "/var/www".to_owned()),
        ];
        Self {
            stage,
            management,
            rest,
            www,
            words,
            back,
        }
    }

    /// An example's text as it has to be here.
    fn here(&self, text: &str) -> String {
        replace(text, &self.words)
    }

    /// Where a file of the examples is here.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.here(path).into()
    }

    /// What was printed here as the examples show it, without what differs each time.
    pub(crate) fn plain(&self, text: &str) -> Vec<String> {
        // Into a pipe, a dry run prints comments that only fill up; a person at a terminal sees none.
        let fills_up = |line: &&str| line.starts_with("# ") && line.trim_end() == "#";
        let text = replace(text, &self.back);
        let lines = text.lines().filter(|line| !fills_up(line));
        lines.map(plain).collect()
    }

    /// Writes an example into the file that it is for.
    pub(crate) fn write(&self, path: &str, block: &Block) {
        self.write_text(path, &block.text);
    }

    pub(crate) fn write_text(&self, path: &str, text: &str) {
        fs::write(self.here(path), self.here(text)).expect("failed to write an example");
    }

    /// Writes an example as `/etc/pollbal.json`; where it leaves the paths to their defaults, these are here.
    pub(crate) fn write_config(&self, block: &Block) {
        let config = serde_json::from_str(&self.here(&block.text)).expect("JSON");
        self.write_json(config);
    }

    pub(crate) fn write_json(&self, mut config: Value) {
        config["services_file"] = json!(self.here("/etc/pollbal.services"));
        config["pool_directory"] = json!(self.here("/run/pool"));
        config["admin_socket"] = json!(self.here("/run/pollbal/admin.sock"));
        config["state_file"] = json!(self.here("/run/pollbal/state.json"));
        fs::write(self.here("/etc/pollbal.json"), config.to_string())
            .expect("failed to write the configuration");
    }

    /// Runs the commands of a console; each must print what it shows, to the letter.
    #[track_caller]
    pub(crate) fn run(&self, console: &Block) {
        for (command, shown) in console.commands() {
            let printed = self.run_command(&command);
            assert_eq!(self.plain(&printed), self.plain(&shown), "$ {command}");
        }
    }

    /// Runs a command to its end, and gives what it prints on either output, as the examples show it.
    #[track_caller]
    pub(crate) fn run_command(&self, command: &str) -> String {
        let output = self
            .command("bash")
            .arg("-c")
            .arg(format!("exec 2>&1; {}", self.here(command)))
            .output()
            .expect("failed to run bash");
        replace(&String::from_utf8_lossy(&output.stdout), &self.back)
    }

    /// Starts the one command of a console, which does not end, and waits for the lines that it shows.
    #[track_caller]
    pub(crate) fn start(&self, console: &Block) -> Running {
        let (command, shown) = console.commands().remove(0);
        if command.contains("perlbal --config") {
            return self.start_perlbal(&command);
        }
        let running = self.spawn(&command);
        self.wait_lines(&running, &shown);
        running
    }

    #[track_caller]
    pub(crate) fn start_perlbal(&self, command: &str) -> Running {
        let running = self.spawn(command);
        eventually(SOON, "Perlbal listens", || {
            TcpStream::connect(self.management).ok()
        });
        running
    }

    /// Starts a program for node.js, and waits until it listens where the first node is.
    #[track_caller]
    pub(crate) fn start_node(&self, path: &str) -> Running {
        let running = self.spawn(&format!("node {path}"));
        let at = self.stage.node_addr(1);
        eventually(
            SOON,
            "node.js listens (perlbal/setup test installs it)",
            || TcpStream::connect(at).ok(),
        );
        running
    }

    fn spawn(&self, command: &str) -> Running {
        let command = self.here(command);
        let mut words = command.split(' ');
        let program = words.next().unwrap_or_default();
        let log = self.stage.path(&format!("{program}.log"));
        let output = File::create(&log).expect("failed to make a log");
        let child = self
            .command(program)
            .args(words)
            .stdout(output.try_clone().expect("failed to share a log"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|why| panic!("failed to start {program}: {why}"));
        Running { child, log }
    }

    fn command(&self, program: &str) -> Command {
        let own = Path::new(env!("CARGO_BIN_EXE_pollbal")).parent();
        let own = own.expect("a program is in a directory").display();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command
            .env("PATH", format!("{own}:{path}"))
            .env("POLLBAL_CONFIG", self.here("/etc/pollbal.json"))
            .env("NO_COLOR", "1")
            // Who gives the orders, no matter who runs the tests.
            .env_remove("SUDO_USER")
            .env("USER", "root")
            // Where Debian has its packages for node.js.
            .env("NODE_PATH", "/usr/share/nodejs")
            .stdin(Stdio::null());
        command
    }

    /// Waits until a program has printed each of these lines, in whatever order: nodes answer as they like.
    #[track_caller]
    pub(crate) fn wait_lines(&self, running: &Running, shown: &str) {
        for line in self.plain(shown) {
            eventually(SOON, &format!("the line \"{line}\""), || {
                self.plain(&running.output()).contains(&line).then_some(())
            });
        }
    }
}

/// A line without its time, and with `N ms` for any measured time.
fn plain(line: &str) -> String {
    let line = match line.split_once('Z') {
        Some((time, rest)) if time.len() == 26 && time.contains('T') => rest,
        _ => line,
    };
    let words: Vec<&str> = line.split(' ').collect();
    let measured = |index: usize| {
        words[index].parse::<f64>().is_ok()
            && words
                .get(index + 1)
                .is_some_and(|unit| unit.starts_with("ms"))
    };
    let word = |index: usize| if measured(index) { "N" } else { words[index] };
    let words: Vec<&str> = (0..words.len()).map(word).collect();
    words.join(" ")
}

/// A program that goes on; dropped, it is killed.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("failed to signal a program");
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .expect("failed to look after a program")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left but to reap it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- {}:\n{}", self.log.display(), self.output());
        }
    }
}
