//! What others ask of a Perlbal that is connected.

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::protocol::{Command, Endpoint, Response};
use super::super::statistics::{Gathering, Statistics, StatisticsError};
use super::super::view::Question;
use super::{Connection, QueryKind};
use crate::model::node::NodeAddr;

/// So many may wait for statistics at a time.
const WAITING: usize = 64;

type Asker = oneshot::Sender<Result<Arc<Statistics>, StatisticsError>>;

/// Who waits for statistics.
#[derive(Default)]
pub(super) struct StatisticsWaiters {
    /// Each with whether it wants to be told by node, too.
    waiting: Vec<(bool, Asker)>,
    /// What is being read for them.
    gathering: Option<Gathering>,
    /// Perlbal's work on our commands before that.
    worked_before: Duration,
}

// Whoever has asked may be gone by the time of an answer.
impl Connection<'_> {
    pub(super) fn on_query(&mut self, question: Question) {
        match question {
            Question::View(answer) => {
                let view = self.driver.state.view(&self.driver.settings.address);
                _ = answer.send(view);
            }
            Question::Owned(answer) => _ = answer.send(self.driver.state.known()),
            Question::Statistics { answer, .. } if !self.is_read => {
                _ = answer.send(Err(StatisticsError::NotConnected));
            }
            Question::Statistics { answer, .. } if self.statistics.waiting.len() >= WAITING => {
                _ = answer.send(Err(StatisticsError::TooMany));
            }
            Question::Statistics { by_node, answer } => {
                self.statistics.waiting.push((by_node, answer));
                self.serve_waiters();
            }
        }
    }

    /// Gives the statistics that are kept to those whom they serve, and reads others for the rest.
    fn serve_waiters(&mut self) {
        let now = Instant::now();
        let kept = &mut self.driver.state.statistics;
        kept.take_if(|kept| kept.until <= now);
        if let Some(kept) = kept {
            let serves = |(by_node, _): &mut (bool, Asker)| kept.by_node || !*by_node;
            for (_, answer) in self.statistics.waiting.extract_if(.., serves) {
                _ = answer.send(Ok(Arc::clone(&kept.statistics)));
            }
        }
        if self.statistics.waiting.is_empty() || self.statistics.gathering.is_some() {
            return;
        }
        let by_node = self.statistics.waiting.iter().any(|(by_node, _)| *by_node);
        let members = by_node.then(|| self.nodes().into_iter().collect());
        self.statistics.worked_before = self.session.throttle().worked();
        self.statistics.gathering = Some(Gathering::begin(now, members));
        self.gather();
    }

    /// The members of our pools, and who is not yet at rest.
    fn nodes(&self) -> BTreeSet<NodeAddr> {
        let state = &self.driver.state;
        let ours = state
            .desired
            .iter()
            .flat_map(|(_, desired)| desired.pools.keys());
        let pools = ours.filter_map(|name| state.expected.pools.get(name));
        let members = pools.flat_map(|pool| &pool.members);
        let members = members.filter_map(|member| match member {
            Endpoint::Node(addr) => Some(*addr),
            Endpoint::Unparsed(_) => None,
        });
        let draining = state.draining.all().map(|((_, addr), _)| *addr);
        members.chain(draining).collect()
    }

    /// Asks the next thing; when there is none, answers.
    fn gather(&mut self) {
        let Some(gathering) = &mut self.statistics.gathering else {
            return;
        };
        if let Some(command) = gathering.next_command() {
            return self.ask(QueryKind::Statistics, [command]);
        }
        let gathered = self.statistics.gathering.take();
        let now = Instant::now();
        let worked = self.session.throttle().worked();
        let worked = worked.saturating_sub(self.statistics.worked_before);
        self.driver.state.statistics = gathered.map(|gathering| gathering.end(now, worked));
        self.serve_waiters();
    }

    /// Takes an answer that belongs to statistics. A command that Perlbal does not know, as another
    /// version may not, tells nothing.
    pub(super) fn take_statistics(&mut self, command: &Command, answer: Response) {
        if let (Some(gathering), Response::Ok(lines)) = (&mut self.statistics.gathering, answer) {
            gathering.answer(command, &lines);
        }
        self.gather();
    }

    /// The connection ends: there will be no statistics.
    pub(super) fn fail_waiters(&mut self) {
        for (_, answer) in mem::take(&mut self.statistics.waiting) {
            _ = answer.send(Err(StatisticsError::NotConnected));
        }
    }
}
