//! The benchmark of the whole daemon: pollbal with mock nodes and a real Perlbal or `HAProxy`, beside
//! `HAProxy`'s own health checks and the floor.
//!
//! `perlbal/bench` builds and starts it. One process, the conductor, goes through the parts of the run one after the
//! other and starts what each needs: the mock nodes and the floor are this very program in another role.
//!
//! ```text
//! main ─► parts/* ─► site (config files, processes) ─► measure (a window of time) ─► report (table, JSON)
//! ```
#![allow(clippy::cast_precision_loss, reason = "figures are for people")]

mod clients;
mod clock;
mod driven;
mod floor;
mod listeners;
mod measure;
mod nodes;
mod parts;
mod process;
mod quantile;
mod relay;
mod remote;
mod report;
mod rhythm;
mod rooms;
mod site;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use clap::{Parser, ValueEnum};
use serde_json::Value;

use parts::{
    Plan, churn, cost, fleet, memory, nudge, quiet, reaction, scrapes, soak, start, status, trouble,
};
use report::Report;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The roles of this program beside the conductor's.
pub(crate) const NODES: &str = "nodes";
pub(crate) const FLOOR: &str = "floor";

/// What `perlbal/bench` passes on; its own help tells what it means.
#[derive(Debug, Parser)]
#[command(name = "perlbal/bench", disable_help_flag = true)]
struct Args {
    parts: Vec<Part>,
    #[arg(long)]
    json: Option<PathBuf>,
    #[arg(long)]
    quick: bool,
    #[arg(long)]
    check: bool,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    window: u64,
    #[arg(long, default_value_t = 10_000_000)]
    soak_polls: u64,
    #[arg(long)]
    pollbal: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Cost,
    Memory,
    Trouble,
    Start,
    Reaction,
    Churn,
    Quiet,
    Nudge,
    Status,
    Http,
    Scrapes,
    Haproxy,
    Fleet,
    Soak,
}

/// All of them; the last two are run only where they are named, and for a moment.
const PARTS: [Part; 14] = [
    Part::Cost,
    Part::Memory,
    Part::Trouble,
    Part::Start,
    Part::Reaction,
    Part::Churn,
    Part::Quiet,
    Part::Nudge,
    Part::Status,
    Part::Http,
    Part::Scrapes,
    Part::Haproxy,
    Part::Fleet,
    Part::Soak,
];
const USUAL: usize = 12;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().collect();
    let done = match args.get(1).map(String::as_str) {
        Some(process::EXEC) => become_program(&args[2..]),
        Some(NODES) => serve_nodes(&args[2..]),
        Some(FLOOR) => poll_as_floor(&args[2..]),
        _ => match Args::try_parse() {
            Ok(args) => conduct(&args),
            Err(error) => {
                // Where that cannot be said, nothing can.
                _ = error.print();
                return ExitCode::from(64);
            }
        },
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("perlbal/bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn become_program(args: &[String]) -> Outcome<bool> {
    let (parent, command) = args.split_first().ok_or("no parent is named")?;
    process::become_program(parent, command)?;
    Ok(true)
}

fn serve_nodes(args: &[String]) -> Outcome<bool> {
    let [port] = args else {
        return Err("expected a port".into());
    };
    nodes::serve(port.parse()?)?;
    Ok(true)
}

fn poll_as_floor(args: &[String]) -> Outcome<bool> {
    let [port, nodes, interval] = args else {
        return Err("expected a port, a number of nodes and an interval".into());
    };
    let interval = Duration::from_millis(interval.parse()?);
    floor::poll(port.parse()?, nodes.parse()?, interval)?;
    Ok(true)
}

/// Runs what is asked for; false where a part failed, or where a goal was missed and that was asked.
fn conduct(args: &Args) -> Outcome<bool> {
    rooms::watch_signals()?;
    let pollbal = match &args.pollbal {
        Some(program) => program.clone(),
        None => beside_examples("pollbal")?,
    };
    let plan = Plan {
        quick: args.quick,
        window: Duration::from_secs(if args.quick { 1 } else { args.window }),
        descriptors: process::raise_descriptor_limit()?,
        soak_polls: args.soak_polls,
        pollbal,
    };
    let mut report = Report::new(about(&plan)?, plan.quick);
    if plan.quick {
        report.note(
            "quick: each part ran for a moment, to see that it works; its figures mean nothing",
        );
    }
    let parts = match &args.parts[..] {
        [] if plan.quick => &PARTS[..],
        [] => &PARTS[..USUAL],
        named => named,
    };
    let mut all_ran = true;
    for part in parts {
        let dropped = measure::dropped();
        let ran = match part {
            Part::Cost => cost::run(&plan, &mut report),
            Part::Memory => memory::run(&plan, &mut report),
            Part::Trouble => trouble::run(&plan, &mut report),
            Part::Start => start::run(&plan, &mut report),
            Part::Reaction => reaction::run(&plan, &mut report),
            Part::Churn => churn::run(&plan, &mut report),
            Part::Quiet => quiet::run(&plan, &mut report),
            Part::Nudge => nudge::run(&plan, &mut report),
            Part::Status => status::run(&plan, &mut report),
            Part::Http => parts::http::run(&plan, &mut report),
            Part::Scrapes => scrapes::run(&plan, &mut report),
            Part::Haproxy => parts::haproxy::run(&plan, &mut report),
            Part::Fleet => fleet::run(&plan, &mut report),
            Part::Soak => soak::run(&plan, &mut report),
        };
        // The other parts may still tell something.
        if let Err(why) = ran {
            report.note(format!("{part:?} FAILED: {why}"));
            all_ran = false;
        }
        let dropped = measure::dropped() - dropped;
        if dropped > 0 {
            report.note(format!(
                "{part:?}: the kernel dropped {dropped} packets, as its table of connections was full \
                 (nf_conntrack_max); anyone who made a connection for each poll had to wait"
            ));
        }
    }
    report.finish();
    if let Some(file) = &args.json {
        let failed = |why| format!("failed to write {}: {why}", file.display());
        fs::write(file, report.json()?).map_err(failed)?;
    }
    Ok(all_ran && (!args.check || report.good()))
}

/// A program that is built into the directory above the examples'.
fn beside_examples(name: &str) -> Outcome<PathBuf> {
    let this = env::current_exe()?;
    let directory = this.parent().and_then(|examples| examples.parent());
    Ok(directory
        .ok_or("this program is in no directory")?
        .join(name))
}

/// What the figures were found with.
fn about(plan: &Plan) -> Outcome<BTreeMap<&'static str, Value>> {
    let version = |program: &std::path::Path, flag: &str| -> Outcome<Value> {
        let said = Command::new(program).arg(flag).output();
        let said = said.map_err(|why| format!("failed to run {}: {why}", program.display()))?;
        let text = String::from_utf8_lossy(&said.stdout);
        Ok(text.trim().lines().next().unwrap_or_default().into())
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(BTreeMap::from([
        ("pollbal", version(&plan.pollbal, "--version")?),
        ("HAProxy", version("haproxy".as_ref(), "-v")?),
        ("Perlbal", version("perlbal".as_ref(), "--version")?),
        ("kernel", kernel.trim().into()),
        ("cores", thread::available_parallelism()?.get().into()),
        ("open files", plan.descriptors.into()),
        ("window", plan.window.as_secs().into()),
        ("quick", plan.quick.into()),
    ]))
}

/// Waits until something is there, looking often enough for a time in milliseconds to be meant.
pub(crate) fn eventually<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Outcome<Option<T>>,
) -> Outcome<T> {
    let begin = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if begin.elapsed() > patience {
            return Err(format!("{what}: not within {patience:?}").into());
        }
        thread::sleep(Duration::from_millis(2));
    }
}
