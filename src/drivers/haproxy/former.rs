//! Processes that another one has replaced, as after a reload: they serve the requests that are in progress, with the
//! state that was when they were replaced, so a node is drained only when it is there, too.
//!
//! The connection to such a process keeps it alive, so it is closed once nothing is in progress.

use std::collections::BTreeSet;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::connection::Connection;
use super::tables::{busy_ids, busy_members, server_ids, sessions};
use crate::awake::timeout;
use crate::drivers::sync::Member;

/// Maximum number of processes: with each reload another one may be kept by requests that last long.
const MAX: usize = 4;

/// Connections to processes that were replaced; clones share them.
#[derive(Clone, Default)]
pub(super) struct Former(Arc<Mutex<Vec<Connection>>>);

impl Former {
    /// Keeps the connection to a process that was replaced; of too many, the oldest is closed.
    pub(super) fn keep(&self, connection: Connection) {
        let mut connections = self.lock();
        connections.push(connection);
        let excess = connections.len().saturating_sub(MAX);
        connections.drain(..excess);
    }

    /// Those of the removed members that still work on a request of one of these processes. Closes the connections to
    /// those that have none in progress, and to those that do not answer.
    pub(super) async fn busy(
        &self,
        removed: &BTreeSet<Member>,
        limit: Duration,
    ) -> BTreeSet<Member> {
        let connections = mem::take(&mut *self.lock());
        let mut busy = BTreeSet::new();
        for mut connection in connections {
            let asked = timeout(limit, ask_busy(&mut connection, removed)).await;
            if let Ok(Some(members)) = asked {
                busy.extend(members);
                self.lock().push(connection);
            }
        }
        busy
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those of the removed members that are busy there; `None` if nothing is in progress at all.
async fn ask_busy(connection: &mut Connection, removed: &BTreeSet<Member>) -> Option<Vec<Member>> {
    let answers = connection.ask(&["show servers state", "show stat -1 4 -1"]);
    let answers = answers.await.ok()?;
    let [state, stat] = &answers[..] else {
        return None;
    };
    if sessions(stat)? == 0 {
        return None;
    }
    let busy = busy_ids(stat)?;
    let servers = server_ids(state, removed)?;
    Some(busy_members(servers, &busy).collect())
}
