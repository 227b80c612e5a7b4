//! Child processes: those that pollbal starts, and orphans that it adopts.
//!
//! As the first process of a container (PID 1), pollbal adopts every process whose parent has exited, such as one that
//! a hook left in the background. When one of those exits, it remains a zombie until it is waited for; with too many of
//! them, no process can be started. Children that pollbal started itself are waited for elsewhere.

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

/// The process ID of a container's first process.
const FIRST: u32 = 1;

/// Minimum time between two scans of all processes.
const PAUSE: Duration = Duration::from_millis(100);

/// The children that are waited for elsewhere.
static OWN: Mutex<Started> = Mutex::new(Started {
    starting: 0,
    waited_for: BTreeSet::new(),
});

struct Started {
    /// Number of children that are being started: their IDs are not known yet, and they may already have exited.
    starting: usize,
    /// Process IDs.
    waited_for: BTreeSet<i32>,
}

/// Locked only briefly: the main loop may wait for it.
fn own() -> MutexGuard<'static, Started> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child that pollbal started; dropped after it was waited for.
#[derive(Debug)]
pub struct Own(Option<i32>);

/// Starts a process. Blocks for as long as the program's disk takes.
///
/// # Errors
/// The process cannot be started.
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

/// Waits for adopted processes that have exited, if pollbal is the first process of its container.
#[derive(Debug)]
pub struct Reaper(Signal);

impl Reaper {
    /// Starts listening for exits; `None` if pollbal adopts no processes.
    ///
    /// # Errors
    /// The signal handler cannot be installed.
    pub fn listen() -> io::Result<Option<Self>> {
        let is_first = std::process::id() == FIRST;
        let listen = || signal(SignalKind::child()).map(Self);
        is_first.then(listen).transpose()
    }

    /// Waits for exits, and reaps.
    pub async fn run(mut self) {
        loop {
            let saw_all = reap();
            sleep(PAUSE).await;
            // Later exits send another signal.
            if saw_all && self.0.recv().await.is_none() {
                return;
            }
        }
    }
}

/// Reaps adopted processes; false if there may be more.
fn reap() -> bool {
    // Locked to the end: the ID of a reaped process may be reused for a child that is being started.
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

/// The exited children of `parent`, except those that are waited for elsewhere.
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

/// Parses `/proc/PID/stat`: ID, name in parentheses (it may contain some itself), state, parent (proc(5)).
fn is_zombie_of(parent: u32, stat: &str) -> bool {
    let behind_name = stat.rsplit_once(") ").map(|(_, rest)| rest);
    behind_name.is_some_and(|rest| rest.starts_with(&format!("Z {parent} ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zombies_of_a_process_are_distinguished_from_all_others() {
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
