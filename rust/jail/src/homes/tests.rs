use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn homes() -> (tempfile::TempDir, Homes) {
    let directory = tempfile::tempdir().unwrap();
    let homes = Homes::at(directory.path().join("state/homes"));
    (directory, homes)
}

#[test]
fn each_jail_and_workspace_has_a_home_of_its_own_that_is_kept() {
    let (_directory, homes) = homes();
    let of = |name: &str, workspace: Option<&str>| homes.home(name, workspace.map(Path::new)).open().unwrap();
    let all = [
        of("claude", Some("/src/a")),
        of("claude", Some("/src/b")),
        of("claude", None),
        of("codex", Some("/src/a")),
        // The boundary between name and path is part of the key.
        of("claude-", Some("/src/a")),
    ];
    for (position, home) in all.iter().enumerate() {
        assert!(home.is_new && home.contents.is_dir());
        let others = all.iter().skip(position + 1);
        for other in others {
            assert!(home.contents != other.contents && home.seed != other.seed);
        }
    }
    let again = of("claude", Some("/src/a"));
    assert!(!again.is_new);
    assert_eq!((&again.contents, again.seed), (&all[0].contents, all[0].seed));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let directory = again.contents.parent().unwrap();
    assert_eq!(
        [mode(&again.contents), mode(directory), mode(&directory.join(RECORD))],
        [0o700, 0o700, 0o600]
    );
    let listed: Vec<_> =
        homes.all().unwrap().into_iter().map(|home| (home.name, home.workspace, home.former)).collect();
    let entry = |name: &str, workspace: Option<&str>| (name.to_owned(), workspace.map(PathBuf::from), false);
    assert_eq!(
        listed,
        [
            entry("claude", None),
            entry("claude", Some("/src/a")),
            entry("claude", Some("/src/b")),
            entry("claude-", Some("/src/a")),
            entry("codex", Some("/src/a")),
        ]
    );
}

#[test]
fn two_launchers_that_make_a_home_at_once_get_the_same() {
    let (_directory, homes) = homes();
    let home = homes.home("claude", Some(Path::new("/src/a")));
    let opened: Vec<OpenHome> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| home.open().unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(opened.iter().all(|one| one.seed == opened[0].seed && one.contents == opened[0].contents));
    assert_eq!(opened.iter().filter(|one| one.is_new).count(), 1);
}

#[test]
fn a_home_is_not_reset_while_a_job_has_it() {
    let (_directory, homes) = homes();
    let home = homes.home("claude", None);
    assert!(!home.reset().unwrap(), "there is none");
    let opened = home.open().unwrap();
    fs::write(opened.contents.join("file"), "").unwrap();
    let seed = opened.seed;
    assert!(matches!(home.reset(), Err(HomeError::InUse { .. })));
    assert!(opened.contents.join("file").exists());
    drop(opened);
    assert!(home.reset().unwrap() && !home.exists());
    let opened = home.open().unwrap();
    assert!(opened.is_new && opened.seed != seed, "dummies of the home before are worth nothing");
}

#[test]
fn a_damaged_record_is_an_error_until_the_home_is_reset() {
    let (_directory, homes) = homes();
    let (home, other) = (homes.home("claude", None), homes.home("codex", None));
    drop((home.open().unwrap(), other.open().unwrap()));
    let record = |home: &Home| home.directory.join(RECORD);
    fs::copy(record(&other), record(&home)).unwrap();
    assert!(matches!(home.open(), Err(HomeError::Damaged { .. })), "another home's");
    for text in ["", "{", r#"{"version":1,"name":"claude","workspace":null,"seed":"00"}"#] {
        fs::write(record(&home), text).unwrap();
        assert!(matches!(home.open(), Err(HomeError::Damaged { .. })), "{text}");
    }
    assert!(home.reset().unwrap());
    assert!(home.open().unwrap().is_new);
}

#[test]
fn a_former_home_becomes_that_of_one_workspace_on_request_only() {
    let (_directory, homes) = homes();
    let former = homes.directory.join("claude");
    let home = homes.home("claude", Some(Path::new("/src/a")));
    assert!(matches!(homes.adopt(&home), Err(HomeError::NoFormer { .. })));
    fs::create_dir_all(former.join("closed")).unwrap();
    fs::set_permissions(&former, fs::Permissions::from_mode(0o500)).unwrap();
    let opened = home.open().unwrap();
    assert_eq!(fs::read_dir(&opened.contents).unwrap().count(), 0);
    assert!(homes.all().unwrap().iter().any(|home| home.former && home.path == former));
    assert!(matches!(homes.adopt(&home), Err(HomeError::InUse { .. })));
    fs::write(opened.contents.join("file"), "").unwrap();
    drop(opened);
    assert!(matches!(homes.adopt(&home), Err(HomeError::Exists { .. })));
    home.reset().unwrap();
    homes.adopt(&home).unwrap();
    assert!(home.contents().join("closed").is_dir() && homes.former("claude").is_none());
}

#[test]
fn what_a_job_has_made_is_removed_whatever_it_is_and_nothing_else() {
    let (directory, homes) = homes();
    let outside = directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "").unwrap();
    let home = homes.home("claude", None);
    let contents = home.open().unwrap().contents;
    symlink(&outside, contents.join("link")).unwrap();
    nix::unistd::mkfifo(&contents.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir_all(contents.join("closed/inner")).unwrap();
    fs::write(contents.join("closed/inner/file"), "").unwrap();
    for path in ["closed/inner", "closed"] {
        fs::set_permissions(contents.join(path), fs::Permissions::from_mode(0o000)).unwrap();
    }
    // Deeper than any path may be long, and than a process has descriptors.
    let mut way = vec![File::open(&contents).unwrap()];
    for _ in 0..3000 {
        let here = way.pop().unwrap();
        nix::sys::stat::mkdirat(&here, "deep-deep-deep", nix::sys::stat::Mode::S_IRWXU).unwrap();
        let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_DIRECTORY;
        let next = nix::fcntl::openat(&here, "deep-deep-deep", flags, nix::sys::stat::Mode::empty()).unwrap();
        way.push(next.into());
    }
    assert!(home.reset().unwrap());
    assert_eq!(fs::read_dir(&homes.directory).unwrap().count(), 0);
    assert!(outside.join("kept").exists());
}

#[test]
fn what_a_killed_reset_has_left_is_removed_by_the_next_one() {
    let (_directory, homes) = homes();
    let home = homes.home("claude", None);
    fs::create_dir_all(&homes.directory).unwrap();
    let left = |pid: u32| homes.directory.join(format!(".removed-{pid}-0"));
    // No process has such a number; this one is at work.
    let (dead, alive) = (left(u32::MAX), left(std::process::id()));
    for trash in [&dead, &alive] {
        fs::create_dir_all(trash.join("7/inner")).unwrap();
        fs::write(trash.join("7/inner/file"), "").unwrap();
        fs::create_dir(trash.join("9")).unwrap();
    }
    assert!(homes.all().unwrap().is_empty());
    drop(home.open().unwrap());
    assert!(home.reset().unwrap());
    assert!(!dead.exists() && alive.join("7/inner/file").exists());
}
