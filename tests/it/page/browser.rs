//! A real browser, driven through its driver by `WebDriver` (<https://www.w3.org/TR/webdriver2/>): a handful of
//! requests with JSON. The crates that speak it bring TLS, or a licence that is not allowed here.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{self, Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::common::{SOON, becomes, runtime};

/// A browser takes seconds to start on a busy machine, and the driver answers only then.
const PATIENCE: Duration = Duration::from_secs(60);

/// What kind of reader sits before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) dark: bool,
    pub(crate) javascript: bool,
}

impl Reader {
    pub(crate) const AT_A_DESK: Self = Self {
        width: 1280,
        height: 900,
        dark: false,
        javascript: true,
    };

    pub(crate) const WITH_A_PHONE: Self = Self {
        width: 360,
        height: 740,
        ..Self::AT_A_DESK
    };
}

/// A browser of its own, with nothing remembered; dropped, it and its driver are ended.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: Option<String>,
    /// All that both of them write.
    _dir: TempDir,
    _claim: TcpListener,
}

impl Browser {
    pub(crate) fn start(reader: Reader) -> Self {
        let (port, claim) = claim_port();
        let dir = TempDir::with_prefix("pollbal-browser-").expect("failed to make a directory");
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .env("HOME", dir.path())
            .env("TMPDIR", dir.path())
            // The browser is in it too.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|why| {
                panic!(
                    "failed to start chromedriver: {why}; the page is tested in a real browser, on Debian from the packages \
                     chromium and chromium-driver (perlbal/setup test installs them); Ubuntu has them as snaps only, \
                     which cannot be driven: install Google's chrome and chromedriver there"
                )
            });
        let mut browser = Self {
            driver,
            port,
            session: None,
            _dir: dir,
            _claim: claim,
        };
        let output = browser.driver.stdout.take();
        wait_open(output.expect("the output is piped"));
        let made = browser.call("POST", "/session", &capabilities(reader));
        browser.session = made["sessionId"].as_str().map(ToOwned::to_owned);
        browser.look(reader);
        browser
    }

    /// The size of the window's inside, and the language and colours that the reader likes.
    fn look(&self, reader: Reader) {
        let size = json!({
            "width": reader.width,
            "height": reader.height,
            "deviceScaleFactor": 1,
            "mobile": reader.width < 500,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        self.devtools("Emulation.setLocaleOverride", &json!({ "locale": "en-GB" }));
        self.dark(reader.dark);
    }

    pub(crate) fn dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.devtools("Emulation.setEmulatedMedia", &features);
    }

    pub(crate) fn open(&self, url: &str) {
        self.ask("/url", &json!({ "url": url }));
    }

    /// Runs a script's text on the page and gives what it returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.ask("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// What can be read of the first element that the selector finds; nothing when there is none.
    pub(crate) fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?})?.innerText ?? ''");
        let text = self.run(&script);
        text.as_str().expect("a text").replace('\u{a0}', " ")
    }

    /// Waits until what can be read there has all of these words.
    #[track_caller]
    pub(crate) fn wait_text(&self, selector: &str, words: &[&str]) {
        let missing = || -> Vec<String> {
            let text = self.text(selector);
            let missing = words.iter().filter(|word| !text.contains(**word));
            missing
                .map(|word| format!("{word:?} in {text:?}"))
                .collect()
        };
        becomes(
            SOON,
            &format!("{words:?} in {selector}"),
            &Vec::new(),
            missing,
        );
    }

    pub(crate) fn title(&self) -> String {
        let title = self.call("GET", &format!("{}/title", self.session()), &Value::Null);
        title.as_str().expect("a title").to_owned()
    }

    /// The window as a picture.
    pub(crate) fn screenshot(&self) -> Vec<u8> {
        let picture = self.call(
            "GET",
            &format!("{}/screenshot", self.session()),
            &Value::Null,
        );
        let text = picture.as_str().expect("a picture");
        STANDARD.decode(text).expect("a picture in base64")
    }

    /// What the browser complained about since this was asked last: errors of scripts, what the policy forbids, what
    /// could not be loaded.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.ask("/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().expect("a log").iter();
        entries.map(|entry| entry["message"].to_string()).collect()
    }

    /// Nothing was complained about.
    #[track_caller]
    pub(crate) fn assert_quiet(&self) {
        assert_eq!(self.complaints(), [""; 0]);
    }

    /// The names of what has this role for those to whom the page is read out.
    pub(crate) fn heard(&self, role: &str) -> Vec<String> {
        let tree = self.devtools("Accessibility.getFullAXTree", &json!({}));
        let nodes = tree["nodes"].as_array().expect("a tree").iter();
        let nodes = nodes.filter(|node| node["ignored"] == false && node["role"]["value"] == role);
        let name = |node: &Value| {
            node["name"]["value"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        nodes.map(name).collect()
    }

    /// A command of the browser's own protocol, for what `WebDriver` has no word for.
    pub(crate) fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.ask(
            "/goog/cdp/execute",
            &json!({ "cmd": command, "params": parameters }),
        )
    }

    fn session(&self) -> String {
        let session = self.session.as_deref();
        format!("/session/{}", session.expect("the session has begun"))
    }

    fn ask(&self, path: &str, body: &Value) -> Value {
        self.call("POST", &format!("{}{path}", self.session()), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = runtime()
            .block_on(async { timeout(PATIENCE, exchange(self.port, method, path, body)).await });
        let answer =
            answer.unwrap_or_else(|_| panic!("{method} {path}: no answer within {PATIENCE:?}"));
        let value = answer.unwrap_or_else(|why| panic!("{method} {path}: {why}"))["value"].take();
        assert!(value["error"].is_null(), "{method} {path} {body}: {value}");
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // With its session the browser ends, all its processes with it; the driver does not answer before.
        if let Some(session) = self.session.take() {
            let path = format!("/session/{session}");
            let ending = exchange(self.port, "DELETE", &path, &Value::Null);
            let _ = runtime().block_on(async { timeout(SOON, ending).await });
        }
        // Whatever became of that: the driver, and a browser that it did not end.
        let _ = kill_process_group(Pid::from_child(&self.driver), Signal::KILL);
        let _ = self.driver.wait();
    }
}

fn capabilities(reader: Reader) -> Value {
    let mut arguments = vec![
        "--headless=new",
        "--disable-gpu",
        // In containers it is small.
        "--disable-dev-shm-usage",
        // Nothing but the page: no word to anybody else, and no name but addresses of this machine.
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--no-default-browser-check",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.*",
        "--hide-scrollbars",
    ];
    if geteuid().is_root() {
        // It refuses to start with a sandbox as root.
        arguments.push("--no-sandbox");
    }
    let javascript = if reader.javascript { 1 } else { 2 };
    json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "goog:loggingPrefs": { "browser": "ALL" },
        "goog:chromeOptions": {
            "args": arguments,
            "prefs": { "profile.managed_default_content_settings.javascript": javascript },
        },
    } } })
}

/// A port for a driver. It wants the same one of both of this machine's addresses, 127.0.0.1 and `::1`, and gives up
/// when one is taken, also when it may choose itself. Anyone who listens on a third address has the port, whichever
/// test program it is.
fn claim_port() -> (u16, TcpListener) {
    /// Below the ports that the kernel gives away.
    const PORTS: std::ops::Range<u16> = 20_000..26_000;
    static TAKEN: AtomicU16 = AtomicU16::new(0);

    let count = PORTS.end - PORTS.start;
    let start = u16::try_from(process::id() % u32::from(count)).expect("less than the count");
    for _ in PORTS {
        let next = start
            .wrapping_mul(97)
            .wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + next % count;
        let Ok(claim) = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 98), port)) else {
            continue;
        };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return (port, claim);
        }
    }
    panic!("no port is free for a driver");
}

/// Waits until the driver says that it listens. What else it says is read and forgotten, so that it never waits.
fn wait_open(output: ChildStdout) {
    let mut output = BufReader::new(output);
    let mut said = String::new();
    while !said.contains("started successfully on port ") {
        let read = output
            .read_line(&mut said)
            .expect("failed to read what the driver says");
        assert!(read > 0, "the driver ended at once; it said: {said}");
    }
    thread::spawn(move || io::copy(&mut output, &mut io::sink()));
}

async fn exchange(port: u16, method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let failed = |why: &dyn std::error::Error| format!("failed to talk to the driver: {why}");
    let stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .map_err(|why| failed(&why))?;
    let (mut sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|why| failed(&why))?;
    // Its errors come back by the sender.
    runtime().spawn(async move {
        let _ = connection.await;
    });
    let text = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", format!("127.0.0.1:{port}"))
        .body(Full::new(Bytes::from(text)))
        .map_err(|why| failed(&why))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|why| failed(&why))?;
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|why| failed(&why))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|why| failed(&why))
}
