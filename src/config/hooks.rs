//! The keys of hooks.

use std::time::Duration;

use serde_json::Value;

use super::reader::ObjectReader;

/// Hooks, each a command and its arguments. An empty command is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookSettings {
    /// Runs before anything else.
    pub pre_init: Vec<String>,
    /// Runs when the first files are written and the first sync with every load balancer is done or has failed.
    pub post_init: Vec<String>,
    /// Runs at the end.
    pub pre_quit: Vec<String>,
    /// Runs when a file is about to be written.
    pub file_update: Vec<String>,
    /// Runs when a file is about to be deleted.
    pub file_remove: Vec<String>,
    /// Runs when a node joins a pool, leaves one, or moves to another.
    pub node: Vec<String>,
    /// Runs when an alert is raised, and when it is resolved.
    pub alert: Vec<String>,
    /// Time limit of a run; then the hook is ended, with its process group.
    pub timeout: Duration,
}

pub(super) fn read_hooks(reader: &ObjectReader<'_>) -> HookSettings {
    const SECOND: Duration = Duration::from_secs(1);
    let command = |key| read_command(reader, key);
    HookSettings {
        pre_init: command("pre_init_hook"),
        post_init: command("post_init_hook"),
        pre_quit: command("pre_quit_hook"),
        file_update: command("file_update_hook"),
        file_remove: command("file_remove_hook"),
        node: command("node_hook"),
        alert: command("alert_hook"),
        timeout: reader.time("hook_timeout", 30 * SECOND, Duration::from_millis(1)),
    }
}

fn read_command(reader: &ObjectReader<'_>, key: &'static str) -> Vec<String> {
    let read = |value: &Value| {
        let words: Option<Vec<String>> = value
            .as_array()?
            .iter()
            .map(|word| word.as_str().map(str::to_owned))
            .collect();
        words.filter(|words| words.first().is_none_or(|program| !program.is_empty()))
    };
    let expected = "a command and its arguments as an array of strings, such as \
                    [\"/usr/local/bin/hook\", \"--flag\"]; [] is off";
    reader.read(key, expected, read).unwrap_or_default()
}
