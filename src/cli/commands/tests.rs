//! What the commands' command lines take and refuse.

use std::ffi::OsString;

use super::*;
use crate::cli::{Command, read};

#[test]
fn a_value_that_begins_with_a_dash_is_told_what_is_wrong_with_it() {
    let read = |words: &str| read(words.split(' ').map(OsString::from));
    let wrong = |words: &str| read(words).unwrap_err().to_string();
    let error = wrong("pollbal disable a --reason disk --for -1s");
    assert!(error.contains("a time is such as 30s"), "{error}");
    let error = wrong("pollbal wait a --until rest --timeout --json");
    assert!(error.contains("a time is such as 30s"), "{error}");
    let error = wrong("pollbal disable a --reason --wait");
    assert!(error.contains("the word is missing"), "{error}");
    let asked = read("pollbal thaw --reason -x").unwrap();
    let Command::Client(ClientCommand::Thaw(thaw)) = asked.command else {
        panic!("{asked:?}")
    };
    assert_eq!(thaw.reason.to_string(), "-x");
}

#[test]
fn an_order_lasts_for_a_second_or_longer() {
    let read = |time: &str| {
        let words = ["pollbal", "disable", "a", "--reason", "disk", "--for", time];
        read(words.map(OsString::from))
    };
    for slip in ["0s", "0", "999ms"] {
        let error = read(slip).unwrap_err().to_string();
        assert!(error.contains("shorter than a second"), "{slip}: {error}");
    }
    assert!(read("1s").is_ok());
}

#[test]
fn a_roll_takes_one_node_or_more_at_a_time_and_has_time_for_each() {
    let refused = |flag: &str| {
        let words = ["pollbal", "roll", "api", flag, "--", "true"];
        let error = read(words.map(OsString::from)).unwrap_err();
        error.to_string()
    };
    for flag in ["--parallel=0", "--parallel=-1", "--parallel=all"] {
        let text = refused(flag);
        assert!(text.contains("expected 1 or more"), "{text}");
    }
    for flag in ["--timeout=0s", "--timeout=0ms"] {
        let text = refused(flag);
        assert!(text.contains("expected more than no time"), "{text}");
    }
    for flag in ["--parallel=3", "--timeout=1ms", "--pause=0s"] {
        let words = ["pollbal", "roll", "api", flag, "--", "true"];
        assert!(read(words.map(OsString::from)).is_ok(), "{flag}");
    }
}

#[test]
fn back_is_for_a_command() {
    let words = |line: &str| read(line.split(' ').map(OsString::from));
    assert!(words("pollbal leave --back lb1:8099 -- true").is_ok());
    assert!(words("pollbal leave --back lb1:8099").is_err());
}

#[test]
fn a_load_balancer_is_passed_over_after_a_minute_or_the_time_that_is_given() {
    let skip_dead = |words: &str| {
        let asked = read(words.split(' ').map(OsString::from)).unwrap();
        match asked.command {
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
