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
use super::change::{STATUSES, TMPFS, Told, tell, tmpfs, wait_answered};
use crate::Outcome;
use crate::clock::{milliseconds, now};
use crate::nodes::address;
use crate::quantile::median;
use crate::relay::Relay;
use crate::report::{Figure, Report};
use crate::site::{Settings, Site};

const NODES: usize = 100;
const INTERVAL: Duration = Duration::from_millis(100);

pub(crate) fn run(plan: &Plan, report: &mut Report) -> Outcome<()> {
    if let Some(tmpfs) = tmpfs() {
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
        let status = STATUSES[change % 2];
        let mark = relay.len();
        site.nodes.set(node..node + 1, 1, status)?;
        let (answering, stamp) = site.nodes.changed()?;
        if answering != node {
            return Err(format!("node {answering} changed rather than {node}").into());
        }
        let member = format!("{}:{}", address(node), site.nodes.port);
        let done = wait_answered(&relay, mark, &member, status == "leaving")?;
        let with_relay = milliseconds(done.saturating_sub(stamp));
        took[change % 2].push(with_relay - added);
    }
    perlbal.wait_members(NODES)?;

    // A sync's time is the disk's; the goals are for files in memory, where they are unless someone wants it otherwise.
    let (place, goals) = match pools {
        Some(_) => ("in memory", [Some(1.0), Some(3.0)]),
        None => ("on disk, with its sync", [None; 2]),
    };
    let told = Told {
        id: &format!("reaction.{name}"),
        place,
        since: "answer",
        goals,
    };
    tell(report, told, &took);
    report.add(Figure::new(
        format!("reaction.{name}.relay"),
        format!("{place}: what the relay adds to an exchange, taken off"),
        "ms",
        added,
    ));
    Ok(())
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
