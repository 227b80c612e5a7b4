//! `packaging/alert-mail`, the example of an `alert_hook`: with a `sendmail` that writes down what it gets.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::common::pollbal::Pollbal;
use crate::common::stage::Stage;
use crate::common::{SOON, eventually};

fn alert_mail() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/alert-mail")
}

/// Puts a `sendmail` there that writes its arguments and what it reads into `mail`.
fn fake_sendmail(directory: &Path) {
    let script = directory.join("sendmail");
    let text = format!(
        "#!/bin/sh\n{{ printf '<%s>' \"$@\"; echo; cat; }} > '{0}/mail.new' && mv '{0}/mail.new' '{0}/mail'\n",
        directory.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
}

/// `PATH` with the directory before all others.
fn path(directory: &Path) -> String {
    format!(
        "{}:{}",
        directory.display(),
        std::env::var("PATH").unwrap_or_default()
    )
}

/// Runs it as pollbal would.
fn run(directory: &Path, to: &[&str], text: &str, json: &str) -> Output {
    fake_sendmail(directory);
    let mut child = Command::new(alert_mail())
        .args(to)
        .env("PATH", path(directory))
        .env("POLLBAL_ALERT_STATE", "begin")
        .env("POLLBAL_SEVERITY", "critical")
        .env("POLLBAL_TEXT", text)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A script that gets no address does not read.
    _ = stdin.write_all(json.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// The arguments of sendmail, the headers and the body.
fn mail(directory: &Path) -> (String, Vec<String>, String) {
    let mail = fs::read_to_string(directory.join("mail")).unwrap();
    let (arguments, mail) = mail.split_once('\n').unwrap();
    let (headers, body) = mail.split_once("\n\n").unwrap();
    let headers = headers.lines().map(str::to_owned).collect();
    (arguments.to_owned(), headers, body.to_owned())
}

#[test]
fn a_mail_says_what_it_is_in_its_subject_and_all_in_its_body() {
    let directory = TempDir::new().unwrap();
    let to = ["ann@example.com", "bob@example.com"];
    let output = run(
        directory.path(),
        &to,
        "pool api is short",
        "{\"alert\":\"a, b\",\"left_out\":0}\n",
    );
    assert!(output.status.success(), "{output:?}");
    let (arguments, headers, body) = mail(directory.path());
    assert_eq!(arguments, "<-i><--><ann@example.com><bob@example.com>");
    assert_eq!(headers[0], "To: ann@example.com, bob@example.com");
    assert!(headers[1].starts_with("Subject: [pollbal begin] CRITICAL "));
    assert!(headers[1].ends_with(": pool api is short"), "{headers:?}");
    assert!(headers.contains(&"Auto-Submitted: auto-generated".to_owned()));
    assert_eq!(
        body,
        "pool api is short\n\n{\"alert\":\"a, b\",\n\"left_out\":0}\n"
    );
}

#[test]
fn nothing_that_is_reported_adds_a_header_an_option_or_a_line_that_is_too_long() {
    let directory = TempDir::new().unwrap();
    let text = format!("häßlich\r\nBcc: eve@example.com\n\n{}", "x".repeat(5_000));
    let json = format!("{{\"text\":\"{}\"}}\n", "é".repeat(5_000));
    run(directory.path(), &["-oQ/etc"], &text, &json);
    let (arguments, headers, body) = mail(directory.path());
    assert_eq!(arguments, "<-i><--><-oQ/etc>");
    let names: Vec<_> = headers
        .iter()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    let expected = [
        "To",
        "Subject",
        "Auto-Submitted",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
    ];
    assert_eq!(names, expected);
    assert!(
        headers
            .iter()
            .all(|line| line.is_ascii() && line.len() < 250)
    );
    assert!(body.lines().all(|line| line.len() < 998));
}

#[test]
fn without_an_address_it_fails_and_says_why() {
    let directory = TempDir::new().unwrap();
    let output = run(directory.path(), &[], "text", "{}\n");
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("address"));
    assert!(!directory.path().join("mail").exists());
}

#[test]
fn pollbal_runs_it_as_the_readme_says() {
    let stage = Stage::new();
    let nodes = stage.nodes(&["api"]);
    fake_sendmail(stage.dir());
    let config = stage.write_config(&json!({
        "alert_hook": [alert_mail(), "night-shift@example.com"],
        "pools": { "api": { "min_members": 1 } },
    }));
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollbal"));
    command
        .env("PATH", path(stage.dir()))
        .arg("--config")
        .arg(&config);
    let pollbal = Pollbal::spawn(command, config);
    pollbal.wait_log(&["first round done"]);
    nodes[0].announce("api leaving");
    eventually(SOON, "a mail", || stage.path("mail").exists().then_some(()));
    let (arguments, headers, body) = mail(stage.dir());
    assert_eq!(arguments, "<-i><--><night-shift@example.com>");
    assert!(
        headers[1].contains("[pollbal begin] CRITICAL "),
        "{headers:?}"
    );
    assert!(
        headers[1].contains("pool api has no members"),
        "{headers:?}"
    );
    assert!(body.contains("\"alert\":\"pool_empty\""), "{body}");
}
