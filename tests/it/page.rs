//! The status listener's page in a real browser: what it shows of a real Perlbal and real nodes, how it keeps up with
//! them, and what a browser may not do with it.

mod big;
mod browser;
mod look;
mod proxy;
mod site;

use serde_json::json;

use crate::common::nodes::Node;
use crate::common::{SOON, becomes, eventually};
use browser::{Browser, Reader};
use site::Site;

#[test]
fn it_shows_pools_nodes_with_their_reasons_and_perlbals() {
    let site = Site::start(&[
        "api serving v23",
        "api serving v24",
        "website",
        "api leaving",
    ]);
    site.disable("node-1", "kernel", "new kernel");
    site.freeze("network", "switch sw3 flaps");
    let browser = Browser::start(Reader::AT_A_DESK);
    browser.open(&site.url("/"));

    browser.wait_text("#verdict", &["DEGRADED: frozen (network)"]);
    browser.wait_text("#frozen", &["network by ann: “switch sw3 flaps”"]);
    browser.wait_text("#pool-api", &["api", "1 of 1", "v24 1"]);
    browser.wait_text("#pool-website", &["website", "1 of 1", "no version 1"]);
    browser.wait_text(
        "#nodes",
        &["node-1", "disabled", "kernel by ann: “new kernel”, "],
    );
    browser.wait_text("#nodes", &["node-4", "leaving"]);
    assert!(
        !browser.text("#nodes").contains("node-2"),
        "it simply serves"
    );
    let perlbal = site.perlbal.management().to_string();
    browser.wait_text("#load-balancers", &[&perlbal, "in sync", "Perlbal 1."]);
    browser.wait_text(
        "#events",
        &["node-1 is disabled: kernel", "node-2 joins api"],
    );
    browser.assert_quiet();

    browser.open(&site.url("/?pool=api"));
    browser.wait_text("#nodes", &["node-1", "node-2", "node-4", "serving"]);
    assert!(
        !browser.text("main").contains("node-3"),
        "it is in another pool"
    );
    let observed = ["api", "Desired", "Sent", "Observed"];
    browser.wait_text("#load-balancers", &observed);
    browser.assert_quiet();
}

#[test]
fn it_explains_a_node() {
    let site = Site::start(&["api serving v23", "api serving v24"]);
    site.disable("node-1", "kernel", "new kernel");
    let browser = Browser::start(Reader::AT_A_DESK);
    browser.open(&site.url("/"));
    browser.wait_text("#nodes", &["node-1"]);
    // By the search field, with blanks around what was typed.
    browser
        .run("const form = document.forms[0]; form.node.value = ' node-1 '; form.requestSubmit();");
    browser.wait_text(
        "#node",
        &[
            "node-1",
            "disabled",
            "“api serving v23”",
            "took",
            "kernel by ann",
        ],
    );
    browser.wait_text("#comes-back", &["pollbal enable node-1 --reason kernel"]);
    browser.wait_text("#at-load-balancers", &["removed, drained"]);
    browser.wait_text(
        "#events",
        &["node-1 joins api (v23)", "node-1 is disabled: kernel"],
    );
    becomes(SOON, "the title", &"node-1".to_owned(), || {
        first_word(&browser.title())
    });
    browser.assert_quiet();
}

fn first_word(text: &str) -> String {
    text.split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn what_is_not_there_is_said() {
    let site = Site::start(&["api serving v23"]);
    for (path, why) in [
        ("/?node=nobody", "nobody"),
        ("/?pool=nowhere", "there is no pool nowhere"),
    ] {
        let reply = site.ask(path);
        assert_eq!(reply.status, 404, "{path}");
        assert!(reply.body.contains("Nothing to show"), "{}", reply.body);
        assert!(reply.body.contains(why), "{}", reply.body);
    }
    let reply = site.ask("/?pool=a/b");
    assert_eq!(
        (reply.status, reply.body.contains("Nothing to show")),
        (400, true)
    );
}

#[test]
fn a_change_is_shown_without_a_reload() {
    let pools = json!({ "api": { "min_members": 2 } });
    let site = Site::start_with(&["api serving v23"; 3], &pools);
    let browser = Browser::start(Reader {
        height: 300,
        ..Reader::AT_A_DESK
    });
    browser.open(&site.url("/"));
    browser.wait_text("#verdict", &["OK: "]);
    let place = "return [window.mark, document.activeElement.textContent, scrollY, getSelection().toString()]";
    browser.run(
        "window.mark = 'the same page';
        document.querySelector('#pool-api a').focus();
        scrollTo(0, 60);
        getSelection().selectAllChildren(document.querySelector('#pools h2'));",
    );
    let before = browser.run(place);
    assert_eq!(before[1], "api");
    assert_eq!(before[2], 60);

    site.nodes[0].announce("api leaving v23");
    browser.wait_text("#nodes", &["node-1", "leaving"]);
    browser.wait_text("#pool-api", &["2 of 2", "v23 2"]);
    browser.wait_text("#events li:first-child", &["node-1 leaves api"]);
    site.nodes[1].announce("api leaving v23");
    browser.wait_text(
        "#verdict",
        &[
            "CRITICAL: pool api has 1 of its min_members of 2",
            "pool api below minimum: 1 serving, min_members 2",
        ],
    );
    becomes(SOON, "the title", &"CRITICAL:".to_owned(), || {
        first_word(&browser.title())
    });
    let icon = browser.run("return document.querySelector('link[rel=icon]').href");
    assert!(
        icon.as_str().is_some_and(|icon| icon.contains("red")),
        "{icon}"
    );
    assert_eq!(
        browser.run(place),
        before,
        "page, focus, place and selection"
    );

    site.nodes[0].announce("api serving v24");
    site.nodes[1].announce("api serving v24");
    browser.wait_text("#nodes", &["None"]);
    browser.wait_text("#pool-api", &["v23 1", "v24 2"]);
    browser.wait_text("#verdict", &["OK: "]);
    assert_eq!(
        browser.run(place),
        before,
        "page, focus, place and selection"
    );
    browser.assert_quiet();
}

#[test]
fn a_member_that_begins_to_fail_is_shown_before_anything_comes_of_it() {
    let pools = json!({ "api": { "fall": 1_000 } });
    let site = Site::start_with(&["api serving v23"; 2], &pools);
    let browser = Browser::start(Reader::AT_A_DESK);
    browser.open(&site.url("/"));
    browser.wait_text("#nodes", &["None"]);
    site.nodes[0].fail(503);
    browser.wait_text("#nodes", &["node-1", "failing, fewer than `fall` times"]);
    site.nodes[0].recover();
    browser.wait_text("#nodes", &["None"]);
    browser.assert_quiet();
}

#[test]
fn a_hidden_page_asks_nothing_and_catches_up_when_it_is_shown() {
    let site = Site::start(&["api serving v23"; 3]);
    let browser = Browser::start(Reader::AT_A_DESK);
    browser.open(&site.url("/"));
    browser.wait_text("#verdict", &["OK: "]);
    let hide = |hidden: bool| {
        browser.run(&format!(
            "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }});
            document.dispatchEvent(new Event('visibilitychange'));"
        ))
    };
    let number = |script: &str| browser.run(script).as_u64();
    let fetches = "return performance.getEntriesByType('resource').filter((one) => one.initiatorType === 'fetch').length";
    // Another listener, to know that changes were reported.
    browser.run(
        "window.changes = 0;
        window.other = new EventSource('/stream');
        other.addEventListener('changed', () => { changes += 1; });",
    );
    let reported = || number("return changes");
    hide(true);
    let change = |node: &Node, announcement: &str, event: &str| {
        let before = reported();
        node.announce(announcement);
        site.wait_event(event);
        eventually(SOON, "the change is reported", || {
            (reported() > before).then_some(())
        });
    };
    // What was under way when it was hidden comes to its end meanwhile.
    change(&site.nodes[0], "api leaving v23", "node-1 leaves api");
    let before = number(fetches);
    change(&site.nodes[1], "api leaving v23", "node-2 leaves api");
    change(&site.nodes[0], "api serving v24", "node-1 joins api (v24)");
    assert_eq!(number(fetches), before);
    assert!(!browser.text("#events").contains("node-2 leaves"));
    browser.run("other.close()");
    hide(false);
    browser.wait_text("#events", &["node-2 leaves api"]);
    site.nodes[2].announce("api leaving v23");
    browser.wait_text("#events", &["node-3 leaves api"]);
    browser.assert_quiet();
}

#[test]
fn a_page_that_is_not_fed_says_so_until_it_is() {
    let mut site = Site::start(&["api serving v23"; 2]);
    let browser = Browser::start(Reader::AT_A_DESK);
    browser.open(&site.url("/"));
    browser.wait_text("#verdict", &["OK: "]);
    assert_eq!(browser.text("#stale"), "");
    site.stop();
    browser.wait_text("#stale", &["No response from pollbal: stale since"]);
    browser.wait_text("#verdict", &["OK: "]);
    site.nodes[0].announce("api serving v24");
    site.restart();
    browser.wait_text("#pool-api", &["v24 1"]);
    becomes(SOON, "the warning", &String::new(), || {
        browser.text("#stale")
    });
}

#[test]
fn times_are_those_of_the_reader() {
    let site = Site::start(&["api serving v23"]);
    let browser = Browser::start(Reader::AT_A_DESK);
    // Half past five hours east of where the server's times are reported.
    browser.devtools(
        "Emulation.setTimezoneOverride",
        &json!({ "timezoneId": "Asia/Kolkata" }),
    );
    browser.open(&site.url("/"));
    browser.wait_text("#events", &["joins api"]);
    let times = browser.run(
        "const time = document.querySelector('#events time');
        const there = new Date(Date.parse(time.dateTime) + 5.5 * 3600_000);
        return [time.textContent, there.toISOString().slice(11, 19)];",
    );
    assert_eq!(times[0], times[1]);
    assert!(!browser.text("body").contains("UTC"));
}

#[test]
fn without_javascript_all_is_there_and_is_loaded_again() {
    let site = Site::start(&["api serving v23", "api serving v24", "website"]);
    site.disable("node-1", "kernel", "new kernel");
    let browser = Browser::start(Reader {
        javascript: false,
        ..Reader::AT_A_DESK
    });
    browser.open(&site.url("/"));
    let shown = browser.text("body");
    for words in [
        "OK: 3 nodes: 2 in pools, 1 disabled",
        "v24 1",
        "kernel by ann: “new kernel”, ",
        "ago",
        "in sync",
        "times in UTC",
    ] {
        assert!(shown.contains(words), "{words:?} in {shown:?}");
    }
    site.nodes[2].announce("website leaving");
    browser.wait_text("#nodes", &["node-3", "leaving"]);
    browser.assert_quiet();
}

/// Does harm wherever it is taken for more than text.
const HOSTILE: &str = "<script>window.harm=1</script><img src=x onerror=window.harm=2>\"'><b>";

#[test]
fn texts_from_outside_stay_texts() {
    let site = Site::start_named(HOSTILE, 2);
    site.disable(&site.nodes[0].addr().to_string(), "kernel", HOSTILE);
    site.freeze("network", HOSTILE);
    let browser = Browser::start(Reader::AT_A_DESK);
    let addr = site.nodes[0].addr();
    for path in [
        "/".to_owned(),
        "/?pool=api".to_owned(),
        format!("/?node={addr}"),
    ] {
        browser.open(&site.url(&path));
        browser.wait_text("#frozen", &[HOSTILE]);
        browser.wait_text("main", &[HOSTILE, &format!("kernel by ann: “{HOSTILE}”")]);
        let foreign =
            "return [window.harm ?? null, document.images.length, document.scripts.length]";
        assert_eq!(browser.run(foreign), json!([null, 0, 1]), "{path}");
        browser.assert_quiet();
    }
    // Also in what comes later.
    site.nodes[1].announce("api leaving v23");
    browser.open(&site.url("/"));
    browser.wait_text("#events", &[&format!("{HOSTILE} leaves api")]);
    assert_eq!(browser.run("return window.harm ?? null"), json!(null));
    browser.assert_quiet();
}

#[test]
fn a_browser_may_do_nothing_that_the_page_does_not_need() {
    let site = Site::start(&["api serving v23"; 2]);
    let browser = Browser::start(Reader::AT_A_DESK);
    browser.open(&site.url("/"));
    browser.wait_text("#verdict", &["OK: "]);
    browser.assert_quiet();
    let header = |name: &str| {
        let script = format!("return fetch('/').then((answer) => answer.headers.get({name:?}))");
        browser.run(&script).as_str().unwrap_or_default().to_owned()
    };
    let policy = header("content-security-policy");
    for part in [
        "default-src 'none'; ",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert_eq!(header("cache-control"), "no-store");
    let fetched =
        "return performance.getEntriesByType('resource').map((one) => new URL(one.name).origin)";
    let origin = site.url("");
    for from in browser.run(fetched).as_array().expect("a list") {
        assert_eq!(from, origin.as_str());
    }
    // As an attacker's would, who got an element in.
    for (forbidden, word) in [
        (
            "const one = document.createElement('script'); one.text = 'window.harm = 1'",
            "script",
        ),
        (
            "const one = document.createElement('style'); one.textContent = 'body { color: red }'",
            "style",
        ),
        ("const one = new Image(); one.src = '/healthz'", "image"),
        (
            "const one = document.createElement('iframe'); one.src = '/'",
            "Framing",
        ),
    ] {
        browser.run(&format!("{forbidden}; document.body.append(one);"));
        eventually(SOON, "the browser forbids it", || {
            let complaints = browser.complaints();
            let reported = complaints
                .iter()
                .any(|one| one.contains("Content Security Policy") && one.contains(word));
            assert!(reported || complaints.is_empty(), "{complaints:?}");
            reported.then_some(())
        });
    }
    assert_eq!(browser.run("return window.harm ?? null"), json!(null));
}
