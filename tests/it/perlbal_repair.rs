//! What others did to Perlbal is mended where it concerns announced pools, and left alone everywhere else; a name that
//! cannot be had in Perlbal is an error that stops nothing else.

use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use serde_json::{Value, json};

use crate::common::nodes::addrs;
use crate::common::perlbal::{Config, Perlbal};
use crate::common::pollbal::Pollbal;
use crate::common::relay::Relay;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, stays};

/// Syncs often, so that a repair does not take half a minute.
fn often(perlbal: &Perlbal) -> Value {
    json!({ "perlbal": { "address": perlbal.management(), "resync_interval": "200ms" } })
}

#[test]
fn a_member_added_by_hand_goes_and_the_log_says_so() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "website"]);
    let perlbal = Config::new().start(&stage);
    let pollbal = Pollbal::start(&stage, &often(&perlbal));
    perlbal.wait_members("website", &addrs(&nodes[1..]));
    perlbal.wait_members("api", &addrs(&nodes[..1]));

    let stranger = stage.node_addr(9);
    // A node that belongs elsewhere is as wrong as one that nobody knows.
    for wrong in [stranger, nodes[0].addr()] {
        let mark = pollbal.mark();
        perlbal.add("website", wrong);
        pollbal.wait_log_after(mark, &["website", &wrong.to_string()]);
        perlbal.wait_members("website", &addrs(&nodes[1..]));
    }
    assert_eq!(perlbal.members("api"), Some(addrs(&nodes[..1])));
}

#[test]
fn a_member_removed_by_hand_comes_back_and_the_log_says_so() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let perlbal = Config::new().start(&stage);
    let pollbal = Pollbal::start(&stage, &often(&perlbal));
    perlbal.wait_members("website", &addrs(&nodes));

    let mark = pollbal.mark();
    perlbal.remove("website", nodes[0].addr());
    pollbal.wait_log_after(mark, &["website", &nodes[0].addr().to_string()]);
    perlbal.wait_members("website", &addrs(&nodes));
}

#[test]
fn a_hand_in_a_version_pool_is_mended_too() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api serving v1", "api serving v2"]);
    let perlbal = Config::new().pool("api__v1").start(&stage);
    let _pollbal = Pollbal::start(&stage, &often(&perlbal));
    perlbal.wait_members("api__v1", &addrs(&nodes[..1]));
    perlbal.add("api__v1", nodes[1].addr());
    perlbal.remove("api__v1", nodes[0].addr());
    perlbal.wait_members("api__v1", &addrs(&nodes[..1]));
}

#[test]
fn a_pool_name_taken_by_a_service_stops_no_other_pool() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "website", "website"]);
    let bystander = stage.node_addr(9);
    let perlbal = Config::new()
        .pool_with("elsewhere", &[bystander])
        .service(&stage, "api", "elsewhere")
        .start(&stage);
    let service = perlbal.ask("SHOW SERVICE api");
    let pollbal = Pollbal::start(&stage, &often(&perlbal));
    perlbal.wait_members("website", &addrs(&nodes[1..]));
    pollbal.wait_log(&["error", "api", "service"]);

    nodes[1].announce("website leaving");
    perlbal.wait_members("website", &addrs(&nodes[2..]));
    nodes[1].announce("website");
    perlbal.wait_members("website", &addrs(&nodes[1..]));
    assert_eq!(perlbal.members("api"), None);
    assert_eq!(perlbal.ask("SHOW SERVICE api"), service);
    // Its file is there for anyone who reads files.
    let line = Some(vec![nodes[0].pool_line()]);
    becomes(SOON, "api.pool", &line, || stage.lines("api.pool"));
}

#[test]
fn a_service_that_takes_a_pools_name_later_costs_no_connection() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["", "website"]);
    let perlbal = Config::new().start(&stage);
    // No resync comes between: the refusal itself has to tell that the name is taken.
    let pollbal = Pollbal::start(&stage, &json!({ "perlbal": perlbal.management() }));
    perlbal.wait_members("website", &addrs(&nodes[1..]));
    perlbal.tell("CREATE SERVICE late");
    nodes[0].announce("late");
    pollbal.wait_log(&["error", "CREATE POOL late", "already exists"]);
    pollbal.wait_log(&["error", "late", "a service has this name"]);
    nodes[1].announce("api");
    perlbal.wait_members("api", &addrs(&nodes[1..]));
    let lost = pollbal.log_with(&["cannot reach"]);
    assert_eq!(lost, [""; 0]);
}

#[test]
fn what_a_client_asks_for_costs_no_connection() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let perlbal = Perlbal::with_service(&stage, "web", "website");
    let pollbal = Pollbal::start(&stage, &json!({ "perlbal": perlbal.management() }));
    perlbal.wait_members("website", &addrs(&nodes));
    let since = Instant::now();
    // SOCKS prints requests under way as they came; these wait while the looks at the leaver go on.
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut client = TcpStream::connect(perlbal.service("web")).unwrap();
            let request = b"GET /?wait=3000 HTTP/1.0\r\nHost: Perlbal::BackendHTTP to \xfe\r\n\r\n";
            client.write_all(request).unwrap();
            client
        })
        .collect();
    eventually(SOON, "a request under way", || {
        (!nodes[0].arrivals_after(since).is_empty()).then_some(())
    });
    nodes[0].announce("website leaving");
    pollbal.wait_log(&[&nodes[0].addr().to_string(), " drained "]);
    drop(clients);
    let lost = pollbal.log_with(&["cannot reach"]);
    assert_eq!(lost, [""; 0]);
}

#[test]
fn a_name_given_in_the_configuration_keeps_two_pools_apart() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["My-Api", "my_api"]);
    let perlbal = Config::new().start(&stage);
    let mut config = often(&perlbal);
    config["pools"] = json!({ "My-Api": { "perlbal_pool": "first_api" } });
    let _pollbal = Pollbal::start(&stage, &config);
    perlbal.wait_members("first_api", &addrs(&nodes[..1]));
    perlbal.wait_members("my_api", &addrs(&nodes[1..]));
}

#[test]
fn names_that_perlbal_takes_amiss_are_driven_on_one_connection() {
    let stage = Stage::new();
    // Perlbal lower-cases names, refuses dashes, and hangs up on lines that begin with `quit` or end in `exit`.
    let nodes = stage.nodes(&[
        "My-Shop",
        "web-exit",
        "QUIT",
        "exit serving v1-exit",
        "new-exit",
    ]);
    let perlbal = Config::new()
        .pool_with("web_exit", &[stage.node_addr(9)])
        // Its members are asked for with SHOW POOL.
        .nodefile_pool("exit", &stage.pool_file("exit"))
        .pool("exit__v1_exit")
        .service(&stage, "front", "web_exit")
        .service(&stage, "frontexit", "exit")
        .start(&stage);
    let relay = Relay::before(&perlbal, &stage);
    let config = json!({ "perlbal": { "address": relay.addr(), "resync_interval": "200ms" } });
    let _pollbal = Pollbal::start(&stage, &config);
    let pools = ["my_shop", "web_exit", "quit", "exit", "new_exit"];
    for (pool, node) in pools.into_iter().zip(&nodes) {
        perlbal.wait_members(pool, &addrs([node]));
    }
    // The files have the names that the nodes announce.
    let files = ["My-Shop", "web-exit", "QUIT", "exit", "new-exit"];
    for (file, node) in files.map(|file| format!("{file}.pool")).iter().zip(&nodes) {
        becomes(SOON, file, &Some(vec![node.pool_line()]), || {
            stage.lines(file)
        });
    }
    perlbal.wait_members("exit__v1_exit", &addrs(&nodes[3..4]));
    for (pool, node) in pools.into_iter().zip(&nodes) {
        node.announce("");
        perlbal.wait_members(pool, &addrs([]));
    }
    // The second reading from now on begins once the first is answered, and that is asked behind all of the above.
    let mark = relay.said().len();
    let said = eventually(SOON, "two readings more", || {
        let said = relay.said();
        let readings = said[mark..].iter().filter(|line| *line == "DUMPCONFIG");
        (readings.count() >= 2).then_some(said)
    });
    assert_eq!(relay.connections(), 1, "Perlbal closed the connection");
    for line in [
        "CREATE POOL quit",
        "CREATE POOL new_exit",
        "SHOW POOL exit",
        "SHOW SERVICE frontexit",
        "SET frontexit pool = exit",
    ] {
        assert!(said.iter().any(|one| one == line), "{line}: {said:?}");
    }
}

#[test]
fn pools_that_no_node_announced_are_never_touched() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website", "website leaving"]);
    let own_file = stage.path("own.pool");
    std::fs::write(&own_file, "127.0.0.99:81\n").unwrap();
    let perlbal = Config::new()
        // One of its members is ours elsewhere, one has left elsewhere, one is nobody's.
        .pool_with(
            "legacy",
            &[nodes[0].addr(), nodes[2].addr(), stage.node_addr(9)],
        )
        .nodefile_pool("own", &own_file)
        .pool("nobodys")
        .service(&stage, "old", "legacy")
        .start(&stage);
    let untouched =
        |perlbal: &Perlbal| ["legacy", "own", "nobodys"].map(|pool| (perlbal.members(pool), pool));
    let before = untouched(&perlbal);
    let pollbal = Pollbal::start(&stage, &often(&perlbal));
    perlbal.wait_members("website", &addrs(&nodes[..2]));

    // Proof of a sync, and a change, while they are watched.
    perlbal.add("website", stage.node_addr(8));
    let right = Some(addrs(&nodes[..2]));
    stays(
        SOON,
        "other pools",
        &before,
        || untouched(&perlbal),
        || perlbal.members("website") == right,
    );
    nodes[0].announce("website leaving");
    let right = Some(addrs(&nodes[1..2]));
    stays(
        SOON,
        "other pools",
        &before,
        || untouched(&perlbal),
        || perlbal.members("website") == right,
    );
    assert_eq!(pollbal.log_with(&["legacy"]), [""; 0]);
}

#[test]
fn a_missing_pool_is_not_created_where_that_is_forbidden() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "website"]);
    let perlbal = Config::new().pool("api").start(&stage);
    let config = json!({ "perlbal": {
        "address": perlbal.management(),
        "create_pools": false,
        "resync_interval": "200ms",
    }});
    let pollbal = Pollbal::start(&stage, &config);
    perlbal.wait_members("api", &addrs(&nodes[..1]));
    pollbal.wait_log(&["website", "create"]);
    nodes[1].wait_polls(5);
    assert_eq!(perlbal.members("website"), None);

    // The operator does it; then it is kept right like the others.
    perlbal.tell("CREATE POOL website");
    perlbal.wait_members("website", &addrs(&nodes[1..]));
}

#[test]
fn who_comes_in_comes_before_who_goes_out_and_the_seal_is_right_behind() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let strangers = [stage.node_addr(8), stage.node_addr(9)];
    let perlbal = Config::new()
        .pool_with("website", &strangers)
        .service(&stage, "web", "website")
        .start(&stage);
    let relay = Relay::before(&perlbal, &stage);
    let _pollbal = Pollbal::start(&stage, &json!({ "perlbal": relay.addr() }));
    perlbal.wait_members("website", &addrs(&nodes));
    let said = relay.said();
    let first = |line: String| said.iter().position(|one| *one == line);
    let add = nodes
        .iter()
        .map(|node| first(format!("POOL website ADD {}", node.addr())));
    let remove = strangers.map(|addr| first(format!("POOL website REMOVE {addr}")));
    let order: Vec<_> = add.chain(remove).collect();
    assert!(order.iter().all(Option::is_some), "{said:?}");
    assert!(
        order[..2].iter().max() < order[2..].iter().min(),
        "{said:?}"
    );
    let last = order[2..]
        .iter()
        .flatten()
        .max()
        .copied()
        .unwrap_or_default();
    let seal = ["SHOW SERVICE web", "SET web pool = website"];
    assert_eq!(said[last + 1..][..2], seal);
}

#[test]
fn an_error_in_one_command_is_logged_and_hides_no_other() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api", "website", "shop", "blog"]);
    let perlbal = Config::new().start(&stage);
    let config = json!({ "perlbal": { "address": perlbal.management(), "resync_interval": "1h" } });
    let pollbal = Pollbal::start(&stage, &config);
    for (pool, node) in ["api", "website", "shop", "blog"].into_iter().zip(&nodes) {
        perlbal.wait_members(pool, &addrs([node]));
    }
    // Between two syncs, which are an hour apart, a service takes the name that a node is about to announce.
    perlbal.tell("CREATE SERVICE late");
    let mark = pollbal.mark();
    for (node, line) in nodes.iter().zip(["late", "shop", "blog", "api"]) {
        node.announce(line);
    }
    perlbal.wait_members("shop", &addrs(&nodes[1..2]));
    perlbal.wait_members("blog", &addrs(&nodes[2..3]));
    perlbal.wait_members("api", &addrs(&nodes[3..]));
    perlbal.wait_members("website", &addrs([]));
    let reported = pollbal.wait_log_after(mark, &["error", "late"]);
    eprintln!("{reported}");
    eventually(SOON, "no half-made pool", || {
        perlbal.members("late").is_none().then_some(())
    });
}
