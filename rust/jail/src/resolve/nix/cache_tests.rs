use super::*;

#[test]
fn a_checkout_is_known_by_its_files_and_its_commit() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let mut seen = vec![fingerprint(folder.path())];
    for (path, text) in [
        ("flake.nix", "{ }"),
        ("flake.nix", "{  }"),
        ("flake.lock", "{}"),
        ("nix/shell.nix", "{ }"),
        ("Cargo.toml", "[package]"),
        (".git/HEAD", "ref: refs/heads/main\n"),
        (".git/refs/heads/main", "1"),
        (".git/refs/heads/main", "2"),
    ] {
        write(path, text);
        let now = fingerprint(folder.path());
        assert!(!seen.contains(&now), "{path}");
        seen.push(now);
    }
    write("src/main.rs", "fn main() {}");
    assert_eq!(seen.last(), Some(&fingerprint(folder.path())), "a source file decides nothing");
}

#[test]
fn special_files_and_links_in_a_checkout_are_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    fs::create_dir(at(".git")).unwrap();
    for fifo in ["a.nix", ".git/HEAD"] {
        nix::unistd::mkfifo(&at(fifo), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    std::os::unix::fs::symlink("/dev/zero", at("package.json")).unwrap();
    let first = fingerprint(folder.path());
    // Neither blocks, and what a link says is a part of the state.
    fs::remove_file(at("package.json")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at("package.json")).unwrap();
    let second = fingerprint(folder.path());
    assert_ne!(first, second);
    // A link that stays in the directory stands for the file.
    fs::write(at("real"), "1").unwrap();
    std::os::unix::fs::symlink("real", at("b.nix")).unwrap();
    let third = fingerprint(folder.path());
    fs::write(at("real"), "2").unwrap();
    assert!(third != second && fingerprint(folder.path()) != third);
}

#[test]
fn where_parts_end_is_part_of_the_key() {
    let key = |parts: &[&str]| digest(parts.iter().map(|part| part.as_bytes()));
    assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
    assert_ne!(key(&["a"]), key(&["a", ""]));
}

#[test]
fn what_nobody_asks_for_goes_with_its_roots() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("XDG_CACHE_HOME".into(), folder.path().into())].into();
    let operator = Operator {
        environment,
        directory: "/".into(),
        home: folder.path().into(),
        uid: 1000,
        writable: Vec::new(),
    };
    let [old, new] = ["old", "new"].map(|name| Cache::of(&operator, vec![name.to_owned()]));
    for root in [old.make_root().unwrap(), new.make_root().unwrap()] {
        std::os::unix::fs::symlink("/nonexistent", root).unwrap();
    }
    old.write(&Closure::default()).unwrap();
    let long_ago = SystemTime::now() - KEPT - DAY;
    File::options().write(true).open(old.record()).unwrap().set_modified(long_ago).unwrap();
    new.write(&Closure::default()).unwrap();
    let left: Vec<String> = fs::read_dir(&old.directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().all(|name| name.starts_with(&new.key)), "{left:?}");
    assert!(new.read().is_some() && old.read().is_none());
}
