//! Reconnects to a Perlbal: attempts overlap, so that none that hangs delays the next one.
//!
//! A connection counts when a first command was answered over it. The next attempt begins while
//! earlier ones still wait, after a quarter of a second: a kernel repeats a lost SYN only after 1,
//! 2, 4, … seconds. A connection that was accepted and is not answered is kept as long as there is
//! room: a Perlbal that hangs answers it as soon as it continues. Such attempts become rarer with
//! time, since each that is abandoned stays in the backlog of a process that hangs.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};

use super::error::SessionError;
use super::session::Session;
use super::settings::PerlbalSettings;
use crate::retry::Retry;
use crate::{awake, outgoing};

/// Maximum delay from one attempt to the next, while the connection is not accepted.
pub(super) const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// Minimum delay before another attempt after one that was accepted and is not answered.
const WAIT_ACCEPTED: Duration = Duration::from_millis(700);
/// It grows to this fraction of the time without a response.
const WAIT_ACCEPTED_PART: u32 = 60;

/// Maximum number of attempts in progress. If there are more, the oldest stays, for a network on
/// which everything takes long, and the second oldest is abandoned.
const ATTEMPTS: usize = 8;

/// What is not answered within this, or within `timeout` if that is less, is reported; it goes on
/// waiting.
const REPORT_AFTER: Duration = Duration::from_secs(2);

/// Maximum number of look-ups in progress: each has a thread, until the system's resolver answers.
const LOOKUPS: usize = 2;
/// Maximum time for a look-up when an earlier one has given addresses.
const LOOKUP_PATIENCE: Duration = Duration::from_millis(200);

/// Resolves a configured `host:port`; keeps the last addresses for when the resolver does not
/// answer.
#[derive(Debug)]
pub(super) struct AddressResolver {
    lookups: Arc<Semaphore>,
    known: Mutex<Vec<SocketAddr>>,
}

impl Default for AddressResolver {
    fn default() -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            known: Mutex::default(),
        }
    }
}

impl AddressResolver {
    /// The addresses of `address`, at least one.
    async fn addresses(
        &self,
        address: &str,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, SessionError> {
        if let Ok(addr) = address.parse() {
            return Ok(vec![addr]);
        }
        let known = self.known().clone();
        let patience = if known.is_empty() {
            limit
        } else {
            LOOKUP_PATIENCE.min(limit)
        };
        let name = || {
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            host.to_owned()
        };
        let failure = match timeout(patience, self.look_up(address)).await {
            Ok(Ok(found)) => {
                self.known().clone_from(&found);
                return Ok(found);
            }
            Ok(Err(source)) => SessionError::Resolve {
                name: name(),
                source,
            },
            Err(_) => SessionError::ResolverSilent {
                name: name(),
                limit: patience,
            },
        };
        if known.is_empty() {
            return Err(failure);
        }
        Ok(known)
    }

    async fn look_up(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        let place = Arc::clone(&self.lookups).acquire_owned().await;
        let place = place.map_err(io::Error::other)?;
        let address = address.to_owned();
        let looked_up = spawn_blocking(move || {
            // Held until the resolver answers, even if nobody waits for it any more.
            let _place = place;
            address.to_socket_addrs().map(Vec::from_iter)
        });
        let found = looked_up.await.map_err(io::Error::other)??;
        if found.is_empty() {
            return Err(io::Error::other("it has no address"));
        }
        Ok(found)
    }

    fn known(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until an attempt is overdue; pauses of this process do not count.
async fn until_overdue(at: Option<Instant>) {
    match at {
        Some(at) => _ = awake::timeout_at(at, pending::<()>()).await,
        None => pending().await,
    }
}

/// Attempts to connect to one Perlbal. Dropped, all of them end.
pub(super) struct Connector {
    address: String,
    limit: Duration,
    names: Arc<AddressResolver>,
    /// Delays after attempts that failed.
    retry: Retry,
    began: Instant,
    next_at: Instant,
    attempts: JoinSet<(usize, Result<Session, SessionError>)>,
    /// The attempts in progress, the oldest first.
    slots: VecDeque<Slot>,
    /// Number of attempts so far.
    count: usize,
}

struct Slot {
    number: usize,
    began: Instant,
    /// The connection was accepted.
    accepted: Arc<AtomicBool>,
    /// It was reported that it is overdue.
    overdue: bool,
    task: AbortHandle,
}

impl Connector {
    /// The first attempt begins after `wait`.
    pub(super) fn new(
        settings: &PerlbalSettings,
        names: Arc<AddressResolver>,
        wait: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            address: settings.address.clone(),
            limit: settings.timeout,
            names,
            retry: Retry::up_to(LONGEST_WAIT),
            began: now,
            next_at: now + wait,
            attempts: JoinSet::new(),
            slots: VecDeque::new(),
            count: 0,
        }
    }

    /// Waits until a first command was answered, or an attempt has failed or is overdue; to be
    /// called again then. May be dropped at any time.
    pub(super) async fn next(&mut self) -> Result<Session, SessionError> {
        loop {
            let overdue = self.slots.iter().find(|slot| !slot.overdue);
            let overdue_at = overdue.map(|slot| slot.began + self.patience());
            tokio::select! {
                biased;
                Some(ended) = self.attempts.join_next() => match ended {
                    Ok((_, Ok(session))) => return Ok(session),
                    Ok((number, Err(failure))) => {
                        self.slots.retain(|slot| slot.number != number);
                        let next_at = Instant::now() + self.retry.next_wait();
                        self.next_at = self.next_at.min(next_at);
                        return Err(match failure {
                            SessionError::Unanswered(_) => {
                                SessionError::Unanswered(self.patience())
                            }
                            failure => failure,
                        });
                    }
                    // Abandoned for another.
                    Err(_) => {}
                },
                () = sleep_until(self.next_at) => self.begin(),
                () = until_overdue(overdue_at) => {
                    if let Some(failure) = self.take_overdue() {
                        return Err(failure);
                    }
                }
            }
        }
    }

    fn patience(&self) -> Duration {
        self.limit.min(REPORT_AFTER)
    }

    /// The error of the next attempt that is overdue.
    fn take_overdue(&mut self) -> Option<SessionError> {
        let patience = self.patience();
        let slot = self.slots.iter_mut().find(|slot| !slot.overdue)?;
        slot.overdue = true;
        Some(if slot.accepted.load(Ordering::Relaxed) {
            SessionError::Silent(patience)
        } else {
            SessionError::Unanswered(patience)
        })
    }

    /// Begins another attempt.
    fn begin(&mut self) {
        if self.slots.len() >= ATTEMPTS
            && let Some(slot) = self.slots.remove(1)
        {
            slot.task.abort();
        }
        let number = self.count;
        self.count += 1;
        let accepted = Arc::<AtomicBool>::default();
        let attempt = Attempt {
            address: self.address.clone(),
            limit: self.limit,
            names: Arc::clone(&self.names),
            number,
            accepted: Arc::clone(&accepted),
        };
        let now = Instant::now();
        let any_accepted = self
            .slots
            .iter()
            .any(|slot| slot.accepted.load(Ordering::Relaxed));
        let task = self
            .attempts
            .spawn(async move { (number, attempt.run().await) });
        self.slots.push_back(Slot {
            number,
            began: now,
            accepted,
            overdue: false,
            task,
        });
        self.next_at = now
            + if any_accepted {
                WAIT_ACCEPTED.max((now - self.began) / WAIT_ACCEPTED_PART)
            } else {
                LONGEST_WAIT
            };
    }
}

struct Attempt {
    address: String,
    limit: Duration,
    names: Arc<AddressResolver>,
    number: usize,
    accepted: Arc<AtomicBool>,
}

impl Attempt {
    async fn run(self) -> Result<Session, SessionError> {
        let addrs = self.names.addresses(&self.address, self.limit).await?;
        // One after the other, or the first that hangs would hide the next.
        let addr = addrs[self.number % addrs.len()];
        let stream = awake::timeout(self.limit, outgoing::connect(addr))
            .await
            .map_err(|_| SessionError::Unanswered(self.limit))?
            .map_err(SessionError::Connect)?;
        self.accepted.store(true, Ordering::Relaxed);
        Session::open(stream, self.limit).await
    }
}
