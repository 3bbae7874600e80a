use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const SECRET: &str = "outside of the tree";
/// A lookup that blocks must fail a test, not hang it.
const TIME_LIMIT: Duration = Duration::from_secs(60);

fn plenty() -> Budget {
    Budget::new(Limits { entries: 1000, depth: 32, time: TIME_LIMIT })
}

/// Runs `test` on a thread of its own; panics if it does not end.
fn within_time_limit<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let result = test();
        let _ = sender.send(());
        result
    });
    match receiver.recv_timeout(TIME_LIMIT) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("a lookup blocks"),
        _ => thread.join().unwrap(),
    }
}

/// `root` is the tree, `outside` lies beside it.
struct Places {
    directory: TempDir,
}

impl Places {
    fn new() -> Places {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("root")).unwrap();
        fs::create_dir_all(directory.path().join("outside/a")).unwrap();
        for file in ["outside/a/b", "outside/b", "outside/c"] {
            fs::write(directory.path().join(file), SECRET).unwrap();
        }
        Places { directory }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join("root")
    }

    fn tree(&self) -> Tree {
        Tree::open(&self.root()).unwrap()
    }
}

fn system_error(error: &BeneathError) -> Option<i32> {
    match error {
        BeneathError::System { error, .. } => error.raw_os_error(),
        _ => None,
    }
}

#[test]
fn regular_files_are_read_as_far_as_the_limit() {
    let places = Places::new();
    let tree = places.tree();
    fs::create_dir(places.root().join("a")).unwrap();
    fs::write(places.root().join("a/file"), "12345").unwrap();
    assert_eq!(tree.read_file(Path::new("a/file"), 5).unwrap().unwrap(), b"12345");
    assert_eq!(tree.read_file(&places.root().join("a/file"), 5).unwrap().unwrap(), b"12345");
    assert!(matches!(
        tree.read_file(Path::new("a/file"), 4),
        Err(BeneathError::TooLarge { limit: 4, path }) if path == places.root().join("a/file")
    ));
    assert_eq!(tree.read_start(Path::new("a/file"), 4).unwrap().unwrap(), b"1234");
    assert_eq!(tree.metadata(Path::new("a/file")).unwrap().unwrap().size, 5);
    assert_eq!(tree.metadata(Path::new("")).unwrap().unwrap().kind, Kind::Directory);
}

#[test]
fn only_enoent_and_enotdir_mean_absent() {
    let places = Places::new();
    let tree = places.tree();
    fs::write(places.root().join("file"), "").unwrap();
    for absent in ["missing", "missing/below", "file/below", "file/below/.."] {
        let path = Path::new(absent);
        assert_eq!(tree.metadata(path).unwrap(), None, "{absent}");
        assert_eq!(tree.read_file(path, 9).unwrap(), None, "{absent}");
        assert_eq!(tree.list(path, &mut plenty()).unwrap(), None, "{absent}");
        assert_eq!(tree.follow(path).unwrap(), None, "{absent}");
        assert!(!tree.walk(path, &mut plenty(), &mut |_| Visit::Descend).unwrap(), "{absent}");
    }
    let long = "x".repeat(300);
    let long = Path::new(&long);
    assert_eq!(system_error(&tree.metadata(long).unwrap_err()), Some(Errno::ENAMETOOLONG as i32));
    assert_eq!(system_error(&tree.follow(long).unwrap_err()), Some(Errno::ENAMETOOLONG as i32));
}

#[test]
fn a_directory_without_permissions_is_not_absent() {
    use std::os::unix::fs::PermissionsExt;
    if nix::unistd::geteuid().is_root() {
        crate::skip::report("root may look into every directory");
        return;
    }
    let places = Places::new();
    let tree = places.tree();
    fs::create_dir_all(places.root().join("closed/inner")).unwrap();
    fs::set_permissions(places.root().join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let denied = Some(Errno::EACCES as i32);
    for path in ["closed/inner", "closed/missing"].map(Path::new) {
        assert_eq!(system_error(&tree.metadata(path).unwrap_err()), denied);
        assert_eq!(system_error(&tree.read_file(path, 9).unwrap_err()), denied);
        assert_eq!(system_error(&tree.follow(path).unwrap_err()), denied);
    }
    assert_eq!(system_error(&tree.list(Path::new("closed"), &mut plenty()).unwrap_err()), denied);
    let mut errors = 0;
    tree.walk(Path::new(""), &mut plenty(), &mut |entry| {
        errors += usize::from(entry.is_err());
        Visit::Descend
    })
    .unwrap();
    assert_eq!(errors, 1);
    fs::set_permissions(places.root().join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn links_are_refused_unless_they_are_followed_beneath() {
    let places = Places::new();
    let tree = places.tree();
    fs::create_dir(places.root().join("a")).unwrap();
    fs::write(places.root().join("a/file"), "inside").unwrap();
    let inside = places.root().join("a/file");
    for (link, to) in
        [("relative", Path::new("a/../a/file")), ("absolute", &inside), ("directory", Path::new("a"))]
    {
        symlink(to, places.root().join(link)).unwrap();
    }
    for path in ["relative", "absolute", "directory/file"].map(Path::new) {
        assert!(matches!(tree.read_file(path, 9), Err(BeneathError::Link { .. })), "{path:?}");
        assert_eq!(tree.follow(path).unwrap().unwrap().path, Path::new("a/file"), "{path:?}");
    }
    assert_eq!(tree.metadata(Path::new("relative")).unwrap().unwrap().kind, Kind::Link);
    assert_eq!(tree.read_link(Path::new("relative")).unwrap().unwrap(), Path::new("a/../a/file"));
    assert_eq!(tree.read_link(Path::new("a/file")).unwrap(), None);
    assert!(matches!(tree.metadata(Path::new("directory/file")), Err(BeneathError::Link { .. })));
}

/// Otherwise a job learns from the answer which files the host has.
#[test]
fn a_link_that_leads_out_is_the_same_error_whether_its_target_exists_or_not() {
    let places = Places::new();
    let tree = places.tree();
    for (link, to) in [
        ("there", "../outside/b"),
        ("missing", "../outside/nothing"),
        ("above", ".."),
        ("absolute", "/etc/passwd"),
        ("absolute-missing", "/nothing-of-the-kind"),
        ("and-back", "../root/a"),
    ] {
        symlink(to, places.root().join(link)).unwrap();
        assert!(matches!(tree.follow(Path::new(link)), Err(BeneathError::Outside { .. })), "{link}");
        assert!(matches!(tree.read_file(Path::new(link), 99), Err(BeneathError::Link { .. })), "{link}");
    }
    for path in ["../outside/b", "..", "../root", "/etc/passwd"].map(Path::new) {
        assert!(matches!(tree.read_file(path, 99), Err(BeneathError::Outside { .. })), "{path:?}");
        assert!(matches!(tree.metadata(path), Err(BeneathError::Outside { .. })), "{path:?}");
        assert!(matches!(tree.follow(path), Err(BeneathError::Outside { .. })), "{path:?}");
    }
    symlink("loop", places.root().join("loop")).unwrap();
    assert!(matches!(tree.follow(Path::new("loop")), Err(BeneathError::Link { .. })));
}

#[test]
fn special_files_are_never_opened() {
    let places = Places::new();
    mkfifo(&places.root().join("fifo"), Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(places.root().join("socket")).unwrap();
    symlink("/dev/zero", places.root().join("zero")).unwrap();
    within_time_limit(move || {
        let tree = places.tree();
        for path in ["fifo", "socket"].map(Path::new) {
            assert_eq!(tree.metadata(path).unwrap().unwrap().kind, Kind::Special);
            assert_eq!(tree.follow(path).unwrap().unwrap().metadata.kind, Kind::Special);
            assert!(matches!(tree.read_file(path, 9), Err(BeneathError::NotAFile { .. })));
            assert!(matches!(tree.open_file(path), Err(BeneathError::NotAFile { .. })));
            assert!(matches!(tree.list(path, &mut plenty()), Err(BeneathError::NotADirectory { .. })));
        }
        assert!(matches!(tree.read_start(Path::new("zero"), 9), Err(BeneathError::Link { .. })));
    });
}

#[test]
fn lists_and_walks_end_with_their_budget() {
    let places = Places::new();
    let tree = places.tree();
    let mut deep = places.root();
    for number in 0..20 {
        fs::create_dir(places.root().join(format!("wide-{number}"))).unwrap();
        deep.push("deep");
    }
    fs::create_dir_all(&deep).unwrap();
    let budget = |entries, depth, time| Budget::new(Limits { entries, depth, time });
    let exceeded = |result: Result<bool, BeneathError>| match result {
        Err(BeneathError::Budget { exceeded, .. }) => Some(exceeded),
        _ => None,
    };
    let walk = |mut budget: Budget| {
        exceeded(tree.walk(Path::new(""), &mut budget, &mut |entry| {
            entry.unwrap();
            Visit::Descend
        }))
    };
    assert_eq!(walk(budget(1000, 32, TIME_LIMIT)), None);
    assert_eq!(walk(budget(40, 20, TIME_LIMIT)), None);
    assert_eq!(walk(budget(39, 20, TIME_LIMIT)), Some(Exceeded::Entries));
    assert_eq!(walk(budget(1000, 19, TIME_LIMIT)), Some(Exceeded::Depth));
    assert_eq!(walk(budget(1000, 32, Duration::ZERO)), Some(Exceeded::Time));
    // Lookups that belong together share one budget.
    let mut shared = budget(41, 32, TIME_LIMIT);
    assert_eq!(tree.list(Path::new(""), &mut shared).unwrap().unwrap().len(), 21);
    assert_eq!(
        exceeded(tree.list(Path::new(""), &mut shared).map(|_| true)),
        Some(Exceeded::Entries),
        "20 of 41 are left"
    );
}

#[test]
fn a_walk_skips_and_stops_where_it_is_told() {
    let places = Places::new();
    for path in ["a/x", "b/x", "c/x"] {
        fs::create_dir_all(places.root().join(path)).unwrap();
    }
    let mut seen = Vec::new();
    let mut visit = |entry: Result<&Entry, BeneathError>| {
        let path = entry.unwrap().path.to_string_lossy().into_owned();
        seen.push(path.clone());
        match &*path {
            "a" => Visit::Skip,
            "c" => Visit::Stop,
            _ => Visit::Descend,
        }
    };
    places.tree().walk(Path::new(""), &mut plenty(), &mut visit).unwrap();
    assert_eq!(seen, ["a", "b", "b/x", "c"]);
}

/// A job that exchanges a directory for a link while it is looked through.
#[test]
fn an_exchanged_directory_never_leads_out() {
    let places = Places::new();
    fs::create_dir(places.root().join("a")).unwrap();
    fs::write(places.root().join("a/b"), "inside").unwrap();
    symlink("../outside/a", places.root().join("link")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let exchanger = thread::spawn({
        let (stop, root) = (Arc::clone(&stop), places.root());
        move || {
            while !stop.load(Ordering::Relaxed) {
                for (from, to) in [("a", "kept"), ("link", "a"), ("a", "link"), ("kept", "a")] {
                    fs::rename(root.join(from), root.join(to)).unwrap();
                }
            }
        }
    });
    let tree = places.tree();
    let check = |contents: Result<Option<Vec<u8>>, BeneathError>| match contents {
        Ok(Some(contents)) => assert_eq!(contents, b"inside"),
        Ok(None) | Err(BeneathError::Link { .. } | BeneathError::Outside { .. }) => {}
        Err(error) => panic!("{error}"),
    };
    for _ in 0..2000 {
        check(tree.read_file(Path::new("a/b"), 99));
        check(tree.read_file(Path::new("a/../a/b"), 99));
        for links in [Links::Refuse, Links::FollowBeneath(tree.path())] {
            let found = resolve_step_by_step(tree.root.as_fd(), Path::new("a/../a/b"), links);
            let contents = found.map(|resolved| tree.read(&resolved.found, Path::new("a/b"), 99).unwrap());
            check(match contents {
                Err(Errno::ENOENT) => Ok(None),
                contents => contents.map(Some).map_err(|errno| tree.error(Path::new("a/b"), errno)),
            });
        }
        tree.walk(Path::new(""), &mut plenty(), &mut |_| Visit::Descend).unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    exchanger.join().unwrap();
}

/// One thing that a job makes in its tree.
#[derive(Clone, Debug)]
enum Made {
    File(PathBuf),
    Directory(PathBuf),
    Fifo(PathBuf),
    Link(PathBuf, String),
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just("a"), 6 => Just("b"), 6 => Just("c"), 2 => Just("..")].prop_map(str::to_owned)
}

fn paths() -> impl Strategy<Value = PathBuf> {
    proptest::collection::vec(names(), 1..5).prop_map(|names| names.iter().collect())
}

fn made() -> impl Strategy<Value = Made> {
    let place = || {
        proptest::collection::vec(prop_oneof!["a", "b", "c"], 1..4).prop_map(|names| names.iter().collect())
    };
    // ROOT stands for the tree's path, OUTSIDE for the one beside it.
    let prefix =
        prop_oneof![4 => Just(""), 1 => Just("ROOT/"), 1 => Just("OUTSIDE/"), 1 => Just("../outside/")];
    let target = (prefix, paths()).prop_map(|(prefix, path)| format!("{prefix}{}", path.display()));
    prop_oneof![
        4 => place().prop_map(Made::File),
        3 => place().prop_map(Made::Directory),
        1 => place().prop_map(Made::Fifo),
        5 => (place(), target).prop_map(|(place, target)| Made::Link(place, target)),
    ]
}

/// Makes what can be made; returns the contents of the regular files, by their path.
fn build(root: &Path, all: &[Made]) -> BTreeMap<PathBuf, String> {
    let mut contents = BTreeMap::new();
    for made in all {
        let (Made::File(place) | Made::Directory(place) | Made::Fifo(place) | Made::Link(place, _)) = made;
        // Never through a link: what lies outside is not the job's.
        let mut above = root.to_owned();
        let is_plain = place.iter().all(|name| {
            above.push(name);
            above == root.join(place) || !above.is_symlink()
        });
        let whole = root.join(place);
        if !is_plain
            || fs::create_dir_all(whole.parent().unwrap()).is_err()
            || whole.symlink_metadata().is_ok()
        {
            continue;
        }
        match made {
            Made::File(_) => {
                fs::write(&whole, place.as_os_str().as_encoded_bytes()).unwrap();
                contents.insert(place.clone(), place.display().to_string());
            }
            Made::Directory(_) => fs::create_dir(&whole).unwrap(),
            Made::Fifo(_) => mkfifo(&whole, Mode::S_IRWXU).unwrap(),
            Made::Link(_, target) => {
                let outside = root.with_file_name("outside");
                let target = target
                    .replace("ROOT", &root.display().to_string())
                    .replace("OUTSIDE", &outside.display().to_string());
                symlink(target, &whole).unwrap();
            }
        }
    }
    contents
}

fn check_lookups(all: &[Made], asked: &[PathBuf]) {
    let places = Places::new();
    let root = places.root();
    let contents = build(&root, all);
    let tree = places.tree();
    for path in asked {
        let by_kernel = root.join(path).canonicalize();
        let is_beneath = by_kernel.as_ref().is_ok_and(|real| real.starts_with(&root));
        let real = by_kernel.as_ref().ok().and_then(|real| real.strip_prefix(&root).ok());
        match tree.follow(path) {
            Ok(Some(followed)) => assert_eq!(Some(followed.path.as_path()), real, "{path:?}"),
            Ok(None) => {
                let kind = by_kernel.as_ref().unwrap_err().raw_os_error();
                assert!(
                    [Some(Errno::ENOENT as i32), Some(Errno::ENOTDIR as i32)].contains(&kind),
                    "{path:?}"
                );
            }
            // It may lead out and back in.
            Err(BeneathError::Outside { .. }) => {}
            Err(BeneathError::Link { .. }) => {
                assert_eq!(
                    by_kernel.as_ref().unwrap_err().raw_os_error(),
                    Some(Errno::ELOOP as i32),
                    "{path:?}"
                );
            }
            Err(error) => panic!("{path:?}: {error}"),
        }
        match tree.read_file(path, 999) {
            Ok(Some(read)) => {
                assert!(is_beneath, "{path:?}");
                assert_eq!(Some(&String::from_utf8(read).unwrap()), contents.get(real.unwrap()), "{path:?}");
            }
            Ok(None) => assert!(by_kernel.is_err(), "{path:?}"),
            Err(BeneathError::Link { .. } | BeneathError::Outside { .. }) => {}
            Err(BeneathError::NotAFile { .. }) => {
                assert!(!real.is_some_and(|real| contents.contains_key(real)), "{path:?}");
            }
            Err(error) => panic!("{path:?}: {error}"),
        }
        // A regular file without a link or `..` on the way is found, and read.
        if let Some(text) = contents.get(path) {
            assert_eq!(tree.read_file(path, 999).unwrap().as_deref(), Some(text.as_bytes()), "{path:?}");
        }
        for links in [Links::Refuse, Links::RefuseOnTheWay] {
            let identity = |found: nix::Result<Resolved>| {
                found.map(|resolved| (resolved.found.stat.st_dev, resolved.found.stat.st_ino))
            };
            let steps = identity(resolve_step_by_step(tree.root.as_fd(), path, links));
            assert_eq!(identity(resolve(tree.root.as_fd(), path, links)), steps, "{path:?} {links:?}");
        }
    }
    let mut files = Vec::new();
    tree.walk(Path::new(""), &mut plenty(), &mut |entry| {
        let entry = entry.unwrap();
        if entry.metadata.kind == Kind::File {
            files.push(entry.path.clone());
        }
        Visit::Descend
    })
    .unwrap();
    files.sort();
    assert_eq!(files, contents.into_keys().collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_lookup_leads_out_of_the_tree_or_blocks(
        all in proptest::collection::vec(made(), 0..14),
        asked in proptest::collection::vec(paths(), 1..12),
    ) {
        within_time_limit(move || check_lookups(&all, &asked));
    }
}

#[test]
fn a_real_path_knows_the_links_that_it_was_reached_through() {
    let places = Places::new();
    let (root, outside) = (places.root(), places.root().with_file_name("outside"));
    symlink(&outside, root.join("link")).unwrap();
    let real = RealPath::of(&root.join("link/../outside/b")).unwrap();
    assert_eq!(real, RealPath { path: outside.join("b"), links: vec![root.join("link")] });
    assert!(real.depends_on(&root) && real.depends_on(&outside) && !real.depends_on(&root.join("a")));
    assert_eq!(RealPath::of(&root.join("missing")).unwrap_err().raw_os_error(), Some(Errno::ENOENT as i32));
}

#[test]
fn a_listing_says_what_gives_somebody_rights() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for (name, mode) in [("plain", 0o755), ("set-user", 0o4755), ("set-group", 0o2755)] {
        fs::write(path(name), "").unwrap();
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let tree = Tree::open(directory.path()).unwrap();
    let listing = tree.inspect(Path::new(""), &mut plenty()).unwrap().unwrap();
    let is_set_id: Vec<bool> =
        listing.entries.iter().map(|entry| entry.file.is_some_and(|file| file.is_set_id())).collect();
    assert_eq!(is_set_id, [false, true, true]);
    assert!(listing.entries.iter().all(|entry| !entry.has_capabilities));
    assert_eq!(listing.default_acl, None);
    assert_eq!(tree.inspect_entry(Path::new("plain")).unwrap().as_ref(), listing.entries.first());
    assert_eq!(tree.inspect_entry(Path::new("absent")).unwrap(), None);
    #[cfg(target_os = "linux")]
    {
        // cap_net_raw+ep, version 2 of the attribute; only root may give it.
        let capabilities = [[1, 0, 0, 2], [0, 32, 0, 0], [0; 4], [0; 4], [0; 4]].concat();
        let flags = rustix::fs::XattrFlags::empty();
        if rustix::fs::setxattr(path("plain"), c"security.capability", &capabilities, flags).is_ok() {
            assert!(tree.inspect_entry(Path::new("plain")).unwrap().unwrap().has_capabilities);
        } else {
            crate::skip::report("file capabilities need root and a file system that has them");
        }
    }
}
