//! What came to the doors and what became of it: numbers since the start, to be read by anyone.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;

use crate::http::Door;

/// Why a connection or a request was refused before any handler saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The address is none of the services file's.
    Foreign,
    /// All places of the door are taken.
    Full,
    /// All places that one address may have are taken.
    AddressFull,
    /// The address asks too often.
    TooFast,
    /// The request's head is too long.
    HeadTooLong,
    /// The request's body is too long.
    BodyTooLong,
    /// The request's head or body took too long to come.
    TooSlow,
    /// What came is no HTTP.
    NotUnderstood,
    /// The answer was not read.
    NotRead,
    /// The answer is long, and too many long ones are not read yet.
    Unread,
    /// It is for a name that is not known as this machine's.
    UnknownHost,
    /// It may be of a web page or a webhook, which do not know what they ask for.
    CrossSite,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Foreign,
        Self::Full,
        Self::AddressFull,
        Self::TooFast,
        Self::HeadTooLong,
        Self::BodyTooLong,
        Self::TooSlow,
        Self::NotUnderstood,
        Self::NotRead,
        Self::Unread,
        Self::UnknownHost,
        Self::CrossSite,
    ];

    /// A name for metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Full => "full",
            Self::AddressFull => "address_full",
            Self::TooFast => "too_fast",
            Self::HeadTooLong => "head_too_long",
            Self::BodyTooLong => "body_too_long",
            Self::TooSlow => "too_slow",
            Self::NotUnderstood => "not_understood",
            Self::NotRead => "not_read",
            Self::Unread => "unread",
            Self::UnknownHost => "unknown_host",
            Self::CrossSite => "cross_site",
        }
    }
}

/// The classes of an answer's status, from `1xx` to `5xx`.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// One door's numbers.
#[derive(Debug, Default)]
pub struct DoorCounters {
    accepted: AtomicU64,
    ended: AtomicU64,
    answered: [AtomicU64; CLASSES.len()],
    refused: [AtomicU64; Refusal::ALL.len()],
}

impl DoorCounters {
    /// Connections that got a place so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections that have a place now.
    #[must_use]
    pub fn open(&self) -> u64 {
        // In this order, so that it is never below zero.
        let ended = self.ended.load(Ordering::Relaxed);
        self.accepted().saturating_sub(ended)
    }

    /// Requests that were answered so far, by class of status as in [`CLASSES`]; refused ones too.
    #[must_use]
    pub fn answered(&self) -> [u64; CLASSES.len()] {
        self.answered
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed))
    }

    /// What was refused so far for this reason.
    #[must_use]
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_ended(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_answer(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(count) = self.answered.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_refusal(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// The numbers of all doors.
#[derive(Debug, Default)]
pub struct Counters([DoorCounters; Door::ALL.len()]);

impl Counters {
    /// Those of one door.
    #[must_use]
    pub fn of(&self, door: Door) -> &DoorCounters {
        &self.0[door as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_and_class_has_a_number_of_its_own() {
        let counters = DoorCounters::default();
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            (0..=index).for_each(|_| counters.count_refusal(refusal));
        }
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(counters.refused(refusal), index as u64 + 1, "{refusal:?}");
        }
        for status in [200, 204, 404, 503] {
            counters.count_answer(StatusCode::from_u16(status).unwrap());
        }
        assert_eq!(counters.answered(), [0, 2, 0, 1, 1]);
    }
}
