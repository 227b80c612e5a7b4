//! What the configuration accepts, and the errors and warnings about the rest.

use serde_json::json;

use super::testing::{config, errors};
use super::*;

#[test]
fn an_empty_object_gives_the_documented_defaults() {
    let config = config(&json!({}));
    assert_eq!(config.pool_directory, Path::new("/run/pool"));
    let services_file = config.services_file.as_deref();
    assert_eq!(services_file, Some(Path::new("/etc/pollbal.services")));
    assert_eq!(config.serf, None);
    assert_eq!(config.poll.interval, Duration::from_secs(1));
    assert_eq!(config.poll.timeout, Duration::from_millis(500));
    assert_eq!(config.poll.path, "/pool");
    assert_eq!(
        (config.rules.undeclared.rise, config.rules.undeclared.fall),
        (1, 1)
    );
    assert_eq!(
        (config.rules.accept_undeclared, config.rules.max_undeclared),
        (true, 100)
    );
    assert!(config.drivers.is_empty() && config.rules.declared.is_empty());
    assert_eq!(config.pool_file_format, PoolFileFormat::Nodefile);
    assert_eq!(config.empty_pool_grace, Duration::from_secs(60));
    let hooks = HookSettings {
        timeout: Duration::from_secs(30),
        ..HookSettings::default()
    };
    assert_eq!(config.hooks, hooks);
    let listeners = ListenerSettings {
        admin_socket: Some("/run/pollbal/admin.sock".into()),
        status_listen: None,
        status_hosts: Vec::new(),
        node_listen: None,
    };
    assert_eq!(config.listeners, listeners);
}

#[test]
fn a_door_is_off_or_has_a_place_of_its_own() {
    let all =
        json!({"admin_socket": "", "status_listen": "127.0.0.1:8098", "node_listen": "[::]:8099"});
    let listeners = config(&all).listeners;
    assert_eq!(listeners.admin_socket, None);
    assert_eq!(listeners.status_listen, Some(([127, 0, 0, 1], 8098).into()));
    assert_eq!(listeners.node_listen, Some(([0; 16], 8099).into()));

    let longest = format!("/{}", "s".repeat(102));
    assert_eq!(
        config(&json!({"admin_socket": longest}))
            .listeners
            .admin_socket,
        Some(longest.into())
    );
    let same = json!({"status_listen": "0.0.0.0:8099", "node_listen": "0.0.0.0:8099"});
    assert_eq!(
        errors(&same),
        ["node_listen: the same as status_listen; give each listener its own address"]
    );
}

#[test]
fn times_are_milliseconds_or_texts_with_a_unit() {
    for (value, expected) in [
        (json!(1500), 1500),
        (json!("1500ms"), 1500),
        (json!("2s"), 2000),
    ] {
        let config = config(&json!({"poll_interval": value}));
        assert_eq!(config.poll.interval, Duration::from_millis(expected));
    }
    for value in [
        json!("2"),
        json!(-1),
        json!(0),
        json!("soon"),
        json!(null),
        json!(1.5),
    ] {
        let error = &errors(&json!({"poll_interval": value}))[0];
        assert!(
            error.starts_with("poll_interval: expected a time"),
            "{error}"
        );
    }
}

#[test]
fn comments_are_skipped_and_any_other_unknown_key_is_named_with_the_nearest_known_one() {
    let config = json!({"README": "x", "_note": 1, "pools": {"README api": "", "api": {"_": 0}}});
    assert_eq!(errors(&config), [""; 0]);
    let error = &errors(&json!({"pol_interval": 5}))[0];
    assert!(
        error.contains("pol_interval") && error.contains("`poll_interval`"),
        "{error}"
    );
    let error = &errors(&json!({"pools": {"api": {"raise": 1}}}))[0];
    assert!(
        error.contains("pools.api.raise") && error.contains("`rise`"),
        "{error}"
    );
}

#[test]
fn all_errors_are_reported_at_once_each_with_its_key() {
    let found = errors(&json!({
        "pool_directory": 1, "rise": 0, "perlbal": [{"create_pools": 1}, "nowhere"],
        "pools": {"a.b": {}, "api": {"nodes": ["10.0.0.1/8"], "perlbal_pool": "API"}},
        "file_update_hook": "touch x", "poll_path": "pool", "pool_file_format": "csv",
    }));
    for key in [
        "pool_directory",
        "rise",
        "perlbal[0].create_pools",
        "perlbal[0].address",
        "perlbal[1]",
        "pools.a.b",
        "pools.api.nodes",
        "pools.api.perlbal_pool",
        "file_update_hook",
        "poll_path",
        "pool_file_format",
    ] {
        assert!(
            found
                .iter()
                .any(|error| error.starts_with(&format!("{key}: "))),
            "{key} in {found:#?}"
        );
    }
    assert_eq!(found.len(), 11, "{found:#?}");
}

#[test]
fn a_pool_takes_the_general_rise_and_fall_unless_it_has_its_own() {
    let value =
        json!({"rise": 2, "fall": 3, "pools": {"api": {"fall": 5, "min_members": 1}, "web": {}}});
    let rules = config(&value).rules;
    let api = &rules.declared["api"];
    assert_eq!((api.rise, api.fall, api.min_members), (2, 5, 1));
    assert_eq!((rules.undeclared.rise, rules.undeclared.fall), (2, 3));
}

#[test]
fn a_file_that_is_no_json_is_reported_with_its_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{\n  \"rise\": 1,\n}").unwrap();
    let error = Config::load(file.path()).unwrap_err();
    let chain = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert!(
        chain.contains("line 3") && chain.contains(&*file.path().to_string_lossy()),
        "{chain}"
    );
}

#[test]
fn headers_that_break_a_request_or_are_pollbals_own_are_errors() {
    let found = errors(&json!({
        "poll_headers": {
            "Host": "www.example.com", "host": "again", "X-Fine": "a \t\"b\"",
            "X Y": "1", "": "1", "X:": "1", "X\r\nY": "1", "Ä": "1",
            "X-Break": "a\r\nX-Injected: b", "X-Null": "a\u{0}", "X-Wide": "ä", "X-Empty": " ", "X-Number": 1,
            "Content-Length": "5", "transfer-encoding": "chunked", "Connection": "close", "Upgrade": "h2c",
        },
        "pools": {
            "api": { "poll_headers": { "Host": "api" } },
            "web": { "nodes": ["10.0.0.0/8"], "poll_headers": { "Host": "a b" } },
            "long": { "nodes": ["10.1.0.0/16"], "poll_headers": { "X": "x".repeat(5_000) } },
            "text": { "nodes": [], "poll_headers": "Host: api" },
        },
    }));
    for key in [
        "poll_headers.host",
        "poll_headers.X Y",
        "poll_headers.",
        "poll_headers.X:",
        "poll_headers.X\\r\\nY",
        "poll_headers.Ä",
        "poll_headers.X-Break",
        "poll_headers.X-Null",
        "poll_headers.X-Wide",
        "poll_headers.X-Empty",
        "poll_headers.X-Number",
        "poll_headers.Content-Length",
        "poll_headers.transfer-encoding",
        "poll_headers.Connection",
        "poll_headers.Upgrade",
        "pools.api.poll_headers",
        "pools.web.poll_headers.Host",
        "pools.long.poll_headers",
        "pools.text.poll_headers",
    ] {
        let its = |error: &&String| error.starts_with(&format!("{key}: "));
        let error = found.iter().find(its);
        assert!(error.is_some(), "{key} in {found:#?}");
        assert!(!error.unwrap().contains("Injected"), "{error:?}");
    }
    assert_eq!(found.len(), 19, "{found:#?}");
}

#[test]
fn a_node_is_sent_what_the_narrowest_block_of_a_pool_that_lists_it_says_over_what_all_are_sent() {
    let poll = config(&json!({
        "poll_headers": { "Host": "www", "X-All": "1" },
        "pools": {
            "wide": { "nodes": ["10.0.0.0/8"], "poll_headers": { "host": "wide" } },
            "narrow": { "nodes": ["10.1.0.0/16", "10.2.0.1"], "poll_headers": { "X-All": "2" } },
            "other": { "nodes": ["10.3.0.0/16"] },
        },
    }))
    .poll;
    for (addr, expected) in [
        ("10.0.0.1:80", [("X-All", "1"), ("host", "wide")]),
        ("10.1.0.1:80", [("Host", "www"), ("X-All", "2")]),
        ("10.2.0.1:80", [("Host", "www"), ("X-All", "2")]),
        ("10.2.0.2:80", [("X-All", "1"), ("host", "wide")]),
        ("10.3.0.1:80", [("X-All", "1"), ("host", "wide")]),
        ("192.0.2.1:80", [("Host", "www"), ("X-All", "1")]),
    ] {
        let headers = poll.headers_of(addr.parse().unwrap());
        assert_eq!(headers.iter().collect::<Vec<_>>(), expected, "{addr}");
    }
    let error = &errors(&json!({
        "pools": {
            "a": { "nodes": ["10.0.0.0/8"], "poll_headers": { "Host": "a" } },
            "b": { "nodes": ["10.0.0.0/8"], "poll_headers": { "Host": "b" } },
        },
    }))[0];
    assert!(
        error.contains("pools.b.poll_headers")
            && error.contains("pools.a")
            && error.contains("10.0.0.0/8"),
        "{error}"
    );
}

#[test]
fn a_ramp_is_none_or_takes_a_second_and_pools_inherit_it() {
    let config = config(&json!({
        "ramp": "30s",
        "pools": { "api": { "ramp": "0s" }, "web": { "ramp_after": "5s" } },
    }));
    let seconds = |rules: &crate::model::rules::PoolRules| {
        (rules.ramp.length.as_secs(), rules.ramp.after.as_secs())
    };
    assert_eq!(seconds(&config.rules.undeclared), (30, 120));
    let pools: Vec<_> = config.rules.declared.values().map(seconds).collect();
    assert_eq!(pools, [(0, 120), (30, 5)]);
    let short = errors(&json!({ "pools": { "api": { "ramp": "900ms" } } }));
    assert_eq!(
        short,
        ["pools.api.ramp: expected \"0s\" for none, or a time of at least 1s"]
    );
}
