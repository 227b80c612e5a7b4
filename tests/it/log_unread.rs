//! A log that nobody reads: polls, files, listeners and the end go on, and what was dropped is reported.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::common::nodes::{Node, wait_rounds};
use crate::common::pipe::FullPipe;
use crate::common::pollbal::Pollbal;
use crate::common::process::{catches, children, runs};
use crate::common::stage::Stage;
use crate::common::wire::{Listeners, dial, get};
use crate::common::{SOON, becomes, eventually, http};

/// Has a node leave and come back: each time its file follows, and the admin socket answers.
#[track_caller]
fn assert_works(stage: &Stage, node: &Node) {
    for (announced, lines) in [("web leaving", vec![]), ("web", vec![node.pool_line()])] {
        node.announce(announced);
        becomes(SOON, "the pool file", &Some(lines), || {
            stage.lines("web.pool")
        });
        let status = http::get(stage, "/v1/status");
        assert_eq!(status.status, 200, "{}", status.body);
    }
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_nothing() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web"]);
    let pipe = FullPipe::new(&stage);
    let mut pollbal = pipe.start(&stage, &json!({}), "", "2>");
    eventually(SOON, "the member", || {
        (stage.lines("web.pool")? == [nodes[0].pool_line()]).then_some(())
    });
    assert_works(&stage, &nodes[0]);
    // Nor does it hold up a reload.
    let reload = http::post(&stage, "/v1/reload", &json!({}));
    assert_eq!(reload.status, 200, "{}", reload.body);
    let begun = Instant::now();
    assert!(pollbal.terminate().success());
    // Nobody reads the last lines either; they are waited for, but not for long.
    assert!(begun.elapsed() < Duration::from_secs(3), "{begun:?}");
}

#[test]
fn lines_that_found_no_room_are_counted_and_reported_when_the_log_is_read_again() {
    let stage = Stage::new();
    let listeners = Listeners::new(&stage);
    let nodes = stage.nodes(&["web"; 40]);
    let pipe = FullPipe::new(&stage);
    let config = json!({ "poll_interval": "10ms" });
    let mut pollbal = pipe.start(&stage, &listeners.config(&config), "-vv", "2>");
    let dropped = || {
        let metrics = get(dial(listeners.status), "/metrics").body;
        let lines = metrics.lines();
        let mut counts =
            lines.filter_map(|line| line.strip_prefix("pollbal_log_lines_dropped_total "));
        counts.next()?.parse::<u64>().ok()
    };
    eventually(SOON, "the member", || {
        (stage.lines("web.pool")?.len() == nodes.len()).then_some(())
    });
    eventually(6 * SOON, "dropped lines in the metrics", || {
        dropped().filter(|lines| *lines > 1_000)
    });
    let least = dropped().expect("the metrics have it");
    let log = pipe.read();
    let has = |words: &str| {
        let lines = log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = lines.iter().filter(|line| line.contains(words));
        found.next().cloned()
    };
    let reported = eventually(3 * SOON, "the number of dropped lines", || {
        has(" log lines dropped: nobody read the log")
    });
    let number = reported
        .split(" WARN ")
        .nth(1)
        .and_then(|text| text.trim().split(' ').next());
    let number: u64 = number
        .and_then(|number| number.parse().ok())
        .expect(&reported);
    assert!(
        number >= least,
        "{reported}, and {least} were dropped before"
    );
    // What was logged before stands before it, what comes now behind it.
    nodes[0].announce("web leaving");
    eventually(3 * SOON, "a line of the present", || {
        has("node-1 leaves web")
    });
    let lines = log.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let place = |words: &str| lines.iter().position(|line| line.contains(words));
    let order = ["first round done", &reported, "node-1 leaves web"].map(place);
    assert!(order.is_sorted(), "{order:?}");
    // Each has the time of its event, not that at which it was read.
    let times = order.map(|place| &lines[place.expect("it was there")][..27]);
    assert!(times.is_sorted(), "{times:?}");
    assert!(pollbal.terminate().success());
}

/// A terminal on which pollbal logs; dropped, both end.
struct Terminal {
    script: Child,
    shown: PathBuf,
}

impl Terminal {
    fn start(stage: &Stage) -> Self {
        let config = stage.write_config(&json!({}));
        let shown = stage.path("shown");
        let run = format!(
            "exec '{}' --config '{}'",
            env!("CARGO_BIN_EXE_pollbal"),
            config.display()
        );
        let script = Command::new("script")
            .args(["--quiet", "--flush", "--command", &run])
            .arg(&shown)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("failed to start script");
        Self { script, shown }
    }

    fn pollbal(&self) -> Pid {
        eventually(SOON, "pollbal at the terminal", || {
            let started = children(Pid::from_child(&self.script));
            started.into_iter().find(|pid| catches(*pid, Signal::TERM))
        })
    }

    fn lines(&self) -> usize {
        let shown = fs::read_to_string(&self.shown).unwrap_or_default();
        shown.lines().count()
    }

    fn press(&mut self, key: u8) {
        let keys = self.script.stdin.as_mut().expect("its input is piped");
        keys.write_all(&[key]).expect("failed to press a key");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        for pid in children(Pid::from_child(&self.script)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[test]
fn a_terminal_whose_output_is_stopped_holds_up_nothing() {
    const CTRL_S: u8 = 0x13;
    let stage = Stage::new();
    let nodes = stage.nodes(&["web"]);
    let mut terminal = Terminal::start(&stage);
    let pollbal = terminal.pollbal();
    eventually(SOON, "the member", || {
        (stage.lines("web.pool")? == [nodes[0].pool_line()]).then_some(())
    });
    assert_works(&stage, &nodes[0]);
    terminal.press(CTRL_S);
    eventually(SOON, "a stopped terminal", || {
        let before = terminal.lines();
        assert_works(&stage, &nodes[0]);
        // A line is there sooner than the file; that much later it has not come.
        wait_rounds(&nodes, 5);
        (terminal.lines() == before).then_some(())
    });
    assert_works(&stage, &nodes[0]);
    kill_process(pollbal, Signal::TERM).unwrap();
    eventually(Duration::from_secs(5), "pollbal ends", || {
        (!runs(pollbal)).then_some(())
    });
}

/// What journald would get: reads one message.
fn message(journal: &UnixDatagram) -> String {
    let mut bytes = [0; 4_096];
    let length = journal.recv(&mut bytes).expect("a message");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

/// Starts pollbal as a service whose standard error is the journal; journald's socket is in that directory.
fn start_with_journal(stage: &Stage, directory: &Path) -> Pollbal {
    let config = stage.write_config(&json!({}));
    let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
                  mount --bind \"$2\" /run/systemd/journal && \
                  JOURNAL_STREAM=$(stat --dereference --format=%d:%i /proc/$$/fd/2) exec \"$0\" --config \"$1\"";
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", script])
        .arg(env!("CARGO_BIN_EXE_pollbal"))
        .args([&config, &directory.to_path_buf()]);
    Pollbal::spawn(command, config)
}

#[test]
fn a_journald_that_does_not_read_holds_up_nothing() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web"]);
    let directory = stage.path("journal");
    fs::create_dir(&directory).unwrap();
    let journal = UnixDatagram::bind(directory.join("socket")).unwrap();
    let mut pollbal = start_with_journal(&stage, &directory);
    eventually(SOON, "the member", || {
        (stage.lines("web.pool")? == [nodes[0].pool_line()]).then_some(())
    });
    // More lines than the socket holds.
    let queue = fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
    for _ in 0..queue.trim().parse::<usize>().unwrap() {
        assert_works(&stage, &nodes[0]);
    }
    // None is lost, and each has its fields.
    let mut joins = 0;
    while joins < 3 {
        let message = message(&journal);
        joins += usize::from(message.contains("node-1 joins web"));
        let fields = message.contains("NODE\n") && message.contains("POOL\n");
        assert!(
            fields || !message.contains("node-1 joins web"),
            "{message:?}"
        );
    }
    assert_works(&stage, &nodes[0]);
    assert!(pollbal.terminate().success());
    assert_eq!(pollbal.log(), Vec::<String>::new(), "all goes to journald");
}

#[test]
fn an_end_writes_the_last_lines() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["web"]);
    let log = stage.path("log");
    let config = stage.write_config(&json!({}));
    let mut child = Command::new(env!("CARGO_BIN_EXE_pollbal"))
        .arg("--config")
        .arg(&config)
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let text = || fs::read_to_string(&log).unwrap();
    eventually(SOON, "the first round", || {
        text().contains("first round done").then_some(())
    });
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(text().contains("ending: SIGTERM"), "{}", text());
}

#[test]
fn a_log_whose_reader_is_gone_ends_nothing() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web"]);
    let config = stage.write_config(&json!({}));
    let mut child = Command::new(env!("CARGO_BIN_EXE_pollbal"))
        .arg("--config")
        .arg(&config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    let mut log = child.stderr.take().unwrap();
    log.read_exact(&mut first).unwrap();
    drop(log);
    eventually(SOON, "the member", || {
        (stage.lines("web.pool")? == [nodes[0].pool_line()]).then_some(())
    });
    assert_works(&stage, &nodes[0]);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}
