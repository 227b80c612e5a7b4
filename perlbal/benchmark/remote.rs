//! The conductor's side of the mock nodes.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::clock::nanoseconds;
use crate::process::Process;
use crate::rhythm::Summary;
use crate::{NODES, Outcome, eventually};

/// No command takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The process of all mock nodes.
pub(crate) struct Nodes {
    pub(crate) port: u16,
    pub(crate) process: Process,
    stream: BufReader<TcpStream>,
    /// Answers that were given changed, and when.
    changed: VecDeque<(usize, u64)>,
}

impl Nodes {
    pub(crate) fn start(directory: &Path, port: u16) -> Outcome<Self> {
        let program = std::env::current_exe()?;
        let command = [
            program.as_os_str().to_owned(),
            NODES.into(),
            port.to_string().into(),
        ];
        let mut process = Process::start("nodes", directory, &command)?;
        let stream = eventually(PATIENCE, "the mock nodes listen", || {
            process.check()?;
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok())
        })?;
        stream.set_nodelay(true)?;
        Ok(Self {
            port,
            process,
            stream: BufReader::new(stream),
            changed: VecDeque::new(),
        })
    }

    /// Polls of all nodes since the start, and open connections.
    pub(crate) fn count(&mut self) -> Outcome<(u64, u64)> {
        let answer = self.ask("count")?;
        let (polls, connections) = answer.split_once(' ').ok_or("not two counts")?;
        // One is our own.
        Ok((polls.parse()?, connections.parse::<u64>()? - 1))
    }

    /// Begins to look at the rhythm.
    pub(crate) fn begin(&mut self, interval: Duration) -> Outcome<()> {
        self.tell(&format!("begin {}", nanoseconds(interval)))
    }

    pub(crate) fn rhythm(&mut self) -> Outcome<Summary> {
        Ok(self.ask("rhythm")?.parse()?)
    }

    /// When that node was polled last.
    pub(crate) fn polled(&mut self, node: usize) -> Outcome<u64> {
        Ok(self.ask(&format!("polled {node}"))?.parse()?)
    }

    /// Changes what each `step`th node of the first `nodes` announces.
    pub(crate) fn set(
        &mut self,
        nodes: std::ops::Range<usize>,
        step: usize,
        status: &str,
    ) -> Outcome<()> {
        let (from, to) = (nodes.start, nodes.end);
        self.tell(&format!("set {from} {to} {step} {status}"))
    }

    /// Lets only each `step`th node announce `api`, and the others `web`.
    pub(crate) fn home(&mut self, step: usize) -> Outcome<()> {
        self.tell(&format!("home {step}"))
    }

    /// Lets the nodes announce this many other pools by turns.
    pub(crate) fn pools(&mut self, pools: u32) -> Outcome<()> {
        self.tell(&format!("pools {pools}"))
    }

    /// Lets this many of each ten nodes hang.
    pub(crate) fn hang(&mut self, tenths: usize) -> Outcome<()> {
        self.tell(&format!("hang {tenths}"))
    }

    /// Lets one node answer late.
    pub(crate) fn slow(&mut self, node: usize, delay: Duration) -> Outcome<()> {
        self.tell(&format!("slow {node} {}", nanoseconds(delay)))
    }

    /// Waits until a node's changed answer was given, and says when.
    pub(crate) fn changed(&mut self) -> Outcome<(usize, u64)> {
        loop {
            if let Some(change) = self.changed.pop_front() {
                return Ok(change);
            }
            let line = self.line()?;
            self.take(&line)?;
        }
    }

    fn tell(&mut self, command: &str) -> Outcome<()> {
        match self.ask(command)?.as_str() {
            "ok" => Ok(()),
            other => Err(format!("the mock nodes answer {command} with {other:?}").into()),
        }
    }

    fn ask(&mut self, command: &str) -> Outcome<String> {
        self.process.check()?;
        let line = format!("{command}\n");
        self.stream.get_mut().write_all(line.as_bytes())?;
        loop {
            let line = self.line()?;
            if let Some(answer) = line.strip_prefix("= ") {
                return Ok(answer.to_owned());
            }
            self.take(&line)?;
        }
    }

    fn take(&mut self, line: &str) -> Outcome<()> {
        let change = || {
            let (node, stamp) = line.strip_prefix("changed ")?.split_once(' ')?;
            Some((node.parse().ok()?, stamp.parse().ok()?))
        };
        let change = change().ok_or_else(|| format!("not known: {line:?}"))?;
        self.changed.push_back(change);
        Ok(())
    }

    fn line(&mut self) -> Outcome<String> {
        self.stream.get_ref().set_read_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        let read = self.stream.read_line(&mut line);
        if read.map_err(|why| format!("the mock nodes say nothing: {why}"))? == 0 {
            self.process.check()?;
            return Err("the mock nodes have closed the connection".into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Waits until there were this many more polls.
    pub(crate) fn wait_polls(&mut self, more: u64, patience: Duration) -> Outcome<()> {
        let (before, _) = self.count()?;
        let begin = Instant::now();
        while self.count()?.0 < before + more {
            if begin.elapsed() > patience {
                let polls = self.count()?.0 - before;
                return Err(format!("{polls} polls of {more} within {patience:?}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}
