//! The page below a path of a real reverse proxy.

use std::fs;
use std::net::SocketAddrV4;
use std::process::{Child, Command, Stdio};

use super::browser::{Browser, Reader};
use super::site::Site;
use crate::common::wire::try_dial;
use crate::common::{SOON, eventually};

/// An `HAProxy` that has the status listener below `/ops/pollbal`; ended when dropped.
struct Proxy {
    child: Child,
    address: SocketAddrV4,
}

impl Proxy {
    fn start(site: &Site) -> Self {
        let address = site.stage.free_addr();
        let config = site.stage.path("haproxy.cfg");
        let text = format!(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             frontend web\n  bind {address}\n  default_backend pollbal\n\
             backend pollbal\n  http-request deny unless {{ path_beg /ops/pollbal }}\n  \
             http-request replace-path /ops/pollbal/?(.*) /\\1\n  server pollbal {}\n",
            site.listener
        );
        fs::write(&config, text).expect("failed to write HAProxy's configuration");
        let child = Command::new("/usr/sbin/haproxy")
            .args(["-db", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("failed to start HAProxy (perlbal/setup test installs it)");
        eventually(SOON, "HAProxy listens", || {
            try_dial(*address.ip(), address).ok()
        });
        Self { child, address }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
fn below_a_path_of_a_reverse_proxy_it_keeps_up_and_its_links_stay_there() {
    let site = Site::start(&["api serving v23", "website"]);
    let proxy = Proxy::start(&site);
    let browser = Browser::start(Reader::AT_A_DESK);
    // Also where the last slash was omitted.
    for path in ["/ops/pollbal/", "/ops/pollbal"] {
        let url = format!("http://{}{path}", proxy.address);
        browser.open(&url);
        browser.wait_text("#pool-api", &["1 of 1"]);
        // By the stream: without it nothing is fetched again.
        site.nodes[0].announce("api leaving v23");
        browser.wait_text("#nodes", &["node-1", "leaving"]);
        site.nodes[0].announce("api serving v23");
        browser.wait_text("#pool-api", &["1 of 1"]);
        assert_eq!(browser.text("#stale"), "");

        browser.run("document.querySelector('#pool-api th a').click()");
        browser.wait_text("#nodes", &["node-1", "serving"]);
        assert_eq!(browser.run("return location.pathname"), path);
        browser.run("document.querySelector('nav.back a').click()");
        browser.wait_text("#pool-website", &["1 of 1"]);
        browser.run(
            "const form = document.querySelector('form'); form.node.value = 'node-2'; form.submit()",
        );
        browser.wait_text("main", &["node-2", "website"]);
        assert_eq!(browser.run("return location.pathname"), path);
        browser.run("document.querySelector('h1 a').click()");
        browser.wait_text("#pool-website", &["1 of 1"]);
    }
    browser.assert_quiet();
}
