//! A session: a connection to the process that serves, and what is asked and ordered over it.
//!
//! Before and after the commands of an exchange the process says whether it still serves: after a reload, the one that
//! is replaced answers commands with success for a while, without effect on anyone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::answers::{Expected, Outcome, is_static_balance, judge};
use super::connection::{Connection, lost, unusable};
use super::former::Former;
use super::name::HaproxyName;
use super::settings::{HaproxySettings, ServerMode};
use super::state::Actual;
use super::state_file::StateFile;
use super::statistics;
use super::step::{Command, Step};
use super::tables::{Info, Texts, addresses, busy_ids, busy_members, server_ids};
use crate::awake::{Elapsed, timeout};
use crate::drivers::family::Family;
use crate::drivers::sync::{self, Member, SessionError, StepResult};
use crate::model::driver_status::OutageCause;
use crate::model::node::NodeAddr;

const SHOW_INFO: &str = "show info";
const SHOW_STATE: &str = "show servers state";
/// All backends and servers.
const SHOW_STAT: &str = "show stat -1 6 -1";
const SHOW_CONN: &str = "show servers conn";

/// Maximum number of servers that are asked for one by one: each costs the same, however many there are in the backend.
const MAX_SINGLE: usize = 20;

/// From 2.9 on, an address is changed by a task after the answer: number of reads until it must be the new one, and
/// the delay between them.
const ADDRESS_READS: usize = 100;
const ADDRESS_DELAY: Duration = Duration::from_millis(1);

/// A session.
pub(super) struct Session {
    /// `None` once the process was replaced.
    connection: Option<Connection>,
    /// The process.
    info: Info,
    slot_prefix: HaproxyName,
    timeout: Duration,
    /// Backends whose algorithm takes no weights at run time.
    fixed_weights: BTreeSet<HaproxyName>,
    /// Servers may be added.
    adds_servers: bool,
    /// Whether the algorithm of a backend takes no servers at run time.
    static_balance: BTreeMap<HaproxyName, bool>,
    former: Former,
    state_file: Option<Arc<StateFile>>,
    /// What was read and is not in the state file: it is written when nothing else is due, since the first read of a
    /// process that has just been started shows what is about to be changed.
    unkept: Option<String>,
    /// A process would take the states of slots from the file, but not their addresses.
    forgets_addresses: bool,
}

impl Session {
    /// Connects, and checks that commands will be taken.
    pub(super) async fn connect(
        settings: &HaproxySettings,
        former: &Former,
        state_file: Option<Arc<StateFile>>,
    ) -> Result<Self, SessionError> {
        let mut connection = Connection::open(&settings.socket).await?;
        // The connection may be idle for longer than `stats timeout`, but not for long.
        let commands = ["prompt", "set timeout cli 1m", "show cli level", SHOW_INFO];
        // A little less than the limit of the whole exchange, so that this is what is reported.
        let limit = settings.timeout * 9 / 10;
        let answers = timeout(limit, connection.ask(&commands)).await;
        let silent = |Elapsed| {
            let detail = "it accepts connections, but does not respond; are all connections that `stats maxconn` allows (10 by default) in use?";
            lost("not answering", detail)
        };
        let answers = answers.map_err(silent)??;
        let level = answers[2].trim();
        if level != "admin" {
            let socket = &settings.socket;
            return Err(unusable(format!(
                "the socket's level is {level:?}; write `stats socket {socket} level admin` into haproxy.cfg and reload HAProxy"
            )));
        }
        let info = Info::parse(&answers[3]);
        let info = info.ok_or_else(|| not_understood(SHOW_INFO))?;
        if info.is_stopping {
            let detail = format!("process {} is stopping", info.pid);
            return Err(lost("not reachable", &detail));
        }
        Ok(Self {
            connection: Some(connection),
            info,
            slot_prefix: settings.slot_prefix.clone(),
            timeout: settings.timeout,
            fixed_weights: BTreeSet::new(),
            adds_servers: settings.servers != ServerMode::Slots,
            static_balance: BTreeMap::new(),
            former: former.clone(),
            state_file,
            unkept: None,
            forgets_addresses: false,
        })
    }

    /// Has a state written to the state file.
    fn keep(&mut self, state: &str) {
        self.unkept = None;
        if let Some(file) = &self.state_file
            && !self.forgets_addresses
        {
            file.keep(state);
        }
    }

    /// Sends commands to the process that serves, and returns their answers; without commands, asks only whether it still
    /// serves.
    async fn ask(&mut self, commands: &[&str]) -> Result<Vec<String>, SessionError> {
        let mut framed = vec![SHOW_INFO];
        if !commands.is_empty() {
            framed.extend(commands);
            framed.push(SHOW_INFO);
        }
        let connection = self.connection.as_mut();
        let connection = connection.ok_or_else(|| lost("closing connections", "it is closed"))?;
        let mut answers = connection.ask(&framed).await?;
        let before = answers.remove(0);
        let after = answers.pop();
        for info in [Some(&before), after.as_ref()].into_iter().flatten() {
            let info = Info::parse(info).ok_or_else(|| not_understood(SHOW_INFO))?;
            if info.is_stopping || info.pid != self.info.pid {
                return Err(self.replaced());
            }
        }
        Ok(answers)
    }

    /// The process was replaced. Its connection is kept as long as it has requests in progress.
    fn replaced(&mut self) -> SessionError {
        if let Some(connection) = self.connection.take() {
            self.former.keep(connection);
        }
        SessionError::Replaced(OutageCause {
            state: "replaced",
            detail: format!("process {} is stopping", self.info.pid),
        })
    }

    /// Executes the first commands of all steps, then the second ones of those that succeeded, and so on.
    async fn execute_steps(&mut self, batch: &[Step]) -> Result<Vec<StepResult>, SessionError> {
        let commands: Vec<_> = batch.iter().map(Step::commands).collect();
        let mut results: Vec<StepResult> = vec![Ok(()); batch.len()];
        let longest = commands.iter().map(Vec::len).max().unwrap_or_default();
        for number in 0..longest {
            let due = commands.iter().zip(&results).enumerate();
            let due = due.filter(|(_, (_, result))| result.is_ok());
            let due: Vec<(usize, &Command)> = due
                .filter_map(|(index, (commands, _))| Some((index, commands.get(number)?)))
                .collect();
            let mut looks = looks(batch, &due);
            let texts = due.iter().map(|(_, command)| &*command.text);
            let texts: Vec<_> = texts.chain(looks.values().map(|text| &**text)).collect();
            let mut answers = self.ask(&texts).await?;
            let seen = answers.split_off(due.len());
            for (look, answer) in looks.values_mut().zip(seen) {
                *look = answer;
            }
            let mut moved = self.judge_all(batch, &due, &answers, &mut results)?;
            forget_done(&mut moved, batch, &looks)?;
            self.confirm_addresses(batch, moved, &mut results).await?;
        }
        Ok(results)
    }

    /// Records what answers mean for their steps; which steps changed an address, and to which.
    fn judge_all(
        &mut self,
        batch: &[Step],
        due: &[(usize, &Command)],
        answers: &[String],
        results: &mut [StepResult],
    ) -> Result<BTreeMap<usize, NodeAddr>, SessionError> {
        let mut moved = BTreeMap::new();
        for ((index, command), answer) in due.iter().zip(answers) {
            match judge(command.expected, answer) {
                Outcome::Success => {}
                Outcome::FixedWeights => {
                    self.fixed_weights.insert(batch[*index].backend.clone());
                }
                Outcome::Stopping => return Err(self.replaced()),
                Outcome::Rejected(text) => results[*index] = Err(text),
            }
            if let (Expected::Address(node), Ok(())) = (command.expected, &results[*index]) {
                moved.insert(*index, node);
            }
        }
        Ok(moved)
    }

    /// Reads addresses back that were changed and that no read shows yet.
    async fn confirm_addresses(
        &mut self,
        batch: &[Step],
        mut moved: BTreeMap<usize, NodeAddr>,
        results: &mut [StepResult],
    ) -> Result<(), SessionError> {
        for _ in 0..ADDRESS_READS {
            if moved.is_empty() {
                return Ok(());
            }
            sleep(ADDRESS_DELAY).await;
            let backends: BTreeSet<_> = moved.keys().map(|index| &batch[*index].backend).collect();
            for backend in backends {
                let command = format!("{SHOW_STATE} {backend}");
                let mut answers = self.ask(&[&command]).await?;
                let answer = answers.pop().unwrap_or_default();
                forget_done(&mut moved, batch, &[(backend, answer)].into())?;
            }
        }
        for (index, node) in moved {
            results[index] = Err(format!("its address did not become {node}"));
        }
        Ok(())
    }

    async fn read_all(&mut self) -> Result<Actual, SessionError> {
        let answers = self.ask(&[SHOW_STATE, SHOW_STAT, SHOW_CONN]).await?;
        let texts = Texts {
            state: &answers[0],
            stat: &answers[1],
            conn: &answers[2],
        };
        let actual = texts.actual(&self.slot_prefix.shared());
        let mut actual = actual.ok_or_else(|| not_understood(SHOW_STATE))?;
        let mut backends = actual.backends.values();
        self.forgets_addresses = backends.any(|backend| backend.forgets_addresses);
        self.unkept = answers.into_iter().next();
        self.find_static_balance(&actual).await?;
        for (name, backend) in &mut actual.backends {
            backend.has_fixed_weights = self.fixed_weights.contains(name);
            backend.refuses_servers = self.static_balance.get(name) == Some(&true);
        }
        Ok(actual)
    }

    /// Finds which backends take no servers, by the answer to a command that adds none as it has no address: `show stat`
    /// does not tell hashes that take servers from those that take none.
    async fn find_static_balance(&mut self, actual: &Actual) -> Result<(), SessionError> {
        let names = actual.backends.keys();
        let new = names.filter(|name| !self.static_balance.contains_key(*name));
        let new: Vec<_> = new.cloned().collect();
        if new.is_empty() || !self.adds_servers {
            return Ok(());
        }
        let commands = new.iter().map(|name| format!("add server {name}/x"));
        let commands: Vec<_> = commands.collect();
        let commands: Vec<_> = commands.iter().map(String::as_str).collect();
        let answers = self.ask(&commands).await?;
        let is_static = answers.iter().map(|answer| is_static_balance(answer));
        self.static_balance.extend(new.into_iter().zip(is_static));
        Ok(())
    }

    /// Those of the removed members that the process that serves is busy with.
    async fn busy_here(
        &mut self,
        removed: &BTreeSet<Member>,
    ) -> Result<BTreeSet<Member>, SessionError> {
        let answers = self.ask(&[SHOW_STATE]).await?;
        let servers = server_ids(&answers[0], removed);
        let servers = servers.ok_or_else(|| not_understood(SHOW_STATE))?;
        let commands: Vec<_> = if servers.len() > MAX_SINGLE {
            vec!["show stat -1 4 -1".to_owned()]
        } else {
            let each = servers.iter().map(|server| {
                let (backend, _) = &server.member;
                format!("show stat {backend} 4 {}", server.id)
            });
            each.collect()
        };
        let texts: Vec<_> = commands.iter().map(String::as_str).collect();
        let answers = self.ask(&texts).await?;
        let mut busy = BTreeSet::new();
        for answer in &answers {
            busy.extend(busy_ids(answer).ok_or_else(|| not_understood("show stat"))?);
        }
        Ok(busy_members(servers, &busy).collect())
    }

    /// Time limit for a process that was replaced: it must not take that of the whole exchange.
    fn limit_of_former(&self) -> Duration {
        self.timeout / 8
    }
}

/// The commands that read back the addresses which these change, by backend.
fn looks<'a>(batch: &'a [Step], due: &[(usize, &Command)]) -> BTreeMap<&'a HaproxyName, String> {
    let moves = due
        .iter()
        .filter(|(_, command)| matches!(command.expected, Expected::Address(_)));
    let backends = moves.map(|(index, _)| &batch[*index].backend);
    let look = |backend| (backend, format!("{SHOW_STATE} {backend}"));
    backends.map(look).collect()
}

/// Forgets the changes of addresses that reads of these backends show.
fn forget_done(
    moved: &mut BTreeMap<usize, NodeAddr>,
    batch: &[Step],
    reads: &BTreeMap<&HaproxyName, String>,
) -> Result<(), SessionError> {
    for (backend, answer) in reads {
        let there = addresses(answer).ok_or_else(|| not_understood(SHOW_STATE))?;
        moved.retain(|index, node| {
            let step = &batch[*index];
            step.backend != **backend || there.get(&*step.server.shared()) != Some(node)
        });
    }
    Ok(())
}

fn not_understood(command: &str) -> SessionError {
    unusable(format!("its answer to `{command}` is not understood"))
}

impl sync::Session for Session {
    type Step = Step;
    type Actual = Actual;

    fn describe(&self) -> String {
        format!("HAProxy {}", self.info.version)
    }

    async fn ping(&mut self) -> Result<(), SessionError> {
        self.ask(&[]).await?;
        if let Some(state) = self.unkept.take() {
            self.keep(&state);
        }
        let limit = self.limit_of_former();
        self.former.busy(&BTreeSet::new(), limit).await;
        Ok(())
    }

    async fn read(&mut self) -> Result<Actual, SessionError> {
        self.read_all().await
    }

    async fn execute(&mut self, batch: &[Step]) -> Result<Vec<StepResult>, SessionError> {
        let results = self.execute_steps(batch).await?;
        if self.state_file.is_some() {
            let answers = self.ask(&[SHOW_STATE]).await?;
            self.keep(&answers[0]);
        }
        Ok(results)
    }

    async fn busy(&mut self, removed: &BTreeSet<Member>) -> Result<BTreeSet<Member>, SessionError> {
        let mut busy = self.busy_here(removed).await?;
        let limit = self.limit_of_former();
        busy.extend(self.former.busy(removed, limit).await);
        Ok(busy)
    }

    async fn statistics(&mut self, per_node: bool) -> Result<Vec<Family>, SessionError> {
        let types = if per_node {
            SHOW_STAT
        } else {
            "show stat -1 2 -1"
        };
        let answers = self.ask(&[types]).await?;
        let families = statistics::families(&self.info, &answers[0], per_node);
        families.ok_or_else(|| not_understood(types))
    }
}
