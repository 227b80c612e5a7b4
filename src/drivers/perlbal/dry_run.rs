//! `--dry-run`: prints to standard output what the driver would send to Perlbal.
//!
//! Perlbal is read once; from then on each plan is made against what the printed commands would
//! have made of it. Nodefiles are never reloaded, since the pool files are not written either.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use super::connector::Connector;
use super::error::SessionError;
use super::protocol::{Command, Response};
use super::read_state::StateRead;
use super::serve::resolve_nodefiles;
use super::{PerlbalDriver, plan};
use crate::drivers::steps::line;

impl PerlbalDriver {
    /// Prints until it is stopped, or until Perlbal cannot be read.
    pub(super) async fn serve_dry(&mut self) -> Result<(), SessionError> {
        let stop = self.stop.clone();
        let Some(read) = stop.run_until_cancelled(self.read_once()).await else {
            return Ok(());
        };
        let mut expected = read?.fresh;
        self.state.set_connected(Instant::now());
        loop {
            self.update_desired();
            if let Some((serial, desired)) = &mut self.state.desired {
                desired.keep(&expected);
                let (serial, plan) = (*serial, plan::plan(desired, &expected));
                let in_sync = plan.problems.is_empty();
                self.state.set_problems(plan.problems);
                self.publish();
                if !plan.groups.is_empty() {
                    let heading = line(&format!("# perlbal {}", self.settings.address));
                    let groups = plan
                        .groups
                        .iter()
                        .map(|group| group.iter().map(Command::line).collect());
                    let pieces: Vec<String> = [heading].into_iter().chain(groups).collect();
                    // On a thread of its own: if nobody reads it, a signal still ends the program.
                    let steps = self.steps.clone();
                    let printed = spawn_blocking(move || steps.print(&pieces));
                    if stop.run_until_cancelled(printed).await.is_none() {
                        return Ok(());
                    }
                }
                for command in plan.groups.iter().flatten() {
                    expected.apply(command);
                }
                self.state.record_progress(serial, in_sync, Instant::now());
                self.publish();
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                changed = self.snapshots.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    async fn read_once(&self) -> Result<StateRead, SessionError> {
        let resolver = Arc::clone(&self.state.resolver);
        let mut connector = Connector::new(&self.settings, resolver, Duration::ZERO);
        let mut session = connector.next().await?;
        let nothing = plan::Actual::default();
        let own_files = &self.state.own_files;
        let directory = &self.pool_directory;
        let (mut read, commands) = StateRead::whole(false);
        session.pipeline.queue_reads(commands);
        while !read.is_done() {
            session.flush().await?;
            let (command, response) = session.response().await?;
            let lines = match response {
                Response::Ok(lines) => lines,
                Response::Error(error) => return Err(SessionError::rejected(&command, error)),
            };
            if command == Command::DumpConfig {
                resolve_nodefiles(own_files, directory, &self.settings.address, &lines).await;
            }
            let own_file = |path: &str| own_files.own_file(directory, path);
            let next = read
                .answer(&command, &lines, &nothing, [].iter(), own_file)
                .map_err(|source| SessionError::protocol(&command, source))?;
            session.pipeline.queue_reads(next);
        }
        Ok(read)
    }
}
