//! Changes on their way, each service looked at when something of it is set again.

use std::mem;
use std::time::Instant;

use tracing::warn;

use super::super::plan::Group;
use super::super::protocol::{Command, Response, Service, parse_users};
use super::super::service_checks::{
    check, parse_service, set_again, taken_from, with_checks, with_counts,
};
use super::Connection;
use crate::drivers::perlbal::name::PerlbalName;

impl Connection<'_> {
    /// Gives changes to the session to send.
    pub(super) fn change(&mut self, groups: Vec<Group>) {
        let groups = with_checks(groups, &self.driver.state.expected);
        self.queue_checked(groups);
    }

    fn queue_checked(&mut self, groups: Vec<Group>) {
        let checks = groups.iter().flatten();
        for check in checks.filter(|command| !command.is_change()) {
            self.driver.state.counters.command(check);
            // Nothing counts as told before it is known what the seals in front of it did.
            if let Command::ShowPools { .. } = check {
                self.on_the_way.more(1);
            }
        }
        self.session.change(groups);
    }

    /// Takes how a service was set when Perlbal set something of it again.
    pub(super) fn on_service(&mut self, service: &PerlbalName, known: &Service, answer: Response) {
        let Response::Ok(lines) = answer else {
            return self.resync_soon();
        };
        let shown = parse_service(&lines);
        self.restore_service(service, known, &shown, false);
    }

    /// Takes how many services use which pool, and so what the seal right before has changed, if one was there.
    pub(super) fn on_pool_users(
        &mut self,
        sealed: Option<&(PerlbalName, Service)>,
        answer: Response,
    ) {
        self.on_the_way.answer();
        let Response::Ok(lines) = answer else {
            self.users.clear();
            return self.resync_soon();
        };
        let before = mem::replace(&mut self.users, parse_users(&lines));
        let taken = taken_from(&before, &self.users);
        if let (Some((service, known)), Some(pool)) = (sealed, taken) {
            let shown = Service {
                pool: Some(pool),
                ..known.clone()
            };
            self.restore_service(service, known, &shown, true);
        }
        self.record_acked();
    }

    /// A look was refused: the service is no longer there, or a version of Perlbal does not tell. Reading everything
    /// shows it.
    fn resync_soon(&mut self) {
        self.resync_at = self.resync_at.min(Instant::now() + self.mismatch_delay());
    }

    /// Sets again what someone else had set. Where only the pool was shown, the service is looked at before its
    /// `connect_ahead` is set.
    fn restore_service(
        &mut self,
        service: &PerlbalName,
        known: &Service,
        shown: &Service,
        only_pool: bool,
    ) {
        let again = set_again(service, shown, known);
        if again.is_empty() {
            return;
        }
        self.log_switch(service, known, shown);
        let state = &mut self.driver.state;
        let mut looked_at = with_counts(again.clone(), &state.expected);
        for command in &again {
            state.expected.apply(command);
            state.counters.command(command);
            if let Some(reading) = &mut self.reading {
                reading.sent(command);
            }
        }
        if only_pool && let Some(check) = check(service, &state.expected) {
            looked_at.insert(looked_at.len() - 1, check);
        }
        if shown.pool != known.pool {
            // Who left that pool meanwhile is to be found.
            self.newly_used.extend(shown.pool.clone());
            self.resync_at = self.resync_at.min(Instant::now());
        }
        self.on_the_way.more(again.len());
        self.queue_checked(vec![looked_at]);
        self.plan_due = true;
    }

    fn log_switch(&mut self, service: &PerlbalName, known: &Service, shown: &Service) {
        let (Some(pool), true) = (&shown.pool, shown.pool != known.pool) else {
            return;
        };
        let before = known.pool.as_ref().map_or("none", PerlbalName::as_str);
        let state = &mut self.driver.state;
        if state.may_tell(
            pool,
            "is given to a service by someone else",
            Instant::now(),
        ) {
            warn!(
                perlbal = %self.driver.settings.address, %pool,
                "service {service} was switched from pool {before} to pool {pool} by someone else, when members were \
                 just being removed from pool {before}; for a moment it was set back, and now it uses pool {pool} again"
            );
        }
    }
}
