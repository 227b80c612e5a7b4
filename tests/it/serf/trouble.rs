//! The agent that is asked is away, was restarted or wants a key; members have names that are none.

use std::time::Instant;

use serde_json::json;

use super::{config, members, problem, wait_no_problem, wait_pool, wait_problem};
use crate::common::nodes::Node;
use crate::common::pollbal::Pollbal;
use crate::common::run::{pollbal, stderr, stdout};
use crate::common::serf::{Agent, FAILED};
use crate::common::stage::Stage;
use crate::common::{SOON, eventually, stays};

/// Nodes that announce `web`, each with an agent.
fn webs<const N: usize>(stage: &Stage, lb: &Agent) -> ([Node; N], [Agent; N]) {
    let number = |index: usize| u8::try_from(index + 1).expect("few nodes");
    let nodes: [Node; N] = std::array::from_fn(|index| stage.node(number(index), "web"));
    let agents = std::array::from_fn(|index| Agent::of_node(stage, &nodes[index], lb, &[]));
    (nodes, agents)
}

#[test]
fn an_agent_that_is_killed_and_comes_back_alone_changes_nothing() {
    let stage = Stage::new();
    let mut lb = Agent::lb(&stage);
    let (nodes, agents) = webs::<4>(&stage, &lb);
    let pollbal = Pollbal::start(&stage, &config(&lb));
    wait_pool(&stage, "web", &nodes.each_ref());
    let expected = members(&stage, "web");
    let address = lb.rpc().to_string();

    lb.kill();
    let text = wait_problem(&stage, "source_lost");
    assert!(text.contains(&format!("Serf at {address} ")), "{text}");
    assert!(text.ends_with("the last good list stays active"), "{text}");
    // Those that it knew are kept from it, so that it stays alone.
    for agent in &agents {
        agent.signal(rustix::process::Signal::STOP);
    }
    lb.revive_alone();
    let text = eventually(SOON, "its list is not believed", || {
        problem(&stage, "source_lost").filter(|text| text.contains("was probably restarted"))
    });
    assert!(
        text.contains("lists 1 member, without 4 of the 5"),
        "{text}"
    );
    let polls = nodes[0].polls();
    stays(
        SOON,
        "the pool",
        &expected,
        || members(&stage, "web"),
        || nodes[0].polls() > polls + 30,
    );
    for agent in &agents {
        agent.signal(rustix::process::Signal::CONT);
    }
    lb.revive_joining(&agents[0]);
    wait_no_problem(&stage, "source_lost");
    assert_eq!(members(&stage, "web"), expected);
    pollbal.wait_log(&["info", &format!("Serf at {address} answers again")]);
    assert_eq!(pollbal.log_with(&["removed from web"]), [""; 0]);
    // Once per change, though it is asked four times a second.
    assert!(
        pollbal.log_with(&["error", "Serf at"]).len() < 6,
        "{:?}",
        pollbal.log()
    );
}

#[test]
fn while_the_agent_is_away_at_the_start_the_members_of_the_run_before_are_polled_on() {
    let stage = Stage::new();
    let mut lb = Agent::lb(&stage);
    let (nodes, agents) = webs::<2>(&stage, &lb);
    let listed = stage.node(3, "web");
    stage.write_services(&[listed.services_line()]);
    let config = json!({ "serf": lb.rpc().to_string() });
    let pollbal = Pollbal::start(&stage, &config);
    wait_pool(&stage, "web", &[&nodes[0], &nodes[1], &listed]);
    pollbal.kill();
    lb.kill();
    let pollbal = Pollbal::start(&stage, &config);
    pollbal.wait_log(&["first round done: 3 members"]);
    let text = wait_problem(&stage, "removals_withheld");
    let words = "the Serf agent has not listed its members yet";
    assert!(text.contains(words), "{text}");
    nodes[0].announce("web leaving");
    wait_pool(&stage, "web", &[&nodes[1], &listed]);
    nodes[0].announce("web");
    lb.revive_joining(&agents[0]);
    wait_no_problem(&stage, "removals_withheld");
    wait_pool(&stage, "web", &[&nodes[0], &nodes[1], &listed]);
    assert_eq!(pollbal.log_with(&["removed from web"]), [""; 0]);
}

#[test]
fn a_reload_keeps_the_last_list_unless_it_accepts_removals() {
    let stage = Stage::new();
    let mut lb = Agent::lb(&stage);
    let (nodes, agents) = webs::<3>(&stage, &lb);
    let pollbal = Pollbal::start(&stage, &config(&lb));
    wait_pool(&stage, "web", &nodes.each_ref());
    lb.kill();
    wait_problem(&stage, "source_lost");
    pollbal.reload();
    pollbal.wait_log(&["reloaded: 3 nodes"]);
    drop(agents);
    lb.revive_alone();
    eventually(SOON, "its list is not believed", || {
        problem(&stage, "source_lost").filter(|text| text.contains("was probably restarted"))
    });
    let mark = pollbal.mark();
    pollbal.reload();
    pollbal.wait_log_after(mark, &["reloaded: 3 nodes"]);
    wait_pool(&stage, "web", &nodes.each_ref());
    crate::common::http::accept_removals(&stage);
    wait_no_problem(&stage, "source_lost");
    eventually(SOON, "no node is left", || {
        members(&stage, "web")
            .is_none_or(|lines| lines.is_empty())
            .then_some(())
    });
}

#[test]
fn a_key_is_given_and_a_wrong_or_missing_one_is_said_to_be_so() {
    let stage = Stage::new();
    let node = stage.node(1, "web");
    let file = stage.path("agent.json");
    std::fs::write(&file, json!({ "rpc_auth": "s3cret" }).to_string()).unwrap();
    let options = format!("-config-file={}", file.display());
    let lb = Agent::start(&stage, 240, "lb", &[&options]);
    let _agent = Agent::of_node(&stage, &node, &lb, &[]);
    let mut config = config(&lb);
    for key in [None, Some("wrong")] {
        config["serf"] = json!({ "address": lb.rpc().to_string(), "auth_key": key.unwrap_or("") });
        let pollbal = Pollbal::start(&stage, &config);
        let text = pollbal.wait_log(&["error", "rejects the key"]);
        assert!(
            text.contains("set `serf.auth_key` to the agent's rpc_auth"),
            "{text}"
        );
    }
    config["serf"]["auth_key"] = json!("s3cret");
    let pollbal = Pollbal::start(&stage, &config);
    wait_pool(&stage, "web", &[&node]);
    assert_eq!(pollbal.log_with(&["s3cret"]), [""; 0]);
}

#[test]
fn names_that_are_none_are_rejected_and_shown_escaped_and_check_says_so_too() {
    let stage = Stage::new();
    let node = stage.node(1, "web");
    let lb = Agent::lb(&stage);
    let _agent = Agent::of_node(&stage, &node, &lb, &[]);
    let long = "x".repeat(200);
    let names = [
        "a b;$(id) \"q\"",
        "x/y\nz",
        "\u{1b}[2J\u{202e}web",
        "10.0.0.9:80",
        &long,
    ];
    let _hostile: Vec<_> = names
        .iter()
        .zip(2..)
        .map(|(name, number)| Agent::member(&stage, number, name, 80, &lb, &[]))
        .collect();
    let _ports = ["port=99999", "port=80\n"]
        .iter()
        .zip(10..)
        .map(|(port, number)| {
            Agent::member(&stage, number, &format!("p{number}"), 80, &lb, &[port])
        })
        .collect::<Vec<_>>();
    let pollbal = Pollbal::start(&stage, &config(&lb));
    wait_pool(&stage, "web", &[&node]);
    let text = wait_problem(&stage, "members_rejected");
    assert!(text.contains("not taken as nodes: 7 members: "), "{text}");
    let logged = pollbal.wait_log(&["warn", "not taken as nodes"]);
    let check = self::check(&stage, &config(&lb));
    for text in [text, logged, check.clone()] {
        assert!(
            text.contains("\\\"q\\\"") && text.contains("x/y\\nz"),
            "{text}"
        );
        assert!(
            text.chars()
                .all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}'))
        );
    }
    assert!(check.contains(&node.pool_line()), "{check}");
    assert!(check.contains("1 node, 1 member of other kinds"), "{check}");
    assert_eq!(pollbal.log_with(&["not taken as nodes"]).len(), 1);
}

/// What `pollbal check` prints.
fn check(stage: &Stage, config: &serde_json::Value) -> String {
    let config = stage.write_config(config);
    let output = pollbal(&["check", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

#[test]
fn check_says_that_the_agent_is_away() {
    let stage = Stage::new();
    let lb = stage.free_addr().to_string();
    let config = json!({ "serf": lb, "services_file": null });
    let text = check(&stage, &config);
    let away = format!("warning: Serf at {lb} cannot be reached: connection refused");
    assert!(text.contains(&away), "{text}");
}

#[test]
fn once_and_a_dry_run_take_the_members_too() {
    let stage = Stage::new();
    let lb = Agent::lb(&stage);
    let (nodes, agents) = webs::<2>(&stage, &lb);
    let config = config(&lb);
    let dry = Pollbal::run(&stage, &config, &["--once", "--dry-run"]);
    dry.assert_code(0);
    assert!(dry.stdout.contains(&nodes[0].pool_line()), "{}", dry.stdout);
    assert_eq!(members(&stage, "web"), None);
    agents[1].leave();
    Pollbal::run(&stage, &config, &["--once"]).assert_code(0);
    assert!(members(&stage, "web").is_some_and(|lines| lines.contains(&nodes[0].pool_line())));
}

#[test]
fn of_two_agents_of_one_name_serf_keeps_one_and_its_node_stays() {
    let stage = Stage::new();
    let lb = Agent::lb(&stage);
    let (nodes, _agents) = webs::<2>(&stage, &lb);
    let pollbal = Pollbal::start(&stage, &config(&lb));
    wait_pool(&stage, "web", &nodes.each_ref());
    let other = stage.node(3, "web");
    let mut second = Agent::member(&stage, 3, nodes[0].name(), other.addr().port(), &lb, &[]);
    let (expected, began) = (members(&stage, "web"), Instant::now());
    stays(
        FAILED,
        "the pool",
        &expected,
        || members(&stage, "web"),
        || second.has_ended() || began.elapsed() > FAILED / 2,
    );
    assert!(second.has_ended(), "Serf ends the second one");
    assert_eq!(pollbal.log_with(&["removed from web"]), [""; 0]);
}
