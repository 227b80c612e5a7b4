//! A steady state costs polls and nothing else: no write to the pool directory, no command but those of the comparison
//! with Perlbal and a ping a second.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::Plan;
use crate::Outcome;
use crate::clock::nanoseconds;
use crate::measure::watch;
use crate::relay::Relay;
use crate::report::{Figure, Goal, Report};
use crate::site::{Settings, Site};

const INTERVAL: Duration = Duration::from_millis(200);

/// Nothing is written for so long once the state file has followed the pools, which it does within some seconds.
const SETTLED: Duration = Duration::from_secs(3);

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let nodes = if plan.quick { 50 } else { 500 };
    let resync = plan.window / 3;
    let mut site = Site::new()?;
    let mut perlbal = site.perlbal()?;
    let relay = Relay::start(perlbal.management)?;
    let mut settings = Settings::new(nodes, INTERVAL);
    settings.resync = resync;
    settings.relay = Some(relay.address);
    let mut pollbal = site.settled_pollbal(&plan.pollbal, &settings, &mut perlbal)?;

    let mut before = None;
    while before != Some(pollbal.written()?) {
        before = Some(pollbal.written()?);
        watch(&mut site.nodes, &mut pollbal, INTERVAL, SETTLED)?;
    }

    let mark = relay.len();
    let (files, written) = (state(&site.pool_directory())?, pollbal.written()?);
    watch(&mut site.nodes, &mut pollbal, INTERVAL, plan.window)?;
    let touched = state(&site.pool_directory())? != files;
    let written = pollbal.written()? - written;
    let mut commands = relay.since(mark);
    // A sign of life each second.
    commands.retain(|command| !command.text.starts_with("VERBOSE"));

    let add = |report: &mut Report, id: &str, what: &str, unit, value, limit| {
        let figure = Figure::new(format!("quiet.{id}"), format!("quiet: {what}"), unit, value);
        report.add(figure.goal(Goal::AtMost(limit)));
    };
    add(
        report,
        "directory",
        "changes of the pool directory",
        "",
        f64::from(u8::from(touched)),
        0.0,
    );
    add(
        report,
        "written",
        "written to disks",
        "bytes",
        written as f64,
        0.0,
    );
    let changes = commands.iter().filter(|command| command.changes()).count();
    add(
        report,
        "changes",
        "commands that change Perlbal",
        "",
        changes as f64,
        0.0,
    );
    // A comparison is what was said with no long silence in between.
    let gap = nanoseconds(resync) / 2;
    let silent = commands
        .windows(2)
        .filter(|pair| pair[1].sent - pair[0].sent > gap);
    let comparisons = silent.count() + usize::from(!commands.is_empty());
    // One more by where the window begins.
    let due = 1.0 + (plan.window.as_secs_f64() / resync.as_secs_f64()).round();
    let every = format!("comparisons with Perlbal, one every {resync:.1?}");
    add(report, "comparisons", &every, "", comparisons as f64, due);
    let some = Figure::new(
        "quiet.compared",
        "quiet: comparisons at all",
        "",
        comparisons as f64,
    );
    report.add(some.goal(Goal::AtLeast(1.0)));
    Ok(())
}

/// What tells any write to the directory: of each file its name, inode, size and times.
fn state(directory: &Path) -> Outcome<Vec<(String, [i64; 6])>> {
    let of = |about: fs::Metadata| {
        let number = |value: u64| i64::try_from(value).unwrap_or(-1);
        [
            number(about.ino()),
            number(about.size()),
            about.mtime(),
            about.mtime_nsec(),
            about.ctime(),
            about.ctime_nsec(),
        ]
    };
    let mut files = vec![(String::new(), of(fs::metadata(directory)?))];
    for file in fs::read_dir(directory)? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        files.push((name, of(file.metadata()?)));
    }
    files.sort();
    Ok(files)
}
