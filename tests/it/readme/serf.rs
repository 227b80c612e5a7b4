//! docs/serf.md: the agents' command lines and the configurations are what Serf and pollbal need.

use std::process::Command;

use serde_json::Value;

use super::book::{Book, replace};
use crate::common::nodes::Node;
use crate::common::pollbal::Pollbal;
use crate::common::run::tool;
use crate::common::serf::{Agent, LB};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes};

/// The agents of an example's command lines: that of the load balancer, and that of a node.
fn agents(stage: &Stage, commands: &str, port: u16) -> [Agent; 2] {
    let key = Command::new(tool("serf")).arg("keygen").output();
    let key = key.expect("failed to run Serf").stdout;
    let key = String::from_utf8(key).expect("a key is a text");
    let commands = commands.replace("\\\n", "");
    let mut lines = commands
        .lines()
        .filter(|line| line.starts_with("serf agent "));
    [(LB, "lb"), (1, "web-1")].map(|(number, name)| {
        let words = [
            ("10.0.0.10", stage.ip(LB).to_string()),
            ("10.0.0.1", stage.ip(1).to_string()),
            ("127.0.0.1:7373", Agent::rpc_of(stage, number).to_string()),
            ("\"$KEY\"", key.trim().to_owned()),
            ("8080", port.to_string()),
        ];
        let words = words.map(|(there, here)| (there.to_owned(), here));
        let line = replace(lines.next().expect("an agent"), &words);
        let arguments = line.split_whitespace().skip(1).map(str::to_owned);
        Agent::of_arguments(stage, number, name, arguments.collect())
    })
}

/// An example's configuration, for that agent.
fn config(json: &str, agent: &Agent) -> Value {
    let json = json.replace("127.0.0.1:7373", &agent.rpc().to_string());
    let mut config: Value = serde_json::from_str(&json).expect("the example is JSON");
    config["services_file"] = Value::Null;
    config
}

#[test]
fn the_agents_and_both_configurations_work_as_they_are_written() {
    let stage = Stage::new();
    let node = Node::start(stage.node_addr(1), "web-1", "web");
    let mut book = Book::of("Run the agents");
    let [lb, _web] = agents(&stage, &book.next("sh").text, node.addr().port());
    for json in [book.next("json"), book.next("json")] {
        let mut config = config(&json.text, &lb);
        if let Some(serf) = config["serf"].as_object_mut() {
            // Which this agent has not.
            serf.insert("auth_key".to_owned(), Value::from(""));
        }
        let _pollbal = Pollbal::start(&stage, &config);
        let expected = Some(vec![node.pool_line()]);
        becomes(SOON, "web.pool", &expected, || stage.lines("web.pool"));
    }
    assert!(book.is_read());
}

#[test]
fn tags_move_and_drain_a_node_that_is_not_polled_as_is_written() {
    let stage = Stage::new();
    let mut commands = Book::of("Run the agents");
    let port = stage.node_addr(1).port();
    let [lb, web] = agents(&stage, &commands.next("sh").text, port);
    let mut book = Book::of("Without polls");
    let _pollbal = Pollbal::start(&stage, &config(&book.next("json").text, &lb));
    let line = format!("{} # web-1", stage.node_addr(1));
    let commands = book.next("sh").text;
    let mut commands = commands.lines().filter(|line| line.starts_with("serf "));
    let mut then = |file: &str, lines: &[&str]| {
        let command = commands.next().expect("a command");
        let words: Vec<_> = command.split_whitespace().skip(1).collect();
        web.run(&words);
        let expected = Some(lines.iter().map(|line| (*line).to_owned()).collect());
        becomes(SOON, file, &expected, || stage.lines(file));
    };
    then("web.v7.pool", &[&line]);
    then("web.pool", &[]);
    then("api.pool", &[&line]);
    assert!(book.is_read());
}
