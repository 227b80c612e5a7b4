//! The configuration's key `serf`: the agent, and which members of its cluster are nodes.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use regex_lite::Regex;
use serde_json::Value;

use crate::config::reader::{ObjectReader, expected_message};
use crate::model::node::{Origin, parse_port};

const KEY: &str = "serf";

const EXPECTED_ADDRESS: &str = "the RPC address of a Serf agent such as \"127.0.0.1:7373\"";

/// The settings of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SerfSettings {
    /// The RPC address of the agent.
    pub address: SocketAddr,
    /// Its password.
    pub auth_key: Option<AuthKey>,
    /// Members are nodes if each of these tags matches.
    pub tags: BTreeMap<String, TagPattern>,
    /// The tag that has the node's port.
    pub port_tag: String,
    /// The port of members without that tag.
    pub port: Option<NonZeroU16>,
    /// Whether nodes are polled. Otherwise their tags are their announcement.
    pub poll: bool,
    /// The tag that has the pool, if they are not polled.
    pub pool_tag: String,
}

/// The agent's password, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthKey(pub String);

/// A regular expression that a tag must match as a whole.
#[derive(Clone, Debug)]
pub struct TagPattern {
    text: String,
    regex: Regex,
}

impl SerfSettings {
    /// The defaults, for the agent with this RPC address.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            auth_key: None,
            tags: BTreeMap::new(),
            port_tag: "port".to_owned(),
            port: None,
            poll: true,
            pool_tag: "role".to_owned(),
        }
    }

    /// Reads `serf`: an RPC address or an object; `None` if there is none, or its address is `""`.
    pub(crate) fn read(reader: &ObjectReader<'_>) -> Option<Self> {
        let value = reader.get(KEY).filter(|value| !value.is_null())?;
        let Some(map) = value.as_object() else {
            if value == "" {
                return None;
            }
            let address = socket_address(value);
            if address.is_none() {
                let expected = format!("{EXPECTED_ADDRESS}, or an object with `address`");
                reader.error(KEY, expected_message(&expected, value));
            }
            return address.map(Self::new);
        };
        let object = reader.child(KEY, map);
        let is_off = map.get("address").is_some_and(|address| address == "");
        let address = match object.get("address") {
            None => {
                object.error("address", format!("missing; write {EXPECTED_ADDRESS}"));
                None
            }
            Some(_) if is_off => None,
            Some(_) => object.read("address", EXPECTED_ADDRESS, socket_address),
        };
        // The defaults do not depend on it.
        let default = Self::new(address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7373))));
        let tag = |key, default: &str| {
            let name = object.string(key, "the name of a tag");
            name.unwrap_or_else(|| default.to_owned())
        };
        let settings = Self {
            auth_key: read_auth_key(&object),
            tags: read_tags(&object),
            port_tag: tag("port_tag", &default.port_tag),
            port: read_port(&object),
            poll: object.boolean("poll", default.poll),
            pool_tag: tag("pool_tag", &default.pool_tag),
            ..default
        };
        object.finish();
        address.map(|_| settings)
    }

    /// What the agent is called in the log.
    #[must_use]
    pub fn name(&self) -> String {
        format!("Serf at {}", self.address)
    }

    /// The origin of nodes of which Serf says nothing but that they are there.
    #[must_use]
    pub fn origin(&self) -> Origin {
        if self.poll {
            Origin::Serf
        } else {
            Origin::SerfReported
        }
    }

    /// The settings, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self {
            port_tag, pool_tag, ..
        } = self;
        let tags = self.tags.iter();
        let tags = tags.map(|(tag, pattern)| format!("{tag} {}", pattern.text));
        let members = if self.tags.is_empty() {
            "members".to_owned()
        } else {
            format!("members with {}", tags.collect::<Vec<_>>().join(", "))
        };
        let port = match self.port {
            Some(port) => format!("port by tag {port_tag}, otherwise {port}"),
            None => format!("port by tag {port_tag}"),
        };
        let polls = if self.poll {
            "polled".to_owned()
        } else {
            format!("not polled, pool by tag {pool_tag}")
        };
        format!("{}: {members}; {port}; {polls}", self.name())
    }
}

impl TagPattern {
    /// A pattern; `None` if this is no regular expression.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        // By itself first: an unbalanced `)` must not close the group.
        Regex::new(text).ok()?;
        Some(Self {
            text: text.to_owned(),
            regex: Regex::new(&format!("^(?:{text})$")).ok()?,
        })
    }

    /// Whether a tag matches as a whole.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        self.regex.is_match(value)
    }
}

impl PartialEq for TagPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for TagPattern {}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthKey(…)")
    }
}

fn socket_address(value: &Value) -> Option<SocketAddr> {
    let address: SocketAddr = value.as_str()?.parse().ok()?;
    (address.port() > 0).then_some(address)
}

/// A missing key; `""` is none, as in the template.
fn read_auth_key(object: &ObjectReader<'_>) -> Option<AuthKey> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    // Read by hand: the error message must not show what was found.
    let key = text(object.get("auth_key")?);
    if key.is_none() {
        object.error("auth_key", "expected a string, the agent's rpc_auth");
    }
    key.filter(|key| !key.is_empty()).map(AuthKey)
}

fn read_tags(object: &ObjectReader<'_>) -> BTreeMap<String, TagPattern> {
    let expected =
        "an object with a regular expression for each tag, such as {\"role\": \"web|api\"}";
    let read = |value: &Value| {
        let tags = value.as_object()?.iter();
        tags.map(|(tag, pattern)| Some((tag.clone(), TagPattern::new(pattern.as_str()?)?)))
            .collect()
    };
    object.read("tags", expected, read).unwrap_or_default()
}

/// A port; `null` is none, as in the template.
fn read_port(object: &ObjectReader<'_>) -> Option<NonZeroU16> {
    object.get("port").filter(|port| !port.is_null())?;
    let number = |value: &Value| parse_port(&value.as_u64()?.to_string()).ok();
    object.read("port", "a port from 1 to 65535, or null", number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    fn read(serf: &Value) -> (Option<SerfSettings>, Vec<String>) {
        let (config, errors) = Config::from_value(&json!({ "serf": serf }));
        (
            config.serf,
            errors.iter().map(ToString::to_string).collect(),
        )
    }

    #[test]
    fn an_address_alone_has_the_defaults() {
        let (settings, errors) = read(&json!("127.0.0.1:7373"));
        let address: SocketAddr = "127.0.0.1:7373".parse().unwrap();
        assert_eq!(
            (settings, errors.len()),
            (Some(SerfSettings::new(address)), 0)
        );
        for off in [json!(""), json!(null), json!({ "address": "" })] {
            assert_eq!(read(&off), (None, Vec::new()), "{off}");
        }
    }

    #[test]
    fn all_errors_are_reported_with_their_keys_and_no_password_is_shown() {
        let wrong = json!({
            "address": "serf.example:7373", "auth_key": ["secret"], "tags": { "role": "web)(" },
            "port": 65_536, "port_tag": "", "poll": "yes", "role": "web",
        });
        let (settings, errors) = read(&wrong);
        assert_eq!(settings, None);
        for key in [
            "address", "auth_key", "tags", "port", "port_tag", "poll", "role",
        ] {
            let key = format!("serf.{key}: ");
            let of_key = |error: &&String| error.starts_with(&key);
            assert_eq!(errors.iter().filter(of_key).count(), 1, "{key} {errors:?}");
        }
        assert!(!errors.join("\n").contains("secret"));
        let (_, errors) = read(&json!({ "poll": false }));
        assert!(errors[0].starts_with("serf.address: missing"), "{errors:?}");
    }

    #[test]
    fn a_tag_matches_as_a_whole() {
        let pattern = TagPattern::new("web|api-[0-9]+").unwrap();
        for value in ["web", "api-12"] {
            assert!(pattern.matches(value), "{value}");
        }
        for value in ["", "webs", "my-web", "api-", "web\napi-1", "web\n"] {
            assert!(!pattern.matches(value), "{value:?}");
        }
    }
}
