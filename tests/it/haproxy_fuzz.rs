//! What is between pollbal and a real `HAProxy` spoils answers at random: pollbal stays up, polls and other load balancers are
//! unaffected, the problem is reported in words, and all is right again as soon as answers are.

use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::net::{Shutdown, shutdown};
use serde_json::{Value, json};

use crate::common::haproxy::{Config, Haproxy, slots};
use crate::common::nodes::addrs;
use crate::common::perlbal;
use crate::common::pollbal::Pollbal;
use crate::common::process::peak_memory;
use crate::common::stage::Stage;
use crate::common::{SOON, clock, eventually};

const PROMPT: &[u8] = b"\n> ";

/// Of each of the three: enough for each way of spoiling, at random, at most of the answers.
const SPOILED: usize = 10;

/// Beyond a poll and what is written to two load balancers.
const LIMIT: Duration = Duration::from_secs(1);

/// How an answer is spoiled.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Garbage,
    Endless,
    EndlessLines,
    HalfALine,
    CutAndClosed,
    CutAndGoesOn,
    OfTheWrongCommand,
    OtherBytes,
    Twice,
    None,
}

impl Harm {
    fn any(rng: &mut Rng) -> Self {
        let all = [
            Self::Garbage,
            Self::Endless,
            Self::EndlessLines,
            Self::HalfALine,
            Self::CutAndClosed,
            Self::CutAndGoesOn,
            Self::OfTheWrongCommand,
            Self::OtherBytes,
            Self::Twice,
            Self::None,
        ];
        all[rng.usize(..all.len())]
    }
}

/// Spoils answers of an `HAProxy` on each connection, until it is to be honest.
#[derive(Clone)]
struct Liar {
    target: PathBuf,
    is_honest: Arc<AtomicBool>,
    spoiled: Arc<AtomicUsize>,
}

/// A connection's answers.
struct Answers {
    to: File,
    rng: Rng,
    /// Which one is spoiled next.
    at: usize,
    number: usize,
    last: Vec<u8>,
}

impl Liar {
    fn new(haproxy: &Haproxy) -> Self {
        Self {
            target: haproxy.socket().to_owned(),
            is_honest: Arc::default(),
            spoiled: Arc::default(),
        }
    }

    fn at_path(&self, path: &Path, rng: Rng) -> Value {
        let listener = UnixListener::bind(path).expect("failed to listen");
        let accept = move || -> io::Result<OwnedFd> { Ok(listener.accept()?.0.into()) };
        self.clone().serve(accept, rng);
        json!({ "socket": path, "timeout": "300ms" })
    }

    fn at_addr(&self, addr: SocketAddrV4, rng: Rng) -> Value {
        let listener = TcpListener::bind(addr).expect("failed to listen");
        let accept = move || -> io::Result<OwnedFd> { Ok(listener.accept()?.0.into()) };
        self.clone().serve(accept, rng);
        json!({ "socket": format!("ipv4@{addr}"), "timeout": "300ms" })
    }

    /// It ends with the test program.
    fn serve(self, accept: impl Fn() -> io::Result<OwnedFd> + Send + 'static, mut rng: Rng) {
        thread::spawn(move || {
            while let Ok(client) = accept() {
                let (own, rng) = (self.clone(), rng.fork());
                // Whichever end closes first.
                thread::spawn(move || _ = own.relay(&File::from(client), rng));
            }
        });
    }

    fn relay(&self, client: &File, mut rng: Rng) -> io::Result<()> {
        let server = File::from(OwnedFd::from(UnixStream::connect(&self.target)?));
        let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
        let asking = thread::spawn(move || {
            let ended = io::copy(&mut from, &mut to);
            // It has no more to answer.
            _ = shutdown(&to, Shutdown::Both);
            ended
        });
        let mut answers = Answers {
            to: client.try_clone()?,
            // Most are of the beginning: connecting, and reading everything.
            at: rng.usize(..12),
            rng,
            number: 0,
            last: Vec::new(),
        };
        let ended = self.answer(&server, &mut answers);
        _ = shutdown(client, Shutdown::Both);
        _ = asking.join();
        ended
    }

    fn answer(&self, mut server: &File, answers: &mut Answers) -> io::Result<()> {
        let mut received = Vec::new();
        let mut buffer = [0; 4_096];
        loop {
            while let Some(at) = find(&received) {
                let rest = received.split_off(at + PROMPT.len());
                let answer = std::mem::replace(&mut received, rest);
                let is_honest = self.is_honest.load(Ordering::Relaxed);
                if answers.number == answers.at && !is_honest {
                    self.spoiled.fetch_add(1, Ordering::Relaxed);
                    answers.spoil(&answer)?;
                    // The connection may well go on.
                    answers.at += answers.rng.usize(1..12);
                } else {
                    answers.to.write_all(&answer)?;
                }
                answers.number += 1;
                answers.last = answer;
            }
            let read = server.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            received.extend(&buffer[..read]);
        }
    }
}

fn find(text: &[u8]) -> Option<usize> {
    let mut windows = text.windows(PROMPT.len());
    windows.position(|window| window == PROMPT)
}

impl Answers {
    fn spoil(&mut self, answer: &[u8]) -> io::Result<()> {
        let cut = self.rng.usize(..answer.len());
        let harm = Harm::any(&mut self.rng);
        match harm {
            Harm::Garbage => {
                let mut garbage = vec![0; self.rng.usize(1..3_000)];
                self.rng.fill(&mut garbage);
                self.to.write_all(&garbage)
            }
            Harm::Endless => self.pour(b"x"),
            Harm::EndlessLines => self.pour(b"3 web 1 pb1 127.0.0.1 2 0 100\n"),
            Harm::HalfALine => self.to.write_all(b"3 web 1 p"),
            Harm::CutAndClosed => {
                self.to.write_all(&answer[..cut])?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Harm::CutAndGoesOn => self.to.write_all(&answer[..cut]),
            Harm::OfTheWrongCommand => self.to.write_all(&self.last.clone()),
            Harm::OtherBytes => {
                let mut bytes = answer.to_vec();
                for _ in 0..self.rng.usize(1..20) {
                    let at = self.rng.usize(..bytes.len());
                    bytes[at] = self.rng.u8(..);
                }
                self.to.write_all(&bytes)
            }
            Harm::Twice => self.to.write_all(&answer.repeat(2)),
            Harm::None => Ok(()),
        }
    }

    /// Until nobody takes it any more.
    fn pour(&mut self, piece: &[u8]) -> io::Result<()> {
        let piece = piece.repeat(1_000);
        loop {
            self.to.write_all(&piece)?;
        }
    }
}

/// Another one each time; that of a run that failed is in its output.
fn seed() -> u64 {
    let given = env::var("POLLBAL_FUZZ_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |text| text.parse().expect("a number"));
    println!("POLLBAL_FUZZ_SEED={seed}");
    seed
}

#[test]
fn answers_that_are_spoiled_at_random_harm_nothing_else_and_all_is_right_again_when_they_are() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web"; 9]);
    let mut rng = Rng::with_seed(seed());
    let make = || Config::new().backend("web", &[&slots(12)]).start(&stage);
    let behind = [make(), make(), make()];
    let liars = behind.each_ref().map(Liar::new);
    let other = make();
    let perlbal = perlbal::Config::new().pool("web").start(&stage);
    let mut haproxies = vec![
        liars[0].at_path(&stage.path("one.sock"), rng.fork()),
        liars[1].at_path(&stage.path("two.sock"), rng.fork()),
        liars[2].at_addr(stage.free_addr(), rng.fork()),
    ];
    let places: Vec<String> = haproxies
        .iter()
        .map(|one| one["socket"].as_str().unwrap().to_owned())
        .collect();
    haproxies.push(json!(other.socket()));
    let config = json!({ "haproxy": haproxies, "perlbal": perlbal.management() });
    let mut pollbal = Pollbal::start(&stage, &config);
    other.wait_members("web", &addrs(&nodes));
    perlbal.wait_members("web", &addrs(&nodes));

    let (steady, changing) = nodes.split_last().expect("there are nodes");
    let (began, polls) = (Instant::now(), steady.polls());
    let spoiled = |liar: &Liar| liar.spoiled.load(Ordering::Relaxed);
    let all_spoiled = || liars.iter().map(spoiled).sum::<usize>();
    // In turn, and no more than there are spoiled answers, since a node may not come and go as often as it likes.
    let mut turns = changing
        .iter()
        .cycle()
        .flat_map(|node| [(node, true), (node, false)]);
    while !liars.iter().all(|liar| spoiled(liar) >= SPOILED) {
        let (node, leaves) = turns.next().expect("without end");
        let before = all_spoiled();
        eventually(SOON, "another answer is spoiled", || {
            (all_spoiled() > before).then_some(())
        });
        let changed = Instant::now();
        node.announce(if leaves { "web leaving" } else { "web" });
        let mut members = addrs(&nodes);
        if leaves {
            members.remove(&node.addr());
        }
        other.wait_members("web", &members);
        perlbal.wait_members("web", &members);
        let took = clock::counted_since(changed);
        assert!(took < LIMIT, "{took:?}");
        pollbal.assert_alive();
        assert!(
            clock::counted_since(began) < 6 * SOON,
            "{:?}",
            liars.each_ref().map(spoiled)
        );
    }
    // One each 100 ms.
    let expected = clock::counted_since(began).as_millis() / 200;
    let polled = steady.polls() - polls;
    assert!(
        u128::from(polled) > expected,
        "{polled} polls, {expected} expected"
    );
    for place in &places {
        pollbal.wait_log(&["ERROR", "cannot reach HAProxy", place]);
    }
    let log = pollbal.log().concat();
    assert!(
        !log.contains(|c: char| c == '\u{fffd}' || c.is_control()),
        "{log}"
    );
    let memory = peak_memory(pollbal.pid());
    assert!(memory < 300 * 1_024, "{memory} KiB");

    for liar in &liars {
        liar.is_honest.store(true, Ordering::Relaxed);
    }
    for node in changing {
        node.announce("web");
    }
    for haproxy in &behind {
        haproxy.wait_members("web", &addrs(&nodes));
    }
    eventually(SOON, "all is well", || {
        let status = crate::common::http::get(&stage, "/v1/status").json();
        let all = status["load_balancers"].as_array()?;
        all.iter().all(|one| one["in_sync"] == true).then_some(())
    });
}
