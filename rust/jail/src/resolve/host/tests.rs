use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use sandbox::plan::Entry;

use super::{HostTree, ResolveError, programs};
use crate::operator::Operator;

/// A folder that is an operator's home, with programs in its `bin`.
struct Fixture {
    folder: tempfile::TempDir,
    path: Vec<PathBuf>,
    variables: HashMap<OsString, OsString>,
}

impl Fixture {
    fn new() -> Fixture {
        let fixture =
            Fixture { folder: tempfile::tempdir().unwrap(), path: Vec::new(), variables: HashMap::new() };
        let bin = fixture.at("bin");
        std::fs::create_dir(&bin).unwrap();
        Fixture { path: vec![bin, "/usr/bin".into(), "/bin".into()], ..fixture }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(path)
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn link(&self, path: &str, to: &str) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
    }

    fn operator(&self) -> Operator {
        let mut environment = self.variables.clone();
        environment.insert("PATH".into(), std::env::join_paths(&self.path).unwrap());
        Operator { environment, directory: self.at(""), home: self.at(""), uid: 1234, writable: Vec::new() }
    }

    fn resolve(&self, names: &[&str]) -> Result<HostTree, ResolveError> {
        programs(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), &self.operator())
    }
}

/// Whether the file at this path is in the tree, where the links of the tree lead.
fn has(tree: &HostTree, path: &Path) -> bool {
    let Ok(real) = path.canonicalize() else { return false };
    tree.entries.iter().any(|entry| matches!(entry, Entry::Bind { target, .. } if real.starts_with(target)))
}

fn link_of(tree: &HostTree, path: &Path) -> Option<PathBuf> {
    tree.entries.iter().find_map(|entry| match entry {
        Entry::Symlink { target, to } if target == path => Some(to.clone()),
        _ => None,
    })
}

#[test]
fn the_libraries_are_those_that_the_loader_takes() {
    let fixture = Fixture::new();
    let mut compared = 0;
    for program in ["sh", "bash", "curl", "git", "ssh", "openssl", "perl", "tar", "node", "python3", "vi"] {
        let Ok(tree) = fixture.resolve(&[program]) else { continue };
        let path =
            ["/usr/bin", "/bin"].iter().map(|bin| Path::new(bin).join(program)).find(|path| path.exists());
        let Ok(output) = Command::new("ldd").arg(path.unwrap()).output() else { continue };
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let words = line.split_whitespace().filter(|word| word.starts_with('/'));
            for library in words.map(Path::new).filter(|library| library.is_file()) {
                assert!(has(&tree, library), "{program} has no {}", library.display());
                compared += 1;
            }
        }
    }
    assert!(compared > 0, "there was no program to compare, or no ldd");
}

#[test]
fn every_directory_of_the_way_is_the_hosts() {
    let fixture = Fixture::new();
    fixture.link("bin/tool", "../opt/current/tool");
    fixture.link("opt/current", "v2");
    let program = fixture.write("opt/v2/tool", "#!/bin/sh\n");
    let tree = fixture.resolve(&["tool"]).unwrap();
    assert_eq!(link_of(&tree, &fixture.at("bin/tool")), Some("../opt/current/tool".into()));
    assert_eq!(link_of(&tree, &fixture.at("opt/current")), Some("v2".into()));
    assert!(has(&tree, &program) && has(&tree, Path::new("/bin/sh")));
    assert_eq!(tree.path, [fixture.at("bin")]);
    assert!(tree.has_program(Path::new("tool")) && !tree.has_program(Path::new("other")));
}

#[test]
fn a_script_brings_its_interpreter_and_that_of_the_interpreter() {
    let mut fixture = Fixture::new();
    fixture.path.push(fixture.at("other"));
    fixture.write("bin/outer", "#!/usr/bin/env -S MODE=1 inner --flag\n");
    let inner = fixture.write("other/inner", "#!/bin/sh -e\n");
    let tree = fixture.resolve(&["outer"]).unwrap();
    for path in [&inner, Path::new("/usr/bin/env"), Path::new("/bin/sh")] {
        assert!(has(&tree, path), "no {}", path.display());
    }
    // env looks it up again, inside.
    assert!(tree.path.contains(&fixture.at("other")) && tree.has_program(Path::new("inner")));
}

#[test]
fn a_script_without_its_interpreter_is_an_error() {
    let fixture = Fixture::new();
    let script = fixture.write("bin/tool", "#!/usr/bin/env no-such-interpreter\n");
    let error = fixture.resolve(&["tool"]).unwrap_err().to_string();
    assert!(error.contains("no-such-interpreter") && error.contains(script.to_str().unwrap()), "{error}");
    fixture.write("bin/loop", &format!("#!{}\n", fixture.at("bin/loop").display()));
    assert!(fixture.resolve(&["loop"]).is_ok(), "a file is looked at once");
}

#[test]
fn a_program_of_npm_brings_its_package_and_what_that_imports() {
    let fixture = Fixture::new();
    let modules = "tools/node_modules";
    fixture.link("bin/agent", &format!("../{modules}/.bin/agent"));
    fixture.link(&format!("{modules}/.bin/agent"), "../@maker/agent/bin/agent.js");
    fixture.write(&format!("{modules}/@maker/agent/bin/agent.js"), "#!/bin/sh\n");
    let manifest = r#"{"name":"@maker/agent","dependencies":{"near":"1"},"optionalDependencies":{"far":"1","absent":"1"}}"#;
    fixture.write(&format!("{modules}/@maker/agent/package.json"), manifest);
    fixture.write(&format!("{modules}/@maker/agent/lib/part.js"), "");
    fixture.write(&format!("{modules}/@maker/agent/node_modules/near/package.json"), r#"{"name":"near"}"#);
    fixture.write(&format!("{modules}/far/package.json"), r#"{"name":"far","dependencies":{"deep":"1"}}"#);
    fixture.link(&format!("{modules}/deep"), ".store/deep");
    fixture.write(&format!("{modules}/.store/deep/package.json"), r#"{"name":"deep"}"#);
    fixture.write(&format!("{modules}/unrelated/package.json"), r#"{"name":"unrelated"}"#);
    let tree = fixture.resolve(&["agent"]).unwrap();
    for part in ["@maker/agent/lib/part.js", "far/package.json", ".store/deep/package.json"] {
        assert!(has(&tree, &fixture.at(modules).join(part)), "no {part}");
    }
    assert_eq!(link_of(&tree, &fixture.at(modules).join("deep")), Some(".store/deep".into()));
    assert!(!has(&tree, &fixture.at(modules).join("unrelated/package.json")));
    // The package's directory stands for the program in it.
    let package = fixture.at(modules).join("@maker/agent");
    let below = |entry: &&Entry| matches!(entry, Entry::Bind { target, .. } if target.starts_with(&package));
    assert_eq!(tree.entries.iter().filter(below).count(), 1);
}

#[test]
fn a_home_with_a_package_json_is_not_a_package() {
    let fixture = Fixture::new();
    fixture.write("package.json", r#"{"name":"everything-of-mine"}"#);
    let program = fixture.write("bin/tool", "#!/bin/sh\n");
    let secret = fixture.write("secret", "");
    let tree = fixture.resolve(&["tool"]).unwrap();
    assert!(has(&tree, &program) && !has(&tree, &secret));
}

#[test]
fn links_of_a_package_bring_nothing_of_somebodys() {
    let fixture = Fixture::new();
    let secret = fixture.write("keys/id", "private");
    fixture.write("tools/agent/run", "#!/bin/sh\n");
    fixture.write("tools/agent/package.json", r#"{"name":"agent"}"#);
    fixture.link("tools/agent/keys", "../../keys");
    fixture.link("tools/agent/system", "/usr/share");
    fixture.link("bin/agent", "../tools/agent/run");
    let tree = fixture.resolve(&["agent"]).unwrap();
    assert!(has(&tree, &fixture.at("tools/agent/package.json")));
    assert!(!has(&tree, &secret));
    assert!(
        !tree
            .entries
            .iter()
            .any(|entry| matches!(entry, Entry::Bind { target, .. } if target == Path::new("/usr/share")))
    );
}

#[test]
fn a_stand_in_of_pyenv_is_followed() {
    let mut fixture = Fixture::new();
    let shim = "#!/bin/sh\nexec pyenv exec\n";
    fixture.write(".pyenv/shims/tool3", shim);
    fixture.write(".pyenv/libexec/pyenv", "#!/bin/sh\n");
    let old = fixture.write(".pyenv/versions/3.11/bin/tool3", "#!/bin/sh\n");
    let new = fixture.write(".pyenv/versions/3.12/bin/tool3", "#!/bin/sh\n");
    let system = fixture.write("bin/tool3", "#!/bin/sh\n");
    fixture.write(".pyenv/version", "3.11\n");
    fixture.path.insert(0, fixture.at(".pyenv/shims"));

    let tree = fixture.resolve(&["tool3"]).unwrap();
    assert!(has(&tree, &old) && !has(&tree, &new) && !has(&tree, &system));
    assert_eq!(tree.path, [old.parent().unwrap()]);

    fixture.write(".python-version", "3.12\n");
    assert!(has(&fixture.resolve(&["tool3"]).unwrap(), &new));

    fixture.variables.insert("PYENV_VERSION".into(), "system".into());
    assert!(has(&fixture.resolve(&["tool3"]).unwrap(), &system));

    for version in ["9.9", "../../evil", ".."] {
        fixture.variables.insert("PYENV_VERSION".into(), version.into());
        let error = fixture.resolve(&["tool3"]).unwrap_err().to_string();
        assert!(error.contains("pyenv which tool3"), "{error}");
    }
}

#[test]
fn a_stand_in_of_another_manager_is_named_with_the_cure() {
    let fixture = Fixture::new();
    fixture.write("opt/mise", "#!/bin/sh\n");
    fixture.link("bin/tool", "../opt/mise");
    let error = fixture.resolve(&["tool"]).unwrap_err().to_string();
    assert!(error.contains("`mise which tool`"), "{error}");
    fixture.link("bin/mise", "../opt/mise");
    assert!(fixture.resolve(&["mise"]).is_ok());
}

#[test]
fn a_missing_library_is_named() {
    let fixture = Fixture::new();
    let mut program = std::fs::read("/bin/sh").unwrap();
    let name = b"libc.so.6\0";
    let Some(position) = program.windows(name.len()).position(|window| window == name) else {
        crate::skip::report("/bin/sh of this host is not linked with glibc");
        return;
    };
    program[position + 3] = b'X';
    let path = fixture.write("bin/tool", "");
    std::fs::write(&path, program).unwrap();
    match fixture.resolve(&["tool"]).unwrap_err() {
        ResolveError::NoLibrary { program, library, .. } => {
            assert_eq!((program, &*library), (path, "libX.so.6"))
        }
        error => panic!("{error}"),
    }
}

#[test]
fn damaged_programs_are_errors_and_never_panics() {
    let fixture = Fixture::new();
    let whole = std::fs::read("/bin/sh").unwrap();
    for length in [4, 16, 51, 52, 64, 100, 1000] {
        let path = fixture.write("bin/tool", "");
        std::fs::write(&path, &whole[..length]).unwrap();
        let result = fixture.resolve(&["tool"]);
        assert!(
            length < 64 || matches!(result, Err(ResolveError::Unreadable { .. })),
            "{length}: {result:?}"
        );
    }
}

#[test]
fn names_that_are_no_programs_are_errors() {
    let fixture = Fixture::new();
    fixture.write("bin/data", "");
    std::fs::set_permissions(fixture.at("bin/data"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(fixture.resolve(&["no-such-program"]), Err(ResolveError::NotFound { .. })));
    assert!(matches!(fixture.resolve(&["data"]), Err(ResolveError::NotFound { .. })));
    assert!(matches!(fixture.resolve(&["./bin/data"]), Err(ResolveError::NotExecutable { .. })));
    assert!(matches!(fixture.resolve(&["/usr"]), Err(ResolveError::NotExecutable { .. })));
    assert!(matches!(fixture.resolve(&["./none"]), Err(ResolveError::NotFound { .. })));
    assert!(fixture.resolve(&["no-such-program?"]).unwrap().names.is_empty());
}

#[test]
fn a_relative_directory_on_the_path_is_passed_over() {
    let mut fixture = Fixture::new();
    fixture.write("bin/tool", "#!/bin/sh\n");
    fixture.path = vec!["bin".into(), ".".into(), "".into()];
    assert!(matches!(fixture.resolve(&["tool"]), Err(ResolveError::NotFound { .. })));
}

#[test]
fn the_shell_has_its_tools_and_not_the_rest_of_the_system() {
    let tree = Fixture::new().resolve(&["@shell"]).unwrap();
    for name in ["sh", "cat", "ls", "grep", "sed"] {
        assert!(tree.has_program(Path::new(name)), "no {name}");
    }
    for entry in &tree.entries {
        let Entry::Bind { target, .. } = entry else { continue };
        let broad = ["/", "/usr", "/usr/bin", "/usr/lib", "/usr/share", "/etc", "/etc/ssl"];
        assert!(!broad.iter().any(|broad| Path::new(broad) == target), "{}", target.display());
    }
    let mut targets: Vec<_> = tree.entries.iter().map(|entry| format!("{entry:?}")).collect();
    let all = targets.len();
    targets.dedup();
    assert_eq!(targets.len(), all);
}
