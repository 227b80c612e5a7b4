//! What docs/operations.md shows the person on call, and nodes that ask before they leave.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddrV4;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use clap::CommandFactory;
use pollbal::cli::{self, Cli};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::json;

use super::book::{section, text_of};
use super::sandbox::Sandbox;
use super::{four_nodes, quick_start};
use crate::common::double::{Double, doubles};
use crate::common::nodes::Node;
use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually};

const LEAVING: &str = "Ask before leaving";

/// Words by words, so that a column may be wider, and with `N` for each length of time.
fn timeless(lines: &[String]) -> Vec<String> {
    const UNITS: [&str; 5] = ["ms", "s", "min", "h", "days"];
    let line = |line: &String| {
        let mut words: Vec<String> = Vec::new();
        for word in line.split_whitespace() {
            let unit = word.trim_start_matches(|c: char| c.is_ascii_digit());
            let plain = unit.trim_end_matches([',', ':', ';']);
            let is_number = |word: &String| word.parse::<u64>().is_ok();
            if UNITS.contains(&plain) && (unit != word || words.last().is_some_and(is_number)) {
                words.pop_if(|last| unit == word && is_number(last));
                words.push(unit.replacen(plain, "N", 1));
            } else {
                words.push(word.to_owned());
            }
        }
        words.join(" ")
    };
    lines.iter().map(line).collect()
}

#[test]
fn a_node_goes_out_for_a_kernel_as_is_shown() {
    let stage = Stage::new();
    let _nodes = four_nodes(&stage);
    let sandbox = Sandbox::new(&stage);
    let (_pollbal, _perlbal) = quick_start(&stage, &sandbox);
    for (command, shown) in section("Take a node out")[0].commands() {
        let printed = sandbox.plain(&sandbox.run_command(&command));
        let shown = sandbox.plain(&shown);
        assert_eq!(timeless(&printed), timeless(&shown), "$ {command}");
    }
}

/// The cells of each row of a table that follows this head.
fn rows(heading: &str, head: &str) -> Vec<Vec<String>> {
    let text = text_of(heading);
    let table = text.split(head).nth(1).expect("no such table");
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = |row: &str| {
        let row = row.trim_matches('|').trim();
        row.split(" | ")
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    rows.map(cells).collect()
}

/// The names of all commands.
fn commands() -> BTreeSet<String> {
    let all = Cli::command();
    let names = all.get_subcommands().map(clap::Command::get_name);
    names.map(str::to_owned).collect()
}

#[test]
fn the_readme_lists_all_commands() {
    let mut found = BTreeSet::new();
    for row in rows("Commands", "| command | does |") {
        for part in row[0].split(", ") {
            let words = part.trim_matches('`').split(' ');
            found.extend(
                words
                    .filter(|word| *word != "pollbal")
                    .take(1)
                    .map(str::to_owned),
            );
        }
    }
    assert_eq!(found, commands());
}

#[test]
fn each_command_that_asks_the_daemon_is_in_the_table_and_understood() {
    let mut found = BTreeSet::new();
    for row in rows("Command reference", "| command | does |") {
        let line = row[0].trim_matches('`');
        found.insert(understood(line));
    }
    let mut all = commands();
    all.retain(|name| !["run", "check", "leave"].contains(&name.as_str()));
    assert_eq!(found, all);
}

/// Gives the name of the command, if pollbal understands the line.
#[track_caller]
fn understood(line: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", &line.replacen("pollbal", "printf '%s\\n'", 1)])
        .output();
    let words = String::from_utf8(output.unwrap().stdout).unwrap();
    let words = ["pollbal"].into_iter().chain(words.lines());
    cli::parse(words.clone().map(OsString::from)).unwrap_or_else(|why| panic!("{line}: {why}"));
    words.into_iter().nth(1).unwrap().to_owned()
}

#[test]
fn the_exit_codes_are_those_of_the_program() {
    let shown: Vec<_> = rows("Command line", "| exit code | means |")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let own = cli::EXIT_CODES.map(|(code, means)| (code.to_owned(), means.to_owned()));
    assert_eq!(shown, own);
}

#[test]
fn the_programs_way_to_leave_is_understood() {
    let lines = section(LEAVING)[0].lines();
    assert_eq!(lines.len(), 1);
    assert_eq!(understood(&lines[0]), "leave");
}

/// Says that it is under way, and ends when it may. It gives up by itself, should the test be gone.
const RESTART: &str = "touch at-$0; for i in $(seq 1000); do if [ -e go-$0 ]; then exit; fi; sleep 0.02; done; exit 99";

/// Two load balancers' pollbals, each with a node listener, and a pool of two nodes.
struct Balancers {
    _pollbals: [Pollbal; 2],
    listeners: [SocketAddrV4; 2],
    nodes: Vec<Node>,
    stage: Stage,
}

impl Balancers {
    fn start() -> Self {
        let stage = Stage::new();
        let nodes = stage.nodes(&["website", "website"]);
        let listeners = [stage.free_addr(), stage.free_addr()];
        let pollbals = [0, 1].map(|number| {
            let own = |name: &str| stage.path(&format!("{name}-{number}"));
            let config = json!({
                "pool_directory": own("pool"),
                "admin_socket": own("socket"),
                "state_file": own("state"),
                "node_listen": listeners[number],
                // A node that is back is recognised by what it says, not by a poll.
                "poll_interval": "1h",
            });
            let pollbal = Pollbal::start(&stage, &config);
            pollbal.wait_log(&["first round done: 2 members"]);
            pollbal
        });
        write_script(&stage);
        Self {
            _pollbals: pollbals,
            listeners,
            nodes,
            stage,
        }
    }

    /// With this for `CURL_HOME`, requests come from the node's own address.
    fn home(&self, node: &Node) -> PathBuf {
        let home = self.stage.path(node.name());
        fs::create_dir_all(&home).unwrap();
        let address = format!("interface = {}\n", node.addr().ip());
        fs::write(home.join(".curlrc"), address).unwrap();
        home
    }

    /// The line for a deploy, as this node's machine runs it; its restart lasts until the test lets it end.
    fn on(&self, node: &Node) -> Command {
        let mut line = section(LEAVING)[2].text.clone();
        for (shown, here) in ["lb1:8099", "lb2:8099"].into_iter().zip(self.listeners) {
            assert!(line.contains(shown), "{line}");
            line = line.replace(shown, &here.to_string());
        }
        assert!(line.contains("systemctl restart api"), "{line}");
        let restart = format!("sh -c '{RESTART}' {}", node.name());
        let mut command = Command::new("sh");
        command
            .args(["-c", &line.replace("systemctl restart api", &restart)])
            .current_dir(self.stage.dir())
            .env("CURL_HOME", self.home(node));
        command
    }

    /// Waits until both have just these nodes in the pool.
    #[track_caller]
    fn wait_members(&self, nodes: &[&Node]) {
        let lines: String = nodes.iter().map(|node| node.pool_line() + "\n").collect();
        for number in 0..2 {
            let file = self.stage.path(&format!("pool-{number}/website.pool"));
            becomes(SOON, "the members", &lines, || {
                fs::read_to_string(&file).unwrap_or_default()
            });
        }
    }
}

/// Puts the `leave.sh` of docs/nodes.md onto the stage.
fn write_script(stage: &Stage) -> PathBuf {
    let script = stage.path("leave.sh");
    fs::write(&script, &section(LEAVING)[1].text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// A script in the background; dropped, it is killed with all that it started.
struct Script(Child);

impl Script {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).process_group(0);
        Self(command.spawn().expect("failed to start a script"))
    }

    #[track_caller]
    fn wait_end(&mut self) -> ExitStatus {
        eventually(SOON, "the script ends", || self.0.try_wait().unwrap())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left but to reap it.
        _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        _ = self.0.wait();
    }
}

#[test]
fn two_nodes_leave_by_curl_alone_one_after_the_other() {
    let site = Balancers::start();
    let [first, second] = &site.nodes[..] else {
        panic!("two nodes")
    };
    let checked = Command::new("shellcheck")
        .arg(site.stage.path("leave.sh"))
        .output();
    let checked = checked.expect("failed to run shellcheck (perlbal/setup test installs it)");
    assert!(checked.status.success(), "{checked:?}");

    let file = |what: &str, node: &Node| site.stage.path(&format!("{what}-{}", node.name()));
    let restarts = |node: &Node| {
        eventually(SOON, "the restart", || {
            file("at", node).exists().then_some(())
        });
    };
    let said = site.stage.path("said");
    let output = fs::File::create(&said).unwrap();
    let mut one = Script::start(site.on(first).stdout(output));
    restarts(first);
    site.wait_members(&[second]);
    // The other may not go before this one is back.
    let waits = site.stage.path("waits");
    let output = fs::File::create(&waits).unwrap();
    let mut other = Script::start(site.on(second).stdout(Stdio::null()).stderr(output));
    eventually(SOON, "the other waits", || {
        let waits = fs::read_to_string(&waits).unwrap();
        waits.contains(": wait ").then_some(())
    });
    assert!(!file("at", second).exists());
    fs::write(file("go", first), "").unwrap();
    let ended = one.wait_end();
    assert!(ended.success(), "{ended}");
    assert_eq!(fs::read_to_string(said).unwrap(), "stays\nstays\n");
    restarts(second);
    site.wait_members(&[first]);
    fs::write(file("go", second), "").unwrap();
    let ended = other.wait_end();
    assert!(ended.success(), "{ended}");
    site.wait_members(&[first, second]);
}

/// leave.sh, at doubles of load balancers.
fn start_script(stage: &Stage, doubles: &[Double]) -> Script {
    let mut script = Command::new(write_script(stage));
    Script::start(script.args(doubles.iter().map(Double::url)))
}

#[test]
fn the_script_too_asks_again_who_took_the_node_in_while_another_was_waited_for() {
    let stage = Stage::new();
    let doubles = doubles(&stage, ["200 gone", "200 granted"]);
    let [first, last] = &doubles;
    let mut script = start_script(&stage, &doubles);
    last.wait_heard("POST", 2);
    first.say("200 granted");
    last.say("200 gone");
    first.wait_heard("POST", 2);
    assert!(script.0.try_wait().unwrap().is_none(), "it is not gone");
    first.say("200 gone");
    assert!(script.wait_end().success());
}

#[test]
fn the_script_too_is_not_in_the_way_behind_one_where_it_has_to_wait_again() {
    let stage = Stage::new();
    let doubles = doubles(&stage, ["200 gone", "200 granted"]);
    let [first, last] = &doubles;
    let mut script = start_script(&stage, &doubles);
    last.wait_heard("POST", 1);
    // Another node came first there, and will wait here.
    first.say("200 wait another is leaving already");
    last.say("200 gone");
    eventually(SOON, "the last is left", || {
        (last.received("DELETE") > 0).then_some(())
    });
    assert_eq!(first.received("DELETE"), 0);
    first.say("200 gone");
    assert!(script.wait_end().success());
}

#[test]
fn the_script_takes_no_error_for_an_answer_and_asks_no_proxy() {
    let stage = Stage::new();
    let doubles = doubles(&stage, ["403 gone", "200 gone"]);
    let [first, last] = &doubles;
    let said = stage.path("said");
    let mut script = Command::new(write_script(&stage));
    script
        .args(doubles.iter().map(Double::url))
        // Nobody is there.
        .env("http_proxy", "http://127.0.0.1:1")
        .env("all_proxy", "http://127.0.0.1:1")
        .stderr(fs::File::create(&said).unwrap());
    let mut script = Script::start(&mut script);
    for status in ["403", "404", "503"] {
        first.say(&format!("{status} gone"));
        first.wait_heard("POST", 2);
        eventually(SOON, "the error is reported", || {
            let said = fs::read_to_string(&said).unwrap();
            said.contains(&format!("error: {status}")).then_some(())
        });
        assert!(script.0.try_wait().unwrap().is_none(), "it is not gone");
    }
    assert_eq!(last.received("POST"), 0);
    first.say("200 gone");
    assert!(script.wait_end().success());
}

#[test]
fn who_is_interrupted_takes_its_leave_back() {
    let mut site = Balancers::start();
    // The second load balancer is dead, so that the script goes on asking it.
    site.listeners[1] = site.stage.free_addr();
    let file = site.stage.path("pool-0/website.pool");
    let members = || {
        fs::read_to_string(&file)
            .unwrap_or_default()
            .lines()
            .count()
    };
    let urls = site.listeners.map(|listener| format!("http://{listener}"));
    let home = site.home(&site.nodes[0]);
    let mut script = Command::new(site.stage.path("leave.sh"));
    script
        .args(urls)
        .env("CURL_HOME", home)
        .stdout(Stdio::null());
    let mut script = Script::start(&mut script);
    becomes(SOON, "it is out at the first", &1, members);
    kill_process(Pid::from_child(&script.0), Signal::TERM).unwrap();
    assert_eq!(script.wait_end().code(), Some(1));
    becomes(SOON, "it is in again", &2, members);
}
