//! A TCP relay before Perlbal's management port that notes what is said to Perlbal and how long that takes, that can be
//! slow, and that can be cut: at once, or after this many bytes of an answer.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_tcp_quickack;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep_until;

use super::perlbal::Perlbal;
use super::stage::Stage;
use super::{SOON, eventually, runtime};

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
    /// The next connections end after this many bytes from the target; those behind them are not limited.
    limits: VecDeque<usize>,
    closed: bool,
    /// New connections are taken, and nothing comes of them.
    mute: bool,
    connections: usize,
    /// Everything that was sent to Perlbal, over all connections.
    said: Vec<u8>,
    /// How much of it was there when, after each read.
    said_at: Vec<(usize, Instant)>,
    /// What Perlbal says is acknowledged late, as systems do by themselves.
    acknowledges_late: bool,
    /// So much later a read's changes are handed on.
    delay: Duration,
    /// How long everything is on its way, in each direction.
    way: Duration,
    stretches: Stretches,
}

/// When Perlbal owed answers, as is observed here: later than by who asked it began, and sooner it ended.
#[derive(Default)]
struct Stretches {
    /// All but the present one.
    over: Vec<Stretch>,
    began: Option<Instant>,
    delayed: Duration,
    owed: usize,
    /// The beginning of a line of an answer.
    line: Vec<u8>,
}

/// A time in which Perlbal owed answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    /// How much longer changes took by [`Relay::delay`].
    pub(crate) delayed: Duration,
}

/// How many bytes stand before the first line that changes something.
fn before_changes(bytes: &[u8]) -> usize {
    let is_change = |line: &&[u8]| line.starts_with(b"POOL ") || line.starts_with(b"SET ");
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines
        .take_while(|line| !is_change(line))
        .map(<[u8]>::len)
        .sum()
}

impl Stretches {
    /// A connection begins; what was owed over another is not given any more.
    fn begin(&mut self) {
        (self.began, self.owed, self.delayed) = (None, 0, Duration::ZERO);
        self.line.clear();
    }

    fn ask(&mut self, bytes: &[u8], delay: Duration) {
        let lines = bytes.iter().map(|byte| usize::from(*byte == b'\n'));
        self.owed += lines.sum::<usize>();
        self.delayed += delay;
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
            self.over.push(Stretch {
                began,
                ended: Instant::now(),
                delayed: std::mem::take(&mut self.delayed),
            });
        }
    }
}

impl Relay {
    /// In front of this Perlbal's management socket.
    pub(crate) fn before(perlbal: &Perlbal, stage: &Stage) -> Self {
        Self::start(stage.free_addr(), perlbal.management())
    }

    fn start(addr: SocketAddrV4, target: SocketAddrV4) -> Self {
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

    /// The next connections end after this many bytes of answers, one number each.
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

    /// When that line was first sent to Perlbal, of what was sent from `since` on.
    pub(crate) fn said_when(&self, line: &str, since: Instant) -> Option<Instant> {
        let plan = self.shared.plan();
        let begin = plan.said_at.partition_point(|(_, at)| *at < since);
        let from = begin
            .checked_sub(1)
            .map_or(0, |before| plan.said_at[before].0);
        let text = String::from_utf8_lossy(&plan.said[from..]);
        let mut end = from;
        let found = text.split_inclusive('\n').find(|said| {
            end += said.len();
            said.trim_end() == line
        });
        found?;
        let read = plan.said_at.iter().find(|(length, _)| *length >= end);
        read.map(|(_, at)| *at)
    }

    /// Acknowledges late what Perlbal says from now on: as a link does on which each answer of several lines takes 40
    /// ms more, since Perlbal's system keeps the next lines until the first is acknowledged.
    pub(crate) fn acknowledge_late(&self) {
        self.shared.plan().acknowledges_late = true;
    }

    /// Hands on changes so much later, as if those that come together took Perlbal as much longer. What stands before
    /// them is handed on at once, as Perlbal answers it before it works on them.
    pub(crate) fn delay(&self, delay: Duration) {
        self.shared.plan().delay = delay;
    }

    /// From the next connection on, everything is so long on its way, in each direction.
    pub(crate) fn lengthen(&self, way: Duration) {
        self.shared.plan().way = way;
    }

    /// From when to when Perlbal owed answers, each time until all were given.
    pub(crate) fn stretches(&self) -> Vec<Stretch> {
        self.shared.plan().stretches.over.clone()
    }

    /// Does this while Perlbal owes no answer and the last line sent to it is like that; what is sent to it meanwhile is
    /// handed on afterwards.
    #[track_caller]
    pub(crate) fn while_idle_after(&self, is_last: impl Fn(&str) -> bool, act: impl Fn()) {
        eventually(SOON, "Perlbal owes no answer after that line", || {
            let plan = self.shared.plan();
            let said = String::from_utf8_lossy(&plan.said);
            let last = said.lines().last().unwrap_or_default();
            (plan.stretches.owed == 0 && is_last(last.trim_end())).then(&act)
        });
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

    /// Ends all connections; new ones are taken and stay silent for good, also when [`unmute`](Self::unmute) is said:
    /// what a relay does whose target is away.
    pub(crate) fn mute(&self) {
        self.shared.plan().mute = true;
        self.cut();
    }

    pub(crate) fn unmute(&self) {
        self.shared.plan().mute = false;
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
                // Before the look at the plan, so that a cut in between is observed.
                let cuts = shared.cuts.subscribe();
                let limit = {
                    let mut plan = shared.plan();
                    if plan.closed {
                        continue;
                    }
                    if plan.mute {
                        connections.spawn(keep(client));
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

/// Keeps a connection until its other side ends it, and says nothing.
async fn keep(mut client: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(1..) = client.read(&mut buffer).await {}
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
    let way = shared.plan().way;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    // What was asked by the time of an answer is noted before that.
    tokio::select! {
        biased;
        _ = cuts.changed() => {}
        () = copy_up_to(usize::MAX, &mut from_client, &mut to_server, || true, way, |bytes| {
            let mut plan = shared.plan();
            plan.said.extend_from_slice(bytes);
            let said = (plan.said.len(), Instant::now());
            plan.said_at.push(said);
            let before = before_changes(bytes);
            let delay = if before < bytes.len() { plan.delay } else { Duration::ZERO };
            plan.stretches.ask(bytes, delay);
            (before, delay)
        }) => {}
        () = copy_up_to(limit, &mut from_server, &mut to_client, || !shared.plan().acknowledges_late, way, |bytes| {
            shared.plan().stretches.answer(bytes);
            (0, Duration::ZERO)
        }) => {}
    }
}

/// Byte for byte until the limit, even in the middle of a line; of each read the bytes behind this many as much later
/// as its note says, one read after the other, and all of it as much later as the way is long.
async fn copy_up_to(
    limit: usize,
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    is_quick: impl Fn() -> bool,
    way: Duration,
    note: impl Fn(&[u8]) -> (usize, Duration),
) {
    // More than is under way at a time: a reader that waits here would make the way longer.
    let (depart, mut arrive) = mpsc::channel::<(tokio::time::Instant, Vec<u8>)>(1_000);
    let read = async move {
        let mut left = limit;
        let mut buffer = [0; 4096];
        let mut free_at = tokio::time::Instant::now();
        while left > 0 {
            // As for everyone who reads from Perlbal: else each of its lines waits 44 ms for the one before.
            let _ = set_tcp_quickack(from.as_ref(), is_quick());
            let room = left.min(buffer.len());
            let Ok(read @ 1..) = from.read(&mut buffer[..room]).await else {
                return;
            };
            // Before it goes out, so that anyone who sees an effect finds the cause noted.
            let (before, delay) = note(&buffer[..read]);
            free_at = free_at.max(tokio::time::Instant::now());
            let (before, behind) = buffer[..read].split_at(before);
            for (bytes, delay) in [(before, Duration::ZERO), (behind, delay)] {
                free_at += delay;
                let sent = depart.send((free_at + way, bytes.to_vec())).await;
                if sent.is_err() {
                    return;
                }
            }
            left -= read;
        }
    };
    let write = async {
        while let Some((due, bytes)) = arrive.recv().await {
            // A timer would take a millisecond.
            if due > tokio::time::Instant::now() {
                sleep_until(due).await;
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
