//! Checks whether a command can be run, before anything is done for it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

/// The search path when `PATH` is not set, the same as the C library's.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Finds a program as `execvp` would. A program that is found may still fail to run, for example if its interpreter is
/// missing.
pub(super) fn find(program: &OsStr) -> io::Result<()> {
    let path = env::var_os("PATH").unwrap_or_else(|| OsString::from(DEFAULT_PATH));
    find_in(&path, program)
}

fn find_in(path: &OsStr, program: &OsStr) -> io::Result<()> {
    if program.as_bytes().contains(&b'/') {
        return check_executable(Path::new(program));
    }
    if program.is_empty() {
        return Err(Errno::NOENT.into());
    }
    let mut found = Err(Errno::NOENT.into());
    for directory in env::split_paths(path) {
        match check_executable(&join(&directory, program)) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => found = Err(error),
            // Directories that do not exist or are not accessible are skipped.
            Err(_) => {}
        }
    }
    found
}

/// An empty entry of the search path is the current directory.
fn join(directory: &Path, program: &OsStr) -> PathBuf {
    if directory.as_os_str().is_empty() {
        Path::new(".").join(program)
    } else {
        directory.join(program)
    }
}

fn check_executable(file: &Path) -> io::Result<()> {
    if !file.metadata()?.is_file() {
        return Err(Errno::ACCESS.into());
    }
    Ok(access(file, Access::EXEC_OK)?)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_program_is_found_where_it_would_be_run_from() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32| {
            let path = directory.path().join(name);
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path
        };
        let (good, bad) = (file("deploy", 0o755), file("notes", 0o644));
        let path = env::join_paths([Path::new("/nowhere"), directory.path()]).unwrap();
        let kind = |program: &OsStr| find_in(&path, program).map_err(|error| error.kind());
        assert_eq!(kind(OsStr::new("deploy")), Ok(()));
        assert_eq!(kind(good.as_os_str()), Ok(()));
        for denied in [
            OsStr::new("notes"),
            bad.as_os_str(),
            directory.path().as_os_str(),
        ] {
            assert_eq!(kind(denied), Err(ErrorKind::PermissionDenied), "{denied:?}");
        }
        for missing in ["deplyo", "", "/nowhere/deploy", "./deploy"] {
            let missing = OsStr::new(missing);
            assert_eq!(kind(missing), Err(ErrorKind::NotFound), "{missing:?}");
        }
    }
}
