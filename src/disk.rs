//! Runs work on disks that may hang: an NFS server that is gone, a FUSE process that does not respond.
//!
//! Such a call blocks its thread, and nothing can interrupt it. So it runs on a separate thread, and a caller learns
//! when it takes too long.

use std::future::pending;
use std::time::Duration;

use tokio::task::{JoinError, spawn_blocking};

use crate::awake;
use crate::supervision::stall;

/// Time after which a disk counts as hanging.
pub const UNANSWERED: Duration = Duration::from_secs(5);

/// Waits for [`UNANSWERED`], not counting pauses of this process.
pub async fn unanswered() {
    _ = awake::timeout(UNANSWERED, pending::<()>()).await;
}

/// `<what> has not answered for 5s`.
#[must_use]
pub fn no_answer(what: &str) -> String {
    format!("{what} has not answered for {UNANSWERED:?}")
}

/// Runs work of this task on a separate thread, and calls `late` once if it takes too long.
///
/// # Errors
/// The work panicked, or the process is exiting.
pub async fn on_disk<T: Send + 'static>(
    task: &'static str,
    act: impl FnOnce() -> T + Send + 'static,
    late: impl FnOnce(),
) -> Result<T, JoinError> {
    let mut work = spawn_blocking(move || {
        stall(task);
        act()
    });
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = unanswered() => late(),
    }
    work.await
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_done_in_time_is_not_late() {
        let done = on_disk("a test", || 5, || panic!("late")).await;
        assert_eq!(done.unwrap(), 5);
    }

    #[tokio::test]
    async fn what_does_not_end_is_late_once_and_its_result_is_taken_all_the_same() {
        let (release, released) = mpsc::channel();
        let (notify, is_late) = oneshot::channel();
        let late = move || notify.send(()).unwrap();
        let work = on_disk("a test", move || released.recv().unwrap(), late);
        let let_go = async {
            is_late.await.unwrap();
            release.send(7).unwrap();
        };
        let (done, ()) = tokio::join!(work, let_go);
        assert_eq!(done.unwrap(), 7);
    }
}
