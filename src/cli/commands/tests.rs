//! Which command lines of the commands are accepted.

use std::ffi::OsString;

use super::*;
use crate::cli::{Command, parse};

#[test]
fn the_error_about_a_value_that_starts_with_a_dash_says_what_is_wrong_with_it() {
    let parse_line = |words: &str| parse(words.split(' ').map(OsString::from));
    let wrong = |words: &str| parse_line(words).unwrap_err().to_string();
    let error = wrong("pollbal disable a --reason disk --for -1s");
    assert!(error.contains("expected a time such as 30s"), "{error}");
    let error = wrong("pollbal wait a --until drained --timeout --json");
    assert!(error.contains("expected a time such as 30s"), "{error}");
    let error = wrong("pollbal disable a --reason --wait");
    assert!(error.contains("the tag is missing"), "{error}");
    let invocation = parse_line("pollbal thaw --reason -x").unwrap();
    let Command::Client(ClientCommand::Thaw(thaw)) = invocation.command else {
        panic!("{invocation:?}")
    };
    assert_eq!(thaw.reason.to_string(), "-x");
}

#[test]
fn a_reason_expires_after_a_second_or_later() {
    let parse_line = |time: &str| {
        let words = ["pollbal", "disable", "a", "--reason", "disk", "--for", time];
        parse(words.map(OsString::from))
    };
    for short in ["0s", "0", "999ms"] {
        let error = parse_line(short).unwrap_err().to_string();
        assert!(error.contains("shorter than a second"), "{short}: {error}");
    }
    assert!(parse_line("1s").is_ok());
}

#[test]
fn a_roll_takes_at_least_one_node_at_a_time_and_a_positive_timeout() {
    let rejected = |flag: &str| {
        let words = ["pollbal", "roll", "api", flag, "--", "true"];
        let error = parse(words.map(OsString::from)).unwrap_err();
        error.to_string()
    };
    for flag in ["--parallel=0", "--parallel=-1", "--parallel=all"] {
        let text = rejected(flag);
        assert!(text.contains("expected 1 or more"), "{text}");
    }
    for flag in ["--timeout=0s", "--timeout=0ms"] {
        let text = rejected(flag);
        assert!(text.contains("expected more than zero"), "{text}");
    }
    for flag in ["--parallel=3", "--timeout=1ms", "--pause=0s"] {
        let words = ["pollbal", "roll", "api", flag, "--", "true"];
        assert!(parse(words.map(OsString::from)).is_ok(), "{flag}");
    }
}

#[test]
fn back_requires_a_command() {
    let words = |line: &str| parse(line.split(' ').map(OsString::from));
    assert!(words("pollbal leave --back lb1:8099 -- true").is_ok());
    assert!(words("pollbal leave --back lb1:8099").is_err());
}

#[test]
fn a_load_balancer_is_skipped_after_a_minute_or_the_given_time() {
    let skip_dead = |words: &str| {
        let invocation = parse(words.split(' ').map(OsString::from)).unwrap();
        match invocation.command {
            Command::Client(ClientCommand::Leave(leave)) => (leave.skip_dead, leave.urls),
            other => panic!("{other:?}"),
        }
    };
    let urls = vec!["lb1:8099".to_owned()];
    for (words, time) in [
        ("pollbal leave lb1:8099", None),
        ("pollbal leave --skip-dead lb1:8099", Some(60)),
        ("pollbal leave --skip-dead=5m lb1:8099", Some(300)),
    ] {
        let time = time.map(Duration::from_secs);
        assert_eq!(skip_dead(words), (time, urls.clone()), "{words}");
    }
}

#[test]
fn poll_is_another_name_of_nudge() {
    let nudge = |command: &str| {
        let words = ["pollbal", command, "node-1"].map(OsString::from);
        parse(words).unwrap().command
    };
    assert_eq!(nudge("poll"), nudge("nudge"));
}

#[test]
fn a_weight_needs_a_reason_unless_it_is_reset() {
    let parse_line = |words: &str| parse(words.split(' ').map(OsString::from));
    for accepted in ["weight a b 50 --reason canary --for 1h", "weight a --reset"] {
        assert!(
            parse_line(&format!("pollbal {accepted}")).is_ok(),
            "{accepted}"
        );
    }
    for rejected in [
        "weight a 50",
        "weight --reason canary",
        "weight a --reset --reason canary",
        "weight a --reset --for 1h",
    ] {
        assert!(
            parse_line(&format!("pollbal {rejected}")).is_err(),
            "{rejected}"
        );
    }
}
