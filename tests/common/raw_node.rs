//! Nodes that write their answers byte by byte, and so can write what no HTTP server would.

use std::io;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::{SOON, eventually, runtime};

const GIB: u64 = 1 << 30;

/// What a node does when it is polled.
pub(crate) enum Answer {
    /// Properly says what stands at the poll's number, from 1.
    Says(Box<dyn Fn(u64) -> Reply + Send + Sync>),
    /// These bytes, and the end.
    Bytes(Vec<u8>),
    /// These bytes, and the connection stays open.
    BytesAndOpen(Vec<u8>),
    Hang,
    /// Hangs until it is set otherwise; then says the first to what was asked before, and the
    /// second from then on.
    HangUntil(watch::Receiver<bool>, &'static str, &'static str),
    /// Hangs until it is set otherwise; then answers with this on connections that come from then on,
    /// and never on those before, as when its machine was restarted without a word.
    DeadUntil(watch::Receiver<bool>, &'static str),
    /// These bytes, one a second.
    Drip(Vec<u8>),
    /// A body of 1 GiB, as fast as it is read.
    Gigabyte,
    /// These bytes, then the others again and again, as fast as they are read.
    Endless(&'static str, &'static str),
    /// Takes the request and breaks the connection (RST).
    Reset,
    /// Takes no request.
    CloseAtOnce,
    /// Answers and closes, although it promised to keep the connection.
    CloseBehind(&'static str),
    /// Closes at the second request of each connection.
    CloseAtSecond(&'static str),
    /// Says these bytes to the second request of each connection and closes, as one that was tired of
    /// waiting just when it was asked.
    TiredAtSecond(&'static str, &'static str),
    /// Says so, this long after it was asked.
    Slow(Duration, &'static str),
    /// Serves one connection at a time, each until it ends.
    OneAtATime(&'static str),
}

/// A proper answer.
pub(crate) enum Reply {
    Body(String),
    Status(u16),
}

impl Answer {
    /// Always this body.
    pub(crate) fn body(body: impl Into<Vec<u8>>) -> Self {
        let bytes = proper(200, &body.into());
        Self::BytesAndOpen(bytes)
    }

    /// A body for each poll, by its number.
    pub(crate) fn says(what: impl Fn(u64) -> Reply + Send + Sync + 'static) -> Self {
        Self::Says(Box::new(what))
    }
}

/// A running node; dropped, it stops.
pub(crate) struct RawNode {
    addr: SocketAddrV4,
    name: String,
    record: Arc<Record>,
    listens: watch::Sender<bool>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Record {
    connections: AtomicU64,
    /// The longest answer that anyone took, in bytes.
    longest: AtomicU64,
    /// When, and what was asked.
    requests: Mutex<Vec<(Instant, String)>>,
}

impl Record {
    fn requests(&self) -> MutexGuard<'_, Vec<(Instant, String)>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RawNode {
    pub(crate) fn start(addr: SocketAddrV4, name: &str, answer: Answer) -> Self {
        let bound = runtime().block_on(TcpListener::bind(addr));
        let listener =
            bound.unwrap_or_else(|why| panic!("a node failed to listen on {addr}: {why}"));
        let record = Arc::<Record>::default();
        let (listens, listening) = watch::channel(true);
        let serve = serve(listener, listening, Arc::new(answer), Arc::clone(&record));
        Self {
            addr,
            name: name.to_owned(),
            record,
            listens,
            server: runtime().spawn(serve),
        }
    }

    /// Takes no more connections, and goes on with those that it has.
    #[track_caller]
    pub(crate) fn stop_listening(&self) {
        self.listens.send_replace(false);
        eventually(SOON, "nobody listens any more", || {
            std::net::TcpStream::connect(self.addr).err()
        });
    }

    pub(crate) fn addr(&self) -> SocketAddrV4 {
        self.addr
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// As the services file and `disabled_services` have it.
    pub(crate) fn services_line(&self) -> String {
        format!("{} {} # {}", self.addr.ip(), self.addr.port(), self.name)
    }

    /// As a pool file has a node on a port other than 80.
    pub(crate) fn pool_line(&self) -> String {
        format!("{} # {}", self.addr, self.name)
    }

    pub(crate) fn connections(&self) -> u64 {
        self.record.connections.load(Ordering::Relaxed)
    }

    /// The longest answer that anyone took, in bytes (with what lies in the system's buffers).
    pub(crate) fn longest_answer(&self) -> u64 {
        self.record.longest.load(Ordering::Relaxed)
    }

    /// The requests so far, head and all.
    pub(crate) fn requests(&self) -> Vec<String> {
        let requests = self.record.requests();
        requests
            .iter()
            .map(|(_, request)| request.clone())
            .collect()
    }

    /// When the requests came.
    pub(crate) fn times(&self) -> Vec<Instant> {
        self.record.requests().iter().map(|(at, _)| *at).collect()
    }

    pub(crate) fn polls(&self) -> usize {
        self.record.requests().len()
    }

    /// Waits until it has been polled this many times.
    #[track_caller]
    pub(crate) fn wait_polls(&self, polls: usize) {
        eventually(
            SOON,
            &format!("{} is polled {polls} times", self.name),
            || (self.polls() >= polls).then_some(()),
        );
    }
}

impl Drop for RawNode {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    listener: TcpListener,
    mut listening: watch::Receiver<bool>,
    answer: Arc<Answer>,
    record: Arc<Record>,
) {
    let mut connections = JoinSet::new();
    let mut listener = Some(listener);
    loop {
        let free = !matches!(*answer, Answer::OneAtATime(_)) || connections.is_empty();
        tokio::select! {
            Ok((stream, _)) = accept(listener.as_ref()), if free => {
                record.connections.fetch_add(1, Ordering::Relaxed);
                let (answer, record) = (Arc::clone(&answer), Arc::clone(&record));
                connections.spawn(async move {
                    // A connection that breaks is what most of these nodes are for.
                    let _ = converse(stream, &answer, &record).await;
                });
            }
            Some(_) = connections.join_next() => {}
            Ok(_) = listening.wait_for(|listens| !listens), if listener.is_some() => listener = None,
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, std::net::SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

async fn converse(mut stream: TcpStream, answer: &Answer, record: &Record) -> io::Result<()> {
    if matches!(answer, Answer::CloseAtOnce) {
        return Ok(());
    }
    let mut here = 0;
    let dead = matches!(answer, Answer::DeadUntil(until, _) if !*until.borrow());
    while let Some(request) = read_request(&mut stream).await? {
        here += 1;
        let number = {
            let mut requests = record.requests();
            requests.push((Instant::now(), request));
            requests.len() as u64
        };
        match answer {
            Answer::Says(what) => {
                let bytes = match what(number) {
                    Reply::Body(body) => proper(200, body.as_bytes()),
                    Reply::Status(status) => proper(status, b"not well\n"),
                };
                stream.write_all(&bytes).await?;
            }
            Answer::BytesAndOpen(bytes) => stream.write_all(bytes).await?,
            Answer::Bytes(bytes) => return stream.write_all(bytes).await,
            Answer::Hang => std::future::pending::<()>().await,
            Answer::HangUntil(until, late, then) => {
                let mut until = until.clone();
                let body = if *until.borrow() { then } else { late };
                // Fails only when the test is over.
                _ = until.wait_for(|woken| *woken).await;
                stream.write_all(&proper(200, body.as_bytes())).await?;
            }
            Answer::DeadUntil(..) if dead => std::future::pending::<()>().await,
            Answer::Drip(bytes) => {
                for byte in bytes {
                    stream.write_all(&[*byte]).await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                std::future::pending::<()>().await;
            }
            Answer::Gigabyte => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                pour(&mut stream, &b"a".repeat(1 << 16), GIB, record).await?;
            }
            Answer::Endless(first, again) => {
                stream.write_all(first.as_bytes()).await?;
                pour(
                    &mut stream,
                    again.repeat(1_000).as_bytes(),
                    u64::MAX,
                    record,
                )
                .await?;
            }
            Answer::Reset => return reset(stream),
            Answer::CloseAtOnce => return Ok(()),
            Answer::CloseBehind(body) => {
                return stream.write_all(&proper(200, body.as_bytes())).await;
            }
            Answer::CloseAtSecond(_) if here == 2 => return Ok(()),
            Answer::TiredAtSecond(bytes, _) if here == 2 => {
                return stream.write_all(bytes.as_bytes()).await;
            }
            Answer::Slow(time, body) => {
                tokio::time::sleep(*time).await;
                stream.write_all(&proper(200, body.as_bytes())).await?;
            }
            Answer::DeadUntil(_, body)
            | Answer::CloseAtSecond(body)
            | Answer::TiredAtSecond(_, body)
            | Answer::OneAtATime(body) => {
                stream.write_all(&proper(200, body.as_bytes())).await?;
            }
        }
    }
    Ok(())
}

/// Writes the piece until the limit or until nobody reads any more.
async fn pour(stream: &mut TcpStream, piece: &[u8], limit: u64, record: &Record) -> io::Result<()> {
    let mut sent = 0;
    while sent < limit {
        stream.write_all(piece).await?;
        sent += piece.len() as u64;
        record.longest.fetch_max(sent, Ordering::Relaxed);
    }
    Ok(())
}

/// Closes so that the peer sees a reset, not an end.
fn reset(stream: TcpStream) -> io::Result<()> {
    let stream = stream.into_std()?;
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    Ok(())
}

fn proper(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} Words\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The head of the next request, or none when the peer is done.
async fn read_request(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}
