//! No node is notified that it is gone as long as a service of Perlbal has it in a pool, no matter who put it there;
//! and what of Perlbal's configuration keeps pollbal from being obeyed is reported.

use crate::commands::site as commands;
use crate::perlbal_owned::site;

use std::fs;

use serde_json::{Value, json};

use crate::common::client::{get as request, get_later};
use crate::common::http::get;
use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::Config;
use crate::common::run::stdout;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, eventually, overlay, runtime};
use site::{End, Site, nobody};

/// `website` is declared.
fn declared() -> Value {
    json!({ "pools": { "website": {} } })
}

#[test]
fn a_node_in_a_pool_made_by_hand_is_not_gone_until_it_is_out_of_that_too() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["website", "website"]);
    let perlbal = Config::new()
        .pool("website")
        .pool_with("mine", &[nodes[0].addr()])
        .pool_with("unused", &[nodes[0].addr()])
        .service(&stage, "web", "website")
        .service(&stage, "by_hand", "mine")
        .start(&stage);
    let site = Site::start(stage, perlbal, &declared());
    site.perlbal.wait_members("website", &addrs(&nodes));
    let why = format!(
        "granted still a member of pool mine at {}, which pollbal does not manage",
        site.perlbal.management()
    );
    becomes(SOON, "the answer", &why, || site.ask_leave(&nodes[0]));
    assert_eq!(site.perlbal.members("website"), Some(addrs(&nodes[1..])));
    assert_eq!(site.explained(&nodes[0])["drained"], json!(false));
    // An idle connection to it is kept, and may be used again: no seal reaches that service.
    request(site.perlbal.service("by_hand"), "/").expect("it is served");
    site.perlbal.remove("mine", nodes[0].addr());
    let why = format!("granted still draining in {}", site.perlbal.management());
    eventually(SOON, "the answer", || {
        site.ask_leave(&nodes[0]).starts_with(&why).then_some(())
    });
    // It is looked at again and again.
    nodes[0].wait_polls(5);
    assert!(site.ask_leave(&nodes[0]).starts_with(&why));
    nodes[0].announce("website leaving");
    nodes[0].wait_polls(2);
    nodes[0].die();
    nodes[0].revive();
    site.leave(&nodes[0], &["website", "mine"]);
}

#[test]
fn a_pool_that_has_another_name_in_perlbal_since_the_restart_is_reported() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let perlbal = Config::new()
        .pool("website")
        .pool("backend")
        .service(&stage, "web", "website")
        .service(&stage, "back", "backend")
        .start(&stage);
    let mut site = Site::start(stage, perlbal, &declared());
    site.perlbal.wait_members("website", &addrs(&nodes));
    site.end(End::Terminated);
    overlay(
        &mut site.config,
        &json!({ "pools": { "website": { "perlbal_pool": "backend" } } }),
    );
    site.begin();
    site.perlbal.wait_members("backend", &addrs(&nodes));
    let why = format!(
        "granted still a member of pool website at {}, which pollbal does not manage",
        site.perlbal.management()
    );
    becomes(SOON, "the answer", &why, || site.ask_leave(&nodes[0]));
    let pollbal = site.pollbal();
    pollbal.wait_log(&["warn", "pool website", "was pollbal's"]);
}

#[test]
fn a_member_by_hand_that_leaves_from_the_first_poll_on_is_taken_out() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web leaving v1", "other"]);
    let perlbal = Config::new()
        .pool_with("web", &[nodes[0].addr()])
        .pool_with("web__v1", &[nodes[0].addr()])
        .service(&stage, "www", "web")
        .service(&stage, "www1", "web__v1")
        .start(&stage);
    let site = Site::start(stage, perlbal, &json!({}));
    site.perlbal.wait_members("web", &nobody());
    site.perlbal.wait_members("web__v1", &nobody());
    site.leave(&nodes[0], &["web", "web__v1"]);
}

#[test]
fn a_node_that_may_not_serve_in_a_pool_claims_it_no_more_by_leaving() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web leaving", "other"]);
    let perlbal = Config::new()
        .pool_with("web", &[nodes[0].addr()])
        .service(&stage, "www", "web")
        .start(&stage);
    let keys = json!({ "accept_undeclared_pools": false, "pools": { "other": {} } });
    let site = Site::start(stage, perlbal, &keys);
    site.perlbal.wait_members("other", &addrs(&nodes[1..]));
    let why = format!(
        "granted still a member of pool web at {}, which pollbal does not manage",
        site.perlbal.management()
    );
    becomes(SOON, "the answer", &why, || site.ask_leave(&nodes[0]));
    assert_eq!(site.perlbal.members("web"), Some(addrs(&nodes[..1])));
}

#[test]
fn a_member_by_hand_whose_port_is_spelled_in_another_way_is_taken_out_and_watched() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website leaving", "website"]);
    let perlbal = Config::new()
        .pool("website")
        .pool("mine")
        .service(&stage, "web", "website")
        .service(&stage, "by_hand", "mine")
        .start(&stage);
    let site = Site::start(stage, perlbal, &declared());
    site.perlbal.wait_members("website", &addrs(&nodes[1..]));
    let spelled = format!("{}:0{}", nodes[0].addr().ip(), nodes[0].addr().port());
    site.perlbal.tell(&format!("POOL mine ADD {spelled}"));
    let why = format!(
        "granted still a member of pool mine at {}, which pollbal does not manage",
        site.perlbal.management()
    );
    becomes(SOON, "the answer", &why, || site.ask_leave(&nodes[0]));
    site.perlbal.tell(&format!("POOL mine REMOVE {spelled}"));
    site.leave(&nodes[0], &["website", "mine"]);
}

#[test]
fn a_foreign_nodefile_and_an_unused_pool_are_reported_once_at_the_connect_and_by_status() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "api"]);
    let foreign = stage.path("foreign.nodes");
    fs::write(&foreign, nodes[0].pool_line()).expect("failed to write");
    let other = stage.path("other.nodes");
    fs::write(&other, "127.0.0.99:81\n").expect("failed to write");
    let perlbal = Config::new()
        .nodefile_pool("website", &foreign)
        .nodefile_pool("api", &stage.pool_file("api"))
        // It is nobody's, and may follow what it likes.
        .nodefile_pool("mine", &other)
        .service(&stage, "web", "website")
        .start(&stage);
    let site = Site::start(stage, perlbal, &declared());
    let follows = format!("pool website follows {}", foreign.display());
    let unused = "no service in Perlbal uses pool api";
    for words in [&follows, unused] {
        site.pollbal().wait_log(&["warn", words]);
        let shown = || {
            let status = get(&site.stage, "/v1/status").json();
            status["load_balancers"][0]["problems"]
                .to_string()
                .contains(words)
        };
        becomes(SOON, words, &true, shown);
    }
    // Several readings later, and when Perlbal has read another content of that file.
    for round in 0..3 {
        site.perlbal.add("website", site.stage.node_addr(9 + round));
        site.perlbal.wait_members("website", &addrs(&nodes[..1]));
    }
    fs::write(&foreign, nodes[1].pool_line()).expect("failed to write");
    let mark = site.pollbal().mark();
    let reload = format!("SET website nodefile = {}", foreign.display());
    site.perlbal.tell(&reload);
    let put_right = ["pool website", "changed outside pollbal"];
    site.pollbal().wait_log_after(mark, &put_right);
    site.perlbal.wait_members("website", &addrs(&nodes[..1]));
    for words in [&follows, unused, "mine"] {
        let reported = site.pollbal().log_with(&["warn", words]);
        let remarks = reported
            .iter()
            .filter(|line| !line.contains("outside pollbal"));
        assert!(remarks.count() <= 1, "{reported:?}");
    }
    // They are no fault: a pool without a service may well be meant so.
    site.wait_in_sync();
    let socket = site.stage.admin_socket();
    let status = commands::ask(socket.to_str().expect("it is text"), &["status"]);
    let text = stdout(&status);
    assert_eq!(status.status.code(), Some(0), "{text}");
    let verdict = text.lines().last().unwrap_or_default();
    assert!(verdict.starts_with("OK"), "{text}");
    assert!(text.contains(&follows) && text.contains(unused), "{text}");
}

#[test]
fn a_node_at_work_is_not_gone_by_reloads_that_give_its_pool_another_name_in_perlbal() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website", "website"]);
    let perlbal = Config::new()
        .pool("website")
        .pool("backend")
        .service(&stage, "web", "website")
        .start(&stage);
    let mut site = Site::start(stage, perlbal, &declared());
    site.perlbal.wait_members("website", &addrs(&nodes));
    let answer = get_later(site.perlbal.service("web"), "/long?wait=4000");
    let is_long = |node: &&Node| node.arrivals().iter().any(|one| one.path == "/long");
    let node = eventually(SOON, "the request arrives", || nodes.iter().find(is_long));
    node.announce("website leaving");
    let others = nodes.iter().filter(|one| one.addr() != node.addr());
    site.perlbal.wait_members("website", &addrs(others));
    let why = format!("granted still draining in {}", site.perlbal.management());
    let reload = |site: &mut Site, keys: Value| {
        overlay(&mut site.config, &keys);
        site.stage.write_config(&site.config);
        let mark = site.pollbal().mark();
        site.pollbal().reload();
        site.pollbal()
            .wait_log_after(mark, &["connected to Perlbal"]);
        assert!(site.ask_leave(node).starts_with("granted"));
        eventually(SOON, "the answer", || {
            site.ask_leave(node).starts_with(&why).then_some(())
        });
    };
    reload(
        &mut site,
        json!({ "pools": { "website": { "perlbal_pool": "backend" } } }),
    );
    // What is known of a pool that was pollbal's goes from one run to the next.
    let address = site.perlbal.management();
    reload(
        &mut site,
        json!({ "perlbal": { "address": address, "resync_interval": "400ms" } }),
    );
    eventually(SOON, "the answer", || {
        (site.ask_leave(node) == "gone").then_some(())
    });
    assert!(answer.is_finished(), "gone with a request under way");
    let answer = runtime().block_on(answer).expect("the client panicked");
    assert_eq!(answer.as_deref(), Ok(node.name()));
}
