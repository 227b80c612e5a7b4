//! A relay between pollbal and a load balancer's management socket that knows when each command was answered.
//!
//! It hands on each read at once as it is, so that what was written together arrives together; a batch is what was in
//! one read. What it adds is measured beside (`parts/reaction.rs`).

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_tcp_quickack;

use crate::Outcome;
use crate::clock::now;
use crate::site::free_port;

/// A command that passed.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) text: String,
    /// Commands of the same number came in one read.
    pub(crate) batch: usize,
    /// When it was handed on.
    pub(crate) sent: u64,
    /// When the last line of its answer came, and whether that is an error.
    pub(crate) answered: Option<(u64, bool)>,
}

impl Command {
    /// Whether it changes something there; `HAProxy`'s timeout of the connection does not.
    pub(crate) fn changes(&self) -> bool {
        let first = self.text.split(' ').next().unwrap_or_default();
        !self.text.starts_with("set timeout")
            && ["POOL", "SET", "CREATE"].contains(&first.to_ascii_uppercase().as_str())
    }
}

#[derive(Default)]
struct Log {
    commands: Mutex<Vec<Command>>,
    answered: Condvar,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<Command>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Behind a line with `OK`, `.` or an error, as Perlbal's.
    Line,
    /// Behind a prompt, as that of `HAProxy`.
    Prompt,
}

impl End {
    /// Whether an answer that ends in these bytes is whole, and whether it is an error.
    fn of(self, begun: &[u8]) -> Option<bool> {
        match self {
            Self::Line => {
                let line = begun.strip_suffix(b"\n")?.trim_ascii_end();
                let error = line.starts_with(b"ERROR");
                (error || line == b"OK" || line == b".").then_some(error)
            }
            Self::Prompt => begun.ends_with(b"> ").then_some(false),
        }
    }
}

/// A relay that runs until the program ends.
pub(crate) struct Relay {
    pub(crate) address: SocketAddrV4,
    log: Arc<Log>,
}

impl Relay {
    /// Before a Perlbal.
    pub(crate) fn start(upstream: SocketAddrV4) -> Outcome<Self> {
        Self::before(upstream, End::Line)
    }

    pub(crate) fn before(upstream: SocketAddrV4, end: End) -> Outcome<Self> {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)?);
        let listener = TcpListener::bind(address)?;
        let log = Arc::new(Log::default());
        let shared = log.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Where Perlbal is not there, the connection ends at once, as it would without a relay.
                if let Err(why) = connect(stream, upstream, &shared, end) {
                    eprintln!("relay: {why}");
                }
            }
        });
        Ok(Self { address, log })
    }

    /// How many commands have passed.
    pub(crate) fn len(&self) -> usize {
        self.log.lock().len()
    }

    /// The commands from that one on.
    pub(crate) fn since(&self, mark: usize) -> Vec<Command> {
        self.log.lock()[mark..].to_vec()
    }

    /// Waits until all commands from that one on satisfy something, and gives what was found.
    pub(crate) fn wait<T>(
        &self,
        mark: usize,
        patience: Duration,
        mut find: impl FnMut(&[Command]) -> Option<T>,
    ) -> Option<T> {
        let begin = Instant::now();
        let mut commands = self.log.lock();
        loop {
            if let Some(found) = find(&commands[mark..]) {
                return Some(found);
            }
            let left = patience.checked_sub(begin.elapsed())?;
            commands = self
                .log
                .answered
                .wait_timeout(commands, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

fn connect(from: TcpStream, upstream: SocketAddrV4, log: &Arc<Log>, end: End) -> Outcome<()> {
    let to = TcpStream::connect(upstream)?;
    from.set_nodelay(true)?;
    to.set_nodelay(true)?;
    let waiting = Arc::new(Mutex::new(VecDeque::new()));
    let (there, back) = ((from.try_clone()?, to.try_clone()?), (to, from));
    let (commands, answers) = (log.clone(), log.clone());
    let asked = waiting.clone();
    thread::spawn(move || hand_commands(there, &commands, &asked));
    thread::spawn(move || hand_answers(back, &answers, &waiting, end));
    Ok(())
}

/// The commands of a connection that are not answered yet, by their place in the log.
type Waiting = Mutex<VecDeque<usize>>;

fn hand_commands((mut from, mut to): (TcpStream, TcpStream), log: &Log, waiting: &Waiting) {
    let mut buffer = vec![0; 65_536];
    let mut begun = Vec::new();
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let mut commands = log.lock();
        let batch = commands.last().map_or(0, |last| last.batch + 1);
        let sent = now();
        for byte in &buffer[..read] {
            if *byte != b'\n' {
                begun.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&begun);
            let text = line.split('#').next().unwrap_or_default().trim().to_owned();
            begun.clear();
            // Perlbal does not answer a comment.
            if !text.is_empty() {
                waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_back(commands.len());
                commands.push(Command {
                    text,
                    batch,
                    sent,
                    answered: None,
                });
            }
        }
        drop(commands);
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // Either end's end is the other's too.
    _ = to.shutdown(std::net::Shutdown::Both);
}

fn hand_answers(
    (mut from, mut to): (TcpStream, TcpStream),
    log: &Log,
    waiting: &Waiting,
    end: End,
) {
    let mut buffer = vec![0; 65_536];
    let mut begun = Vec::new();
    loop {
        // Again before each read, or Perlbal waits 40 ms for our acknowledgement.
        _ = set_tcp_quickack(&from, true);
        let Ok(read @ 1..) = from.read(&mut buffer) else {
            break;
        };
        let stamp = now();
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
        for byte in &buffer[..read] {
            begun.push(*byte);
            if let Some(error) = end.of(&begun) {
                let place = waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pop_front();
                if let Some(place) = place {
                    log.lock()[place].answered = Some((stamp, error));
                    log.answered.notify_all();
                }
                begun.clear();
            } else if *byte == b'\n' {
                begun.clear();
            }
        }
    }
    _ = to.shutdown(std::net::Shutdown::Both);
}
