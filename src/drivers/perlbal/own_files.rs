//! Which nodefiles in Perlbal are our pool files, whatever their path.
//!
//! The paths are Perlbal's: any of them may be on a disk that hangs, and resolving it then hangs
//! too, for as long as the disk does. So a directory that is not spelled as ours is resolved on a
//! thread of its own, one per Perlbal, and the driver waits for that only briefly. What was
//! resolved before counts meanwhile; an unresolved directory counts as someone else's: then a
//! pool's members are changed one by one, which is always correct.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::plan::OwnFile;
use crate::awake::timeout;
use crate::drivers::pool_files::names::parse_file_name;
use crate::supervision::stall;

/// Maximum time for which a read waits for directories: a disk that works takes less than a
/// millisecond.
const PATIENCE: Duration = Duration::from_millis(250);

/// Which directories of nodefiles are ours.
#[derive(Clone, Default)]
pub(super) struct OwnFiles(Arc<Mutex<Resolved>>);

#[derive(Default)]
struct Resolved {
    /// Whether a directory is ours under another name.
    known: BTreeMap<PathBuf, bool>,
    /// They are being resolved.
    is_busy: bool,
}

impl OwnFiles {
    /// Resolves the directories of these nodefiles; returns whether that is done. It does not wait
    /// for directories that are known to be ours, nor for a disk that did not answer last time and
    /// has not since.
    pub(super) async fn resolve<'a>(
        &self,
        ours: &Path,
        nodefiles: impl Iterator<Item = &'a str>,
    ) -> bool {
        let directories = nodefiles.filter_map(|path| Some(parts(path)?.0));
        let directories: BTreeSet<_> = directories.filter(|one| *one != ours).collect();
        if directories.is_empty() {
            return true;
        }
        let is_known = |one: &&Path| self.is_ours(one);
        let waits = !directories.iter().all(is_known);
        let directories = directories.into_iter().map(Path::to_owned).collect();
        let Some(work) = self.begin(ours.to_owned(), directories) else {
            return true;
        };
        !waits || timeout(PATIENCE, work).await.is_ok()
    }

    /// Begins to resolve them, unless that is under way.
    fn begin(
        &self,
        ours: PathBuf,
        directories: Vec<PathBuf>,
    ) -> Option<impl Future<Output = ()> + use<>> {
        let resolved = Arc::clone(&self.0);
        {
            let mut resolved = resolved.lock().unwrap_or_else(PoisonError::into_inner);
            if resolved.is_busy {
                return None;
            }
            resolved.is_busy = true;
        }
        let work = spawn_blocking(move || {
            stall("nodefiles");
            let ours = ours.canonicalize().ok();
            let is_ours = |one: &PathBuf| ours.is_some() && one.canonicalize().ok() == ours;
            let known = directories.into_iter().map(|one| {
                let is_ours = is_ours(&one);
                (one, is_ours)
            });
            let known = known.collect();
            let mut resolved = resolved.lock().unwrap_or_else(PoisonError::into_inner);
            *resolved = Resolved {
                known,
                is_busy: false,
            };
        });
        Some(async move { _ = work.await })
    }

    fn is_ours(&self, directory: &Path) -> bool {
        let resolved = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        resolved.known.get(directory).copied().unwrap_or_default()
    }

    /// Whether a nodefile is one of our pool files, as far as is known.
    pub(super) fn own_file(&self, ours: &Path, path: &str) -> Option<OwnFile> {
        let (directory, name) = parts(path)?;
        (directory == ours || self.is_ours(directory)).then(|| OwnFile {
            name: name.to_owned(),
            path: path.to_owned(),
        })
    }
}

/// The directory and the name of a nodefile that may be one of our pool files.
fn parts(path: &str) -> Option<(&Path, &str)> {
    // Perlbal would expand or cut these when the path is sent to it (Perlbal.pm,
    // `run_manage_command`).
    let is_sayable = |byte: u8| byte.is_ascii_graphic() && !b"#$".contains(&byte);
    if !path.bytes().all(is_sayable) {
        return None;
    }
    let path = Path::new(path);
    let name = path.file_name()?.to_str()?;
    parse_file_name(name)?;
    // A path that is not absolute is relative to where Perlbal was started.
    let directory = path.parent().filter(|directory| directory.is_absolute())?;
    Some((directory, name))
}

/// The nodefiles that `DUMPCONFIG` prints.
pub(super) fn nodefiles(lines: &[String]) -> impl Iterator<Item = &str> {
    lines
        .iter()
        .filter_map(|line| line.trim_start().strip_prefix("SET nodefile = "))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn our_files_are_known_by_whichever_path() {
        let directory = tempfile::tempdir().unwrap();
        let ours = directory.path().join("pool");
        fs::create_dir(&ours).unwrap();
        symlink(&ours, directory.path().join("link")).unwrap();
        fs::create_dir(directory.path().join("other")).unwrap();
        let path = |path: &str| format!("{}/{path}", directory.path().display());
        let files = OwnFiles::default();
        let is_own = |path: &str| files.own_file(&ours, path).is_some();
        let paths = ["pool/api.pool", "link/api.pool", "other/api.pool"].map(path);
        assert_eq!(
            paths.each_ref().map(|path| is_own(path)),
            [true, false, false]
        );
        assert!(files.resolve(&ours, paths.iter().map(String::as_str)).await);
        assert_eq!(
            paths.each_ref().map(|path| is_own(path)),
            [true, true, false]
        );
        for path in ["pool/api", "pool/a$b.pool", "pool/a b.pool"].map(path) {
            assert!(!is_own(&path), "{path}");
        }
        assert!(!is_own("pool/api.pool"));
        fs::remove_file(directory.path().join("link")).unwrap();
        assert!(files.resolve(&ours, paths.iter().map(String::as_str)).await);
    }

    #[test]
    fn nodefiles_are_found_in_a_configuration() {
        let lines = [
            "CREATE POOL a",
            "  SET nodefile = /x/a.pool",
            "  POOL ADD b 10.0.0.1:80",
        ];
        let lines = lines.map(str::to_owned);
        assert_eq!(nodefiles(&lines).collect::<Vec<_>>(), ["/x/a.pool"]);
    }
}
