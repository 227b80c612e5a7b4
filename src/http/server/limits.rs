//! How much a door takes on.
//!
//! A door has places, one for each connection; one address may have a part of them only. How many
//! there are follows from the limit of open files: kept connections to nodes take most of it (see
//! [`FdShares`]), half of the rest is for polls without a kept connection, and of the
//! other half the doors leave [`FOR_PERLBALS`] or a half to Perlbals, files and hooks. So connections
//! at a door never take a descriptor that a poll or Perlbal needs. (A few more may be open for a moment,
//! until they are told that there is no place: see [`Limits::heard`].)

use std::sync::Arc;
use std::time::Duration;

use crate::fd_limits::FdShares;
use crate::http::Door;
use crate::http::server::connection_limit::{PerAddress, Places};

/// The longest head of a request, in bytes: more than any browser or script sends.
pub(crate) const HEAD_BYTES: usize = 16 * 1024;

/// From the first byte of a request's head to its last; and for the first byte, on a connection that
/// is new.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(5);

/// From the head to the last byte of the body.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(10);

/// Between two requests on one connection: longer than Prometheus's interval commonly is.
pub(crate) const IDLE_TIME: Duration = Duration::from_secs(75);

/// Until what was to be written is taken by the other side. A stream of events may last for ever, as
/// long as each of them is read.
pub(crate) const WRITE_TIME: Duration = Duration::from_secs(30);

/// Answers of no more bytes than these are not counted: all places of a door together hold little.
pub(crate) const SHORT: usize = 64 * 1024;

/// Of longer answers one door has no more bytes in memory that are not yet written. The longest, of
/// 10,000 nodes, has 3 MB.
pub(crate) const UNREAD: usize = 32 * 1024 * 1024;

/// Maximum size of these for one address, in bytes: others are still answered while it reads nothing.
pub(crate) const UNREAD_BY_ADDRESS: usize = UNREAD / 4;

/// When who was refused for want of room may try again.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// So long a connection for which there is no place may take to ask, before it is told so: an answer
/// that comes before its request is thrown away by some clients, which then tell nonsense.
pub(crate) const ASK_TIME: Duration = Duration::from_millis(200);

/// For one in so many places one connection more may ask before it is refused.
const HEARD_SHARE: usize = 8;

/// And for no more than so many, however many places there are.
const HEARD: usize = 16;

/// So long a connection that was refused is still read, so that the other side, which may still
/// write, reads the refusal rather than "connection reset".
pub(crate) const LINGER_TIME: Duration = Duration::from_secs(1);

/// And no more than so many bytes.
pub(crate) const LINGER_BYTES: usize = 256 * 1024;

/// Descriptors for Perlbals, files and hooks, where there are enough.
const FOR_PERLBALS: usize = 64;

/// What one door takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Connections at a time.
    pub(crate) places: usize,
    /// How many of them one address may have. None where addresses say nothing.
    pub(crate) places_per_address: Option<PerAddress>,
    /// Connections that are refused, but may ask first, at a time; beside the places.
    pub(crate) heard: usize,
    /// The longest body, in bytes.
    pub(crate) body_bytes: usize,
    /// How often one address may ask, if that is limited.
    pub(crate) pace: Option<Pace>,
}

/// How often something may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// So often a second for long.
    pub(crate) per_second: u32,
    /// And so often at once.
    pub(crate) burst: u32,
}

impl Limits {
    /// Those of the door, when so many files may be open.
    pub(crate) fn new(door: Door, open_files: usize) -> Self {
        let rest = FdShares::of(open_files).others;
        let doors = (rest / 2).max(rest.saturating_sub(FOR_PERLBALS));
        let heard = |places: usize| (places / HEARD_SHARE).clamp(1, HEARD);
        match door {
            // People, and the scripts of a big deploy that wait for nodes. They are trusted, and
            // there is no address to tell them apart.
            Door::Admin => {
                let places = (doors / 4).min(128);
                Self {
                    places,
                    places_per_address: None,
                    heard: heard(places),
                    body_bytes: 1024 * 1024,
                    pace: None,
                }
            }
            // A page in a browser holds a place. All may come through one proxy, so one address
            // has half of them; the next one half of the rest.
            Door::Status => {
                let places = (doors / 4).min(256);
                Self {
                    places,
                    places_per_address: Some(PerAddress {
                        most: (places / 2).max(1),
                        share: 1,
                    }),
                    heard: heard(places),
                    body_bytes: 0,
                    pace: None,
                }
            }
            // A node holds a place while it waits to leave. Many nodes may have one address.
            Door::Node => {
                let places = (doors / 2).min(1_024);
                Self {
                    places,
                    places_per_address: Some(PerAddress {
                        most: (places / 4).clamp(1, 64),
                        share: 4,
                    }),
                    heard: heard(places),
                    body_bytes: 1024,
                    pace: Some(Pace {
                        per_second: 20,
                        burst: 40,
                    }),
                }
            }
        }
    }
}

impl Limits {
    /// For the answers of a door that are held: half of its places, so that who only asks still gets
    /// in, and of one address a quarter of its own.
    pub(crate) fn held(self) -> Arc<Places> {
        let per_address = self
            .places_per_address
            .map(|PerAddress { most, share }| PerAddress {
                most: most.div_ceil(4),
                share,
            });
        Places::new(self.places.div_ceil(2), per_address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(open_files: usize) -> [usize; 3] {
        Door::ALL.map(|door| Limits::new(door, open_files).places)
    }

    #[test]
    fn with_files_enough_each_door_has_all_its_places() {
        assert_eq!(places(20_000), [128, 256, 1_024]);
        assert_eq!(places(usize::MAX), [128, 256, 1_024]);
    }

    #[test]
    fn with_few_files_the_doors_leave_half_of_the_rest_and_every_door_still_opens() {
        assert_eq!(places(256), [4, 4, 8]);
        assert_eq!(places(1_024), [16, 16, 32]);
        assert_eq!(places(4_096), [112, 112, 224]);
        for open_files in 64..10_000 {
            let rest = FdShares::of(open_files).others;
            let doors: usize = places(open_files).iter().sum();
            assert!(doors <= rest.saturating_sub(FOR_PERLBALS).max(rest / 2));
            for door in Door::ALL {
                let limits = Limits::new(door, open_files);
                assert!(limits.places >= 1, "{door:?} with {open_files} files");
                let most = limits
                    .places_per_address
                    .map_or(1, |per_address| per_address.most);
                assert!((1..=limits.places).contains(&most));
            }
        }
    }
}
