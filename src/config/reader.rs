//! Reads a JSON object key by key, and reports an error for each invalid key.
//!
//! Reading goes on after an error, with the key's default value, so that all errors of a file are reported at once.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value};

/// An error in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    /// The key's path, such as `pools.api.rise`.
    pub key: String,
    /// The error, and what to write instead.
    pub problem: String,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

/// Collects the errors of all objects, and the keys that exist.
#[derive(Debug, Default)]
pub(crate) struct ErrorSink {
    found: RefCell<Vec<KeyError>>,
    /// The paths of all keys that were read.
    known: RefCell<BTreeSet<String>>,
}

impl ErrorSink {
    pub(crate) fn push(&self, error: KeyError) {
        self.found.borrow_mut().push(error);
    }

    pub(crate) fn into_inner(self) -> (Vec<KeyError>, BTreeSet<String>) {
        (self.found.into_inner(), self.known.into_inner())
    }
}

/// Reads one JSON object.
pub(crate) struct ObjectReader<'a> {
    /// Empty for the whole file, otherwise the object's path and a dot.
    prefix: String,
    map: &'a Map<String, Value>,
    errors: &'a ErrorSink,
    /// The keys that were read: all others are unknown.
    known: RefCell<BTreeSet<&'static str>>,
}

impl<'a> ObjectReader<'a> {
    pub(crate) fn new(prefix: String, map: &'a Map<String, Value>, errors: &'a ErrorSink) -> Self {
        Self {
            prefix,
            map,
            errors,
            known: RefCell::default(),
        }
    }

    /// A reader for the object that is the value of `key`.
    pub(crate) fn child(&self, key: &str, map: &'a Map<String, Value>) -> Self {
        Self::new(format!("{}.", self.path(key)), map, self.errors)
    }

    /// The key's value. Marks the key as known.
    pub(crate) fn get(&self, key: &'static str) -> Option<&'a Value> {
        self.known.borrow_mut().insert(key);
        self.map.get(key)
    }

    pub(crate) fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub(crate) fn error(&self, key: &str, problem: impl Into<String>) {
        let error = KeyError {
            key: self.path(key),
            problem: problem.into(),
        };
        self.errors.push(error);
    }

    /// The key's value, parsed by `read`; `None` if it is missing or invalid.
    pub(crate) fn read<T>(
        &self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let result = read(value);
        if result.is_none() {
            self.error(key, expected_message(expected, value));
        }
        result
    }

    pub(crate) fn string(&self, key: &'static str, expected: &str) -> Option<String> {
        let text = |value: &Value| {
            value
                .as_str()
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        self.read(key, expected, text)
    }

    pub(crate) fn boolean(&self, key: &'static str, default: bool) -> bool {
        self.read(key, "true or false", Value::as_bool)
            .unwrap_or(default)
    }

    pub(crate) fn integer(
        &self,
        key: &'static str,
        default: u32,
        range: RangeInclusive<u32>,
    ) -> u32 {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let read = |value: &Value| {
            let number = u32::try_from(value.as_u64()?).ok()?;
            range.contains(&number).then_some(number)
        };
        self.read(key, &expected, read).unwrap_or(default)
    }

    /// A duration of at least `min`: a number of milliseconds, or a string such as `"1500ms"`.
    pub(crate) fn time(&self, key: &'static str, default: Duration, min: Duration) -> Duration {
        let expected = format!(
            "a time of at least {}: a number of milliseconds, or a string such as \"1500ms\" or \"2s\"",
            humantime::format_duration(min)
        );
        let in_range = |time: &Duration| (min..=MAX_TIME).contains(time);
        self.read(key, &expected, |value| time(value).filter(in_range))
            .unwrap_or(default)
    }

    /// Reports an error for each unknown key, unless it is a comment.
    pub(crate) fn finish(&self) {
        let known = self.known.borrow();
        let paths = known.iter().map(|key| self.path(key));
        self.errors.known.borrow_mut().extend(paths);
        for key in self.map.keys().filter(|key| !is_comment(key)) {
            if !known.contains(key.as_str()) {
                self.error(key, unknown(key, known.iter().copied()));
            }
        }
    }
}

/// Maximum duration; beyond it, `Instant` arithmetic could overflow.
const MAX_TIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// Whether a key is a comment: `README…` or `_…`.
pub(crate) fn is_comment(key: &str) -> bool {
    key.starts_with("README") || key.starts_with('_')
}

pub(crate) fn expected_message(expected: &str, found: &Value) -> String {
    format!("expected {expected}, found {found}")
}

fn unknown(key: &str, known: impl Iterator<Item = &'static str>) -> String {
    let nearest = known.min_by_key(|known| strsim::damerau_levenshtein(known, key));
    match nearest {
        Some(nearest) => format!(
            "unknown key; did you mean `{nearest}`? \
             (comments start with `_` or `README`)"
        ),
        None => "unknown key".to_owned(),
    }
}

fn time(value: &Value) -> Option<Duration> {
    match value {
        Value::Number(number) => number.as_u64().map(Duration::from_millis),
        Value::String(text) => humantime::parse_duration(text).ok(),
        _ => None,
    }
}
