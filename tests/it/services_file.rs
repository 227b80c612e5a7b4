//! The services file while pollbal runs: every way to change it is noticed, and what is wrong is refused.

mod wrong;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::nodes::{Node, wait_rounds};
use crate::common::pollbal::Pollbal;
use crate::common::raw_node::{Answer, RawNode, Reply};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, stays, text};

/// The file is looked at every second, and must have been quiet for another; the rest is for the first polls of new
/// nodes, on a busy machine.
const NOTICED: Duration = Duration::from_secs(5);

fn quick() -> Value {
    json!({ "poll_interval": "50ms" })
}

fn pool_lines(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(Node::pool_line).collect()
}

fn services_lines(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(Node::services_line).collect()
}

#[track_caller]
fn wait_website(stage: &Stage, deadline: Duration, nodes: &[Node]) {
    becomes(deadline, "website.pool", &Some(pool_lines(nodes)), || {
        stage.lines("website.pool")
    });
}

/// Starts three nodes, of which the services file names the first, and waits until it is a member.
fn three_nodes_of_which_one_is_listed(stage: &Stage) -> (Vec<Node>, Pollbal) {
    let nodes = stage.nodes(&["website"; 3]);
    stage.list(&nodes[..1]);
    let pollbal = Pollbal::start(stage, &quick());
    wait_website(stage, SOON, &nodes[..1]);
    // Logged once the file is complete, so that nothing of the start comes after this.
    pollbal.wait_log(&["wrote website.pool"]);
    (nodes, pollbal)
}

#[test]
fn a_file_written_in_place_is_noticed() {
    let stage = Stage::new();
    let (nodes, pollbal) = three_nodes_of_which_one_is_listed(&stage);
    fs::write(stage.services_file(), text(&services_lines(&nodes))).unwrap();
    wait_website(&stage, NOTICED, &nodes);
    pollbal.wait_log(&["services file changed", "3 nodes"]);

    // As long as before, and in the same inode.
    let mut other = services_lines(&nodes);
    other.swap(0, 2);
    fs::write(stage.services_file(), text(&other)).unwrap();
    let reversed: Vec<_> = pool_lines(&nodes).into_iter().rev().collect();
    becomes(NOTICED, "the file's order", &Some(reversed), || {
        stage.lines("website.pool")
    });
}

#[test]
fn a_file_put_in_place_by_a_rename_is_noticed() {
    let stage = Stage::new();
    let (nodes, _pollbal) = three_nodes_of_which_one_is_listed(&stage);
    for count in [3, 2] {
        stage.list(&nodes[..count]);
        wait_website(&stage, NOTICED, &nodes[..count]);
    }
}

#[test]
fn a_symlink_that_is_switched_is_noticed() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"; 3]);
    for count in 1..=3 {
        let list = text(&services_lines(&nodes[..count]));
        fs::write(stage.path(&format!("list-{count}")), list).unwrap();
    }
    let point_to = |count: usize| {
        let new = stage.path("new-link");
        symlink(format!("list-{count}"), &new).unwrap();
        fs::rename(&new, stage.services_file()).unwrap();
    };
    point_to(1);
    let _pollbal = Pollbal::start(&stage, &quick());
    wait_website(&stage, SOON, &nodes[..1]);
    for count in [3, 2] {
        point_to(count);
        wait_website(&stage, NOTICED, &nodes[..count]);
    }
    // What the link points to is noticed too.
    fs::write(stage.path("list-2"), text(&services_lines(&nodes))).unwrap();
    wait_website(&stage, NOTICED, &nodes);
}

#[test]
fn a_node_that_is_gone_leaves_all_files_and_is_polled_no_more() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website ok v1", "website ok v1", "website leaving"]);
    let config = json!({ "poll_interval": "50ms", "max_removed": 2 });
    let pollbal = Pollbal::start(&stage, &config);
    wait_website(&stage, SOON, &nodes[..2]);
    stage.list(&nodes[1..2]);
    wait_website(&stage, NOTICED, &nodes[1..2]);
    let rest = (Some(pool_lines(&nodes[1..2])), Some(vec![]));
    becomes(SOON, "the other files", &rest, || {
        (
            stage.lines("website.v1.pool"),
            stage.lines("disabled_services"),
        )
    });
    pollbal.wait_log(&[
        "node-1",
        "removed from website",
        "no longer in the services file",
    ]);
    let polls = nodes[0].polls();
    nodes[1].wait_polls(20);
    assert_eq!(nodes[0].polls(), polls);
}

#[test]
fn a_list_of_all_new_nodes_never_leaves_the_pool_empty() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"; 4]);
    nodes[2].slow(Duration::from_millis(600));
    stage.list(&nodes[..2]);
    let config = json!({ "poll_interval": "50ms", "max_removed": "100%" });
    let _pollbal = Pollbal::start(&stage, &config);
    wait_website(&stage, SOON, &nodes[..2]);
    stage.list(&nodes[2..]);
    let (empty, done) = (Some(vec![]), Some(pool_lines(&nodes[2..])));
    stays(
        SOON,
        "members",
        &true,
        || stage.lines("website.pool") != empty,
        || stage.lines("website.pool") == done,
    );
}

#[test]
fn nodes_that_stay_keep_their_state() {
    let stage = Stage::new();
    // Fails once, and then needs a thousand answers; the other fails from the third poll on, and
    // stays in for a thousand failures.
    let low = RawNode::start(
        stage.node_addr(1),
        "low",
        Answer::says(|poll| match poll {
            1 => Reply::Status(500),
            _ => Reply::Body("website".to_owned()),
        }),
    );
    let high = RawNode::start(
        stage.node_addr(2),
        "high",
        Answer::says(|poll| match poll {
            1 | 2 => Reply::Body("website".to_owned()),
            _ => Reply::Status(500),
        }),
    );
    stage.write_services(&[low.services_line(), high.services_line()]);
    let config = json!({ "poll_interval": "50ms", "rise": 1000, "fall": 1000 });
    let pollbal = Pollbal::start(&stage, &config);
    let files = || {
        // The new node is among the disabled until it has answered.
        let disabled = stage.lines("disabled_services").unwrap_or_default();
        let low_is_out = disabled.contains(&low.services_line());
        (stage.lines("website.pool"), low_is_out)
    };
    let required = (Some(vec![high.pool_line()]), true);
    becomes(SOON, "files", &required, files);
    let new = stage.node(3, "api");
    stage.write_services(&[
        low.services_line(),
        high.services_line(),
        new.services_line(),
    ]);
    becomes(
        NOTICED,
        "the new node",
        &Some(vec![new.pool_line()]),
        || stage.lines("api.pool"),
    );
    let enough = (low.polls() + 10, high.polls() + 10);
    stays(SOON, "files", &required, files, || {
        low.polls() >= enough.0 && high.polls() >= enough.1
    });
    assert_eq!(pollbal.log_with(&["removed from"]), Vec::<String>::new());

    // A new name is no new node.
    let renamed = high.pool_line().replace("high", "renamed");
    let line = high.services_line().replace("high", "renamed");
    stage.write_services(&[low.services_line(), line, new.services_line()]);
    becomes(NOTICED, "the new name", &Some(vec![renamed]), || {
        stage.lines("website.pool")
    });
}

#[test]
fn all_forms_of_a_line_are_taken() {
    let stage = Stage::new();
    let nodes: Vec<_> = (1..=5)
        .map(|number| stage.node(number, "website"))
        .collect();
    let at = |number: u8, form: &dyn Fn(&str, u16) -> String| {
        let addr = stage.node_addr(number);
        form(&addr.ip().to_string(), addr.port())
    };
    let lines = [
        "# a comment".to_owned(),
        String::new(),
        at(1, &|ip, port| format!("{ip} {port}")),
        at(2, &|ip, port| format!("{ip}:{port} # with a colon")),
        at(3, &|ip, port| {
            format!("  {ip}\t{port} bare-name # a comment \r")
        }),
        at(4, &|ip, port| format!("{ip} {port}#tight")),
        at(5, &|ip, port| format!("{ip} {port} # ")),
    ];
    stage.write_services(&lines);
    // As some editors write it.
    let list = fs::read_to_string(stage.services_file()).unwrap();
    fs::write(stage.services_file(), format!("\u{feff}{list}")).unwrap();
    let _pollbal = Pollbal::start(&stage, &quick());
    let addr = |number| stage.node_addr(number);
    let required = [
        format!("{} # {}", addr(1), addr(1)),
        format!("{} # with a colon", addr(2)),
        format!("{} # bare-name", addr(3)),
        format!("{} # tight", addr(4)),
        format!("{} # {}", addr(5), addr(5)),
    ];
    becomes(SOON, "names", &Some(required.to_vec()), || {
        stage.lines("website.pool")
    });
    wait_rounds(&nodes, 1);
}

#[test]
fn a_pool_file_can_be_the_services_file() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    stage.write_services(&pool_lines(&nodes));
    let _pollbal = Pollbal::start(&stage, &quick());
    wait_website(&stage, SOON, &nodes);
}

#[test]
fn a_start_without_a_node_waits_for_the_first() {
    let stage = Stage::new();
    let pollbal = Pollbal::start(&stage, &quick());
    pollbal.wait_log(&["warn", "lists no nodes"]);
    let nodes = stage.nodes(&["website"]);
    wait_website(&stage, SOON, &nodes);
    becomes(SOON, "nobody is out", &Some(vec![]), || {
        stage.lines("disabled_services")
    });
}
