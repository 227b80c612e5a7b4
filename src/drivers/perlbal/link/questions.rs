//! What others ask of a Perlbal that is connected.

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::statistics::{Gathering, Statistics, StatisticsError};
use super::super::view::Question;
use super::super::wire::{Answer, Command, Endpoint};
use super::{Link, Purpose};
use crate::model::node::NodeAddr;

/// So many may wait for statistics at a time.
const WAITING: usize = 64;

type Asker = oneshot::Sender<Result<Arc<Statistics>, StatisticsError>>;

/// Who waits for statistics.
#[derive(Default)]
pub(super) struct Askers {
    /// Each with whether it wants to be told by node, too.
    waiting: Vec<(bool, Asker)>,
    /// What is being read for them.
    gathering: Option<Gathering>,
    /// Perlbal's work on our commands before that.
    worked_before: Duration,
}

// Whoever has asked may be gone by the time of an answer.
impl Link<'_> {
    pub(super) fn take_question(&mut self, question: Question) {
        match question {
            Question::View(answer) => {
                let view = self.manager.memory.view(&self.manager.settings.address);
                _ = answer.send(view);
            }
            Question::Owned(answer) => _ = answer.send(self.manager.memory.known()),
            Question::Statistics { answer, .. } if !self.is_read => {
                _ = answer.send(Err(StatisticsError::NotConnected));
            }
            Question::Statistics { answer, .. } if self.askers.waiting.len() >= WAITING => {
                _ = answer.send(Err(StatisticsError::TooMany));
            }
            Question::Statistics { by_node, answer } => {
                self.askers.waiting.push((by_node, answer));
                self.serve_askers();
            }
        }
    }

    /// Gives the statistics that are kept to those whom they serve, and reads others for the rest.
    fn serve_askers(&mut self) {
        let now = Instant::now();
        let kept = &mut self.manager.memory.statistics;
        kept.take_if(|kept| kept.until <= now);
        if let Some(kept) = kept {
            let serves = |(by_node, _): &mut (bool, Asker)| kept.by_node || !*by_node;
            for (_, answer) in self.askers.waiting.extract_if(.., serves) {
                _ = answer.send(Ok(Arc::clone(&kept.statistics)));
            }
        }
        if self.askers.waiting.is_empty() || self.askers.gathering.is_some() {
            return;
        }
        let by_node = self.askers.waiting.iter().any(|(by_node, _)| *by_node);
        let members = by_node.then(|| self.nodes().into_iter().collect());
        self.askers.worked_before = self.session.pace().worked();
        self.askers.gathering = Some(Gathering::begin(now, members));
        self.gather();
    }

    /// The members of our pools, and who is not yet at rest.
    fn nodes(&self) -> BTreeSet<NodeAddr> {
        let memory = &self.manager.memory;
        let ours = memory
            .wanted
            .iter()
            .flat_map(|(_, wanted)| wanted.pools.keys());
        let pools = ours.filter_map(|name| memory.told.pools.get(name));
        let members = pools.flat_map(|pool| &pool.members);
        let members = members.filter_map(|member| match member {
            Endpoint::Node(addr) => Some(*addr),
            Endpoint::Odd(_) => None,
        });
        let leavers = memory.leavers.all().map(|((_, addr), _)| *addr);
        members.chain(leavers).collect()
    }

    /// Asks the next thing; when there is none, answers.
    fn gather(&mut self) {
        let Some(gathering) = &mut self.askers.gathering else {
            return;
        };
        if let Some(command) = gathering.next_command() {
            return self.ask(Purpose::Statistics, [command]);
        }
        let gathered = self.askers.gathering.take();
        let now = Instant::now();
        let worked = self.session.pace().worked();
        let worked = worked.saturating_sub(self.askers.worked_before);
        self.manager.memory.statistics = gathered.map(|gathering| gathering.end(now, worked));
        self.serve_askers();
    }

    /// Takes an answer that belongs to statistics. A command that Perlbal does not know, as another
    /// version may not, tells nothing.
    pub(super) fn take_statistics(&mut self, command: &Command, answer: Answer) {
        if let (Some(gathering), Answer::Ok(lines)) = (&mut self.askers.gathering, answer) {
            gathering.answer(command, &lines);
        }
        self.gather();
    }

    /// The connection ends: there will be no statistics.
    pub(super) fn disappoint_askers(&mut self) {
        for (_, answer) in mem::take(&mut self.askers.waiting) {
            _ = answer.send(Err(StatisticsError::NotConnected));
        }
    }
}
