//! How long a change takes: from a node's changed answer to Perlbal's `OK` for all that was said to it because of that; where a
//! node leaves, with the seal.
//!
//! The node stamps its answer just before its write, as on loopback the write itself delivers: its time is in the figures. A relay
//! stamps Perlbal's `OK`. How much longer a command and its `OK` take through it, one right after the other, is measured, shown and
//! taken off; after a pause, as here, it takes rather more.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_quickack;

use super::Plan;
use crate::Outcome;
use crate::clock::{milliseconds, now};
use crate::nodes::address;
use crate::quantile::{median, quantile};
use crate::relay::{Command, Relay};
use crate::report::{Figure, Goal, Report};
use crate::site::{Settings, Site};

const NODES: usize = 100;
const INTERVAL: Duration = Duration::from_millis(100);

/// Memory in the shape of a file system, as the package's pool directory is.
const TMPFS: &str = "/dev/shm";

/// No change takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    let tmpfs = Path::new(TMPFS);
    if tmpfs.is_dir() {
        measure(plan, report, "tmpfs", Some(tmpfs))?;
    } else {
        report.note(format!(
            "reaction: no {TMPFS} here, so pool files are measured on the disk alone, for which there are no goals"
        ));
    }
    measure(plan, report, "disk", None)
}

fn measure(plan: &Plan, report: &mut Report, name: &str, pools: Option<&Path>) -> Outcome<()> {
    let mut site = Site::with_pools(pools)?;
    let mut perlbal = site.perlbal()?;
    let relay = Relay::start(perlbal.management)?;
    let added = exchange(relay.address)? - exchange(perlbal.management)?;
    let mut settings = Settings::new(NODES, INTERVAL);
    settings.relay = Some(relay.address);
    let mut pollbal = site.settled_pollbal(&plan.pollbal, &settings, &mut perlbal)?;

    let changes = if plan.quick { 10 } else { 400 };
    let mut took = [Vec::new(), Vec::new()];
    for change in 0..changes {
        pollbal.check()?;
        // Each node leaves and comes back; 37 and 100 have no divisor in common.
        let node = change / 2 * 37 % NODES;
        let status = ["leaving", "serving"][change % 2];
        let mark = relay.len();
        site.nodes.set(node..node + 1, 1, status)?;
        let (answering, stamp) = site.nodes.changed()?;
        if answering != node {
            return Err(format!("node {answering} changed rather than {node}").into());
        }
        let member = format!("{}:{}", address(node), site.nodes.port);
        let done = relay.wait(mark, PATIENCE, |commands| {
            answered(commands, &member, status == "leaving")
        });
        let done = done.ok_or_else(|| format!("nothing was said to Perlbal of {member}"))??;
        let with_relay = milliseconds(done.saturating_sub(stamp));
        took[change % 2].push(with_relay - added);
    }
    perlbal.wait_members(NODES)?;

    // A sync's time is the disk's; the goals are for files in memory, where they are unless someone wants it otherwise.
    let place = match pools {
        Some(_) => "in memory",
        None => "on disk, with its sync",
    };
    let figure = |id: &str, what: &str, value| {
        let id = format!("reaction.{name}.{id}");
        Figure::new(id, format!("{place}: {what}"), "ms", value)
    };
    let changes = ["leaving, answer to sealed", "joining, answer to OK"];
    for (what, took) in changes.into_iter().zip(&took) {
        let kind = &what[..7];
        for (id, about, part, goal) in [
            ("p50", "median", 0.5, Some(1.0)),
            ("p99", "p99", 0.99, Some(3.0)),
            ("max", "longest", 1.0, None),
        ] {
            let id = format!("{kind}.{id}");
            let found = figure(&id, &format!("{what}, {about}"), quantile(took, part));
            report.add(match goal.filter(|_| pools.is_some()) {
                Some(limit) => found.goal(Goal::AtMost(limit)),
                None => found,
            });
        }
    }
    report.add(figure(
        "relay",
        "what the relay adds to an exchange, taken off",
        added,
    ));
    Ok(())
}

/// When the last command was answered of what names this member and changes something, up to the seal where it leaves; `None`
/// while that is to come.
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

/// How long a command and its `OK` take there, in milliseconds: the median of many.
fn exchange(management: SocketAddrV4) -> Outcome<f64> {
    let mut stream = BufReader::new(TcpStream::connect(management)?);
    stream.get_ref().set_nodelay(true)?;
    let mut took = Vec::new();
    for _ in 0..200 {
        let begin = now();
        stream
            .get_mut()
            .write_all(b"SET rest persist_client = on\r\n")?;
        set_tcp_quickack(stream.get_ref(), true)?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if line.trim_end() != "OK" {
            return Err(format!("Perlbal says {line:?}").into());
        }
        took.push(milliseconds(now() - begin));
    }
    Ok(median(&took))
}
