//! How long a change takes: from the last byte of a node's changed answer to Perlbal's `OK` for all that was said to it because of
//! that, the seal with it.
//!
//! The node stamps its answer just after its write, a relay stamps Perlbal's `OK`. The relay's own time is in the figures, once in
//! each direction less the last hop to pollbal; how much longer an exchange through it takes is measured and shown.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_quickack;

use super::Plan;
use crate::Outcome;
use crate::clock::{milliseconds, now};
use crate::nodes::address;
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
            "reaction: no {TMPFS} here, so pool files are measured on the disk alone"
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

    let changes = if plan.quick { 10 } else { 300 };
    let mut took = Vec::new();
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
        let done = relay.wait(mark, PATIENCE, |commands| answered(commands, &member));
        let done = done.ok_or_else(|| format!("nothing was said to Perlbal of {member}"))??;
        took.push(milliseconds(done.saturating_sub(stamp)));
    }
    perlbal.wait_members(NODES)?;

    took.sort_by(f64::total_cmp);
    let figure = |id: &str, what: &str, value| {
        let id = format!("reaction.{name}.{id}");
        let what = format!("pool files on {name}: {what}");
        Figure::new(id, what, "ms", value)
    };
    report.add(
        figure("p50", "answer to sealed, median", quantile(&took, 0.5)).goal(Goal::AtMost(1.0)),
    );
    report
        .add(figure("p99", "answer to sealed, p99", quantile(&took, 0.99)).goal(Goal::AtMost(3.0)));
    report.add(figure(
        "max",
        "answer to sealed, longest",
        quantile(&took, 1.0),
    ));
    report.add(figure(
        "relay",
        "an exchange is longer by the relay by",
        added,
    ));
    Ok(())
}

/// When the last command was answered of the batch that names this member and changes something; `None` while that is to come.
fn answered(commands: &[Command], member: &str) -> Option<Outcome<u64>> {
    let names = |command: &&Command| {
        command.changes() && command.text.split(' ').any(|word| word == member)
    };
    let batch = commands.iter().find(names)?.batch;
    let mut last = 0;
    for command in commands
        .iter()
        .filter(|command| command.batch == batch && command.changes())
    {
        let (stamp, error) = command.answered?;
        if error {
            return Some(Err(format!("Perlbal has refused {}", command.text).into()));
        }
        last = last.max(stamp);
    }
    Some(Ok(last))
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
    took.sort_by(f64::total_cmp);
    Ok(quantile(&took, 0.5))
}

/// Of what is in order.
pub(super) fn quantile(sorted: &[f64], part: f64) -> f64 {
    let nth = (part * sorted.len() as f64).ceil();
    // Rank 1 is the first.
    sorted
        .iter()
        .zip(1_u32..)
        .find(|(_, rank)| f64::from(*rank) >= nth)
        .map_or(f64::NAN, |(value, _)| *value)
}
