use super::*;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;

const HASH: &str = "0123456789abcdfghijklmnpqrsvwxyz";

/// A store with a program, a file and a link in it, and something that is in no closure.
struct Place {
    folder: tempfile::TempDir,
    operator: Operator,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        let program = store.join(format!("{HASH}-bash/bin/bash"));
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(store.join(format!("{HASH}-file")), "").unwrap();
        symlink(format!("{HASH}-file"), store.join(format!("{HASH}-link"))).unwrap();
        fs::create_dir(store.join(format!("{HASH}-other"))).unwrap();
        let environment = HashMap::from([("NIX_STORE_DIR".into(), store.into_os_string())]);
        let operator = Operator {
            environment,
            directory: "/".into(),
            home: folder.path().to_owned(),
            uid: 1000,
            writable: Vec::new(),
        };
        Place { folder, operator }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("store").join(format!("{HASH}-{name}"))
    }

    fn declared(&self, lines: &str, path: &[PathBuf]) -> Result<Closure, ClosureError> {
        let store_paths = self.folder.path().join("store-paths");
        fs::write(&store_paths, lines).unwrap();
        let spec = ClosureSpec { store_paths, path: path.to_vec(), environment: BTreeMap::new() };
        Closure::declared(&spec, &self.operator)
    }

    fn usual(&self) -> Closure {
        let lines = ["bash", "file", "link"].map(|name| format!("{}\n", self.path(name).display()));
        self.declared(&lines.concat(), &[self.path("bash").join("bin")]).unwrap()
    }
}

#[test]
fn each_store_path_is_what_it_is_outside() {
    let place = Place::new();
    let entries = place.usual().entries(&[], &place.operator).unwrap();
    let bound = |name: &str| Entry::Bind {
        source: place.path(name).canonicalize().unwrap(),
        target: place.path(name),
        access: Access::ReadOnly,
    };
    let link = Entry::Symlink { target: place.path("link"), to: format!("{HASH}-file").into() };
    let shell = Entry::Symlink { target: "/bin/sh".into(), to: place.path("bash").join("bin/bash") };
    assert_eq!(entries, [bound("bash"), bound("file"), link, shell]);
}

#[test]
fn a_store_on_another_disk_is_bound_by_its_real_path() {
    let place = Place::new();
    let mut operator = place.operator.clone();
    let link = place.folder.path().join("linked");
    symlink(place.folder.path().join("store"), &link).unwrap();
    operator.environment.insert("NIX_STORE_DIR".into(), link.clone().into_os_string());
    let target = link.join(format!("{HASH}-file"));
    let closure = Closure { paths: BTreeSet::from([target.clone()]), ..Closure::default() };
    let source = place.path("file").canonicalize().unwrap();
    let access = Access::ReadOnly;
    assert_eq!(closure.entries(&[], &operator).unwrap(), [Entry::Bind { source, target, access }]);
}

#[test]
fn the_hosts_own_shell_stays() {
    let place = Place::new();
    let closure = place.usual();
    let count = |tree: &[Entry]| closure.entries(tree, &place.operator).unwrap().len();
    let bind =
        |path: &str| Entry::Bind { source: path.into(), target: path.into(), access: Access::ReadOnly };
    assert_eq!(count(&[]), 4);
    assert_eq!(count(&[bind("/usr/bin/sh")]), 4, "/bin is no link to /usr/bin here");
    assert_eq!(count(&[bind("/bin/sh")]), 3);
    let merged = Entry::Symlink { target: "/bin".into(), to: "usr/bin".into() };
    assert_eq!(count(&[merged, bind("/usr/bin/sh")]), 3);
}

#[test]
fn what_is_no_store_path_is_refused() {
    let place = Place::new();
    let store = place.folder.path().join("store").display().to_string();
    for line in [
        "/etc".to_owned(),
        store.clone(),
        format!("{store}/"),
        format!("{store}/.."),
        format!("{store}/{HASH}"),
        format!("{store}/{HASH}-"),
        format!("{store}/{HASH}-bash/bin"),
        format!("{store}/{HASH}-bash/"),
        format!("{store}//{HASH}-bash"),
        format!("{store}/./{HASH}-bash"),
        format!("{store}/../store/{HASH}-bash"),
        format!("{store}/{HASH}-a b"),
        format!("{store}/{HASH}-a\u{e9}"),
        format!("{store}/{}-bash", HASH.replace('0', "e")),
        format!("{store}/{}-bash", HASH.replace('z', "\u{e9}")),
        format!("{store}/{HASH}-{}", "a".repeat(212)),
        format!(" {store}/{HASH}-bash"),
    ] {
        let error = place.declared(&format!("{line}\n"), &[]).unwrap_err();
        assert!(matches!(error, ClosureError::NotAStorePath { .. }), "{line:?}: {error}");
    }
    assert!(matches!(place.declared("\n", &[]), Err(ClosureError::Empty { .. })));
}

#[test]
fn a_directory_of_path_is_in_the_closure() {
    let place = Place::new();
    let line = place.path("bash").display().to_string();
    for path in [
        "/usr/bin".into(),
        place.path("other").join("bin"),
        place.path("bash").join("../..").join(format!("{HASH}-other")),
        place.folder.path().join("store"),
    ] {
        let error = place.declared(&line, std::slice::from_ref(&path)).unwrap_err();
        assert!(matches!(error, ClosureError::Outside { .. }), "{path:?}: {error}");
    }
}

#[test]
fn what_was_collected_since_is_named() {
    let place = Place::new();
    let closure = place.usual();
    let store = Store::of(&place.operator);
    assert!(closure.is_whole(&store));
    fs::remove_file(place.path("link")).unwrap();
    assert!(!closure.is_whole(&store));
    let error = closure.entries(&[], &place.operator).unwrap_err().to_string();
    assert!(
        error.contains(&place.path("link").display().to_string()) && error.contains("--refresh"),
        "{error}"
    );
}

#[test]
fn a_tampered_answer_is_not_whole() {
    let place = Place::new();
    let store = Store::of(&place.operator);
    let usual = place.usual();
    let hook = |bash: &str| Some(Hook { bash: bash.into(), script: String::new() });
    for closure in [
        Closure { paths: BTreeSet::from(["/etc".into()]), ..Closure::default() },
        Closure { path: vec!["/usr/bin".into()], ..usual.clone() },
        Closure { hook: hook("/bin/bash"), ..usual },
    ] {
        assert!(!closure.is_whole(&store), "{closure:?}");
    }
}

#[test]
fn the_jails_own_variables_stay() {
    let names = ["HOME", "TMPDIR", "NIX_BUILD_TOP", "SSL_CERT_FILE", "PATH", "NIX_CC"];
    let environment = names.map(|name| (name.to_owned(), "x".to_owned())).into_iter().collect();
    let closure = Closure { environment, ..Closure::default() };
    assert_eq!(closure.variables().map(|(name, _)| name).collect::<Vec<_>>(), ["NIX_CC"]);
}

#[test]
fn what_comes_first_wins() {
    let with = |value: &str| Closure {
        environment: BTreeMap::from([("A".into(), value.into())]),
        path: vec![value.into()],
        ..Closure::default()
    };
    let mut closure = with("first");
    closure.merge(with("second"));
    assert_eq!(closure.environment["A"], "first");
    assert_eq!(closure.path, ["first", "second"].map(PathBuf::from));
}
