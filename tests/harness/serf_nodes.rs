//! The stack of `haproxy/docker-compose.yml`: `HAProxy`, and nodes that only Serf knows. What docs/containers.md shows of
//! it, and what a page cannot show: that no client notices when a node leaves and returns, and that each node's page is
//! renewed.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::sync::LazyLock;
use std::time::Duration;

use regex_lite::Regex;

use crate::book::section;
use crate::common::client::{Traffic, failures};
use crate::common::docker::docker;
use crate::common::{becomes, eventually};

use super::readme::Examples;
use super::site::DEADLINE;
use super::stack::Stack;

/// The name of this trial.
pub(crate) const NAME: &str = "what_the_readme_shows_of_haproxy_and_serf";

/// Its section.
const SECTION: &str = "HAProxy and Serf in containers";

/// How often a node's page is renewed, and as long again, for a busy machine.
const RENEWED: Duration = Duration::from_secs(20);

pub(crate) fn run() {
    let stack = Stack::new("haproxy/docker-compose.yml");
    let up = (
        "docker compose -f haproxy/docker-compose.yml up --build",
        "up --no-build",
    );
    let examples = Examples::new(&stack, up, "198.18.43", alike);
    nodes_come_first(&stack, &examples);
    let blocks = section(SECTION);
    for block in &blocks[..2] {
        examples.run(block);
    }
    no_client_notices_a_leave(&stack, &examples);
    each_page_is_renewed(&stack, &examples);
    for block in &blocks[2..] {
        examples.run(block);
    }
}

/// Nodes get any names and addresses; a page shows some.
fn alike(line: &str) -> String {
    static NAME: LazyLock<Regex> = LazyLock::new(|| Regex::new("web-[0-9]+").unwrap());
    static ADDRESS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"198(\.[0-9]+){3}").unwrap());
    let line = NAME.replace_all(line, "web-N");
    ADDRESS.replace_all(&line, "ADDRESS").into_owned()
}

/// Starts nodes that find nobody to join. Those that come later, to what runs already, are on the page.
fn nodes_come_first(stack: &Stack, examples: &Examples<'_>) {
    stack.compose(&["up", "--detach", "--no-build", "--scale", "web=4", "web"]);
    eventually(DEADLINE, "a node has tried to join", || {
        let log = examples.print("docker compose logs web");
        log.contains("Join failed").then_some(())
    });
}

fn no_client_notices_a_leave(stack: &Stack, examples: &Examples<'_>) {
    let service = SocketAddrV4::new(stack.ip(10), 8002);
    let traffic = Traffic::start_paced(service, 2, Duration::from_millis(5));
    let all = servers(examples);
    let container = examples.print("docker compose ps --quiet web | head -1");
    let container = container.trim();
    let name = docker(&["exec", container, "cat", "/run/web/name"]);
    let name = name.trim();

    docker(&["stop", "--time", "20", container]);
    let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", container]);
    assert_eq!(code.trim(), "0", "the node was ended by force");
    let address = format!("{}.{}:8080", stack.net(), &name["web-".len()..]);
    let log = examples.print("docker compose logs pollbal");
    let left = format!("{name} leaves web (v1): leaving");
    let drained = format!("{address} drained");
    for line in [&left, &drained] {
        assert!(log.contains(line.as_str()), "{line} is not in\n{log}");
    }
    let mut others = all.clone();
    assert!(others.remove(&format!("{name}_{address}")), "{all:?}");
    assert_eq!(servers(examples), others);
    traffic.wait_answers(100);

    docker(&["start", container]);
    becomes(DEADLINE, "the node is back", &all.len(), || {
        servers(examples).len()
    });
    traffic.wait_answers(100);
    assert_eq!(failures(&traffic.finish()), [""; 0]);
}

/// The nodes of the pool `web` in `HAProxy`.
fn servers(examples: &Examples<'_>) -> BTreeSet<String> {
    let table = examples.print("curl -sS 'http://127.0.0.1:9999/;csv'");
    let names = table
        .lines()
        .filter_map(|line| line.strip_prefix("web,")?.split(',').next());
    names
        .filter(|name| name.starts_with("web-"))
        .map(str::to_owned)
        .collect()
}

/// Asks each node itself for its page, which has the time of its renewal in the caption.
fn each_page_is_renewed(stack: &Stack, examples: &Examples<'_>) {
    let nodes: Vec<String> = servers(examples)
        .iter()
        .filter_map(|server| Some(server.split_once('_')?.0.to_owned()))
        .collect();
    let page = |node: &String| {
        let page = format!("http://{}.{}:8080/", stack.net(), &node["web-".len()..]);
        let page = examples.print(&format!("curl -sS {page}"));
        let row = |name: &String| page.contains(&format!("<tr><th>{name}</th><td>"));
        nodes.iter().all(row).then_some(page)
    };
    let first: Vec<_> = nodes
        .iter()
        .map(|node| {
            let what = format!("{node} shows the load of all");
            let first = eventually(RENEWED, &what, || page(node));
            assert!(first.contains(&format!("<h1>I am {node}")), "{first}");
            first
        })
        .collect();
    for (node, first) in nodes.iter().zip(first) {
        eventually(RENEWED, &format!("the page of {node} is renewed"), || {
            (page(node)? != first).then_some(())
        });
    }
}
