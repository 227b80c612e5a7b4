//! The wall clock that a program sees, moved by libfaketime while the program runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian and Ubuntu have it, below a directory that is called after the machine's kind.
const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// A wall clock; true until it is set.
pub(crate) struct Clock {
    file: PathBuf,
}

impl Clock {
    pub(crate) fn new(file: PathBuf) -> Self {
        let clock = Self { file };
        clock.set(0);
        clock
    }

    /// From now on it is this many seconds ahead of the true one.
    pub(crate) fn set(&self, seconds_ahead: i64) {
        // By a rename, for the program reads it each time that it looks at the clock.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds_ahead:+}\n")).expect("failed to set the clock");
        fs::rename(&new, &self.file).expect("failed to set the clock");
    }

    /// The program will see this clock.
    pub(crate) fn give_to(&self, command: &mut Command) {
        command.envs(environment(&self.file, &library()));
    }
}

/// What makes a program see the clock that stands in the file, where these are for that program.
pub(crate) fn environment(file: &Path, library: &Path) -> [(&'static str, String); 5] {
    [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        // Time that is measured is not the wall clock's, and files have their true times.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ]
}

fn library() -> PathBuf {
    let kinds = fs::read_dir(LIBRARIES).into_iter().flatten();
    let mut found = kinds
        .filter_map(|kind| Some(kind.ok()?.path().join(LIBRARY)))
        .filter(|path| path.exists());
    found
        .next()
        .expect("libfaketime is missing: install it (apt-get install libfaketime)")
}
