//! `HAProxy`'s configuration file.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use super::Haproxy;
use crate::common::notify::Notify;
use crate::common::stage::Stage;

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

/// `HAProxy`'s configuration file, in the order in which it is built up.
pub(crate) struct Config {
    level: &'static str,
    state_file: Option<PathBuf>,
    has_master: bool,
    sections: String,
    services: Vec<(String, SocketAddrV4)>,
}

impl Config {
    pub(crate) fn new() -> Self {
        Self {
            level: "admin",
            state_file: None,
            has_master: false,
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

    /// With a master process, which a service manager reloads by a signal.
    pub(crate) fn master(mut self) -> Self {
        self.has_master = true;
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
        let mut haproxy = Haproxy {
            config,
            socket,
            services: self.services,
            manager: self.has_master.then(|| Notify::listen(stage)),
            child: None,
            replaced: Vec::new(),
        };
        haproxy.start();
        haproxy
    }
}
