//! A small disk for the pool directory: a tmpfs in a mount namespace of its own, which needs no root and is gone with
//! the process that holds it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::world::FILLER;

/// A namespace in which the directory is a disk of its own; dropped, it is gone.
pub(crate) struct Disk {
    holder: Child,
    directory: PathBuf,
}

impl Disk {
    pub(crate) fn mount(directory: &Path) -> Self {
        fs::create_dir_all(directory).expect("failed to make the pool directory");
        let mut holder = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c"])
            // `cat` ends with us, whatever happens to us.
            .arg("mount -t tmpfs -o size=256k tmpfs \"$0\" && echo mounted && exec cat")
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("failed to start unshare");
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("the output is piped");
        let read = BufReader::new(stdout).read_line(&mut line);
        read.expect("failed to read what unshare says");
        assert_eq!(line, "mounted\n", "failed to mount a disk: run as root");
        Self {
            holder,
            directory: directory.to_owned(),
        }
    }

    /// The program, where it sees the disk.
    pub(crate) fn command(&self, program: &OsStr) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--user", "--mount", "--preserve-credentials", "--target"])
            .arg(self.holder.id().to_string())
            .arg("--")
            .arg(program);
        command
    }

    /// Where the directory is for us, who are outside.
    pub(crate) fn directory(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let inside = self.directory.strip_prefix("/");
        root.join(inside.expect("the pool directory's path is absolute"))
    }

    pub(crate) fn fill(&self) {
        let mut file = File::create(self.filler()).expect("failed to make the file that fills");
        // Down to single bytes: what is left over would do for a small pool file.
        for size in [64 * 1024, 4096, 1] {
            let piece = vec![b'x'; size];
            let full = loop {
                if let Err(why) = file.write_all(&piece) {
                    break why;
                }
            };
            assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        }
    }

    pub(crate) fn free(&self) {
        fs::remove_file(self.filler()).expect("failed to free the disk");
    }

    fn filler(&self) -> PathBuf {
        self.directory().join(FILLER)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
