//! Configurations of tests, from JSON.

use serde_json::Value;

use super::Config;

/// What is wrong with a configuration.
pub(crate) fn errors(value: &Value) -> Vec<String> {
    let (_, errors) = Config::from_value(value);
    errors.iter().map(ToString::to_string).collect()
}

/// A configuration without an error.
///
/// # Panics
/// If there is one.
pub(crate) fn config(value: &Value) -> Config {
    assert_eq!(errors(value), [""; 0]);
    Config::from_value(value).0
}
