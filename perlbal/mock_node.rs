//! `mock-node`: a backend node for demo and compose files, the same as the tests run in their own process.
//!
//! Set by environment: `NODE_LISTEN` (`127.0.1.1:8080`), `NODE_NAME`, `NODE_POOL`, `NODE_STATUS`, `NODE_VERSION`,
//! `NODE_KEYS` (`weight=50`); changed while it runs:
//!
//! ```text
//! curl -X POST 'http://127.0.1.1:8080/announce?status=leaving'
//! curl -X POST 'http://127.0.1.1:8080/announce?pool=api&version=v24&status=serving'
//! curl -X POST 'http://127.0.1.1:8080/announce?slow=2000'     (or hang, fail=500, prompt)
//! curl 'http://127.0.1.1:8080/announce'
//! ```

mod mock_node {
    #![allow(
        dead_code,
        reason = "the tests read the logs that the program only keeps"
    )]

    pub(crate) mod control;
    pub(crate) mod server;
}

use std::env;
use std::error::Error;
use std::sync::Arc;

use mock_node::server::{Announcement, MockNode, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let text = |key: &str| env::var(key).unwrap_or_default();
    let listen = env::var("NODE_LISTEN")
        .map_err(|_| "NODE_LISTEN is missing: write an address such as 127.0.1.1:8080")?;
    let name = env::var("NODE_NAME").unwrap_or_else(|_| listen.clone());
    let announcement = Announcement {
        pool: text("NODE_POOL"),
        status: text("NODE_STATUS"),
        version: text("NODE_VERSION"),
        keys: text("NODE_KEYS")
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
    };
    let listener = TcpListener::bind(&listen)
        .await
        .map_err(|why| format!("failed to listen on {listen}: {why}"))?;
    println!("{name} listens on {listen} and announces \"{announcement}\"");
    let node = MockNode::new(&name, announcement);

    // As the first process of a container it would not end by the signal alone.
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        () = serve(listener, Arc::clone(&node)) => {}
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    println!(
        "{} ends after {} requests",
        node.name(),
        node.state().requests
    );
    Ok(())
}
