use serde_json::json;

use super::*;
use crate::config::testing::{config, errors};
use crate::drivers::registry::DriverSettings;

fn haproxies(value: &Value) -> Vec<HaproxySettings> {
    let drivers = config(value).drivers.into_iter();
    drivers
        .map(|driver| match driver {
            DriverSettings::Haproxy(settings) => settings,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn an_haproxy_is_a_socket_an_object_or_a_list_of_both() {
    let one = haproxies(&json!({"haproxy": "/run/haproxy/admin.sock"}));
    assert_eq!(
        one,
        [HaproxySettings::new(StatsSocket::Unix(
            "/run/haproxy/admin.sock".into()
        ))]
    );
    let list = haproxies(&json!({"haproxy": ["ipv4@127.0.0.1:9999", {
        "socket": "/run/h.sock", "resync_interval": "5s", "timeout": "1s", "required": false,
        "servers": "slots", "slot_prefix": "slot-", "leave": "maint",
    }]}));
    assert_eq!(list[0].id().to_string(), "HAProxy ipv4@127.0.0.1:9999");
    let second = &list[1];
    assert_eq!(
        (second.servers, second.leave, second.required),
        (ServerMode::Slots, Leave::Maint, false)
    );
    assert_eq!(second.slot_prefix.to_string(), "slot-");
    assert_eq!(
        (second.resync_interval, second.timeout),
        (Duration::from_secs(5), Duration::from_secs(1))
    );
    let none = haproxies(&json!({"haproxy": []}));
    assert_eq!(none, []);
}

#[test]
fn what_cannot_be_used_is_an_error_that_names_the_key() {
    for (value, words) in [
        (json!("run/haproxy.sock"), ["haproxy[0]", "/run/haproxy"]),
        (json!("ipv4@localhost"), ["haproxy[0]", "ipv4@127.0.0.1"]),
        (json!("ipv4@127.0.0.1:0"), ["haproxy[0]", "found"]),
        (json!({}), ["haproxy[0].socket", "missing"]),
        (
            json!({"socket": "/s", "servers": "both"}),
            ["haproxy[0].servers", "\"slots\""],
        ),
        (
            json!({"socket": "/s", "leave": true}),
            ["haproxy[0].leave", "\"drain\""],
        ),
        (
            json!({"socket": "/s", "slot_prefix": "a b"}),
            ["haproxy[0].slot_prefix", "A-Z"],
        ),
        (
            json!({"socket": "/s", "slots": 3}),
            ["haproxy[0].slots", "unknown"],
        ),
        (json!(["/s", "/s"]), ["haproxy", "twice"]),
        (
            json!({"socket": "/s", "state_file": "state"}),
            ["haproxy[0].state_file", "starts with `/`"],
        ),
        (
            json!([{"socket": "/s", "state_file": "/f"}, {"socket": "/t", "state_file": "/f"}]),
            ["haproxy", "two have the state_file /f"],
        ),
    ] {
        let errors = errors(&json!({"haproxy": value}));
        assert_eq!(errors.len(), 1, "{value}: {errors:?}");
        for word in words {
            assert!(errors[0].contains(word), "{value}: {errors:?}");
        }
    }
    let plus = json!({"pools": {"api": {"haproxy_backend": "1+2"}}});
    assert!(errors(&plus)[0].starts_with("pools.api.haproxy_backend: "));
}

#[test]
fn two_declared_pools_with_one_backend_are_an_error() {
    let error = &errors(&json!({"pools": {"api": {}, "web": {"haproxy_backend": "api"}}}))[0];
    assert!(
        error.contains("pools.web") && error.contains("pools.api"),
        "{error}"
    );
}

#[test]
fn a_pools_backend_has_its_name_or_the_given_one() {
    let value = json!({"haproxy": "/s", "pools": {"api": {"haproxy_backend": "be:api"}}});
    let settings = &haproxies(&value)[0];
    let backend = |pool: &str| settings.backend_of(&pool.parse().unwrap()).to_string();
    assert_eq!(backend("api"), "be:api");
    assert_eq!(backend("My-Web_2"), "My-Web_2");
}

#[test]
fn check_says_what_was_understood() {
    let settings = &haproxies(&json!({"haproxy": "/s"}))[0];
    assert_eq!(
        settings.describe(),
        "haproxy /s: resync every 30s, nodes get slots (pb1, pb2, …), or servers are added where a backend has none, sorry servers are backups, except with static algorithms, a node that leaves drains"
    );
    assert!(settings.warnings().is_empty());
    let open = &haproxies(&json!({"haproxy": {
        "socket": "ipv4@192.0.2.1:9999", "servers": "add", "leave": "maint", "required": false,
        "state_file": "/run/h.state"}}))[0];
    assert_eq!(
        open.describe(),
        "haproxy ipv4@192.0.2.1:9999: resync every 30s, servers are added for nodes, sorry servers are backups, except with static algorithms, a node that leaves is in maintenance at once, state kept in /run/h.state, not required"
    );
    assert!(open.warnings()[0].contains("192.0.2.1"));
}
