//! The pure part: what nodes, announcements, membership and pools are.
//!
//! Nothing here does I/O or reads a clock; bytes and time come in as arguments. So the same code
//! serves the daemon, `--dry-run` and the tests, and each type, once made, is safe to write into
//! a file name, a file or a command without another check.

pub mod addr_block;
pub mod alerts;
pub mod announcement;
pub mod bucket;
pub mod change;
pub mod driver_status;
pub mod event;
pub mod event_log;
pub mod health;
pub mod host_name;
pub mod membership;
pub mod names;
pub mod naming;
pub mod nearest;
pub mod node;
pub mod node_counts;
pub mod node_index;
pub mod node_times;
pub mod node_view;
pub mod observation;
pub mod overrides;
pub mod ownership;
pub mod poll_stats;
pub mod pools;
pub mod problems;
pub mod ramp;
pub mod removals;
pub mod report;
pub mod rollout_status;
pub mod rules;
pub mod services;
pub mod site_counts;
pub mod skipped;
pub mod text;
pub mod time;
pub mod time_window;
pub mod weight;
pub mod words;
