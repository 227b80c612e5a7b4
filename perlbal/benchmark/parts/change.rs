//! One node's change as Perlbal sees it: what was said to Perlbal because of it, and how long that took.

use std::path::Path;
use std::time::Duration;

use crate::Outcome;
use crate::quantile::quantile;
use crate::relay::{Command, Relay};
use crate::report::{Figure, Goal, Report};

/// What a node announces by turns: it leaves and comes back.
pub(super) const STATUSES: [&str; 2] = ["leaving", "serving"];

/// Memory in the shape of a file system, as the package's pool directory is.
pub(super) const TMPFS: &str = "/dev/shm";

/// That memory, where it is there.
pub(super) fn tmpfs() -> Option<&'static Path> {
    Some(Path::new(TMPFS)).filter(|tmpfs| tmpfs.is_dir())
}

/// No change takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until all is answered that was said because of a member since that mark, and says when it was.
pub(super) fn wait_answered(
    relay: &Relay,
    mark: usize,
    member: &str,
    leaves: bool,
) -> Outcome<u64> {
    let done = relay.wait(mark, PATIENCE, |commands| {
        answered(commands, member, leaves)
    });
    done.ok_or_else(|| format!("nothing was said to Perlbal of {member}"))?
}

/// When the last command was answered of what names this member and changes something, up to the seal where it leaves;
/// `None` while that is to come.
fn answered(commands: &[Command], member: &str, leaves: bool) -> Option<Outcome<u64>> {
    let names =
        |command: &Command| command.changes() && command.text.split(' ').any(|word| word == member);
    let at = commands.iter().position(names)?;
    let first = commands[at].batch;
    let end = if leaves {
        commands[at..].iter().find(|command| seals(command))?.batch
    } else {
        first
    };
    let mut last = 0;
    for command in commands
        .iter()
        .filter(|command| (first..=end).contains(&command.batch) && command.changes())
    {
        let (stamp, error) = command.answered?;
        if error {
            return Some(Err(format!("Perlbal has refused {}", command.text).into()));
        }
        last = last.max(stamp);
    }
    Some(Ok(last))
}

/// Whether it gives a service its pool, after which that forgets connections to members that are gone.
fn seals(command: &Command) -> bool {
    let words: Vec<&str> = command.text.split(' ').collect();
    matches!(words[..], ["SET", _, "pool", "=", _])
}

/// What the figures of changes have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChangeFigures<'a> {
    /// What their figures' ids begin with.
    pub(super) id: &'a str,
    pub(super) place: &'a str,
    /// What their time is counted from.
    pub(super) since: &'a str,
    /// What the median and the 99th percentile may be, in milliseconds.
    pub(super) goals: [Option<f64>; 2],
    /// What Perlbal alone takes for one who leaves, and for one who joins, in the median, in milliseconds.
    pub(super) alone: [Option<f64>; 2],
}

/// Adds how long changes took, in milliseconds: those of nodes that left, and of those that came back.
pub(super) fn add_figures(report: &mut Report, figures: ChangeFigures<'_>, took: &[Vec<f64>; 2]) {
    let ChangeFigures {
        id,
        place,
        since,
        goals: [median, p99],
        alone,
    } = figures;
    let kinds = [("leaving", "sealed"), ("joining", "OK")];
    for (((kind, end), took), alone) in kinds.into_iter().zip(took).zip(alone) {
        for (name, about, part, goal, floor) in [
            ("p50", "median", 0.5, median, alone),
            ("p99", "p99", 0.99, p99, None),
            ("max", "longest", 1.0, None, None),
        ] {
            let figure = Figure::new(
                format!("{id}.{kind}.{name}"),
                format!("{place}: {kind}, {since} to {end}, {about}"),
                "ms",
                quantile(took, part),
            )
            .beside(None, floor);
            report.add(match goal {
                Some(limit) => figure.goal(Goal::AtMost(limit)),
                None => figure,
            });
        }
    }
}
