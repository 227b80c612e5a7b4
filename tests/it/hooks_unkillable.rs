//! A hook that nothing ends, not even SIGKILL, since it waits for a disk that does not answer: it is left behind, and
//! nothing waits for it.

use std::fs::{self, File};
use std::path::PathBuf;

use serde_json::json;

use crate::common::pollbal::Pollbal;
use crate::common::process::{children, state};
use crate::common::stage::Stage;
use crate::common::{SOON, becomes};

/// Runs the first time into a file system that hangs, and notes each later time.
const HOOK: &str = r#"if mkdir "$0/mount"; then
    exec unshare --map-root-user --mount perl "$1" "$0/mount" "$0/release"
fi
echo "$POLLBAL_FILE_NAME" >> "$0/runs""#;

/// Lets it go in the end.
struct Release(PathBuf);

impl Drop for Release {
    fn drop(&mut self) {
        // The directory may be gone, which lets it go too.
        _ = fs::write(&self.0, "");
    }
}

#[test]
fn a_hook_that_does_not_end_when_it_is_killed_is_left_behind_and_holds_up_nothing() {
    if File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .is_err()
    {
        eprintln!("not tried: without /dev/fuse no file system hangs here");
        return;
    }
    let stage = Stage::new();
    let nodes = stage.nodes(&["api"]);
    let hang = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/it/hooks_unkillable/hang.pl"
    );
    let config = json!({
        "file_update_hook": ["sh", "-c", HOOK, stage.dir(), hang],
        "hook_timeout": "500ms",
    });
    let _release = Release(stage.path("release"));
    let mut pollbal = Pollbal::start(&stage, &config);
    let file = |lines: &[String]| {
        becomes(SOON, "api.pool", &Some(lines.to_vec()), || {
            stage.lines("api.pool")
        });
    };
    file(&[nodes[0].pool_line()]);
    pollbal.wait_log(&[
        "error",
        "file_update_hook",
        "does not end, although it was killed",
        "left behind",
    ]);
    let mut hooks = children(pollbal.pid()).into_iter();
    let hook = hooks.find(|hook| state(*hook) == Some('D'));
    let hook = hook.expect("it waits for its disk");
    // The next run for this file, which had to wait for the one before, and what goes on meanwhile.
    nodes[0].announce("api leaving");
    file(&[]);
    let runs = || fs::read_to_string(stage.path("runs")).unwrap_or_default();
    becomes(SOON, "the next run", &true, || {
        runs().lines().any(|line| line == "api.pool")
    });
    assert_eq!(state(hook), Some('D'));
    assert_eq!(pollbal.terminate().code(), Some(0));
}
