//! Changes on their way, each service looked at when something of it is set again.

use std::mem;
use std::time::Instant;

use tracing::warn;

use super::super::looks::{look, parse_service, set_again, taken_from, with_counts, with_looks};
use super::super::plan::Group;
use super::super::wire::{Answer, Command, Service, parse_users};
use super::Link;
use crate::drivers::perlbal::name::PerlbalName;

impl Link<'_> {
    /// Gives changes to the session to send.
    pub(super) fn change(&mut self, groups: Vec<Group>) {
        let groups = with_looks(groups, &self.manager.memory.told);
        self.change_with_looks(groups);
    }

    fn change_with_looks(&mut self, groups: Vec<Group>) {
        let looks = groups.iter().flatten();
        for look in looks.filter(|command| !command.is_change()) {
            self.manager.memory.counters.command(look);
            // Nothing counts as told before it is known what the seals in front of it did.
            if let Command::ShowPools { .. } = look {
                self.on_the_way.more(1);
            }
        }
        self.session.change(groups);
    }

    /// Takes how a service was set when Perlbal set something of it again.
    pub(super) fn take_service(&mut self, service: &PerlbalName, known: &Service, answer: Answer) {
        let Answer::Ok(lines) = answer else {
            return self.resync_soon();
        };
        let shown = parse_service(&lines);
        self.take_shown(service, known, &shown, false);
    }

    /// Takes how many services use which pool, and so what the seal right before has changed, if one was there.
    pub(super) fn take_users(&mut self, sealed: Option<&(PerlbalName, Service)>, answer: Answer) {
        self.on_the_way.answer();
        let Answer::Ok(lines) = answer else {
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
            self.take_shown(service, known, &shown, true);
        }
        self.take_told();
    }

    /// A look was refused: the service is no longer there, or a version of Perlbal does not tell. Reading everything
    /// shows it.
    fn resync_soon(&mut self) {
        self.resync_at = self.resync_at.min(Instant::now() + self.patience());
    }

    /// Sets again what someone else had set. Where only the pool was shown, the service is looked at before its
    /// `connect_ahead` is set.
    fn take_shown(
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
        let memory = &mut self.manager.memory;
        let mut looked_at = with_counts(again.clone(), &memory.told);
        for command in &again {
            memory.told.apply(command);
            memory.counters.command(command);
            if let Some(reading) = &mut self.reading {
                reading.sent(command);
            }
        }
        if only_pool && let Some(look) = look(service, &memory.told) {
            looked_at.insert(looked_at.len() - 1, look);
        }
        if shown.pool != known.pool {
            // Who left that pool meanwhile is to be found.
            self.newly_used.extend(shown.pool.clone());
            self.resync_at = self.resync_at.min(Instant::now());
        }
        self.on_the_way.more(again.len());
        self.change_with_looks(vec![looked_at]);
        self.plan_due = true;
    }

    fn log_switch(&mut self, service: &PerlbalName, known: &Service, shown: &Service) {
        let (Some(pool), true) = (&shown.pool, shown.pool != known.pool) else {
            return;
        };
        let before = known.pool.as_ref().map_or("none", PerlbalName::as_str);
        let memory = &mut self.manager.memory;
        if memory.may_tell(
            pool,
            "is given to a service by someone else",
            Instant::now(),
        ) {
            warn!(
                perlbal = %self.manager.settings.address, %pool,
                "service {service} was switched from pool {before} to pool {pool} by someone else, when members were \
                 just being removed from pool {before}; for a moment it was set back, and now it uses pool {pool} again"
            );
        }
    }
}
