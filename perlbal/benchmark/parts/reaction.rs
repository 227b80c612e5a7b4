//! How long a change takes: from a node's changed answer to Perlbal's `OK` for all that was said to it because of that;
//! where a node leaves, with the seal.
//!
//! The node stamps its answer just before its write, as on loopback the write itself delivers: its time is in the
//! figures. A relay stamps Perlbal's `OK`. How much longer a command and its `OK` take through it, one right after the
//! other, is measured, shown and taken off; after a pause, as here, it takes rather more. Beside, as the floor, stands
//! what Perlbal alone takes for the same commands from a client that does nothing else, after such a pause.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_quickack;

use super::Plan;
use super::change::{ChangeFigures, STATUSES, TMPFS, add_figures, tmpfs, wait_answered};
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

    let member = |node| format!("{}:{}", address(node), site.nodes.port);
    let members: Vec<_> = (0..NODES).map(member).collect();
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
        let done = wait_answered(&relay, mark, &members[node], status == "leaving")?;
        let with_relay = milliseconds(done.saturating_sub(stamp));
        took[change % 2].push(with_relay - added);
    }
    perlbal.wait_members(NODES)?;
    drop(pollbal);
    let alone = alone(perlbal.management, &members, changes / 4)?;

    // A sync's time is the disk's; the goals are for files in memory, where they are unless someone wants it otherwise.
    let (place, goals) = match pools {
        Some(_) => ("in memory", [Some(1.0), Some(3.0)]),
        None => ("on disk, with its sync", [None; 2]),
    };
    let figures = ChangeFigures {
        id: &format!("reaction.{name}"),
        place,
        since: "answer",
        goals,
        alone: alone.map(Some),
    };
    add_figures(report, figures, &took);
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
    let mut client = Bare::connect(management)?;
    let took = (0..200).map(|_| client.ask(&["SET rest persist_client = on"]));
    Ok(median(&took.collect::<Outcome<Vec<_>>>()?))
}

/// How long Perlbal alone takes for a removal with its seal, and for an addition, where nothing is decided and no file
/// written: medians, in milliseconds.
fn alone(management: SocketAddrV4, members: &[String], changes: usize) -> Outcome<[f64; 2]> {
    let mut client = Bare::connect(management)?;
    let mut took = [Vec::new(), Vec::new()];
    for member in members.iter().cycle().take(changes / 2) {
        let (remove, add) = (
            format!("POOL api REMOVE {member}"),
            format!("POOL api ADD {member}"),
        );
        for (commands, took) in [&[remove.as_str(), "SET rest pool = api"][..], &[&add]]
            .into_iter()
            .zip(&mut took)
        {
            // As long as Perlbal rests between a node's polls: an idle one has to wake.
            sleep(INTERVAL);
            took.push(client.ask(commands)?);
        }
    }
    Ok(took.map(|took| median(&took)))
}

/// A client of Perlbal's management socket that does nothing but ask.
struct Bare(BufReader<TcpStream>);

impl Bare {
    fn connect(management: SocketAddrV4) -> Outcome<Self> {
        let stream = TcpStream::connect(management)?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// How long it takes until all of these are answered with `OK`, in milliseconds.
    fn ask(&mut self, commands: &[&str]) -> Outcome<f64> {
        let text = commands.join("\r\n") + "\r\n";
        let begin = now();
        self.0.get_mut().write_all(text.as_bytes())?;
        for _ in commands {
            set_tcp_quickack(self.0.get_ref(), true)?;
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            if line.trim_end() != "OK" {
                return Err(format!("Perlbal says {line:?}").into());
            }
        }
        Ok(milliseconds(now() - begin))
    }
}
