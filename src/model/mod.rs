//! The pure part: what nodes, announcements, membership and pools are.
//!
//! Nothing here does I/O or reads a clock; bytes and time come in as arguments. So the same code
//! serves the daemon, `--dry-run` and the tests, and each type, once made, is safe to write into
//! a file name, a file or a command without another check.

pub mod address_book;
pub mod alerts;
pub mod announcement;
pub mod census;
pub mod change;
pub mod conditions;
pub mod hours;
pub mod journal;
pub mod membership;
pub mod names;
pub mod node;
pub mod observation;
pub mod orders;
pub mod pools;
pub mod rules;
pub mod services;
pub mod tally;
pub mod telling;
pub mod text;
pub mod time;
pub mod view;
