//! The numbers of a real `HAProxy`.

use serde_json::json;

use super::{Scrape, pollbal, promtool};
use crate::common::client::get;
use crate::common::haproxy::{Config, slots};
use crate::common::nodes::addrs;
use crate::common::stage::Stage;

#[test]
fn what_haproxy_tells_of_backends_and_servers_is_true_and_promtool_has_nothing_to_say() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["web", "web"]);
    let haproxy = Config::new()
        .backend("web", &[&slots(3)])
        .service(&stage, "www", "web")
        .start(&stage);
    let config = json!({ "haproxy": haproxy.socket(), "metrics_per_node": true });
    let (_pollbal, listener) = pollbal(&stage, config);
    haproxy.wait_members("web", &addrs(&nodes));
    // Round robin: each node gets every second one.
    for _ in 0..6 {
        get(haproxy.service("www"), "/?wait=100").expect("it is served");
    }
    let labels = format!("address=\"{}\",backend=\"web\"", haproxy.socket().display());
    let requests = format!("haproxy_backend_requests_total{{{labels}}}");
    listener.wait(&requests, 6.0);
    let scrape = listener.scrape();
    scrape.assert(&format!("haproxy_backend_sessions{{{labels}}}"), 0.0);
    let errors = format!("haproxy_backend_errors_total{{{labels},kind=\"connection\"}}");
    scrape.assert(&errors, 0.0);
    assert_average(
        &scrape,
        &format!("haproxy_backend_response_time_average_seconds{{{labels}}}"),
    );
    for node in &nodes {
        let addr = node.addr();
        let server = haproxy.server_of("web", addr);
        let labels = format!("{labels},server=\"{server}\",node=\"{addr}\"");
        scrape.assert(&format!("haproxy_server_requests_total{{{labels}}}"), 3.0);
        assert_average(
            &scrape,
            &format!("haproxy_server_total_time_average_seconds{{{labels}}}"),
        );
    }
    assert_eq!(promtool(&scrape.text), "");
}

/// That requests of 100 ms have about this average; with few of them, `HAProxy`'s is somewhat less.
#[track_caller]
fn assert_average(scrape: &Scrape, series: &str) {
    let seconds = scrape.value(series);
    assert!((0.03..1.0).contains(&seconds), "{series}: {seconds}");
}
