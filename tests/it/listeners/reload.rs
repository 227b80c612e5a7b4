//! Listeners at a reload.

use std::fs;
use std::io::Read;
use std::net::TcpListener;

use serde_json::json;

use super::{is_open, lives, reload, start};
use crate::common::stage::Stage;
use crate::common::wire::{Listeners, dial, dial_from, get_kept};
use crate::common::{SOON, client, eventually};

#[test]
fn a_reload_moves_closes_and_opens_listeners_and_the_others_stay() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["website"]);
    let (old, new) = (Listeners::new(&stage), Listeners::new(&stage));
    let mut pollbal = start(&stage, &old, &json!({}));
    let mut kept = dial_from(stage.ip(1), old.node);
    assert_eq!(get_kept(&mut kept, "/nowhere").status, 404);
    let mut closed = dial(old.status);
    assert_eq!(get_kept(&mut closed, "/healthz").status, 200);

    let moved = stage.path("moved.sock");
    let config = json!({ "admin_socket": moved, "status_listen": new.status });
    reload(&stage, &pollbal, &old.config(&config));
    pollbal.wait_log(&["status listener listening on", &new.status.to_string()]);
    assert!(lives(&moved) && !old.admin.exists());
    assert_eq!(client::get(new.status, "/healthz").unwrap(), "ok");
    eventually(SOON, "the old one is closed", || {
        (!is_open(old.status)).then_some(())
    });
    assert_eq!(
        closed.read(&mut [0]).unwrap(),
        0,
        "idle connections are closed"
    );
    assert_eq!(
        get_kept(&mut kept, "/nowhere").status,
        404,
        "unchanged listeners go on"
    );
    assert_eq!(pollbal.log_with(&["node listener listening"]).len(), 1);

    let off = json!({ "admin_socket": "", "status_listen": "", "node_listen": "" });
    reload(&stage, &pollbal, &off);
    eventually(SOON, "all are closed", || {
        let open = is_open(new.status) || is_open(old.node) || moved.exists();
        (!open).then_some(())
    });
    reload(&stage, &pollbal, &old.config(&json!({})));
    assert!(lives(&old.admin) && is_open(old.node));
    assert_eq!(client::get(old.status, "/healthz").unwrap(), "ok");

    // One that somebody has deleted is made again.
    fs::remove_file(&old.admin).unwrap();
    reload(&stage, &pollbal, &old.config(&json!({})));
    assert!(lives(&old.admin));
    assert!(pollbal.terminate().success());
    assert!(!old.admin.exists());
}

#[test]
fn a_reload_that_cannot_open_a_listener_is_refused_as_a_whole() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["website"]);
    let (old, new) = (Listeners::new(&stage), Listeners::new(&stage));
    let pollbal = start(&stage, &old, &json!({}));
    let _taken = TcpListener::bind(new.node).unwrap();
    let moved = stage.path("moved.sock");
    let own = json!({
        "admin_socket": moved,
        "pools": { "unheard_of": {} },
        "poll_interval": "1h",
    });
    stage.write_config(&new.config(&own));
    let mark = pollbal.mark();
    pollbal.reload();
    let node = new.node.to_string();
    pollbal.wait_log_after(
        mark,
        &["error", "failed to open node_listen", &node, "in use"],
    );
    pollbal.wait_log_after(mark, &["error", "reload rejected", "old state stays"]);
    assert!(lives(&old.admin) && is_open(old.node));
    assert_eq!(client::get(old.status, "/healthz").unwrap(), "ok");
    assert!(
        !moved.exists() && !is_open(new.status),
        "what was opened is closed again"
    );
    nodes[0].wait_polls(2);
    assert!(stage.lines("unheard_of.pool").is_none());

    // Good listeners do not help a configuration that is wrong elsewhere.
    stage.write_config(&json!({ "admin_socket": moved, "services_file": stage.path("none") }));
    let mark = pollbal.mark();
    pollbal.reload();
    pollbal.wait_log_after(mark, &["error", "reload rejected"]);
    stage.write_config(&old.config(&json!({ "admin_socket": moved })));
    stage.write_services(&[]);
    let mark = pollbal.mark();
    pollbal.reload();
    pollbal.wait_log_after(mark, &["error", "lists no nodes"]);
    pollbal.wait_log_after(mark, &["error", "reload rejected"]);
    assert!(lives(&old.admin) && !moved.exists());
}
