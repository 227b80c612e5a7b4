//! Processes that pollbal starts, and those that come to it.
//!
//! As the first process of a container (PID 1) it is given every process whose parent ended, such as what a hook left
//! behind. When one of those ends, it stays as a zombie until it is asked for how it ended: enough of them, and no more
//! processes can be started. Processes that pollbal started itself are left to whoever waits for them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;
use tracing::debug;

/// The number of the first process of a container.
const FIRST: u32 = 1;

/// Minimum time between two looks at all processes.
const PAUSE: Duration = Duration::from_millis(100);

/// The processes that are others' to wait for.
static OWN: Mutex<Started> = Mutex::new(Started {
    starting: 0,
    waited_for: BTreeSet::new(),
});

struct Started {
    /// So many are being started: they have no number yet, and may have ended.
    starting: usize,
    /// By their numbers.
    waited_for: BTreeSet<i32>,
}

/// Held for moments: whoever decides may wait for it.
fn own() -> MutexGuard<'static, Started> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A process that pollbal started; to be dropped when it was waited for.
#[derive(Debug)]
pub struct Own(Option<i32>);

/// Starts a process. That may take as long as the disk that the program lies on.
///
/// # Errors
/// It cannot be started.
pub fn start(command: &mut Command) -> io::Result<(Child, Own)> {
    own().starting += 1;
    let started = command.spawn();
    let mut own = own();
    own.starting -= 1;
    let child = started?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    own.waited_for.extend(pid);
    Ok((child, Own(pid)))
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            own().waited_for.remove(&pid);
        }
    }
}

/// Ended processes that came to pollbal are waited for, where it is the first of its container.
#[derive(Debug)]
pub struct Reaper(Signal);

impl Reaper {
    /// Begins to listen; nothing where others do that.
    ///
    /// # Errors
    /// The system allows no signal handlers.
    pub fn listen() -> io::Result<Option<Self>> {
        let is_first = std::process::id() == FIRST;
        let listen = || signal(SignalKind::child()).map(Self);
        is_first.then(listen).transpose()
    }

    /// Waits for each that ended.
    pub async fn run(mut self) {
        loop {
            let saw_all = reap();
            sleep(PAUSE).await;
            // What ended since then is told.
            if saw_all && self.0.recv().await.is_none() {
                return;
            }
        }
    }
}

/// False when there may be more.
fn reap() -> bool {
    // Held to the end: a number that is free again may be that of a process that is started now.
    let own = own();
    if own.starting > 0 {
        return false;
    }
    for pid in strangers(&own, FIRST) {
        if let Some(known) = Pid::from_raw(pid)
            && let Ok(Some(_)) = waitpid(Some(known), WaitOptions::NOHANG)
        {
            debug!("process {pid}, left behind by another, is gone");
        }
    }
    true
}

/// The processes that ended and that `parent` is to wait for, but for those that others wait for.
fn strangers(own: &Started, parent: u32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_stranger = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        let is_zombie = stat.is_ok_and(|stat| is_zombie_of(parent, &stat));
        is_zombie && !own.waited_for.contains(pid)
    };
    pids.filter(is_stranger).collect()
}

/// What `/proc/PID/stat` says: number, name in parentheses (which it may have itself), state, parent (proc(5)).
fn is_zombie_of(parent: u32, stat: &str) -> bool {
    let behind_name = stat.rsplit_once(") ").map(|(_, rest)| rest);
    behind_name.is_some_and(|rest| rest.starts_with(&format!("Z {parent} ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zombies_of_a_process_are_told_from_all_others() {
        for (stat, is_zombie) in [
            ("7 (sleep) Z 1 7 7 0 -1", true),
            ("7 (a) Z 1 (b) Z 1 7 7 0 -1", true),
            ("7 (sleep) Z 12 7 7 0 -1", false),
            ("7 (sleep) S 1 7 7 0 -1", false),
            ("7 (Z 1 ) S 1 7 7 0 -1", false),
            ("", false),
        ] {
            assert_eq!(is_zombie_of(FIRST, stat), is_zombie, "{stat}");
        }
    }

    #[tokio::test]
    async fn what_others_wait_for_is_left_to_them() {
        let mut command = Command::new("true");
        let (mut known, own_known) = start(&mut command).unwrap();
        let mut stranger = command.spawn().unwrap();
        let [known_pid, stranger_pid] =
            [known.id(), stranger.id()].map(|id| i32::try_from(id.unwrap()).unwrap());
        let is_zombie = |pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            is_zombie_of(std::process::id(), &stat)
        };
        while !is_zombie(known_pid) || !is_zombie(stranger_pid) {
            sleep(Duration::from_millis(1)).await;
        }
        let found = || strangers(&own(), std::process::id());
        assert!(found().contains(&stranger_pid) && !found().contains(&known_pid));
        assert!(known.wait().await.unwrap().success() && stranger.wait().await.unwrap().success());
        drop(own_known);
        assert!(!own().waited_for.contains(&known_pid));
    }
}
