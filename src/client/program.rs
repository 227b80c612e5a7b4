//! Whether a command can be run, asked before anything is done for its sake.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

/// Where programs are looked for when `PATH` is not set, as by the C library.
const USUAL_PATH: &str = "/bin:/usr/bin";

/// Looks for a program as it is looked for when it is run (`execvp`). That it is there does not say
/// that it runs: its interpreter may be missing.
pub(super) fn look_for(program: &OsStr) -> io::Result<()> {
    let path = env::var_os("PATH").unwrap_or_else(|| OsString::from(USUAL_PATH));
    look_in(&path, program)
}

fn look_in(path: &OsStr, program: &OsStr) -> io::Result<()> {
    if program.as_bytes().contains(&b'/') {
        return may_be_run(Path::new(program));
    }
    if program.is_empty() {
        return Err(Errno::NOENT.into());
    }
    let mut found = Err(Errno::NOENT.into());
    for directory in env::split_paths(path) {
        match may_be_run(&beside(&directory, program)) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => found = Err(error),
            // Directories that are not there, or may not be looked into, are passed over.
            Err(_) => {}
        }
    }
    found
}

/// An empty directory is the present one.
fn beside(directory: &Path, program: &OsStr) -> PathBuf {
    if directory.as_os_str().is_empty() {
        Path::new(".").join(program)
    } else {
        directory.join(program)
    }
}

fn may_be_run(file: &Path) -> io::Result<()> {
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
    fn a_program_is_found_as_it_would_be_run() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32| {
            let path = directory.path().join(name);
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path
        };
        let (good, bad) = (file("deploy", 0o755), file("notes", 0o644));
        let path = env::join_paths([Path::new("/nowhere"), directory.path()]).unwrap();
        let kind = |program: &OsStr| look_in(&path, program).map_err(|error| error.kind());
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
