//! Changes that are queued, each service checked when something of it is set again.

use std::mem;
use std::time::Instant;

use super::super::notices::Notice;
use super::super::plan::Group;
use super::super::protocol::{Command, Response, Service, parse_users};
use super::super::service_checks::{
    check, parse_service, set_again, taken_from, with_checks, with_counts,
};
use super::Connection;
use crate::drivers::perlbal::name::PerlbalName;

/// How a service was set by someone else.
enum Shown {
    /// All that is set again.
    Service(Service),
    /// Its pool; what else is set is not known.
    Pool(PerlbalName),
}

impl Connection<'_> {
    /// Queues changes, with checks of the services that they set.
    pub(super) fn queue_with_checks(&mut self, groups: Vec<Group>) {
        let groups = with_checks(groups, &self.state.expected);
        self.queue_checked(groups);
    }

    fn queue_checked(&mut self, groups: Vec<Group>) {
        for check in groups.iter().flatten() {
            if check.is_change() {
                continue;
            }
            self.state.counters.count_command(check.kind());
            // Nothing is acknowledged before it is known what the seals in front of it did.
            if let Command::ShowPools { .. } = check {
                self.pending.extend(1);
            }
        }
        self.pipeline.queue_changes(groups);
    }

    /// Records how a service was set when Perlbal set something of it again.
    pub(super) fn on_service_shown(
        &mut self,
        service: &PerlbalName,
        known: &Service,
        response: Response,
        now: Instant,
    ) {
        match response {
            Response::Ok(lines) => {
                let shown = Shown::Service(parse_service(&lines));
                self.restore_service(service, known, shown, now);
            }
            Response::Error(_) => self.resync_soon(now),
        }
    }

    /// Records how many services use each pool, and so what the seal right before has changed, if there was one.
    pub(super) fn on_users_shown(
        &mut self,
        sealed: Option<&(PerlbalName, Service)>,
        response: Response,
        now: Instant,
    ) {
        self.pending.ack();
        // If the check was rejected, the service no longer exists, or this version of Perlbal does not show it; reading
        // everything does.
        let Response::Ok(lines) = response else {
            self.users.clear();
            return self.resync_soon(now);
        };
        let before = mem::replace(&mut self.users, parse_users(&lines));
        let taken = taken_from(&before, &self.users);
        if let (Some((service, known)), Some(pool)) = (sealed, taken) {
            self.restore_service(service, known, Shown::Pool(pool), now);
        }
        self.record_acked(now);
    }

    /// Sets again what someone else had set.
    fn restore_service(
        &mut self,
        service: &PerlbalName,
        known: &Service,
        shown: Shown,
        now: Instant,
    ) {
        let (shown, is_whole) = match shown {
            Shown::Service(shown) => (shown, true),
            Shown::Pool(pool) => {
                let pool = Some(pool);
                (
                    Service {
                        pool,
                        ..known.clone()
                    },
                    false,
                )
            }
        };
        let again = set_again(service, &shown, known);
        if again.is_empty() {
            return;
        }
        let mut checked = with_counts(again.clone(), &self.state.expected);
        for command in &again {
            self.apply(command);
        }
        // The last command sets its `connect_ahead`, which is not known yet.
        if !is_whole && let Some(check) = check(service, &self.state.expected) {
            checked.insert(checked.len() - 1, check);
        }
        if let Some(pool) = shown.pool.filter(|pool| Some(pool) != known.pool.as_ref()) {
            self.log_switch(service, known, &pool, now);
            // Members that left that pool meanwhile are to be found.
            self.newly_used.insert(pool);
            self.resync_at = self.resync_at.min(now);
        }
        self.pending.extend(again.len());
        self.queue_checked(vec![checked]);
        self.plan_due = true;
    }

    fn log_switch(
        &mut self,
        service: &PerlbalName,
        known: &Service,
        pool: &PerlbalName,
        now: Instant,
    ) {
        let switched = || Notice::ServiceSwitched {
            service: service.clone(),
            before: known.pool.clone(),
            pool: pool.clone(),
        };
        let does = "is given to a service by someone else";
        self.state.log_about_pool(pool, does, now, switched);
    }
}
