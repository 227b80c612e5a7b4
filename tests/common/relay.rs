//! A TCP relay before Perlbal's management port that notes what is said to Perlbal and how long that takes, that can be
//! slow, and that can be cut: at once, or after so many bytes of an answer.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_tcp_quickack;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::runtime;

/// A running relay; dropped, it ends with all its connections.
pub(crate) struct Relay {
    addr: SocketAddrV4,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    target: SocketAddrV4,
    plan: Mutex<Plan>,
    /// Counts the cuts; each ends the connections that were made before it.
    cuts: watch::Sender<u64>,
}

#[derive(Default)]
struct Plan {
    /// The next connections end after so many bytes from the target; those behind them are not limited.
    limits: VecDeque<usize>,
    closed: bool,
    connections: usize,
    /// Everything that was sent to Perlbal, over all connections.
    said: Vec<u8>,
    /// So much later what is said to Perlbal is handed on.
    delay: Duration,
    stretches: Stretches,
}

/// When Perlbal owed answers, as is seen here: later than by who asked it began, and sooner it ended.
#[derive(Default)]
struct Stretches {
    /// From when to when, but for the present one.
    over: Vec<(Instant, Instant)>,
    began: Option<Instant>,
    owed: usize,
    /// The beginning of a line of an answer.
    line: Vec<u8>,
}

impl Stretches {
    /// A connection begins; what was owed over another is not given any more.
    fn begin(&mut self) {
        (self.began, self.owed) = (None, 0);
        self.line.clear();
    }

    fn ask(&mut self, bytes: &[u8]) {
        let lines = bytes.iter().map(|byte| usize::from(*byte == b'\n'));
        self.owed += lines.sum::<usize>();
        self.began.get_or_insert_with(Instant::now);
    }

    fn answer(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let ends = [b"OK".as_slice(), b"."].contains(&line.trim_ascii_end());
            if ends || line.starts_with(b"ERROR") {
                // None is owed to a connection that is no more.
                self.owed = self.owed.saturating_sub(1);
            }
        }
        if self.owed == 0
            && let Some(began) = self.began.take()
        {
            self.over.push((began, Instant::now()));
        }
    }
}

impl Relay {
    pub(crate) fn start(addr: SocketAddrV4, target: SocketAddrV4) -> Self {
        let bound = runtime().block_on(TcpListener::bind(addr));
        let listener =
            bound.unwrap_or_else(|why| panic!("a relay failed to listen on {addr}: {why}"));
        let shared = Arc::new(Shared {
            target,
            plan: Mutex::new(Plan::default()),
            cuts: watch::Sender::new(0),
        });
        let server = runtime().spawn(serve(listener, Arc::clone(&shared)));
        Self {
            addr,
            shared,
            server,
        }
    }

    pub(crate) fn addr(&self) -> SocketAddrV4 {
        self.addr
    }

    /// The next connections end after so many bytes of answers, one number each.
    pub(crate) fn limit(&self, bytes: impl IntoIterator<Item = usize>) {
        self.shared.plan().limits.extend(bytes);
    }

    /// How many limits have not been used up.
    pub(crate) fn limits_left(&self) -> usize {
        self.shared.plan().limits.len()
    }

    /// The lines that were sent to Perlbal so far, without blanks at their ends.
    pub(crate) fn said(&self) -> Vec<String> {
        let plan = self.shared.plan();
        let text = String::from_utf8_lossy(&plan.said);
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    /// Hands on what is said to Perlbal so much later, as if Perlbal had much else to do.
    pub(crate) fn delay(&self, delay: Duration) {
        self.shared.plan().delay = delay;
    }

    /// From when to when Perlbal owed answers, each time until all were given.
    pub(crate) fn stretches(&self) -> Vec<(Instant, Instant)> {
        self.shared.plan().stretches.over.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.plan().connections
    }

    /// Ends all connections and closes each new one at once.
    pub(crate) fn close(&self) {
        self.shared.plan().closed = true;
        self.cut();
    }

    pub(crate) fn open(&self) {
        self.shared.plan().closed = false;
    }

    /// Ends all connections; new ones are relayed.
    pub(crate) fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                // Before the look at the plan, so that a cut in between is seen.
                let cuts = shared.cuts.subscribe();
                let limit = {
                    let mut plan = shared.plan();
                    if plan.closed {
                        continue;
                    }
                    plan.connections += 1;
                    plan.stretches.begin();
                    plan.limits.pop_front().unwrap_or(usize::MAX)
                };
                connections.spawn(relay(client, Arc::clone(&shared), limit, cuts));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn relay(
    mut client: TcpStream,
    shared: Arc<Shared>,
    limit: usize,
    mut cuts: watch::Receiver<u64>,
) {
    let Ok(mut server) = TcpStream::connect(shared.target).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    tokio::select! {
        () = copy_up_to(usize::MAX, &mut from_client, &mut to_server, |bytes| {
            let mut plan = shared.plan();
            plan.said.extend_from_slice(bytes);
            plan.stretches.ask(bytes);
            plan.delay
        }) => {}
        () = copy_up_to(limit, &mut from_server, &mut to_client, |bytes| {
            shared.plan().stretches.answer(bytes);
            Duration::ZERO
        }) => {}
        _ = cuts.changed() => {}
    }
}

/// Byte for byte until the limit, even in the middle of a line; each read as much later as its note says.
async fn copy_up_to(
    mut left: usize,
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    note: impl Fn(&[u8]) -> Duration,
) {
    let mut buffer = [0; 4096];
    while left > 0 {
        // As for everyone who reads from Perlbal: else each of its lines waits 44 ms for the one before.
        let _ = set_tcp_quickack(from.as_ref(), true);
        let room = left.min(buffer.len());
        let Ok(read @ 1..) = from.read(&mut buffer[..room]).await else {
            return;
        };
        // Before it goes out, so that whoever sees an effect finds the cause noted.
        let delay = note(&buffer[..read]);
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        left -= read;
    }
}
