//! A pipe that nobody reads.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use serde_json::Value;

use super::pollbal::Pollbal;
use super::stage::Stage;
use super::{SOON, eventually};

/// A pipe by name of which the other side is open, but read by nobody, and full.
pub(crate) struct FullPipe {
    path: PathBuf,
    unread: File,
}

impl FullPipe {
    pub(crate) fn new(stage: &Stage) -> Self {
        let path = stage.path("full-pipe");
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.expect("failed to make a pipe").success());
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("flags fit");
        let mut unread = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(&path)
            .expect("failed to open the pipe");
        let full = loop {
            if let Err(why) = unread.write(&[b'\n'; 512]) {
                break why;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock, "{full}");
        Self { path, unread }
    }

    /// Makes room for this many pages of 4 KiB.
    pub(crate) fn make_room(&mut self, pages: usize) {
        let mut page = vec![0; pages * 4_096];
        self.unread.read_exact(&mut page).expect("it was full");
    }

    /// Takes it away, and gives what is in it.
    pub(crate) fn remove(mut self) -> String {
        let mut bytes = Vec::new();
        let end = self.unread.read_to_end(&mut bytes);
        let end = end.expect_err("nobody has closed it").kind();
        assert_eq!(end, ErrorKind::WouldBlock);
        fs::remove_file(&self.path).expect("failed to remove the pipe");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until it is full.
    #[track_caller]
    pub(crate) fn wait_full(&self) {
        eventually(SOON, "a full pipe", || {
            let mut writable = [PollFd::new(&self.unread, PollFlags::OUT)];
            let now = Timespec::default();
            poll(&mut writable, Some(&now)).expect("failed to look at the pipe");
            writable[0].revents().is_empty().then_some(())
        });
    }

    /// Starts pollbal with what of its output goes there: `>` or `2>`.
    pub(crate) fn start(
        &self,
        stage: &Stage,
        config: &Value,
        arguments: &str,
        output: &str,
    ) -> Pollbal {
        let config = stage.write_config(config);
        let arguments = format!("{arguments} --config '{}'", config.display());
        Pollbal::spawn(self.line(&arguments, output), config)
    }

    /// Begins a command for the daemon with what of its output goes there: `>` or `2>`. The arguments are a shell's.
    pub(crate) fn begin(&self, stage: &Stage, arguments: &str, output: &str) -> Pollbal {
        let mut line = self.line(arguments, output);
        line.current_dir(stage.dir())
            .env("POLLBAL_ADMIN_SOCKET", stage.admin_socket());
        Pollbal::spawn(line, stage.admin_socket())
    }

    fn line(&self, arguments: &str, output: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("exec \"$0\" {output}\"$1\" {arguments}"))
            .arg(env!("CARGO_BIN_EXE_pollbal"))
            .arg(&self.path);
        command
    }

    /// Reads it from now on, until anyone who writes is gone.
    pub(crate) fn read(self) -> Arc<Mutex<Vec<String>>> {
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let reader = File::open(&self.path).expect("failed to open the pipe");
        drop(self.unread);
        let sink = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if !line.is_empty() {
                    let mut lines = sink.lock().unwrap_or_else(PoisonError::into_inner);
                    lines.push(line);
                }
            }
        });
        lines
    }
}
