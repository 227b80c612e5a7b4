//! Which command lines are accepted.

use super::*;

fn parsed(words: &[&str]) -> Result<Command, clap::Error> {
    let words = ["pollbal"].iter().chain(words).map(OsString::from);
    parse(words).map(|invocation| invocation.command)
}

#[test]
fn the_definitions_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn flags_of_run_come_alone_or_before_or_after_it() {
    for words in [
        &["--dry-run"][..],
        &["--dry-run", "run"],
        &["run", "--dry-run"],
    ] {
        let Command::Run(flags) = parsed(words).unwrap() else {
            panic!("{words:?}")
        };
        assert!(flags.dry_run && !flags.once, "{words:?}");
    }
    let Command::Run(flags) = parsed(&["-v", "run", "-v"]).unwrap() else {
        panic!("not run")
    };
    assert_eq!(flags.level(), LevelFilter::TRACE);
    assert!(parsed(&["-v", "run", "-q"]).is_err());
}

#[test]
fn flags_of_run_are_rejected_with_other_commands() {
    for words in [
        &["--dry-run", "status"][..],
        &["-q", "check"],
        &["check", "-q"],
        &["status", "--once"],
    ] {
        let error = parsed(words).unwrap_err();
        assert!(error.use_stderr(), "{words:?}");
    }
}

#[test]
fn the_configuration_is_named_before_or_after_any_command() {
    for words in [
        ["pollbal", "--config", "x", "status"],
        ["pollbal", "status", "--config", "x"],
    ] {
        let invocation = parse(words.map(OsString::from)).unwrap();
        assert_eq!(invocation.config(), Path::new("x"));
    }
}

#[test]
fn socket_and_json_come_before_or_after_any_command_that_takes_them() {
    for words in [
        &["--json", "--socket", "x", "status"][..],
        &["status", "--socket", "x", "--json"],
        &["--socket=x", "roll", "api", "--json", "--", "ssh"],
    ] {
        let words = ["pollbal"].iter().chain(words).map(OsString::from);
        let socket_args = parse(words).unwrap().socket_args;
        assert_eq!(socket_args.socket.as_deref(), Some(Path::new("x")));
        assert!(socket_args.json);
    }
    assert!(parsed(&["--json", "leave", "a:1"]).is_ok());
    for words in [
        &["--json"][..],
        &["check", "--json"],
        &["--socket", "x", "run"],
        &["leave", "a:1", "--socket", "x"],
    ] {
        assert!(parsed(words).is_err(), "{words:?}");
    }
}

#[test]
fn the_error_about_an_unknown_command_lists_the_known_ones() {
    let error = parsed(&["stauts"]).unwrap_err().to_string();
    for words in [
        "'status'",
        "the commands are: run, check, status, explain, ",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn what_comes_after_two_dashes_is_a_command_with_flags_of_its_own() {
    let words = ["roll", "api", "--parallel", "2", "--", "ssh", "--wait", "x"];
    let Ok(Command::Client(ClientCommand::Roll(roll))) = parsed(&words) else {
        panic!("not a roll")
    };
    assert_eq!(roll.command, ["ssh", "--wait", "x"]);
    assert_eq!(roll.parallel.get(), 2);
    assert!(parsed(&["roll", "api"]).is_err());
    let words = ["leave", "http://a:1", "b:1", "--", "true"];
    let Ok(Command::Client(ClientCommand::Leave(leave))) = parsed(&words) else {
        panic!("not a leave")
    };
    assert_eq!((leave.urls.len(), leave.command.len()), (2, 1));
}

#[test]
fn a_reason_is_required_and_a_single_word() {
    assert!(parsed(&["disable", "n", "--reason", "kernel"]).is_ok());
    for words in [
        &["disable", "n"][..],
        &["disable", "--reason", "kernel"],
        &["disable", "n", "--reason", "two words"],
        &["disable", "n", "--reason", "a", "--timeout", "5s"],
        &["wait", "n"],
    ] {
        assert!(parsed(words).is_err(), "{words:?}");
    }
}
