//! What came to the doors.

use std::fmt;

use super::families::Families;
use crate::http::{CLASSES, Counters, Door, Refusal};

/// One door.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entrance {
    pub(super) door: &'static str,
    /// Connections that are open.
    pub(super) open: u64,
    /// Connections so far.
    pub(super) accepted: u64,
    /// Requests that were answered, as [`CLASSES`].
    pub(super) answered: [u64; CLASSES.len()],
    /// Connections and requests that were refused, as [`Refusal::ALL`].
    pub(super) refused: [u64; Refusal::ALL.len()],
}

/// All doors' numbers, also of those that are off.
pub(super) fn all(counters: &Counters) -> Vec<Entrance> {
    let entrance = |door| {
        let counters = counters.of(door);
        Entrance {
            door: match door {
                Door::Admin => "admin",
                Door::Status => "status",
                Door::Node => "node",
            },
            open: counters.open(),
            accepted: counters.accepted(),
            answered: counters.answered(),
            refused: Refusal::ALL.map(|refusal| counters.refused(refusal)),
        }
    };
    Door::ALL.map(entrance).into()
}

pub(super) fn write(entrances: &[Entrance], families: &mut Families<'_>) -> fmt::Result {
    families.gauges(
        "pollbal_door_connections",
        "Connections that are open at a door.",
        entrances
            .iter()
            .map(|entrance| ([("door", entrance.door)], entrance.open)),
    )?;
    families.counters(
        "pollbal_door_accepted_total",
        "Connections that were let in at a door.",
        entrances
            .iter()
            .map(|entrance| ([("door", entrance.door)], entrance.accepted)),
    )?;
    let answered = entrances.iter().flat_map(|entrance| {
        let classes = CLASSES.iter().zip(entrance.answered);
        classes.map(|(class, count)| ([("door", entrance.door), ("code", *class)], count))
    });
    families.counters(
        "pollbal_door_requests_total",
        "Requests that were answered at a door, by class of status.",
        answered,
    )?;
    let refused = entrances.iter().flat_map(|entrance| {
        let reasons = Refusal::ALL.iter().zip(entrance.refused);
        reasons.map(|(reason, count)| ([("door", entrance.door), ("reason", reason.name())], count))
    });
    families.counters(
        "pollbal_door_refused_total",
        "Connections and requests that a door refused, by reason.",
        refused,
    )
}
