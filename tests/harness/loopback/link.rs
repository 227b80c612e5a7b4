//! The network before a node: a relay that passes everything on, and that can be cut as a cable is. Nobody is notified
//! then: what is sent vanishes from sight, connections that are kept stay silent, and anyone who connects gets no
//! answer at all, not even a refusal.

use std::net::{SocketAddrV4, TcpStream as BlockingStream};
use std::sync::Arc;

use rustix::net::listen;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::common::hole::close;
use crate::common::runtime;

/// Connections that wait while the relay is busy; far more than a test makes at once.
const BACKLOG: u32 = 128;

/// The way to a node; dropped, it ends with all its connections.
pub(crate) struct Link {
    addr: SocketAddrV4,
    listener: Arc<TcpListener>,
    /// Whether packets pass.
    open: watch::Sender<bool>,
    server: JoinHandle<()>,
    /// They take up the place of those who would be let in while the link is cut.
    fillers: Vec<BlockingStream>,
}

impl Link {
    pub(crate) fn start(addr: SocketAddrV4, node: SocketAddrV4) -> Self {
        let listener = runtime().block_on(async { bind(addr) });
        let listener = Arc::new(listener);
        let open = watch::Sender::new(true);
        let serving = serve(Arc::clone(&listener), node, open.subscribe());
        Self {
            addr,
            server: runtime().spawn(serving),
            listener,
            open,
            fillers: Vec::new(),
        }
    }

    /// From now on nothing passes.
    pub(crate) fn cut(&mut self) {
        self.open.send_replace(false);
        self.fillers.extend(close(&self.listener, self.addr));
    }

    pub(crate) fn heal(&mut self) {
        self.fillers.clear();
        let backlog = i32::try_from(BACKLOG).expect("a small number");
        listen(&self.listener, backlog).expect("failed to lengthen the backlog");
        self.open.send_replace(true);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn bind(addr: SocketAddrV4) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("failed to make a socket");
    let reuse = socket.set_reuseaddr(true);
    reuse.expect("failed to set an option of a socket");
    let bound = socket.bind(addr.into());
    bound.unwrap_or_else(|why| panic!("a link failed to listen on {addr}: {why}"));
    socket.listen(BACKLOG).expect("failed to listen")
}

async fn serve(listener: Arc<TcpListener>, node: SocketAddrV4, mut open: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = accept(&listener, &mut open) => {
                if let Some(client) = accepted {
                    connections.spawn(pass(client, node, open.clone()));
                }
            }
        }
    }
}

/// The next client while the link is open.
async fn accept(listener: &TcpListener, open: &mut watch::Receiver<bool>) -> Option<TcpStream> {
    passable(open).await;
    tokio::select! {
        // A cut comes before a client that is there at the same time.
        biased;
        _ = open.wait_for(|open| !open) => None,
        accepted = listener.accept() => accepted.ok().map(|(client, _)| client),
    }
}

/// Waits while the link is cut.
async fn passable(open: &mut watch::Receiver<bool>) {
    // It fails only when the link is gone, and its tasks with it.
    let _ = open.wait_for(|open| *open).await;
}

async fn pass(mut client: TcpStream, node: SocketAddrV4, open: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(node).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    // When one side ends, so does the connection: neither Perlbal nor a node sends on behind its own end.
    tokio::select! {
        () = copy(from_client, to_server, open.clone()) => {}
        () = copy(from_server, to_client, open) => {}
    }
}

/// Byte for byte; what comes in while the link is cut waits, as it would to be sent again.
async fn copy(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut open: watch::Receiver<bool>) {
    let mut buffer = [0; 4096];
    loop {
        let read = from.read(&mut buffer).await;
        passable(&mut open).await;
        let Ok(read @ 1..) = read else { return };
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
