//! Log lines about keys in announcements that are not known: one for each key, at the first node that announces it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tracing::warn;

use crate::model::announcement::Announcement;
use crate::model::node::NodeAddr;
use crate::model::text::quotable;

/// Maximum number of keys for which there is a line: nodes that make up keys must not fill the log.
const MAX_KEYS: usize = 20;

/// Maximum length of a key that is logged, in characters.
const MAX_CHARS: usize = 40;

/// The keys that were logged.
#[derive(Debug, Default)]
pub(super) struct UnknownKeys(Mutex<BTreeSet<String>>);

impl UnknownKeys {
    /// Logs the first unknown key of an announcement, unless it was logged before.
    pub(super) fn log(&self, addr: NodeAddr, body: &[u8]) {
        if let Some(key) = self.new_key(body) {
            warn!(
                node = %addr,
                "{addr} announces the unknown key \"{key}\": ignored, here and at other nodes"
            );
        }
    }

    /// The first unknown key of an announcement, if it was not logged before.
    fn new_key(&self, body: &[u8]) -> Option<String> {
        let (key, _) = Announcement::unknown_word(body)?.split_once('=')?;
        let key = quotable(key, MAX_CHARS);
        let logged = self.0.lock();
        let mut logged = logged.unwrap_or_else(PoisonError::into_inner);
        (logged.len() < MAX_KEYS && logged.insert(key.clone())).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unknown_key_is_logged_once_and_only_the_first_of_many() {
        let keys = UnknownKeys::default();
        assert_eq!(keys.new_key(b"api ok weight=50"), None);
        let zone = Some("zone".to_owned());
        assert_eq!(keys.new_key(b"api ok zone=a"), zone);
        assert_eq!(keys.new_key(b"api ok zone=b"), None);
        let made_up = (0..1_000).filter_map(|key| keys.new_key(format!("api k{key}=").as_bytes()));
        assert_eq!(made_up.count(), MAX_KEYS - 1);
    }

    #[test]
    fn what_is_logged_of_a_key_is_short_and_harmless() {
        let body = format!("api \"\x1b[2J{}=1", "x".repeat(1_000));
        let key = UnknownKeys::default().new_key(body.as_bytes()).unwrap();
        assert!(key.len() < 10 * MAX_CHARS, "{key}");
        assert!(!key.contains(char::is_control), "{key}");
    }
}
