//! Threads and their runtimes.

use std::sync::mpsc;
use std::time::Duration;
use std::{io, thread};

use tokio::runtime::{Builder, Runtime};

/// A runtime that runs its tasks on the current thread, with extra threads for calls that may block on a disk.
///
/// One of those threads is started now and never ends, so that there is one even if the system allows no more later
/// (`TasksMax=`, `ulimit -u`). Work then waits for it; without any such thread tokio would panic.
///
/// # Errors
/// The process has run out of descriptors or threads.
pub fn runtime() -> io::Result<Runtime> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(Duration::MAX)
        .build()?;
    // Unlike tokio, this reports a failure to start a thread as an error.
    let first = thread::Builder::new().spawn(|| ())?;
    _ = first.join();
    runtime.spawn_blocking(|| ());
    Ok(runtime)
}

/// Starts a thread that has a runtime of its own.
///
/// # Errors
/// The process has run out of descriptors or threads.
pub fn start_thread(
    name: &str,
    make: impl FnOnce() -> io::Result<Runtime> + Send + 'static,
    run: impl FnOnce(Runtime) + Send + 'static,
) -> io::Result<()> {
    // The thread makes the runtime: if a later step failed here, the runtime would be dropped inside another one, which
    // panics.
    let (result, started) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || match make() {
            Ok(runtime) => {
                _ = result.send(Ok(()));
                run(runtime);
            }
            Err(error) => _ = result.send(Err(error)),
        })?;
    let started = started.recv();
    started.map_err(|_| io::Error::other("the thread ended"))?
}

/// A hint to append to `error` if it means that the system failed to start a thread.
#[must_use]
pub fn threads_hint(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::WouldBlock {
        "; the limit of processes and threads is reached; raise it (TasksMax= of the service, or ulimit -u)"
    } else {
        ""
    }
}
