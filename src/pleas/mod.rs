//! `pool_please_dont_go`: asks the members of a pool at its `min_members` to stay.
//!
//! ```text
//!   daemon ─(Pleas: who is to stay, watch)─► this task ─► POST   /pool_please_dont_go   to each of them
//!                                                         DELETE /pool_please_dont_go   when that is over
//! ```
//!
//! The task compares who is to stay with whom it asked to, so it may miss what came and went. What
//! the nodes answer does not matter; who leaves all the same is out all the same.

pub mod book;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::redirect::Policy;
use reqwest::{Client, Method};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, error};

use self::book::{Book, Word};
use crate::logging::chain;
use crate::model::node::NodeAddr;

/// So many nodes are told at once.
const AT_ONCE: usize = 16;

/// Between two nodes that are told: 50 in a second.
const PACE: Duration = Duration::from_millis(20);

/// What nodes are asked.
pub const PATH: &str = "/pool_please_dont_go";

/// Who is to stay.
#[derive(Clone, Debug, Default)]
pub struct Pleas {
    /// These are asked; nobody is, and nobody told that it is over, before it is known who.
    pub nodes: Option<BTreeSet<NodeAddr>>,
    /// These were asked by the run before.
    pub before: Arc<BTreeSet<NodeAddr>>,
    /// All nodes of the services file: others are told nothing.
    pub listed: Arc<BTreeSet<NodeAddr>>,
    /// For a whole request.
    pub timeout: Duration,
}

/// A request that came to its end.
struct Told {
    addr: NodeAddr,
    word: Word,
    /// Why the node was not reached.
    failure: Option<reqwest::Error>,
}

/// Tells nodes until nobody can want anything any more.
pub async fn run(mut pleas: watch::Receiver<Pleas>) {
    // Nothing is made, not even a client, while nobody is to be told anything.
    let someone = |pleas: &Pleas| {
        let nodes = pleas.nodes.as_ref();
        nodes.is_some_and(|nodes| !nodes.is_empty() || !pleas.before.is_empty())
    };
    let before = match pleas.wait_for(someone).await {
        Ok(pleas) => pleas.before.clone(),
        Err(_) => return,
    };
    let client = match client() {
        Ok(client) => client,
        Err(why) => return error!("failed to make a client for {PATH}: {}", chain(&why)),
    };
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut book, mut busy) = (Book::new(&before, Instant::now()), JoinSet::new());
    pleas.mark_changed();
    loop {
        let next = book.next().filter(|_| busy.len() < AT_ONCE);
        tokio::select! {
            biased;
            changed = pleas.changed() => {
                if changed.is_err() { return }
                let pleas = pleas.borrow_and_update();
                let nodes = pleas.nodes.clone().unwrap_or_default();
                book.want(&nodes, |addr| pleas.listed.contains(&addr), Instant::now());
            }
            Some(Ok(told)) = busy.join_next() => take(&mut book, &told),
            (addr, word) = turn(next, &mut pace) => {
                book.begin(addr);
                let timeout = pleas.borrow().timeout;
                busy.spawn(tell(client.clone(), addr, word, timeout));
            }
        }
    }
}

/// Waits until the next node is to be told, for ever when there is none.
async fn turn(next: Option<(NodeAddr, Word, Instant)>, pace: &mut Interval) -> (NodeAddr, Word) {
    let Some((addr, word, due)) = next else {
        return std::future::pending().await;
    };
    sleep_until(due.into()).await;
    pace.tick().await;
    (addr, word)
}

/// One that goes where it is told and nowhere else: no proxy, no redirect, no kept connection.
fn client() -> reqwest::Result<Client> {
    Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .pool_max_idle_per_host(0)
        .user_agent(concat!("pollbal/", env!("CARGO_PKG_VERSION")))
        .build()
}

async fn tell(client: Client, addr: NodeAddr, word: Word, timeout: Duration) -> Told {
    let method = match word {
        Word::Stay => Method::POST,
        Word::Over => Method::DELETE,
    };
    let request = client.request(method, format!("http://{addr}{PATH}"));
    let answer = request.timeout(timeout).send().await;
    Told {
        addr,
        word,
        failure: answer.err(),
    }
}

fn take(book: &mut Book, told: &Told) {
    let Told {
        addr,
        word,
        failure,
    } = told;
    let first = book.end(*addr, *word, failure.is_none(), Instant::now());
    if let Some(failure) = failure.as_ref().filter(|_| first) {
        debug!(node = %addr, "failed to ask {addr} to stay, or to say that it need not: {}", chain(failure));
    }
}
