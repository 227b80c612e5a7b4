//! A service manager in the test's own process: the socket that systemd would give, and what comes there.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::pollbal::Pollbal;
use super::stage::Stage;
use super::{SOON, eventually};

/// One message: when it came, and its assignments.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) at: Instant,
    pub(crate) lines: Vec<String>,
}

impl Message {
    pub(crate) fn has(&self, line: &str) -> bool {
        self.lines.iter().any(|own| own == line)
    }

    /// What stands behind `key=`.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.lines
            .iter()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }
}

/// The socket, read by a thread for as long as the test program lives.
pub(crate) struct Notify {
    path: PathBuf,
    messages: Arc<Mutex<Vec<Message>>>,
}

impl Notify {
    pub(crate) fn listen(stage: &Stage) -> Self {
        let path = stage.path("notify");
        let socket = UnixDatagram::bind(&path).expect("failed to make the notify socket");
        let messages = Arc::default();
        let sink: Arc<Mutex<Vec<Message>>> = Arc::clone(&messages);
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(length) = socket.recv(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..length]);
                let lines = text.lines().map(str::to_owned).collect();
                let at = Instant::now();
                sink.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(Message { at, lines });
            }
        });
        Self { path, messages }
    }

    /// Starts pollbal as a service of this manager, with these arguments and further variables.
    pub(crate) fn start(
        &self,
        stage: &Stage,
        config: &serde_json::Value,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Pollbal {
        start(&self.path, stage, config, arguments, variables)
    }

    /// What `NOTIFY_SOCKET` has.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        self.messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The messages that have this line, such as `READY=1`.
    pub(crate) fn with(&self, line: &str) -> Vec<Message> {
        let mut messages = self.messages();
        messages.retain(|message| message.has(line));
        messages
    }

    /// Waits until this many messages have this line; gives the last of them.
    #[track_caller]
    pub(crate) fn wait(&self, line: &str, number: usize) -> Message {
        eventually(SOON, &format!("{line}, {number} of them"), || {
            self.with(line).get(number - 1).cloned()
        })
    }

    /// The status that was reported last.
    pub(crate) fn status(&self) -> Option<String> {
        let messages = self.messages();
        let last = messages
            .iter()
            .rev()
            .find_map(|message| message.value("STATUS"));
        last.map(str::to_owned)
    }
}

/// Starts pollbal as a service of the manager with this socket, with these arguments and further variables.
pub(crate) fn start(
    socket: &Path,
    stage: &Stage,
    config: &serde_json::Value,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Pollbal {
    let config = stage.write_config(config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
    command
        .args(arguments)
        .arg("--config")
        .arg(&config)
        .env("NOTIFY_SOCKET", socket)
        .envs(variables.iter().copied());
    Pollbal::spawn(command, config)
}
