//! A Perlbal manager by itself, without the daemon around it: the test sends the snapshots.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pollbal::drivers::perlbal::desired::NameMap;
use pollbal::drivers::perlbal::settings::PerlbalSettings;
use pollbal::drivers::perlbal::statistics::Statistics;
use pollbal::drivers::perlbal::view::{PerlbalView, PoolView, Query};
use pollbal::drivers::perlbal::{MAX_WAITING_QUERIES, PerlbalDriver, State};
use pollbal::drivers::steps::StepPrinter;
use pollbal::drivers::{Mode, Snapshot, StatisticsError};
use pollbal::model::driver_status::DriverStatus;
use pollbal::model::node::{Node, NodeAddr};
use pollbal::model::pools::{Member, Pool, Pools};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::stage::Stage;
use super::{SOON, eventually, runtime};

/// A running manager; it ends when it is dropped.
pub(crate) struct Driven {
    snapshots: watch::Sender<Option<Snapshot>>,
    status: watch::Receiver<DriverStatus>,
    queries: mpsc::Sender<Query>,
    stop: CancellationToken,
    serial: u64,
}

impl Driven {
    pub(crate) fn start(stage: &Stage, perlbal: SocketAddrV4) -> Self {
        let snapshots = watch::Sender::new(None);
        let (status_sender, status) = watch::channel(DriverStatus::default());
        let (sender, queries) = mpsc::channel(MAX_WAITING_QUERIES);
        let stop = CancellationToken::new();
        let manager = PerlbalDriver {
            settings: PerlbalSettings {
                resync_interval: Duration::from_secs(60),
                ..PerlbalSettings::new(perlbal.to_string())
            },
            name_map: NameMap {
                create_pools: true,
                ..NameMap::default()
            },
            pool_directory: stage.pool_directory(),
            snapshots: snapshots.subscribe(),
            status: status_sender,
            last_owned: watch::Sender::new(None),
            queries,
            steps: StepPrinter::stdout(),
            stop: stop.clone(),
            state: State::new(Instant::now()),
        };
        runtime().spawn(manager.run(Mode::Live));
        Self {
            snapshots,
            status,
            queries: sender,
            stop,
            serial: 0,
        }
    }

    /// Sends a snapshot with these members of a pool, and these nodes in none; returns its serial.
    pub(crate) fn set_desired(
        &mut self,
        pool: &str,
        members: &[SocketAddrV4],
        out: &[SocketAddrV4],
    ) -> u64 {
        self.set_desired_pools(&[(pool, members)], out, None)
    }

    /// The same for several pools, caused by a response that came at that moment.
    pub(crate) fn set_desired_pools(
        &mut self,
        pools: &[(&str, &[SocketAddrV4])],
        out: &[SocketAddrV4],
        cause: Option<Instant>,
    ) -> u64 {
        self.serial += 1;
        let pool = |members: &[SocketAddrV4]| Pool {
            declared: true,
            announced: true,
            members: members.iter().map(|addr| member(*addr)).collect(),
            ..Pool::default()
        };
        let pools = pools
            .iter()
            .map(|(name, members)| (name.parse().expect("a name"), Arc::new(pool(members))));
        let pools = Pools {
            pools: pools.collect(),
            disabled: out.iter().map(|addr| node(*addr)).collect(),
            ..Pools::default()
        };
        self.snapshots.send_replace(Some(Snapshot {
            serial: self.serial,
            pools: Arc::new(pools),
            current_files: Arc::default(),
            cause,
        }));
        self.serial
    }

    pub(crate) fn status(&self) -> DriverStatus {
        self.status.borrow().clone()
    }

    /// Whether a node, out since that snapshot, is drained by the rule that [`DriverStatus`] gives.
    pub(crate) fn is_drained(&self, addr: SocketAddrV4, since: u64) -> bool {
        self.status.borrow().is_drained(of(addr), since)
    }

    /// Waits until the status is as it should be.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&DriverStatus) -> bool) -> DriverStatus {
        eventually(SOON, what, || {
            Some(self.status()).filter(|status| is_so(status))
        })
    }

    #[track_caller]
    pub(crate) fn wait_acked(&self, serial: u64) {
        self.wait("the snapshot is acknowledged", |status| {
            status.connected && status.acked >= serial
        });
    }

    #[track_caller]
    pub(crate) fn wait_drained(&self, addr: SocketAddrV4, since: u64) {
        eventually(SOON, &format!("{addr} is drained"), || {
            self.is_drained(addr, since).then_some(())
        });
    }

    #[track_caller]
    pub(crate) fn view(&self) -> PerlbalView {
        let (reply, answered) = oneshot::channel();
        self.send_query(Query::View(reply));
        runtime()
            .block_on(answered)
            .expect("the manager answers, whatever its state")
    }

    /// What it knows of one pool.
    #[track_caller]
    pub(crate) fn pool_view(&self, name: &str) -> PoolView {
        let view = self.view();
        let mut pools = view.pools.into_iter();
        let pool = pools.find(|pool| pool.name.as_str() == name);
        pool.unwrap_or_else(|| panic!("no pool {name} in the view"))
    }

    #[track_caller]
    pub(crate) fn statistics(&self, per_node: bool) -> Result<Arc<Statistics>, StatisticsError> {
        let (reply, answered) = oneshot::channel();
        self.send_query(Query::Statistics { per_node, reply });
        runtime()
            .block_on(answered)
            .expect("the manager answers, whatever its state")
    }

    #[track_caller]
    fn send_query(&self, query: Query) {
        runtime()
            .block_on(self.queries.send(query))
            .expect("the manager runs");
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The address as pollbal represents it.
pub(crate) fn of(addr: SocketAddrV4) -> NodeAddr {
    addr.to_string().parse().expect("an address is one")
}

fn node(addr: SocketAddrV4) -> Arc<Node> {
    Arc::new(Node::new(of(addr), addr.to_string()))
}

fn member(addr: SocketAddrV4) -> Member {
    Member::new(node(addr), None)
}
