//! The state machine against a model Perlbal, in a time of its own.

/// A simulation that is connected and in sync: pool `api` with the nodes 1 and 2.
macro_rules! in_sync {
    ($simulation:ident, $site:ident, $state:ident) => {
        let $site = Site::default();
        let mut $state = State::new(Instant::now());
        let perlbal = Perlbal::with(&[("api", &[&addr(1), &addr(2)])]);
        let first = Some(snapshot(1, &[("api", &[1, 2])]));
        let mut $simulation =
            Simulation::connect(&$site, &mut $state, perlbal, first, Instant::now());
        $simulation.run(500 * MILLI);
        assert!($simulation.is_in_sync());
        $simulation.written();
        $simulation.take_notices();
    };
}

mod confirmation;
mod convergence;
mod perlbal;
mod transitions;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::perlbal::Perlbal;
use super::super::state::State;
use super::*;
use crate::drivers::perlbal::notices::Notice;
use crate::model::node::Node;
use crate::model::pools::{Member, Pool, Pools};

const MILLI: Duration = Duration::from_millis(1);
/// From a write until what Perlbal prints is here.
const ROUND_TRIP: Duration = Duration::from_micros(300);
const RESYNC_INTERVAL: Duration = Duration::from_secs(1);
const POOL_DIRECTORY: &str = "/run/pool";

/// What does not change while a Perlbal is driven.
struct Site {
    settings: PerlbalSettings,
    names: NameMap,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            settings: PerlbalSettings {
                resync_interval: RESYNC_INTERVAL,
                timeout: Duration::from_secs(1),
                ..PerlbalSettings::new("127.0.0.1:16000".to_owned())
            },
            names: NameMap {
                create_pools: true,
                ..NameMap::default()
            },
        }
    }
}

impl Site {
    fn setup(&self) -> Setup<'_> {
        Setup {
            settings: &self.settings,
            names: &self.names,
            pool_directory: Path::new(POOL_DIRECTORY),
        }
    }
}

/// A node's address, by its number.
fn addr(number: u8) -> String {
    format!("10.0.0.{number}:80")
}

fn node(number: u8) -> Arc<Node> {
    Arc::new(Node::new(
        addr(number).parse().unwrap(),
        format!("node-{number}"),
    ))
}

/// A snapshot with these pools of nodes; the other nodes up to `ALL` are disabled.
fn snapshot(serial: u64, pools: &[(&str, &[u8])]) -> Snapshot {
    let all = 1..=ALL;
    let out = all.filter(|number| pools.iter().all(|(_, nodes)| !nodes.contains(number)));
    let disabled = out.map(node).collect();
    let files = pools.iter().map(|(name, _)| format!("{name}.pool"));
    let files = files.collect();
    let pools = pools.iter().map(|(name, nodes)| {
        let members = nodes.iter().map(|number| Member::new(node(*number), None));
        let pool = Pool {
            declared: true,
            announced: true,
            members: members.collect(),
            ..Pool::default()
        };
        (name.parse().unwrap(), Arc::new(pool))
    });
    Snapshot {
        serial,
        pools: Arc::new(Pools {
            pools: pools.collect(),
            disabled,
            ..Pools::default()
        }),
        current_files: Arc::new(files),
        cause: None,
    }
}

/// Number of the nodes.
const ALL: u8 = 5;

/// A connection to a model Perlbal, and the loop around it.
struct Simulation<'a> {
    connection: Connection<'a>,
    perlbal: Perlbal,
    now: Instant,
    /// What Perlbal printed, and when that arrives.
    on_the_way: VecDeque<(Instant, String)>,
    /// Every batch that was written, and when.
    written: Vec<(Instant, String)>,
    notices: Vec<Notice>,
    /// Perlbal works this long on each batch.
    work: Duration,
    /// Perlbal answers nothing any more.
    is_silent: bool,
}

impl<'a> Simulation<'a> {
    fn connect(
        site: &'a Site,
        state: &'a mut State,
        perlbal: Perlbal,
        snapshot: Option<Snapshot>,
        now: Instant,
    ) -> Self {
        let mut pipeline = Pipeline::new(now);
        pipeline.end_first_response();
        Self {
            connection: Connection::new(site.setup(), state, pipeline, snapshot, now),
            perlbal,
            now,
            on_the_way: VecDeque::new(),
            written: Vec::new(),
            notices: Vec::new(),
            work: Duration::ZERO,
            is_silent: false,
        }
    }

    /// Goes on for `time`.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Sends what may be sent now, then waits for the next event; returns whether that came before `end`.
    fn step(&mut self, end: Instant) -> bool {
        self.connection.plan_if_due(self.now);
        self.notices.extend(self.connection.state.take_notices());
        if let Some(window) = self.connection.send_window(self.now) {
            while let Some(batch) = self.connection.next_batch(window, self.now) {
                self.write(batch);
            }
        }
        if let Some((command, response)) = self.connection.pipeline.next_response(self.now).unwrap()
        {
            let taken = self.connection.on_response(&command, response, self.now);
            taken.unwrap();
            return true;
        }
        let deadline = self.connection.next_deadline().max(self.now);
        let arrival = self.on_the_way.front().map(|(at, _)| *at);
        if arrival.is_some_and(|at| at <= deadline && at <= end) {
            let (at, text) = self.on_the_way.pop_front().unwrap();
            self.now = self.now.max(at);
            let pipeline = &mut self.connection.pipeline;
            pipeline.buffer().extend_from_slice(text.as_bytes());
            pipeline.on_received(self.now);
            return true;
        }
        if deadline > end {
            return false;
        }
        self.now = deadline;
        self.connection.on_timer(self.now);
        true
    }

    /// Perlbal serves its clients, and then runs what is written.
    fn write(&mut self, batch: String) {
        self.perlbal.serve_clients();
        let printed = self.perlbal.run(&batch);
        if !self.is_silent {
            let last = self.on_the_way.back().map_or(self.now, |(at, _)| *at);
            let begins = last.max(self.now + ROUND_TRIP);
            self.on_the_way.push_back((begins + self.work, printed));
        }
        self.written.push((self.now, batch));
    }

    fn set_desired(&mut self, snapshot: Snapshot) {
        self.connection.on_snapshot(Some(snapshot), self.now);
    }

    /// The batches that were written since the last call, but for pings.
    fn written(&mut self) -> Vec<String> {
        let written = self.written.drain(..).map(|(_, batch)| batch);
        written.filter(|batch| batch != "VERBOSE on\n").collect()
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn is_in_sync(&self) -> bool {
        self.connection.state.connected.is && self.connection.state.in_sync.is
    }
}
