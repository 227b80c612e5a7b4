//! The services file as others write it: looked at until it is quiet, then read.
//!
//! A list counts only when two looks at the file agree, before and after it was read, and nobody has
//! changed it for [`QUIET`]. One whose last line has no end may be cut off, or be written by hand, and
//! one that is empty was perhaps just opened to be written: they count when nobody has changed them for
//! [`QUIET_UNFINISHED`].
//!
//! The file's own time is that of the machine that keeps it, whose clock may be wrong. Where it lies ahead of ours it
//! says nothing; where it lies behind, what was written just now looks old. So it counts only for a file of which
//! nobody has noticed that it changed: one that was written long ago is read at once.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use crate::awake::{self, is_pause};
use crate::config::{ConfigError, load_services};
use crate::model::services::Listing;

/// How long nobody must have changed the file.
pub const QUIET: Duration = Duration::from_secs(1);

/// The same for a file that is empty or whose last line has no end: longer than a program takes that
/// writes it piece by piece.
pub const QUIET_UNFINISHED: Duration = Duration::from_secs(5);

/// Delay between two looks at a file that is not quiet yet.
pub const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What tells that the file changed; `None` when it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileVersion(Option<(u64, u64, u64, i64, i64, i64, i64)>);

/// What a look at the file's entry tells.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// What tells that it changed.
    pub stamp: FileVersion,
    modified: Option<SystemTime>,
    /// It is no longer where it was opened or mounted from: another file has its name there.
    pub is_replaced: bool,
}

/// A file that was read.
#[derive(Debug)]
pub struct Settled {
    /// What it lists, or why that is unknown.
    pub listing: Result<Listing, ConfigError>,
    /// The look that it belongs to.
    pub look: Look,
    /// The file was quiet.
    pub quiet: bool,
}

impl Look {
    /// Looks at the file, by its path: so a rename, a symlink that is switched and a mount are
    /// all noticed.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let about = fs::metadata(path).ok();
        let stamp = |about: &fs::Metadata| {
            (
                about.dev(),
                about.ino(),
                about.size(),
                about.mtime(),
                about.mtime_nsec(),
                about.ctime(),
                about.ctime_nsec(),
            )
        };
        Self {
            stamp: FileVersion(about.as_ref().map(stamp)),
            modified: about.as_ref().and_then(|about| about.modified().ok()),
            // By a path one finds only files that have a name, but for one that is mounted by itself.
            is_replaced: about.is_some_and(|about| about.nlink() == 0),
        }
    }

    /// How long nobody has changed the file, as far as its own time tells; nothing where that lies ahead.
    fn age(&self, today: SystemTime) -> Duration {
        let modified = self.modified.unwrap_or(today);
        today.duration_since(modified).unwrap_or_default()
    }
}

/// Reads a services file when it is quiet, or as it is when it is not within `patience`. Blocks.
#[must_use]
pub fn settle(path: &Path, patience: Duration) -> Settled {
    let mut settling = Settling::new(path, patience);
    loop {
        if let Some(settled) = settling.look() {
            return settled;
        }
        let begin = Instant::now();
        sleep(LOOK_AGAIN);
        if is_pause(begin.elapsed(), LOOK_AGAIN) {
            settling.woke = Some(Instant::now());
        }
    }
}

/// A services file that is waited for until it is quiet.
#[derive(Debug)]
pub struct Settling {
    path: PathBuf,
    patience: Duration,
    begin: Instant,
    /// When this process went on after a pause that nobody else notices.
    woke: Option<Instant>,
    /// The last observation, and since when it is the same.
    last: Option<(Look, Instant)>,
    /// How long it must be quiet.
    needed: Duration,
    /// It was noticed that it changed, so that its own time does not count.
    changed: bool,
}

impl Settling {
    /// Nobody has looked at it yet.
    #[must_use]
    pub fn new(path: &Path, patience: Duration) -> Self {
        Self {
            path: path.to_owned(),
            patience,
            begin: Instant::now(),
            woke: None,
            last: None,
            needed: QUIET,
            changed: false,
        }
    }

    /// It has changed, as this look shows, which was taken just now.
    #[must_use]
    pub fn changed(path: &Path, patience: Duration, look: Look) -> Self {
        Self {
            last: Some((look, Instant::now())),
            changed: true,
            ..Self::new(path, patience)
        }
    }

    /// Looks at the file, and reads it if it is quiet, or the patience is over; else it is to be looked at
    /// again after [`LOOK_AGAIN`]. Blocks only while the disk does.
    pub fn look(&mut self) -> Option<Settled> {
        let next = Look::at(&self.path);
        let now = (Instant::now(), SystemTime::now());
        // Asked last, so that no pause lies between the look and this.
        let woke = self.woke.max(awake::woke());
        let quiet = self.is_quiet(next, now, woke);
        let over = self.is_over(now.0, woke);
        if !quiet && !over {
            return None;
        }
        let listing = load_services(&self.path);
        let same = Look::at(&self.path).stamp == next.stamp;
        if same && quiet && is_unfinished(&listing) && self.needed < QUIET_UNFINISHED {
            self.needed = QUIET_UNFINISHED;
            return self.look();
        }
        let quiet = same && quiet;
        (over || same).then_some(Settled {
            listing,
            look: next,
            quiet,
        })
    }

    /// Whether nobody has changed the file for long enough, which only counts as far as this process has run since it
    /// `woke`: where the machine was paused, so was who writes it.
    fn is_quiet(
        &mut self,
        next: Look,
        (now, today): (Instant, SystemTime),
        woke: Option<Instant>,
    ) -> bool {
        let since = match self.last {
            Some((look, since)) if look.stamp == next.stamp => since,
            last => {
                self.needed = QUIET;
                self.changed |= last.is_some();
                now
            }
        };
        self.last = Some((next, since));
        let unchanged = now.saturating_duration_since(since);
        let quiet = if self.changed {
            unchanged
        } else {
            unchanged.max(next.age(today))
        };
        let awake = woke.map(|woke| now.saturating_duration_since(woke));
        awake.map_or(quiet, |awake| quiet.min(awake)) >= self.needed
    }

    /// Whether the patience is over, which begins again where this process went on after a pause.
    fn is_over(&self, now: Instant, woke: Option<Instant>) -> bool {
        let begin = woke.map_or(self.begin, |woke| self.begin.max(woke));
        now.saturating_duration_since(begin) >= self.patience
    }
}

fn is_unfinished(listing: &Result<Listing, ConfigError>) -> bool {
    match listing {
        Ok(listing) => listing.unfinished,
        Err(ConfigError::Services(_, errors)) => errors.unfinished,
        Err(_) => false,
    }
}

/// What to do about a file for which [`Look::is_replaced`].
#[must_use]
pub fn replaced(path: &Path) -> String {
    let path = path.display();
    format!(
        "{path} is mounted by itself and was replaced where it comes from: what is read here is the old \
         one, and no change will be. Mount its directory instead, and start pollbal again"
    )
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn nodes(settled: &Settled) -> usize {
        settled.listing.as_ref().unwrap().len()
    }

    fn set_age(path: &Path, age: Duration) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn a_file_that_was_written_long_ago_is_read_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("services");
        // The last line has no end, but nobody is going to write it.
        fs::write(&path, "10.0.0.1 80\n10.0.0.2 80").unwrap();
        set_age(&path, QUIET_UNFINISHED);
        let begin = Instant::now();
        let settled = settle(&path, PATIENCE);
        assert!(settled.quiet && begin.elapsed() < QUIET);
        assert_eq!(nodes(&settled), 2);
    }

    #[test]
    fn a_file_that_is_being_written_is_read_when_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("services");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"10.0.0.1 80\n").unwrap();
        let writer = thread::spawn(move || {
            for number in 2..=10 {
                sleep(QUIET / 5);
                // Half a line, and then the rest.
                write!(file, "10.0.0.{number} 8").unwrap();
                sleep(QUIET / 10);
                writeln!(file, "0").unwrap();
            }
        });
        let settled = settle(&path, PATIENCE);
        writer.join().unwrap();
        assert!(settled.quiet);
        assert_eq!(nodes(&settled), 10);
    }

    #[test]
    fn a_last_line_without_its_end_waits_for_longer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("services");
        // What is understood, what is not, and what was opened to be written.
        for half in ["10.0.0.1 80\n10.0.0.2 808", "10.0.0.1 80\n10.0.0.", ""] {
            fs::write(&path, half).unwrap();
            let begin = Instant::now();
            let written = path.clone();
            let writer = thread::spawn(move || {
                sleep(QUIET * 2);
                fs::write(&written, "10.0.0.1 80\n10.0.0.2 8080\n10.0.0.3 80\n").unwrap();
            });
            let settled = settle(&path, PATIENCE);
            writer.join().unwrap();
            assert_eq!(nodes(&settled), 3);
            assert!(begin.elapsed() < QUIET_UNFINISHED);
        }
    }

    #[test]
    fn a_pause_is_no_quiet_and_uses_up_no_patience() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("services");
        fs::write(&path, "10.0.0.1 80\n").unwrap();
        let look = Look::at(&path);
        let (begin, written) = (Instant::now(), look.modified.unwrap());
        let later = |time: Duration| (begin + time, written + time);
        let moment = Duration::from_millis(300);
        let patience = QUIET;
        // The machine was paused as soon as the file was written, and before it was ever looked at; or in between.
        for before in [false, true] {
            let mut settling = Settling::new(&path, patience);
            settling.begin = begin;
            if before {
                assert!(!settling.is_quiet(look, later(moment), None));
            }
            let woke = Some(later(10 * QUIET).0);
            let now = later(10 * QUIET + moment);
            assert!(!settling.is_quiet(look, now, woke));
            assert!(!settling.is_over(now.0, woke));
            let now = later(11 * QUIET);
            assert!(settling.is_quiet(look, now, woke));
            assert!(settling.is_over(now.0, woke));
        }
        // One before it was written is none of it.
        let mut settling = Settling::new(&path, patience);
        assert!(settling.is_quiet(look, later(QUIET), begin.checked_sub(QUIET)));
    }

    #[test]
    fn a_file_whose_clock_is_ahead_counts_when_it_was_seen_to_be_quiet() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("services");
        fs::write(&path, "10.0.0.1 80\n").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() + HOUR).unwrap();
        let begin = Instant::now();
        let settled = settle(&path, PATIENCE);
        let took = begin.elapsed();
        assert!(settled.quiet && took >= QUIET, "{took:?}");
        assert!(took < QUIET_UNFINISHED, "{took:?}");
    }

    #[test]
    fn what_was_seen_to_change_is_quiet_by_our_own_clock_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("services");
        let look_at = |nodes: &str| {
            fs::write(&path, nodes).unwrap();
            set_age(&path, HOUR);
            Look::at(&path)
        };
        let old = look_at("10.0.0.1 80\n");
        let changed = look_at("10.0.0.1 80\n10.0.0.2 80\n");
        let moment = Duration::from_millis(100);
        let (mut now, today) = (Instant::now(), SystemTime::now());
        // The one that watches saw that it had changed; or it changed while it was waited for.
        let mut settling = Settling::changed(&path, PATIENCE, old);
        now += moment;
        assert!(!settling.is_quiet(old, (now, today), None));
        now += moment;
        assert!(!settling.is_quiet(changed, (now, today), None));
        assert!(settling.is_quiet(changed, (now + QUIET, today), None));
        let mut settling = Settling::new(&path, PATIENCE);
        assert!(settling.is_quiet(old, (now, today), None), "of long ago");
        assert!(!settling.is_quiet(changed, (now, today), None));
        assert!(settling.is_quiet(changed, (now + QUIET, today), None));
    }

    #[test]
    fn a_file_that_never_is_quiet_is_not_waited_for_without_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("services");
        fs::write(&path, "10.0.0.1 80\n").unwrap();
        let settled = settle(&path, QUIET / 2);
        assert!(!settled.quiet);
        assert_eq!(nodes(&settled), 1);
    }
}
