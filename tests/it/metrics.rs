//! `GET /metrics`: the numbers are true, promtool has nothing to say about them, and Perlbal and pollbal do not feel it
//! when someone asks for them.

mod haproxy;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::common::client::{Traffic, failures};
use crate::common::http;
use crate::common::nodes::{Node, addrs};
use crate::common::perlbal::Perlbal;
use crate::common::pollbal::Pollbal;
use crate::common::relay::Relay;
use crate::common::run::tool;
use crate::common::stage::Stage;
use crate::common::{SOON, becomes, clock, eventually};

/// Between two readings of Perlbal's own numbers, kept for 5 s; each is observed a moment after it began.
const BETWEEN: Duration = Duration::from_secs(4);

/// What is asked for again and again is new within this.
const RENEWED: Duration = Duration::from_secs(20);

/// The status listener of one pollbal.
#[derive(Clone, Copy)]
struct Endpoint(SocketAddrV4);

/// One scrape.
struct Scrape {
    kind: String,
    text: String,
}

impl Endpoint {
    #[track_caller]
    fn scrape(self) -> Scrape {
        self.scrape_as("")
    }

    /// Asks by this `Accept` header.
    #[track_caller]
    fn scrape_as(self, accept: &str) -> Scrape {
        let mut stream = eventually(SOON, "status listener listening on", || {
            TcpStream::connect(self.0).ok()
        });
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("failed to ask");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .expect("the answer broke off");
        let (head, text) = answer.split_once("\r\n\r\n").expect("no end of the head");
        assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
        let kinds = head.lines();
        let mut kinds = kinds.filter_map(|line| line.strip_prefix("content-type: "));
        Scrape {
            kind: kinds.next().expect("no content type").to_owned(),
            text: text.to_owned(),
        }
    }

    /// Waits until a scrape has this value for a series.
    #[track_caller]
    fn wait(self, series: &str, value: f64) {
        becomes(RENEWED, series, &Some(value), || self.scrape().get(series));
    }
}

impl Scrape {
    /// The value of a series, reported with all its labels.
    fn get(&self, series: &str) -> Option<f64> {
        let values = self.text.lines();
        let mut values = values.filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        values
            .next()
            .map(|value| value.parse().expect("a value is a number"))
    }

    #[track_caller]
    fn value(&self, series: &str) -> f64 {
        let missing = || panic!("{series} is missing:\n{}", self.text);
        self.get(series).unwrap_or_else(missing)
    }

    #[track_caller]
    fn assert(&self, series: &str, value: f64) {
        assert_eq!(self.get(series), Some(value), "{series} in\n{}", self.text);
    }

    /// The sum of all series of a name.
    fn sum(&self, name: &str) -> f64 {
        let series = self.text.lines().filter(|line| line.starts_with(name));
        let values = series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.sum()
    }

    fn has(&self, text: &str) -> bool {
        self.text.contains(text)
    }
}

/// What `promtool check metrics` says of a text: nothing, if it is in order.
fn promtool(text: &str) -> String {
    let mut child = Command::new(tool("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing: say perlbal/setup test");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    stdin
        .write_all(text.as_bytes())
        .expect("promtool does not read");
    drop(stdin);
    let output = child.wait_with_output().expect("promtool does not end");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success() || !said.is_empty());
    said
}

/// A Perlbal whose service `web` uses the pool `api`.
fn perlbal(stage: &Stage) -> Perlbal {
    Perlbal::with_service(stage, "web", "api")
}

/// Starts pollbal with a status listener.
fn pollbal(stage: &Stage, mut config: Value) -> (Pollbal, Endpoint) {
    let listener = stage.free_addr();
    config["status_listen"] = json!(listener.to_string());
    (Pollbal::start(stage, &config), Endpoint(listener))
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).expect("not that many"))
}

#[test]
fn the_numbers_of_a_small_site_are_true() {
    let stage = Stage::new();
    let mut nodes = stage.nodes(&["api serving v1", "api serving v1", "api serving v2", "", ""]);
    nodes[4].die();
    let perlbal = perlbal(&stage);
    let management = perlbal.management().to_string();
    let config = json!({
        "perlbal": management,
        "pools": { "api": { "min_members": 1 }, "web": {} },
        // Each is polled once, and whenever the test says so.
        "poll_interval": "1h",
    });
    let (_pollbal, listener) = pollbal(&stage, config);
    let of_perlbal = |name: &str| format!("{name}{{driver=\"perlbal\",address=\"{management}\"}}");
    listener.wait(&of_perlbal("pollbal_lb_in_sync"), 1.0);
    nodes[2].announce("api leaving v2");
    let leaver = json!({ "nodes": [nodes[2].addr().to_string()] });
    http::post(&stage, "/v1/nudge", &leaver).ok();
    perlbal.wait_members("api", &addrs(&nodes[..2]));
    listener.wait("pollbal_nodes{state=\"leaving\"}", 1.0);

    let scrape = listener.scrape();
    for (series, value) in [
        ("pollbal_polls_total{result=\"serving\"}", 3.0),
        ("pollbal_polls_total{result=\"leaving\"}", 1.0),
        ("pollbal_polls_total{result=\"idle\"}", 1.0),
        ("pollbal_first_round_done", 1.0),
        ("pollbal_nodes{state=\"member\"}", 2.0),
        ("pollbal_nodes{state=\"idle\"}", 1.0),
        ("pollbal_nodes{state=\"failed\"}", 1.0),
        ("pollbal_pool_members{pool=\"api\",version=\"v1\"}", 2.0),
        ("pollbal_pool_members{pool=\"web\",version=\"\"}", 0.0),
        ("pollbal_pool_serving_members{pool=\"api\"}", 2.0),
        ("pollbal_pool_min_members{pool=\"api\"}", 1.0),
        ("pollbal_pool_sorry{pool=\"web\"}", 0.0),
        ("pollbal_gone_orders", 0.0),
        ("pollbal_frozen", 0.0),
        ("pollbal_pool_files_in_sync", 1.0),
        ("pollbal_pool_file_writes_total{result=\"failed\"}", 0.0),
        (&of_perlbal("pollbal_lb_connected"), 1.0),
        (&of_perlbal("pollbal_lb_connections_total"), 1.0),
        (&of_perlbal("pollbal_lb_errors_total"), 0.0),
        (&of_perlbal("pollbal_lb_propagation_seconds_count"), 2.0),
        (&of_perlbal("pollbal_lb_up"), 1.0),
        ("pollbal_http_connections{listener=\"status\"}", 1.0),
        (
            "pollbal_http_requests_total{listener=\"admin\",code=\"2xx\"}",
            1.0,
        ),
    ] {
        scrape.assert(series, value);
    }
    let polls = scrape.sum("pollbal_polls_total{");
    scrape.assert("pollbal_poll_duration_seconds_count", polls);
    assert!(scrape.value("pollbal_polls_total{result=\"connect\"}") >= 1.0);
    assert!(!scrape.has("version=\"v2\""), "nobody is at it any more");
    assert!(!scrape.has("node=\""), "no series for each node");

    // A file of each pool and version, and the list of who is in none.
    let written = scrape.value("pollbal_pool_file_writes_total{result=\"written\"}");
    assert!(
        written >= count(stage.files().len()),
        "{written} {:?}",
        stage.files()
    );
    let added = format!(
        "pollbal_lb_commands_total{{driver=\"perlbal\",address=\"{management}\",command=\""
    );
    assert!(scrape.sum(&added) >= 5.0, "{}", scrape.text);
    assert!(scrape.value(&of_perlbal("pollbal_lb_propagation_seconds_sum")) > 0.0);

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = now.as_secs_f64();
    let started = scrape.value("process_start_time_seconds");
    let since = scrape.value(&of_perlbal("pollbal_lb_in_sync_since_timestamp_seconds"));
    assert!(
        now - 60.0 < started && started < since && since < now,
        "{started} {since} {now}"
    );
    assert!(scrape.value("process_open_fds") > 5.0);
}

#[test]
fn what_perlbal_tells_of_each_member_is_true_with_metrics_per_node() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api serving v1", "api serving v1", "other"]);
    let perlbal = perlbal(&stage);
    let management = perlbal.management();
    let config = json!({ "perlbal": management.to_string(), "metrics_per_node": true });
    let (_pollbal, listener) = pollbal(&stage, config);
    perlbal.wait_members("api", &addrs(&nodes[..2]));
    let traffic = Traffic::start(perlbal.service("web"), 4);
    let both = &nodes[..2];
    for node in both {
        traffic.wait_answers_of(node.name(), 5);
    }
    let record = traffic.finish();
    assert_eq!(failures(&record), [""; 0]);

    let requests = format!("perlbal_requests_total{{address=\"{management}\"}}");
    listener.wait(&requests, count(record.len()));
    let scrape = listener.scrape();
    for node in both {
        let labels = format!("address=\"{management}\",node=\"{}\"", node.addr());
        let requests = format!("perlbal_node_requests_total{{{labels}}}");
        scrape.assert(&requests, count(node.arrivals().len()));
        assert!(scrape.value(&format!("perlbal_node_connections{{{labels}}}")) >= 1.0);
    }
    let sockets =
        format!("perlbal_sockets{{address=\"{management}\",kind=\"BackendHTTP\",state=\"bored\"}}");
    assert!(scrape.value(&sockets) >= 2.0, "{}", scrape.text);
    for queue in ["perlbal_queue_clients", "perlbal_queue_oldest_seconds"] {
        let labels = format!("address=\"{management}\",service=\"web\",priority=\"normal\"");
        scrape.assert(&format!("{queue}{{{labels}}}"), 0.0);
    }
    let cpu = format!("perlbal_cpu_seconds_total{{address=\"{management}\",mode=\"user\"}}");
    assert!(scrape.value(&cpu) > 0.0);
    for node in &nodes {
        let labels = format!("node=\"{}\",name=\"{}\"", node.addr(), node.name());
        scrape.assert(&format!("pollbal_node_member{{{labels}}}"), 1.0);
        let pool = if node.name() == "node-3" {
            "other"
        } else {
            "api"
        };
        let info = format!("{labels},state=\"member\",pool=\"{pool}\"");
        scrape.assert(&format!("pollbal_node_info{{{info}}}"), 1.0);
        assert!(scrape.value(&format!("pollbal_node_poll_duration_seconds{{{labels}}}")) > 0.0);
    }
}

#[test]
fn promtool_has_nothing_to_say_and_openmetrics_is_there_for_who_asks() {
    let stage = Stage::new();
    let name = r#"node "one" \ two"#;
    let node = Node::start(stage.node_addr(1), name, "api serving v1.0+a");
    stage.list(std::slice::from_ref(&node));
    let perlbal = perlbal(&stage);
    let config = json!({
        "perlbal": [perlbal.management().to_string(), stage.free_addr().to_string()],
        "metrics_per_node": true,
    });
    let (_pollbal, listener) = pollbal(&stage, config);
    perlbal.wait_members("api", &addrs([&node]));
    let up = format!(
        "pollbal_lb_up{{driver=\"perlbal\",address=\"{}\"}}",
        perlbal.management()
    );
    listener.wait(&up, 1.0);

    let scrape = listener.scrape();
    assert_eq!(scrape.kind, "text/plain; version=0.0.4; charset=utf-8");
    assert!(
        scrape.has(r#"name="node \"one\" \\ two""#),
        "{}",
        scrape.text
    );
    assert_eq!(promtool(&scrape.text), "");
    assert_ne!(promtool("# TYPE a counter\na 1\n"), "", "promtool works");
    // A family without samples is not in a scrape; here each has one, as a test of its own sees to.
    let all = include_str!("../../src/http/metrics/render/example.prom");
    assert!(all.contains("\npollbal_alerts{"));
    assert_eq!(promtool(all), "");

    let open = listener.scrape_as("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert_eq!(
        open.kind,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(open.text.ends_with("\n# EOF\n"), "{}", open.text);
    assert!(open.has("# TYPE pollbal_polls counter\n"), "{}", open.text);
}

#[test]
fn a_storm_of_scrapes_asks_perlbal_no_more_than_every_five_seconds() {
    let stage = Stage::new();
    let _nodes = stage.nodes(&["api"]);
    let perlbal = perlbal(&stage);
    let relay = Relay::before(&perlbal, &stage);
    let config = json!({ "perlbal": relay.addr().to_string() });
    let (_pollbal, listener) = pollbal(&stage, config);
    listener.wait(
        &format!(
            "pollbal_lb_up{{driver=\"perlbal\",address=\"{}\"}}",
            relay.addr()
        ),
        1.0,
    );

    // Only numbers are asked for by this command.
    let readings = || relay.said().iter().filter(|line| *line == "STATES").count();
    let (begin, mut texts) = (Instant::now(), BTreeSet::new());
    let mut until_next = |readings_before: usize| {
        eventually(RENEWED, "Perlbal is asked again", || {
            texts.insert(listener.scrape().text);
            (readings() > readings_before).then(Instant::now)
        })
    };
    let first = until_next(readings());
    let before = readings();
    let second = until_next(before);
    assert_eq!(readings(), before + 1);
    assert!(second - first >= BETWEEN, "{:?}", second - first);
    // Nor does pollbal write more than one text a second.
    let seconds = begin.elapsed().as_secs();
    assert!(
        texts.len() as u64 <= seconds + 2,
        "{} in {seconds} s",
        texts.len()
    );
}

#[test]
fn a_perlbal_that_hangs_or_is_away_holds_no_scrape_up() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api"]);
    let mut perlbal = perlbal(&stage);
    let management = perlbal.management();
    let config = json!({ "perlbal": { "address": management.to_string(), "timeout": "60s" } });
    let (_pollbal, listener) = pollbal(&stage, config);
    perlbal.wait_members("api", &addrs(&nodes));
    let up = format!("pollbal_lb_up{{driver=\"perlbal\",address=\"{management}\"}}");
    let connected = format!("pollbal_lb_connected{{driver=\"perlbal\",address=\"{management}\"}}");
    listener.wait(&up, 1.0);

    perlbal.pause();
    // What is kept is reported until it is too old.
    listener.wait(&up, 0.0);
    let asked = Instant::now();
    let scrape = listener.scrape();
    let took = clock::counted_since(asked);
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(
        !scrape.has("perlbal_requests_total"),
        "what is not known is not reported"
    );
    scrape.assert("pollbal_nodes{state=\"member\"}", 1.0);
    scrape.assert(&connected, 1.0);
    perlbal.go_on();
    listener.wait(&up, 1.0);

    perlbal.kill();
    listener.wait(&connected, 0.0);
    listener.wait(&up, 0.0);
}
