//! A driver with the recorder's load balancer.

use std::sync::mpsc;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::drivers::recorder::RecorderSettings;
use crate::drivers::recorder::backend::Place;
use crate::drivers::recorder::load_balancer::{LoadBalancer, Shared};
use crate::drivers::steps::StepPrinter;
use crate::drivers::sync::Member;
use crate::drivers::{Deps, DriverHandle, DriverIo, Mode, Settings, Snapshot};
use crate::model::driver_status::DriverStatus;
use crate::model::node::{Node, NodeAddr};
use crate::model::ownership::OwnedThere;
use crate::model::pools::{Member as PoolMember, Pool, Pools};

/// The most that anything here may take, in paused time.
const LIMIT: Duration = Duration::from_secs(120);

pub(super) struct Site {
    pub(super) handle: DriverHandle,
    settings: RecorderSettings,
    load_balancer: Shared,
    desired: watch::Sender<Option<Snapshot>>,
    serial: u64,
    stop: CancellationToken,
    io: Option<DriverIo>,
    task: Option<JoinHandle<()>>,
    printed: mpsc::Receiver<String>,
}

/// The node of this number; number 0 has an IPv6 address.
pub(super) fn node(number: u8) -> NodeAddr {
    let addr = match number {
        0 => "[::1]:80".to_owned(),
        _ => format!("10.0.0.{number}:80"),
    };
    addr.parse().unwrap()
}

pub(super) fn member(pool: &str, number: u8) -> Member {
    (pool.into(), node(number))
}

/// Pools with these nodes.
pub(super) fn pools(content: &[(&str, &[u8])]) -> Pools {
    let member = |number: &u8| {
        PoolMember::new(
            Arc::new(Node::new(node(*number), node(*number).to_string())),
            None,
        )
    };
    let pool = |(name, numbers): &(&str, &[u8])| {
        let pool = Pool {
            members: numbers.iter().map(member).collect(),
            ..Pool::default()
        };
        (name.parse().unwrap(), Arc::new(pool))
    };
    Pools {
        pools: content.iter().map(pool).collect(),
        ..Pools::default()
    }
}

impl Site {
    /// The driver does not run yet. The address is the test's own.
    pub(super) fn new(address: &str) -> Self {
        let settings = RecorderSettings(address.to_owned());
        let desired = watch::Sender::new(None);
        let (sender, printed) = mpsc::channel();
        let steps = StepPrinter::new(move |pieces| _ = sender.send(pieces.concat()));
        let stop = CancellationToken::new();
        let receiver = desired.subscribe();
        let (handle, io) = DriverHandle::new(&settings, receiver, steps, stop.clone());
        Self {
            handle,
            load_balancer: Shared::at(address),
            settings,
            desired,
            serial: 0,
            stop,
            io: Some(io),
            task: None,
            printed,
        }
    }

    /// The driver runs.
    pub(super) fn start(address: &str) -> Self {
        let mut site = Self::new(address);
        site.run(Mode::Live);
        site
    }

    pub(super) fn run(&mut self, mode: Mode) {
        self.run_after(OwnedThere::default(), mode);
    }

    /// The driver runs after a run that owned this.
    pub(super) fn run_after(&mut self, owned: OwnedThere, mode: Mode) {
        let driver = self.settings.build(Deps {
            owned,
            ..Deps::default()
        });
        let io = self.io.take().expect("it runs already");
        self.task = Some(tokio::spawn(driver.run(io, mode)));
    }

    /// The load balancer, which the driver does not reach meanwhile.
    pub(super) fn there(&self) -> MutexGuard<'_, LoadBalancer> {
        self.load_balancer.lock()
    }

    /// The numbers of the nodes that serve in a pool there.
    pub(super) fn serving(&self, pool: &str) -> Vec<u8> {
        let there = self.there();
        let serving = there
            .members
            .iter()
            .filter(|((name, _), place)| &**name == pool && **place == Place::Serving);
        let number = |addr: &NodeAddr| (1..=254).find(|number| node(*number) == *addr);
        let mut numbers: Vec<_> = serving.filter_map(|((_, addr), _)| number(addr)).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Publishes a snapshot; returns its serial.
    pub(super) fn publish(&mut self, content: &[(&str, &[u8])]) -> u64 {
        self.serial += 1;
        self.desired.send_replace(Some(Snapshot {
            serial: self.serial,
            pools: Arc::new(pools(content)),
            current_files: Arc::default(),
            cause: None,
        }));
        self.serial
    }

    /// Publishes a snapshot, and waits until it is in effect.
    pub(super) async fn snapshot(&mut self, content: &[(&str, &[u8])]) -> u64 {
        let serial = self.publish(content);
        let is_settled = |status: &DriverStatus| status.settled == serial && status.in_sync;
        self.until(is_settled).await;
        serial
    }

    pub(super) async fn until(&mut self, is_so: impl Fn(&DriverStatus) -> bool) -> DriverStatus {
        let mut status = self.handle.status.clone();
        match timeout(LIMIT, status.wait_for(|status| is_so(status))).await {
            Ok(found) => found.unwrap().clone(),
            Err(elapsed) => panic!("{elapsed}: {:?}", self.handle.status()),
        }
    }

    /// The next status that differs.
    pub(super) async fn next_status(&mut self) -> DriverStatus {
        let changed = timeout(LIMIT, self.handle.status.changed()).await;
        changed.unwrap().unwrap();
        self.handle.status.borrow_and_update().clone()
    }

    /// What a dry run has printed.
    pub(super) fn printed(&self) -> String {
        self.printed.try_iter().collect()
    }

    pub(super) async fn stop(&mut self) {
        self.stop.cancel();
        self.task.take().unwrap().await.unwrap();
    }
}
