use super::*;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn operator(folder: &Path, variables: &[(&str, &str)]) -> Operator {
    let mut environment: HashMap<_, _> =
        variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    environment.entry("PATH".into()).or_insert_with(|| folder.join("bin").into_os_string());
    Operator {
        environment,
        directory: folder.to_owned(),
        home: folder.join("home"),
        uid: 1000,
        writable: Vec::new(),
    }
}

/// A program of Nix that is a script of the test's.
fn tool(folder: &Path, name: &str, script: &str) {
    let path = folder.join("bin").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, format!("#!/bin/sh\nPATH=/path-not-set\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn names_are_attribute_paths_and_nothing_else() {
    for name in ["bash", "python3Packages.requests", "_1password-cli", "a'", "x86_64-linux.y", "a-b_c"] {
        assert_eq!(Package::parse(name).unwrap(), Package::Attribute(name.into()));
    }
    for name in [
        "", ".", "a.", ".a", "a..b", "1a", "-a", "a b", "a;b", "a\nb", "a${b}", "${a}", "\"a\"", "a.\"b\"",
        "(a)", "a/b", "a:b", "../a", "a#", "#a", "a#b c", "a#\"b\"", "a#b^*", "-x#a", "--expr#a", "a b#c",
        "$(a)#b", "a`b", "a\\b", "é", "say hi",
    ] {
        let error = Package::parse(name).unwrap_err().to_string();
        assert!(error.starts_with("-p ") && error.contains("--"), "{name:?}: {error}");
    }
    for name in ["nixpkgs#hello", ".#tool", "path:/x#y", "github:a/b/c?dir=d#e.f", "./dir#g"] {
        assert_eq!(Package::parse(name).unwrap(), Package::Flake(name.into()));
    }
}

#[test]
fn near_names_come_nearest_first() {
    let names = ["curl", "curlie", "curlHTTP3", "cargo", "Curl", "girl"].map(str::to_owned);
    assert_eq!(names::nearest("crul", &names), ["Curl", "curl"]);
    assert_eq!(names::nearest("nothing-like-it", &names), Vec::<String>::new());
}

#[test]
fn without_nix_the_error_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    if Path::new("/run/current-system/sw/bin/nix-store").exists()
        || Path::new("/nix/var/nix/profiles/default/bin/nix-store").exists()
    {
        crate::skip::report("this machine has Nix where everybody's is");
        return;
    }
    let error = Nix::find(&operator(folder.path(), &[])).map(drop).unwrap_err().to_string();
    assert!(error.contains("there is no Nix") && error.contains("--host"), "{error}");
    tool(folder.path(), "nix-store", "");
    Nix::find(&operator(folder.path(), &[])).map(drop).unwrap();
    // What the workspace calls `nix-store` is not asked.
    Nix::find(&operator(folder.path(), &[("PATH", "bin:.")])).map(drop).unwrap_err();
}

#[test]
fn nix_does_not_see_the_operators_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let names = "NIX_REMOTE GIT_CONFIG_KEY_0 ANTHROPIC_API_KEY GITHUB_TOKEN XDG_DATA_HOME";
    let show =
        format!(r#"for name in {names}; do eval "[ -z \"\${{$name+x}}\" ] || echo \"$name=\$$name\""; done"#);
    tool(folder.path(), "nix-store", &show);
    tool(folder.path(), "nix", &format!("{show}; echo \"$*\""));
    let variables = [
        ("ANTHROPIC_API_KEY", "x"),
        ("GITHUB_TOKEN", "x"),
        ("NIX_REMOTE", "daemon"),
        ("XDG_DATA_HOME", "/mine"),
    ];
    let operator = operator(folder.path(), &variables);
    let nix = Nix::find(&operator).unwrap();
    let value = |text: &str, name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    let plain = nix.run("nix-store", []).unwrap();
    let on_flake = nix.run_on_flake(["build"]).unwrap();
    for text in [&plain, &on_flake] {
        assert_eq!(value(text, "NIX_REMOTE").as_deref(), Some("daemon"));
        assert_eq!(value(text, "GIT_CONFIG_KEY_0").as_deref(), Some("core.fsmonitor"));
        assert_eq!((value(text, "ANTHROPIC_API_KEY"), value(text, "GITHUB_TOKEN")), (None, None));
    }
    // Where Nix keeps that a flake's `nixConfig` was accepted for good.
    assert_eq!(value(&plain, "XDG_DATA_HOME").as_deref(), Some("/mine"));
    let data = value(&on_flake, "XDG_DATA_HOME").unwrap();
    assert!(data != "/mine" && !Path::new(&data).exists(), "{data}");
    assert!(on_flake.contains("accept-flake-config false"), "{on_flake}");
}

#[test]
fn nix_starts_in_the_root_and_is_no_program_of_the_workspace() {
    let folder = tempfile::tempdir().unwrap();
    tool(
        &folder.path().join("own"),
        "nix-store",
        "pwd; echo \"${GIT_SSH_COMMAND-absent} ${NIX_LDFLAGS-absent}\"",
    );
    tool(&folder.path().join("work"), "nix-store", "echo job");
    let path = ["work/bin", "own/bin"].map(|place| folder.path().join(place));
    let path = std::env::join_paths(path).unwrap().into_string().unwrap();
    let variables = [("PATH", &*path), ("GIT_SSH_COMMAND", "./ssh"), ("NIX_LDFLAGS", "x")];
    let operator = operator(folder.path(), &variables).with_writable([folder.path().join("work")]);
    assert_eq!(Nix::find(&operator).unwrap().run("nix-store", []).unwrap(), "/\nabsent absent\n");
    let linked = folder.path().join("linked");
    fs::create_dir(&linked).unwrap();
    std::os::unix::fs::symlink(folder.path().join("work/bin/nix-store"), linked.join("nix-store")).unwrap();
    let operator = Operator { environment: HashMap::from([("PATH".into(), linked.into())]), ..operator };
    let error = Nix::find(&operator).map(drop).unwrap_err().to_string();
    assert!(error.contains("that a job can write"), "{error}");
}

#[test]
fn references_are_the_same_from_the_root() {
    let from = |text, directory| from_root(text, Path::new(directory));
    for (text, whole) in [
        (".", "/a/b"),
        (".#x", "/a/b#x"),
        ("./c/../d?dir=e#x", "/a/b/d?dir=e#x"),
        ("..#x", "/a#x"),
        ("../../..", "/"),
        ("path:.#x", "path:/a/b#x"),
        ("path:c", "path:/a/b/c"),
        ("git+file:.#x", "git+file:///a/b#x"),
        ("/c#x", "/c#x"),
        ("path:/c", "path:/c"),
        ("git+file:///c#x", "git+file:///c#x"),
        ("nixpkgs#x", "nixpkgs#x"),
        ("github:a/b?dir=./c#d", "github:a/b?dir=./c#d"),
    ] {
        assert_eq!(from(text, "/a/b").as_deref(), Some(whole), "{text}");
    }
    for directory in ["/a b", "/a?b", "/a#b", "/a%20b", "/\u{e9}", "/a@b"] {
        assert_eq!(from(".#x", directory), None, "{directory}");
        assert_eq!(from("/c#x", directory).as_deref(), Some("/c#x"));
    }
}

#[test]
fn the_end_of_a_failure_is_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let script = "echo building >&2; echo 'error: builder failed;' >&2; \
                  i=0; while [ $i -lt 100 ]; do i=$((i + 1)); echo $i >&2; done; exit 1";
    tool(folder.path(), "nix-store", script);
    let operator = operator(folder.path(), &[]);
    let error = Nix::find(&operator).unwrap().run("nix-store", []).unwrap_err().about("hello").to_string();
    assert!(error.starts_with("cannot get hello; Nix says:\n76\n") && error.ends_with("\n100"), "{error}");
    assert!(!error.contains("building"), "{error}");
}

#[test]
fn a_daemon_that_refuses_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = "error: cannot connect to daemon at '/nix/var/nix/daemon-socket/socket': Permission denied";
    tool(folder.path(), "nix-store", &format!("echo \"{refusal}\" >&2; exit 1"));
    let operator = operator(folder.path(), &[]);
    let error = Nix::find(&operator).unwrap().run("nix-store", []).unwrap_err().to_string();
    assert!(error.contains("allowed-users") && error.contains("--host"), "{error}");
}

/// With `mkdir` and `ln` of this machine.
mod on_the_host {
    use super::*;

    /// Programs that answer as Nix does, and count how often they are asked.
    fn answering(folder: &Path, store_path: &Path) {
        let count = format!("PATH=/usr/bin:/bin\necho asked >> {}/asked", folder.display());
        let path = store_path.display();
        tool(folder, "nix-instantiate", &format!("{count}\necho '{path}.drv'"));
        let realise = format!("*--realise*) mkdir -p {path}/bin; ln -sfn {path} \"$5\"; echo \"$5\";;");
        tool(folder, "nix-store", &format!("{count}\ncase \"$*\" in {realise} *) echo {path};; esac"));
    }

    fn asked(folder: &Path) -> usize {
        fs::read_to_string(folder.join("asked")).unwrap_or_default().lines().count()
    }

    #[test]
    fn the_second_time_nix_is_not_asked() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let store_path = folder.join("store/0123456789abcdfghijklmnpqrsvwxyz-bash");
        fs::create_dir_all(store_path.join("bin")).unwrap();
        answering(folder, &store_path);
        fs::create_dir(folder.join("nixpkgs")).unwrap();
        fs::write(folder.join("nixpkgs/default.nix"), "{ }").unwrap();
        let store = folder.join("store").display().to_string();
        let operator = operator(folder, &[("NIX_STORE_DIR", &store)]);
        let arguments = |packages: &[&str]| StoreArgs {
            package: packages.iter().map(|&name| name.to_owned()).collect(),
            nixpkgs: Some("./nixpkgs".to_owned()),
            ..StoreArgs::default()
        };

        let cold = packages(&arguments(&["bash"]), &operator).unwrap();
        assert_eq!(cold.paths, BTreeSet::from([store_path.clone()]));
        assert_eq!(cold.path, [store_path.join("bin")]);
        assert_eq!(asked(folder), 3);
        assert_eq!(packages(&arguments(&["bash"]), &operator).unwrap(), cold);
        assert_eq!(asked(folder), 3, "warm");
        let refreshed = StoreArgs { refresh: true, ..arguments(&["bash"]) };
        packages(&refreshed, &operator).unwrap();
        assert_eq!(asked(folder), 6, "--refresh");
        packages(&arguments(&["bash", "curl"]), &operator).unwrap();
        assert_eq!(asked(folder), 9, "other packages");
        fs::write(folder.join("nixpkgs/default.nix"), "{ a = 1; }").unwrap();
        packages(&arguments(&["bash"]), &operator).unwrap();
        assert_eq!(asked(folder), 12, "another nixpkgs");
        fs::remove_dir_all(&store_path).unwrap();
        fs::create_dir_all(&store_path).unwrap();
        packages(&arguments(&["bash"]), &operator).unwrap();
        assert_eq!(asked(folder), 12, "it is there again");
        fs::remove_dir_all(&store_path).unwrap();
        packages(&arguments(&["bash"]), &operator).unwrap();
        assert_eq!(asked(folder), 15, "collected");
    }
}
