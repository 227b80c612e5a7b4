//! `--dry-run`: says what the manager would say, to standard output instead of to Perlbal.
//!
//! Perlbal is read once; from then on each plan is made against what the printed commands would
//! have made of it. Nodefiles are never reloaded, since the pool files are not written either.

use tokio::task::spawn_blocking;

use super::read_state::StateRead;
use std::sync::Arc;
use std::time::Duration;

use super::connector::Connector;
use super::error::SessionError;
use super::plan::Actual;
use super::protocol::{Command, Response};
use super::{PerlbalDriver, plan};
use crate::drivers::console::{say, sayable};

impl PerlbalDriver {
    /// Prints until it is stopped, or until Perlbal cannot be read.
    pub(super) async fn serve_dry(&mut self) -> Result<(), SessionError> {
        let stop = self.stop.clone();
        let Some(reading) = stop.run_until_cancelled(self.read_once()).await else {
            return Ok(());
        };
        let mut told = reading?.fresh;
        loop {
            self.take_snapshot();
            if let Some((serial, desired)) = &mut self.state.desired {
                desired.keep(&told);
                let (serial, plan) = (*serial, plan::plan(desired, &told));
                let in_sync = plan.problems.is_empty();
                self.report_problems(plan.problems);
                if !plan.groups.is_empty() {
                    let whose = sayable(&format!("# perlbal {}", self.settings.address));
                    let groups = plan
                        .groups
                        .iter()
                        .map(|group| group.iter().map(Command::line).collect());
                    let pieces = [whose].into_iter().chain(groups);
                    let pieces: Vec<String> = pieces.collect();
                    // On a thread of its own: nobody may read it, and a signal ends the program all the same.
                    let said = spawn_blocking(move || say(&pieces));
                    if stop.run_until_cancelled(said).await.is_none() {
                        return Ok(());
                    }
                }
                for command in plan.groups.iter().flatten() {
                    told.apply(command);
                }
                self.tell_progress(serial, in_sync);
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                changed = self.snapshots.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    async fn read_once(&mut self) -> Result<StateRead, SessionError> {
        let resolver = Arc::clone(&self.state.resolver);
        let mut session = Connector::new(&self.settings, resolver, Duration::ZERO)
            .next()
            .await?;
        let nothing = Actual::default();
        let (mut reading, commands) = StateRead::whole(false);
        session.ask(commands);
        while !reading.is_done() {
            session.flush(true).await?;
            let (command, answer) = session.answer().await?;
            let lines = match answer {
                Response::Ok(lines) => lines,
                Response::Error(error) => return Err(SessionError::refused(&command, error)),
            };
            self.resolve_nodefiles(&command, &lines).await;
            let next = reading
                .answer(&command, &lines, &nothing, [].iter(), |path| {
                    self.own_file(path)
                })
                .map_err(|source| SessionError::protocol(&command, source))?;
            session.ask(next);
        }
        Ok(reading)
    }
}
