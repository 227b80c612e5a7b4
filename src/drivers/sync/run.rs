//! The loop around the core, with the session and the clock.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use humantime::format_duration;
use tokio::task::spawn_blocking;
use tokio::time::sleep_until;

use super::core::{Core, Next};
use super::{Backend, Session, SessionError, SyncDriver};
use crate::awake::{Elapsed, timeout};
use crate::drivers::steps::line;
use crate::drivers::{Driver, DriverIo, Mode};
use crate::model::driver_status::OutageCause;

impl<B: Backend> Driver for SyncDriver<B> {
    fn run(self: Box<Self>, io: DriverIo, mode: Mode) -> BoxFuture<'static, ()> {
        let Self {
            backend,
            settings,
            owned,
        } = *self;
        let backend = Arc::new(backend);
        let core = Core::new(Arc::clone(&backend), settings, mode, owned, now());
        let running = Running {
            backend,
            session: None,
            attending: Attending { core, io },
        };
        Box::pin(running.run())
    }
}

/// A driver that runs.
struct Running<B: Backend> {
    backend: Arc<B>,
    session: Option<B::Session>,
    attending: Attending<B>,
}

/// What is attended to during exchanges.
struct Attending<B: Backend> {
    core: Core<B>,
    io: DriverIo,
}

/// What happened while something was waited for.
enum Event<T> {
    /// It is done.
    Done(T),
    /// A snapshot came, or a query was answered.
    Handled,
    /// The driver is stopped.
    Stopped,
}

/// The time, which tests may pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<B: Backend> Running<B> {
    async fn run(mut self) {
        self.attending.take_snapshot();
        while self.step().await.is_some() {}
        let known = self.attending.core.known();
        self.attending.io.last_owned.send_replace(Some(known));
    }

    /// Does what is due next; `None` when the driver is stopped.
    async fn step(&mut self) -> Option<()> {
        let next = self.attending.core.next(now());
        self.attending.publish();
        let Some(session) = &mut self.session else {
            return self.step_without_session(next).await;
        };
        let attending = &mut self.attending;
        let ended = match next {
            Next::Ping => attending.exchange(session.ping()).await?,
            Next::Read => {
                let read = attending.exchange(session.read()).await?;
                read.map(|actual| attending.core.on_read(actual, now()))
            }
            Next::Execute(batch) => {
                let executed = attending.exchange(session.execute(&batch)).await?;
                executed.map(|results| attending.core.on_executed(&batch, &results, now()))
            }
            Next::CheckDrains(removed) => {
                let checked = attending.exchange(session.busy(&removed)).await?;
                checked.map(|busy| attending.core.on_busy(&removed, &busy, now()))
            }
            Next::Statistics { per_node } => {
                let read = attending.exchange(session.statistics(per_node)).await?;
                read.map(|families| attending.core.on_statistics(families))
            }
            next => return self.step_without_session(next).await,
        };
        if let Err(failure) = ended {
            self.session = None;
            self.attending.core.on_failed(&failure, now());
        }
        Some(())
    }

    /// Does what needs no session.
    async fn step_without_session(&mut self, next: Next<B::Step>) -> Option<()> {
        let attending = &mut self.attending;
        match next {
            Next::Connect => match attending.exchange(self.backend.connect()).await? {
                Ok(session) => {
                    attending.core.on_connected(session.describe(), now());
                    self.session = Some(session);
                }
                Err(failure) => attending.core.on_failed(&failure, now()),
            },
            Next::Print(pieces) => {
                // On a thread of its own: if nobody reads it, a signal still ends the program.
                let steps = attending.io.steps.clone();
                let pieces: Vec<_> = pieces
                    .iter()
                    .map(|piece| piece.iter().map(|text| line(text)).collect())
                    .collect();
                let printed = spawn_blocking(move || steps.print(&pieces));
                _ = attending.until(printed).await?;
                attending.core.on_printed(now());
            }
            Next::Wait(Some(until)) => {
                attending.wait(pin!(sleep_until(until.into()))).await?;
            }
            // The rest needs a session, which the core knows is not there.
            _ => attending.wait(pin!(std::future::pending::<()>())).await?,
        }
        Some(())
    }
}

impl<B: Backend> Attending<B> {
    /// Waits for the result of an exchange, at most for the exchange timeout; `None` when the driver is stopped.
    async fn exchange<T>(
        &mut self,
        exchange: impl Future<Output = Result<T, SessionError>>,
    ) -> Option<Result<T, SessionError>> {
        let limit = self.core.settings().timeout;
        let ended = self.until(timeout(limit, exchange)).await?;
        let overdue = |Elapsed| {
            SessionError::Lost(OutageCause {
                state: "not answering",
                detail: format!("no complete response within {}", format_duration(limit)),
            })
        };
        Some(ended.unwrap_or_else(|elapsed| Err(overdue(elapsed))))
    }

    /// Waits until `exchange` is done, and handles what comes meanwhile; `None` when the driver is stopped.
    async fn until<F: Future>(&mut self, exchange: F) -> Option<F::Output> {
        let mut exchange = pin!(exchange);
        loop {
            match self.event(exchange.as_mut()).await {
                Event::Done(output) => return Some(output),
                Event::Handled => self.publish(),
                Event::Stopped => return None,
            }
        }
    }

    /// Waits until `timer` is done or something happens; `None` when the driver is stopped.
    async fn wait(&mut self, timer: Pin<&mut impl Future<Output = ()>>) -> Option<()> {
        match self.event(timer).await {
            Event::Done(()) | Event::Handled => Some(()),
            Event::Stopped => None,
        }
    }

    async fn event<F: Future>(&mut self, exchange: Pin<&mut F>) -> Event<F::Output> {
        let pending_at = self.core.pending_at();
        tokio::select! {
            biased;
            () = self.io.stop.cancelled() => Event::Stopped,
            output = exchange => Event::Done(output),
            changed = self.io.desired.changed() => {
                if changed.is_err() {
                    return Event::Stopped;
                }
                self.take_snapshot();
                Event::Handled
            }
            Some(query) = self.io.queries.recv() => {
                self.core.on_query(query);
                Event::Handled
            }
            () = sleep_until(pending_at.unwrap_or_else(now).into()), if pending_at.is_some() => {
                self.core.update_pending(now());
                Event::Handled
            }
        }
    }

    fn take_snapshot(&mut self) {
        let snapshot = self.io.desired.borrow_and_update().clone();
        self.core.on_snapshot(snapshot, now());
    }

    /// Logs what is to be logged, and reports how far the load balancer has come, if that changed.
    fn publish(&mut self) {
        for notice in self.core.take_notices() {
            notice.log(&self.core.settings().id);
        }
        let status = self.core.status();
        self.io.status.send_if_modified(|old| {
            let changed = *old != status;
            *old = status;
            changed
        });
    }
}
