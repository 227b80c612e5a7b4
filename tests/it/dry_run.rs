//! `--dry-run`: changes nothing, and prints what, piped into Perlbal's management port as it is, does the same as the
//! daemon would have done.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::client::{Traffic, failures, no_more_requests};
use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::{Config, Members, Perlbal};
use crate::common::pipe::FullPipe;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, clock, eventually, stays};

/// All pools with their members.
fn pools(perlbal: &Perlbal) -> BTreeMap<String, Members> {
    let names = perlbal.pools().into_iter();
    names
        .map(|name| (name.clone(), perlbal.members(&name)))
        .collect()
}

/// The lines that are commands; all others must be comments, for Perlbal answers only commands.
#[track_caller]
fn commands(output: &str) -> Vec<&str> {
    let known = |line: &&str| {
        ["CREATE POOL ", "POOL ", "SET "]
            .iter()
            .any(|word| line.starts_with(word))
    };
    let (commands, others): (Vec<&str>, Vec<&str>) = output.lines().partition(known);
    let odd: Vec<&str> = others
        .into_iter()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(odd, [""; 0], "neither commands nor comments");
    commands
}

/// What `pollbal --dry-run | nc perlbal` does: all bytes as they are, in one go. Every command must be answered `OK`.
#[track_caller]
fn pipe(output: &str, management: SocketAddrV4) {
    let mut stream = TcpStream::connect(management).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(output.as_bytes()).unwrap();
    let mut answers = BufReader::new(stream).lines();
    for command in commands(output) {
        let answer = answers.next().expect("Perlbal hung up").expect("no answer");
        assert_eq!(answer, "OK", "to {command}");
    }
}

/// Nodes and names with everything that a line can be taken amiss for.
fn difficult_nodes(stage: &Stage) -> Vec<Node> {
    let nodes: Vec<Node> = (1..)
        .zip([
            "website serving v1",
            "website",
            "api serving v23",
            "Web-Exit",
            "quit",
            "",
            "website leaving v1",
            "api",
        ])
        .map(|(number, line)| stage.node(number, line))
        .collect();
    let names = [
        "my exit",
        "exit",
        "quit",
        "$HOME exit",
        "",
        "idle-exit",
        "gone exit",
        "a",
    ];
    let lines: Vec<String> = nodes
        .iter()
        .zip(names)
        .map(|(node, name)| format!("{} {} # {name}", node.addr().ip(), node.addr().port()))
        .collect();
    stage.write_services(&lines);
    nodes
}

/// A Perlbal that is wrong in every way: strangers, missing members, missing pools, a version pool, a file.
fn wrong_perlbal(stage: &Stage, nodes: &[Node]) -> Perlbal {
    let file = stage.path("api-of-perlbal.pool");
    fs::write(&file, format!("{}\n", stage.node_addr(9))).unwrap();
    Config::new()
        .pool_with(
            "website",
            &[nodes[6].addr(), stage.node_addr(9), nodes[1].addr()],
        )
        .pool_with("website__v1", &[nodes[1].addr()])
        .pool_with("web_exit", &[stage.node_addr(9)])
        .pool_with("legacy", &[stage.node_addr(9)])
        .nodefile_pool("api", &file)
        .service(stage, "web", "website")
        .service(stage, "other", "web_exit")
        .start(stage)
}

fn config(perlbal: &Perlbal) -> Value {
    // No node fails here; a busy machine must not make one look so.
    json!({ "perlbal": perlbal.management(), "service_timeout": "5s" })
}

#[test]
fn a_dry_run_changes_nothing() {
    let stage = Stage::new();
    let nodes = difficult_nodes(&stage);
    let perlbal = wrong_perlbal(&stage, &nodes);
    fs::create_dir(stage.pool_directory()).unwrap();
    fs::write(stage.pool_file("old"), "10.0.0.1:80 # old\n").unwrap();
    stage.own("old.pool");
    let before = pools(&perlbal);
    let dump = perlbal.ask("DUMPCONFIG");
    let touched = stage.path("touched");
    let mut config = config(&perlbal);
    for hook in ["file_update_hook", "file_remove_hook"] {
        config[hook] = json!(["touch", touched]);
    }

    let pollbal = Pollbal::start_with(&stage, &config, &["--dry-run"]);
    pollbal.wait_stdout(&["POOL website ADD", &nodes[0].addr().to_string()]);
    let polls = nodes[0].polls() + 5;
    let look = || (pools(&perlbal), stage.files(), touched.exists());
    let same = (before, vec!["old.pool".to_owned()], false);
    stays(SOON, "pools and files", &same, look, || {
        nodes[0].polls() >= polls
    });
    assert_eq!(
        stage.lines("old.pool"),
        Some(vec!["10.0.0.1:80 # old".to_owned()])
    );
    assert_eq!(perlbal.ask("DUMPCONFIG"), dump);
}

#[test]
fn a_dry_run_without_a_pool_directory_makes_none() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let perlbal = Config::new().start(&stage);
    let ended = Pollbal::run(&stage, &config(&perlbal), &["--dry-run", "--once"]);
    assert!(
        commands(&ended.stdout).contains(&"CREATE POOL website"),
        "{}",
        ended.stdout
    );
    let mut comments = ended.stdout.lines().filter(|line| line.starts_with('#'));
    assert!(
        comments.any(|line| line.contains("website.pool")),
        "{}",
        ended.stdout
    );
    assert!(!stage.pool_directory().exists());
    assert!(perlbal.pools().is_empty());
}

#[test]
fn what_a_dry_run_prints_does_the_same_as_the_daemon() {
    let stage = Stage::new();
    let nodes = difficult_nodes(&stage);
    let by_pipe = wrong_perlbal(&stage, &nodes);
    let by_daemon = wrong_perlbal(&stage, &nodes);
    assert_eq!(pools(&by_pipe), pools(&by_daemon));

    let ended = Pollbal::run(&stage, &config(&by_pipe), &["--dry-run", "--once"]);
    eprintln!("{}", ended.stdout);
    pipe(&ended.stdout, by_pipe.management());
    let once = Pollbal::run(&stage, &config(&by_daemon), &["--once"]);
    once.assert_code(0);
    assert_eq!(pools(&by_pipe), pools(&by_daemon));
    assert_eq!(by_pipe.members("website"), Some(addrs(&nodes[..2])));
    assert_eq!(by_pipe.members("website__v1"), Some(addrs(&nodes[..1])));
    assert_eq!(by_pipe.members("web_exit"), Some(addrs(&nodes[3..4])));

    // And nothing is left to do.
    let again = Pollbal::run(&stage, &config(&by_pipe), &["--dry-run", "--once"]);
    assert_eq!(commands(&again.stdout), [""; 0]);
}

#[test]
fn what_a_dry_run_prints_fills_a_big_pool_that_follows_its_file() {
    // The daemon may write the file and set it again; the dry run writes no file, so its commands must do without.
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"; 150]);
    let perlbal = Config::new()
        .nodefile_pool("website", &stage.pool_file("website"))
        .start(&stage);
    let ended = Pollbal::run(&stage, &config(&perlbal), &["--dry-run", "--once"]);
    assert_eq!(stage.lines("website.pool"), Some(vec![]));
    pipe(&ended.stdout, perlbal.management());
    assert_eq!(perlbal.members("website"), Some(addrs(&nodes)));
}

#[test]
fn what_a_dry_run_prints_seals_what_it_removes() {
    let stage = Stage::alone();
    let nodes = stage.nodes(&["website", "website leaving", "website"]);
    let members: Vec<SocketAddrV4> = nodes.iter().map(Node::addr).collect();
    let perlbal = Config::new()
        .pool_with("website", &members)
        .service(&stage, "web", "website")
        .start(&stage);
    let traffic = Traffic::start(perlbal.service("web"), 8);
    traffic.wait_answers_of("node-2", 10);
    let ended = Pollbal::run(&stage, &config(&perlbal), &["--dry-run", "--once"]);
    traffic.wait_answers_of("node-2", 10);
    pipe(&ended.stdout, perlbal.management());
    let late = clock::after(Instant::now(), Duration::from_millis(100));
    traffic.wait_answers_after(late, 100);
    assert_eq!(nodes[1].arrivals_after(late).len(), 0);
    assert_eq!(failures(&traffic.finish()), [""; 0]);
}

/// The removals that no seal follows within the same read: Perlbal reads 1,024 bytes at a time (ClientManage.pm), runs
/// the lines that are whole by then, and serves clients before it reads on.
fn unsealed<'a>(output: &'a str, seal: &str) -> BTreeSet<&'a str> {
    let mut end = 0;
    let mut open: Vec<(usize, &str)> = Vec::new();
    let (mut removed, mut sealed) = (BTreeSet::new(), BTreeSet::new());
    for line in output.split_inclusive('\n') {
        end += line.len();
        let (read, line) = (end.div_ceil(1024), line.trim_end());
        if line.contains(" REMOVE ") {
            removed.insert(line);
            open.push((read, line));
        } else if line == seal {
            let together = open.drain(..).filter(|(began, _)| *began == read);
            sealed.extend(together.map(|(_, line)| line));
        }
    }
    removed.difference(&sealed).copied().collect()
}

#[test]
fn what_a_dry_run_prints_seals_removals_of_many_bytes_too() {
    let stage = Stage::alone();
    let mut lines = ["website"; 120];
    lines[..100].fill("website leaving");
    let nodes = stage.nodes(&lines);
    let members: Vec<SocketAddrV4> = nodes.iter().map(Node::addr).collect();
    let perlbal = Config::new()
        .pool_with("website", &members)
        .service(&stage, "web", "website")
        .start(&stage);
    let traffic = Traffic::start(perlbal.service("web"), 48);
    traffic.wait_answers(1000);
    let ended = Pollbal::run(&stage, &config(&perlbal), &["--dry-run", "--once"]);
    let unsealed = unsealed(&ended.stdout, "SET web pool = website");
    assert_eq!(unsealed, BTreeSet::new(), "in\n{}", ended.stdout);
    pipe(&ended.stdout, perlbal.management());
    no_more_requests(traffic, &nodes[..100], 500);
}

#[test]
fn later_changes_are_planned_against_what_the_printed_commands_would_have_made() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website", ""]);
    let perlbal = Config::new()
        .pool_with("website", &[stage.node_addr(9)])
        .service(&stage, "web", "website")
        .start(&stage);
    let config = json!({
        "perlbal": { "address": perlbal.management(), "resync_interval": "200ms" },
    });
    let pollbal = Pollbal::start_with(&stage, &config, &["--dry-run"]);
    let addr = |index: usize| nodes[index].addr().to_string();
    pollbal.wait_stdout(&["POOL website ADD", &addr(1)]);
    nodes[0].announce("website leaving");
    pollbal.wait_stdout(&["POOL website REMOVE", &addr(0)]);
    // A pool that is only printed so far, and a member that leaves it again.
    nodes[2].announce("shop");
    pollbal.wait_stdout(&["CREATE POOL shop"]);
    pollbal.wait_stdout(&["POOL shop ADD", &addr(2)]);
    nodes[2].announce("");
    pollbal.wait_stdout(&["POOL shop REMOVE", &addr(2)]);
    nodes[0].announce("website");
    let added = format!("POOL website ADD {}", addr(0));
    let times = |line: &str| {
        let stdout = pollbal.stdout();
        stdout.iter().filter(|one| one.trim_end() == line).count()
    };
    eventually(SOON, "it is added again", || {
        (times(&added) == 2).then_some(())
    });

    // Many syncs later nothing has been printed twice that would have been done by now. (What is said of files may
    // come later than the commands.)
    let printed = || commands(&pollbal.stdout_text()).join("\n");
    let (polls, so_far) = (nodes[0].polls() + 15, printed());
    stays(SOON, "the commands", &so_far, printed, || {
        nodes[0].polls() >= polls
    });
    assert_eq!(times("CREATE POOL shop"), 1);
    assert_eq!(times(&format!("POOL website ADD {}", addr(1))), 1);
    assert_eq!(
        times(&format!("POOL website REMOVE {}", stage.node_addr(9))),
        1
    );

    pipe(&pollbal.stdout_text(), perlbal.management());
    assert_eq!(perlbal.members("website"), Some(addrs(&nodes[..2])));
    assert_eq!(perlbal.members("shop"), Some(addrs([])));
}

#[test]
fn a_dry_run_that_nobody_reads_is_ended_by_sigterm() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web"; 100]);
    let perlbal = Config::new().pool("web").start(&stage);
    // It waits for its reader at the files at first, and then at what it would say to Perlbal.
    let mut said = String::new();
    for pages in 0..3 {
        let mut pipe = FullPipe::new(&stage);
        pipe.make_room(pages);
        let mut pollbal = pipe.start(&stage, &config(&perlbal), "--dry-run", ">");
        pollbal.wait_log(&["first round done"]);
        pipe.wait_full();
        let polls = nodes[0].polls() + 3;
        stays(
            SOON,
            "pollbal",
            &None,
            || pollbal.has_ended(),
            || nodes[0].polls() >= polls,
        );
        let begun = Instant::now();
        assert!(pollbal.terminate().success(), "{pages} pages");
        let took = clock::counted_since(begun);
        assert!(took < Duration::from_secs(3), "{pages} pages: {took:?}");
        said = pipe.remove();
    }
    let (files, perlbal) = said.split_once("# perlbal ").expect("both came");
    assert!(files.contains("web.pool") && perlbal.contains("POOL web ADD"));
}
