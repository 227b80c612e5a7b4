//! Thousands of connections at the listeners: each is answered or closed, and polls stay on time.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pollbal::fd_limits::{open_files, raise_open_files};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, UnixStream};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::common::pollbal::Pollbal;
use crate::common::process::peak_memory;
use crate::common::raw_node::{Answer, RawNode};
use crate::common::stage::Stage;
use crate::common::wire::Listeners;
use crate::common::{client, clock};

/// Number of connections at once, or what the limit of open files of the test itself allows.
const CONNECTIONS: usize = 10_000;

const NODES: u8 = 20;

/// Longer than any time that a listener gives to who says nothing, or half a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Until it is tried again to connect where too many wait.
const LOOK: Duration = Duration::from_millis(5);

/// The statuses that a connection may be answered with.
const STATUSES: [&str; 6] = ["200", "403", "404", "408", "429", "503"];

/// Connections of which the system knew nothing.
static FORGOTTEN: AtomicUsize = AtomicUsize::new(0);

/// What becomes of a connection: the status of the answer, or none when it is just closed.
type Outcome = Option<String>;

/// How a listener is reached.
#[derive(Clone, Debug)]
enum Way {
    /// From an address.
    Tcp(Ipv4Addr, SocketAddrV4),
    Socket(PathBuf),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Way {
    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(from, to) => {
                let socket = TcpSocket::new_v4()?;
                socket.bind(SocketAddr::from((*from, 0)))?;
                Ok(Box::new(socket.connect((*to).into()).await?))
            }
            Self::Socket(path) => loop {
                match UnixStream::connect(path).await {
                    // As many as the system lets wait do so.
                    Err(full) if full.kind() == io::ErrorKind::WouldBlock => sleep(LOOK).await,
                    connected => return Ok(Box::new(connected?)),
                }
            },
        }
    }
}

/// Connects, says this, and hears what is said until the end.
async fn call(way: Way, text: &'static str) -> Result<Outcome, String> {
    let mut received = Vec::new();
    let called = async {
        let mut stream = way.connect().await?;
        // Anyone who is refused at once may not be able to say anything.
        _ = stream.write_all(text.as_bytes()).await;
        if timeout(PATIENCE, stream.read_to_end(&mut received))
            .await
            .is_err()
        {
            // When too many come at a time, the system may know nothing of a connection that we take
            // for open, until it hears of it again.
            FORGOTTEN.fetch_add(1, Ordering::Relaxed);
            stream.write_all(b"GET").await?;
            stream.read_to_end(&mut received).await?;
        }
        Ok(())
    };
    // Closed impolitely is closed too.
    let _: io::Result<()> = timeout(2 * PATIENCE, called)
        .await
        .map_err(|_| format!("{way:?}: neither answered nor closed"))?;
    let received = String::from_utf8_lossy(&received);
    Ok(received.split(' ').nth(1).map(str::to_owned))
}

/// On which ways, what is said, and the statuses that are among the answers.
type Flood<'a> = (
    &'a dyn Fn(usize) -> Way,
    &'static str,
    &'static [&'static str],
);

/// This many connections at once, each on its way; how many had which outcome.
fn flood(count: usize, way: impl Fn(usize) -> Way, text: &'static str) -> BTreeMap<Outcome, usize> {
    // Not on the runtime of the nodes, which answer polls meanwhile.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut calls = JoinSet::new();
        for number in 0..count {
            calls.spawn(call(way(number), text));
        }
        let mut outcomes = BTreeMap::new();
        while let Some(outcome) = calls.join_next().await {
            let outcome = outcome.unwrap().unwrap_or_else(|why| panic!("{why}"));
            *outcomes.entry(outcome).or_default() += 1;
        }
        outcomes
    })
}

/// The time between two moments that counted.
fn counted_between(earlier: Instant, later: Instant) -> Duration {
    clock::counted_since(earlier).saturating_sub(clock::counted_since(later))
}

#[test]
fn ten_thousand_connections_are_answered_or_closed_and_polls_stay_on_time() {
    raise_open_files();
    let stage = Stage::alone();
    let nodes: Vec<_> = (1..=NODES)
        .map(|number| {
            let name = format!("node-{number}");
            RawNode::start(stage.node_addr(number), &name, Answer::body("website\n"))
        })
        .collect();
    let lines: Vec<_> = nodes.iter().map(RawNode::services_line).collect();
    stage.write_services(&lines);
    let listeners = Listeners::new(&stage);
    let config = listeners.config(&json!({ "poll_interval": "200ms", "service_timeout": "2s" }));
    let mut pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done"]);
    let memory = peak_memory(pollbal.pid());

    let count = CONNECTIONS.min(open_files().saturating_sub(1_000));
    // The nodes, and as many who are none.
    let from: Vec<_> = (1..=2 * NODES).map(|host| stage.ip(host)).collect();
    let begun: Vec<_> = nodes.iter().map(RawNode::polls).collect();
    // Begins to count.
    clock::counted_since(Instant::now());
    let to = [listeners.status, listeners.node];
    let tcp = |number: usize| Way::Tcp(from[number / 2 % from.len()], to[number % 2]);
    let admin = |_| Way::Socket(listeners.admin.clone());
    let whole = "GET /healthz HTTP/1.1\r\npollbal-request: true\r\nconnection: close\r\n\r\n";
    let half = "GET /healthz HTT";
    let floods: [Flood<'_>; 6] = [
        (&tcp, whole, &["200", "403", "404"]),
        (&tcp, half, &["403", "408", "503"]),
        (&tcp, "", &["403", "503"]),
        (&admin, whole, &["200", "503"]),
        (&admin, half, &["408", "503"]),
        (&admin, "", &["503"]),
    ];
    for (way, text, expected) in floods {
        let outcomes = flood(count, way, text);
        for status in outcomes.keys().flatten() {
            assert!(STATUSES.contains(&status.as_str()), "{outcomes:?}");
        }
        for status in expected {
            let had = outcomes.contains_key(&Some((*status).to_owned()));
            assert!(had, "{status} in {outcomes:?}");
        }
        assert_eq!(client::get(listeners.status, "/healthz").unwrap(), "ok");
    }
    let forgotten = FORGOTTEN.load(Ordering::Relaxed);
    assert!(forgotten * 20 < count, "{forgotten} were not noticed");
    for (node, begun) in nodes.iter().zip(begun) {
        let times = &node.times()[begun..];
        let gaps = times
            .windows(2)
            .map(|pair| counted_between(pair[0], pair[1]));
        let longest = gaps.max().expect("polls meanwhile");
        assert!(
            longest < Duration::from_millis(600),
            "{}: {longest:?}",
            node.name()
        );
    }
    let grown = peak_memory(pollbal.pid()) - memory;
    assert!(grown < 48 * 1024, "{grown} KiB more");
    pollbal.assert_alive();
    assert_eq!(pollbal.log_with(&["error"]), [""; 0]);
}
