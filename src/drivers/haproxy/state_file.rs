//! Keeps the answer to `show servers state` in a file, from which the next process of `HAProxy` takes the states, addresses
//! and weights of servers (`load-server-state-from-file`).
//!
//! The file is written by a task of its own, as a whole, always the latest answer; what is no such answer is left alone.

use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::sleep;

use crate::disk::{no_answer, on_disk};
use crate::files::replace;
use crate::retry::Retry;

/// What the file begins with: the version of its format, and the header.
const BEGINNING: &[u8] = b"1\n# be_id ";

/// The file of one `HAProxy`.
pub(super) struct StateFile {
    path: PathBuf,
    /// The latest answer; without a receiver until there is one.
    latest: watch::Sender<String>,
    fault: Arc<Mutex<Option<String>>>,
}

impl StateFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            latest: watch::Sender::default(),
            fault: Arc::default(),
        }
    }

    /// Has the answer to `show servers state` written, unless that is what was written last.
    pub(super) fn keep(&self, answer: &str) {
        let answer = answer.trim_end_matches('\n');
        if self.latest.receiver_count() == 0 {
            let (path, latest) = (self.path.clone(), self.latest.subscribe());
            tokio::spawn(write_latest(path, latest, Arc::clone(&self.fault)));
        }
        self.latest.send_if_modified(|latest| {
            let is_new = latest.trim_end_matches('\n') != answer;
            if is_new {
                *latest = format!("{answer}\n\n");
            }
            is_new
        });
    }

    /// Why the file is not written, for people.
    pub(super) fn fault(&self) -> Option<String> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path.display();
        let text = |why| {
            format!(
                "state_file {path} is not written: {why}; after a reload, HAProxy has an older state for a moment"
            )
        };
        fault.as_deref().map(text)
    }
}

/// Writes the latest answer whenever there is another one, until the sender is dropped.
async fn write_latest(
    path: PathBuf,
    mut latest: watch::Receiver<String>,
    fault: Arc<Mutex<Option<String>>>,
) {
    let mut retry = Retry::new();
    let set_fault = |why: Option<String>| {
        *fault.lock().unwrap_or_else(PoisonError::into_inner) = why;
    };
    while latest.changed().await.is_ok() {
        loop {
            let (to, text) = (path.clone(), latest.borrow_and_update().clone());
            let late = || set_fault(Some(no_answer("its disk")));
            match on_disk("HAProxy's state file", move || write(&to, &text), late).await {
                Ok(Ok(())) => {
                    set_fault(None);
                    retry.reset();
                    break;
                }
                Ok(Err(error)) => {
                    set_fault(Some(error.to_string()));
                    sleep(retry.next_wait()).await;
                }
                Err(_) => return,
            }
        }
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if !is_replaceable(path)? {
        return Err(io::Error::other(
            "what is there is no answer to `show servers state`, and is left alone",
        ));
    }
    let mut temporary = tempfile::Builder::new();
    temporary.prefix(".pollbal-haproxy-");
    // HAProxy reads it as whoever started it.
    replace(
        path,
        &temporary,
        Permissions::from_mode(0o644),
        text.as_bytes(),
    )
}

/// Whether there is an earlier answer, an empty file, or nothing.
fn is_replaceable(path: &Path) -> io::Result<bool> {
    let found = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        found => found?,
    };
    if !found.is_file() {
        return Ok(false);
    }
    let mut beginning = Vec::new();
    let limit = BEGINNING.len() as u64;
    File::open(path)?.take(limit).read_to_end(&mut beginning)?;
    Ok(beginning.is_empty() || beginning == BEGINNING)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_an_earlier_answer_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/state");
        let text = "1\n# be_id be_name\n3 web\n\n";
        for _ in 0..2 {
            write(&path, text).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::write(&path, "").unwrap();
        write(&path, text).unwrap();
        let files = fs::read_dir(path.parent().unwrap()).unwrap();
        assert_eq!(files.count(), 1, "nothing half-written is left");

        fs::write(&path, "global\n").unwrap();
        let error = write(&path, text).unwrap_err().to_string();
        assert!(error.contains("left alone"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "global\n");
        write(directory.path(), text).unwrap_err();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(directory.path().join("nowhere"), &link).unwrap();
        write(&link, text).unwrap_err();
    }
}
