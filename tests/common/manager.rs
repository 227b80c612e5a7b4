//! A Perlbal manager by itself, without the daemon around it: the test says what is wanted.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pollbal::drivers::perlbal::desired::NameMap;
use pollbal::drivers::perlbal::settings::PerlbalSettings;
use pollbal::drivers::perlbal::statistics::Statistics;
use pollbal::drivers::perlbal::view::{PerlbalView, PoolView, Question};
use pollbal::drivers::perlbal::{PerlbalDriver, QUESTIONS, State};
use pollbal::drivers::steps::StepPrinter;
use pollbal::drivers::{Mode, Snapshot, StatisticsError};
use pollbal::model::driver_status::DriverStatus;
use pollbal::model::node::{Node, NodeAddr};
use pollbal::model::pools::{Member, Pool, Pools};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::stage::Stage;
use super::{SOON, eventually, runtime};

/// A running manager; dropped, it ends.
pub(crate) struct Driven {
    snapshots: watch::Sender<Option<Snapshot>>,
    status: watch::Receiver<DriverStatus>,
    questions: mpsc::Sender<Question>,
    stop: CancellationToken,
    serial: u64,
}

impl Driven {
    pub(crate) fn start(stage: &Stage, perlbal: SocketAddrV4) -> Self {
        let snapshots = watch::Sender::new(None);
        let (status_sender, status) = watch::channel(DriverStatus::default());
        let (asked, questions) = mpsc::channel(QUESTIONS);
        let stop = CancellationToken::new();
        let manager = PerlbalDriver {
            settings: PerlbalSettings {
                resync_interval: Duration::from_secs(60),
                ..PerlbalSettings::new(perlbal.to_string())
            },
            translation: NameMap {
                create_pools: true,
                ..NameMap::default()
            },
            pool_directory: stage.pool_directory(),
            snapshots: snapshots.subscribe(),
            status: status_sender,
            last_owned: watch::Sender::new(None),
            questions,
            steps: StepPrinter::stdout(),
            stop: stop.clone(),
            state: State::new(Instant::now()),
        };
        runtime().spawn(manager.run(Mode::Live));
        Self {
            snapshots,
            status,
            questions: asked,
            stop,
            serial: 0,
        }
    }

    /// Wants these members of a pool, and these nodes in none; gives the snapshot's serial.
    pub(crate) fn want(
        &mut self,
        pool: &str,
        members: &[SocketAddrV4],
        out: &[SocketAddrV4],
    ) -> u64 {
        self.want_pools(&[(pool, members)], out, None)
    }

    /// The same of several pools, caused by an answer that came at that moment.
    pub(crate) fn want_pools(
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
    pub(crate) fn at_rest(&self, addr: SocketAddrV4, since: u64) -> bool {
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
    pub(crate) fn wait_told(&self, serial: u64) {
        self.wait("the snapshot is acknowledged", |status| {
            status.connected && status.acked >= serial
        });
    }

    #[track_caller]
    pub(crate) fn wait_at_rest(&self, addr: SocketAddrV4, since: u64) {
        eventually(SOON, &format!("{addr} is at rest"), || {
            self.at_rest(addr, since).then_some(())
        });
    }

    #[track_caller]
    pub(crate) fn view(&self) -> PerlbalView {
        let (answer, answered) = oneshot::channel();
        self.ask(Question::View(answer));
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
    pub(crate) fn statistics(&self, by_node: bool) -> Result<Arc<Statistics>, StatisticsError> {
        let (answer, answered) = oneshot::channel();
        self.ask(Question::Statistics { by_node, answer });
        runtime()
            .block_on(answered)
            .expect("the manager answers, whatever its state")
    }

    #[track_caller]
    fn ask(&self, question: Question) {
        runtime()
            .block_on(self.questions.send(question))
            .expect("the manager runs");
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// As pollbal has it.
pub(crate) fn of(addr: SocketAddrV4) -> NodeAddr {
    addr.to_string().parse().expect("an address is one")
}

fn node(addr: SocketAddrV4) -> Arc<Node> {
    Arc::new(Node {
        addr: of(addr),
        name: addr.to_string(),
    })
}

fn member(addr: SocketAddrV4) -> Member {
    Member {
        node: node(addr),
        version: None,
    }
}
