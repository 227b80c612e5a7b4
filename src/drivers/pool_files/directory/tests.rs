//! What happens in a real directory.

use super::*;
use crate::files::take_unlocked;

fn opened() -> (tempfile::TempDir, Directory) {
    let temporary = tempfile::tempdir().unwrap();
    let mut directory = Directory::new(temporary.path().join("a/b"));
    directory.open().unwrap();
    (temporary, directory)
}

fn empty_files(names: &[&str]) -> Files {
    let names = names.iter();
    names
        .map(|name| ((*name).to_owned(), String::new()))
        .collect()
}

fn mtime(directory: &Directory, name: &str) -> i64 {
    fs::metadata(directory.path(name)).unwrap().mtime()
}

#[test]
fn a_written_file_is_whole_readable_by_all_and_alone() {
    let (_temporary, mut directory) = opened();
    directory.write("api.pool", "x\n", Instant::now()).unwrap();
    assert_eq!(
        fs::read_to_string(directory.path("api.pool")).unwrap(),
        "x\n"
    );
    let mode = fs::metadata(directory.path("api.pool")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(names(&directory.path).unwrap(), ["api.pool"]);
}

#[test]
fn each_rewrite_has_a_later_whole_second_even_after_a_deletion() {
    let (_temporary, mut directory) = opened();
    let mut times = Vec::new();
    for round in 0..4 {
        directory
            .write("api.pool", &round.to_string(), Instant::now())
            .unwrap();
        times.push(mtime(&directory, "api.pool"));
        if round == 2 {
            directory.remove("api.pool").unwrap();
        }
    }
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
}

#[test]
fn what_others_changed_is_seen_and_what_is_not_ours_is_not() {
    let (_temporary, mut directory) = opened();
    let now = Instant::now();
    directory.write("api.pool", "x\n", now).unwrap();
    fs::write(directory.path("api.pool"), "by hand\n").unwrap();
    fs::write(directory.path("web.pool"), "").unwrap();
    fs::write(directory.path("notes.txt"), "mine").unwrap();
    fs::create_dir(directory.path("dir.pool")).unwrap();
    directory.read(now).unwrap();
    let files = directory.files();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["api.pool", "web.pool"]);
    assert_eq!(files["api.pool"].content, "by hand\n");
    assert_eq!(files["web.pool"].empty_since, Some(now));
    directory.read(now + Duration::from_secs(9)).unwrap();
    assert_eq!(
        directory.files()["web.pool"].empty_since,
        Some(now),
        "since it was first noticed"
    );
}

#[test]
fn two_cannot_write_one_directory_and_a_crash_leaves_nothing_behind() {
    let (_temporary, directory) = opened();
    let mut other = Directory::new(directory.path.clone());
    assert!(matches!(other.open(), Err(DirectoryError::Locked(_))));
    let left = [".pollbal-x1y2.tmp", ".pollbal-owned-x1y2.tmp"].map(|name| directory.path(name));
    for file in &left {
        fs::write(file, "half").unwrap();
    }
    drop(directory);
    take_unlocked(|| other.open());
    for file in &left {
        assert!(!file.exists());
    }
}

#[test]
fn a_failed_write_leaves_the_file_before_whole() {
    let (_temporary, mut directory) = opened();
    fs::create_dir(directory.path("api.pool")).unwrap();
    let error = directory
        .write("api.pool", "x", Instant::now())
        .unwrap_err();
    assert!(error.to_string().contains("api.pool"), "{error}");
    assert_eq!(
        names(&directory.path).unwrap(),
        ["api.pool"],
        "no temporary file stays"
    );
}

#[test]
fn what_others_delete_or_set_back_gets_a_later_second_too() {
    let (_temporary, mut directory) = opened();
    let now = Instant::now();
    directory.write("api.pool", "1", now).unwrap();
    let first = mtime(&directory, "api.pool");
    fs::remove_file(directory.path("api.pool")).unwrap();
    directory.read(now).unwrap();
    directory.write("api.pool", "2", now).unwrap();
    let second = mtime(&directory, "api.pool");
    assert!(second > first);
    let file = File::options()
        .write(true)
        .open(directory.path("api.pool"))
        .unwrap();
    file.set_modified(UNIX_EPOCH).unwrap();
    directory.read(now).unwrap();
    directory.write("api.pool", "3", now).unwrap();
    assert!(mtime(&directory, "api.pool") > second);
}

#[test]
fn no_empty_file_grows_older_while_pollbal_stands_still() {
    let (_temporary, mut directory) = opened();
    let now = Instant::now();
    directory.write("api.pool", "1", now).unwrap();
    directory.write("web.pool", "", now).unwrap();
    let pause = Duration::from_secs(60);
    directory.stood_still(pause);
    let files = directory.files();
    assert_eq!(files["web.pool"].empty_since, Some(now + pause));
    assert_eq!(files["api.pool"].empty_since, None);
}

#[test]
fn an_error_is_the_same_at_each_try() {
    let (_temporary, mut directory) = opened();
    fs::remove_dir(&directory.path).unwrap();
    let text = |error: DirectoryError| crate::logging::chain(&error);
    let first = text(
        directory
            .write("api.pool", "x", Instant::now())
            .unwrap_err(),
    );
    let again = text(
        directory
            .write("api.pool", "x", Instant::now())
            .unwrap_err(),
    );
    assert_eq!(first, again);
}

#[test]
fn a_time_beyond_all_bounds_is_survived() {
    let (_temporary, mut directory) = opened();
    directory.write("api.pool", "1", Instant::now()).unwrap();
    let file = File::options()
        .write(true)
        .open(directory.path("api.pool"))
        .unwrap();
    let far = UNIX_EPOCH + Duration::from_secs(1 << 60);
    // Some file systems reject it; then there is nothing to survive.
    if file.set_modified(far).is_ok() {
        directory.read(Instant::now()).unwrap();
        directory.write("api.pool", "2", Instant::now()).unwrap();
    }
}

#[test]
fn a_directory_that_was_made_again_is_locked_again() {
    let (_temporary, mut directory) = opened();
    fs::remove_dir(&directory.path).unwrap();
    fs::create_dir(&directory.path).unwrap();
    directory.open().unwrap();
    let mut other = Directory::new(directory.path.clone());
    assert!(matches!(other.open(), Err(DirectoryError::Locked(_))));
}

#[test]
fn what_was_written_is_known_by_the_next_run_until_it_is_deleted() {
    let (_temporary, mut directory) = opened();
    let now = Instant::now();
    let own = |directory: &Directory| {
        let files = directory.own_files(&Files::new());
        files.into_keys().collect::<Vec<_>>()
    };
    directory
        .own(&empty_files(&["api.pool", "old.pool"]))
        .unwrap();
    for name in ["api.pool", "old.pool"] {
        directory.write(name, "", now).unwrap();
    }
    fs::write(directory.path("foreign.pool"), "").unwrap();
    directory.read(now).unwrap();
    assert_eq!(own(&directory), ["api.pool", "old.pool"]);
    directory.remove("old.pool").unwrap();
    directory.own(&Files::new()).unwrap();
    let path = directory.path.clone();
    drop(directory);
    fs::write(path.join("old.pool"), "").unwrap();
    let mut next = Directory::new(path);
    take_unlocked(|| next.open());
    next.read(now).unwrap();
    assert_eq!(own(&next), ["api.pool"]);
    assert_eq!(
        next.others().collect::<Vec<_>>(),
        ["foreign.pool", "old.pool"]
    );
    let desired = [("foreign.pool".to_owned(), String::new())].into();
    assert_eq!(next.own_files(&desired).len(), 2, "it is to be written");
    // Deleted by hand, the list is made again.
    fs::remove_file(next.path(owned::NAME)).unwrap();
    next.read(now).unwrap();
    next.own(&Files::new()).unwrap();
    let list = fs::read_to_string(next.path(owned::NAME)).unwrap();
    assert!(list.ends_with("\napi.pool\n"), "{list}");
}
