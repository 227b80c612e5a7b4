use serde_json::{Value, json};

use super::*;
use crate::config::testing::{config, errors};
use crate::drivers::registry::DriverSettings;

fn perlbals(value: &Value) -> Vec<PerlbalSettings> {
    let drivers = config(value).drivers.into_iter();
    drivers
        .map(|driver| match driver {
            DriverSettings::Perlbal(settings) => settings,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_perlbal_is_an_address_an_object_or_a_list_of_both() {
    let one = perlbals(&json!({"perlbal": "127.0.0.1:16000"}));
    assert_eq!(one[0].address, "127.0.0.1:16000");
    assert!(one[0].create_pools && one[0].required);
    assert_eq!(
        (one[0].resync_interval, one[0].timeout),
        (Duration::from_secs(30), Duration::from_secs(2))
    );
    let list = json!({"perlbal": ["localhost:1", {"address": "127.0.0.1:2", "create_pools": false, "timeout": "1s", "required": false}]});
    let list = perlbals(&list);
    assert_eq!(list[0].address, "localhost:1");
    assert_eq!(
        (list[1].create_pools, list[1].required, list[1].timeout),
        (false, false, Duration::from_secs(1))
    );
}

#[test]
fn two_declared_pools_on_one_name_in_perlbal_are_an_error() {
    let error = &errors(&json!({"pools": {"my-api": {}, "other": {"perlbal_pool": "my_api"}}}))[0];
    assert!(
        error.contains("my-api") && error.contains("pools.other"),
        "{error}"
    );
}

#[test]
fn a_management_socket_that_is_not_on_loopback_is_warned_of() {
    let config = config(&json!({"perlbal": "192.0.2.1:16000"}));
    assert!(config.warnings()[0].contains("192.0.2.1:16000"));
}

#[test]
fn names_that_pools_give_belong_to_each_perlbal() {
    let value = json!({
        "perlbal": ["127.0.0.1:1", "127.0.0.1:2"],
        "pools": {"api": {"perlbal_pool": "backend"}},
    });
    let pool: PoolName = "api".parse().unwrap();
    for perlbal in perlbals(&value) {
        let given = perlbal.naming();
        assert_eq!(
            given.given(&pool).map(ToString::to_string),
            Some("backend".to_owned())
        );
    }
}
