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
    /// Directories that jobs can write.
    writable: Vec<PathBuf>,
}

impl Fixture {
    fn new() -> Fixture {
        let fixture = Fixture {
            folder: tempfile::tempdir().unwrap(),
            path: Vec::new(),
            variables: HashMap::new(),
            writable: Vec::new(),
        };
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
        let (directory, home) = (self.directory(), self.at(""));
        let uid = nix::unistd::geteuid().as_raw();
        let operator = Operator { environment, directory, home, uid, writable: Vec::new() };
        operator.with_writable(self.writable.iter().cloned())
    }

    fn directory(&self) -> PathBuf {
        self.writable.first().cloned().unwrap_or_else(|| self.at(""))
    }

    /// One with a workspace in the home, in which an earlier job has written.
    fn with_workspace() -> Fixture {
        let mut fixture = Fixture::new();
        std::fs::create_dir(fixture.at("work")).unwrap();
        fixture.writable = vec![fixture.at("work")];
        fixture
    }

    /// A file that only the operator can read.
    fn private(&self, path: &str) -> PathBuf {
        let path = self.write(path, "private\n");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// A program of this machine.
    fn object(&self, path: &str) -> PathBuf {
        let path = self.write(path, "");
        std::fs::write(&path, std::fs::read("/bin/sh").unwrap()).unwrap();
        path
    }

    fn fifo(&self, path: &str) {
        nix::unistd::mkfifo(&self.at(path), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }

    fn resolve(&self, names: &[&str]) -> Result<HostTree, ResolveError> {
        programs(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), &[], &self.operator())
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

fn left_out(tree: &HostTree) -> Vec<&Path> {
    tree.left_out.iter().map(|left| left.path.as_path()).collect()
}

fn is_refused(result: &Result<HostTree, ResolveError>, real: &Path) -> bool {
    matches!(result, Err(ResolveError::JobChosen { real: refused, .. }) if refused == real)
}

#[test]
fn links_of_a_job_lead_to_nothing_private() {
    let fixture = Fixture::with_workspace();
    let key = fixture.private("keys/id");
    fixture.write("work/.venv/pyvenv.cfg", "home = /usr/bin\n");
    fixture.object("work/.venv/bin/python3");
    fixture.link("work/.venv/lib", "../../keys");
    let tree = fixture.resolve(&["./.venv/bin/python3"]).unwrap();
    assert!(!has(&tree, &key));
    assert_eq!(left_out(&tree), [fixture.at("keys")]);

    fixture.write(
        "work/node_modules/tool/package.json",
        r#"{"name":"tool","dependencies":{"dep":"1","own":"1"}}"#,
    );
    fixture.write("work/node_modules/tool/cli", "#!/bin/sh\n");
    fixture.link("work/node_modules/.bin/tool", "../tool/cli");
    fixture.link("work/node_modules/dep", "../../keys");
    fixture.link("work/node_modules/own", ".pnpm/own@1/node_modules/own");
    let own = fixture.write("work/node_modules/.pnpm/own@1/node_modules/own/package.json", "{}");
    let tree = fixture.resolve(&["./node_modules/.bin/tool"]).unwrap();
    assert!(!has(&tree, &key) && has(&tree, &own));
    assert_eq!(left_out(&tree), [fixture.at("keys")]);
}

#[test]
fn a_program_that_a_job_has_chosen_is_public_or_an_executable_of_this_machine() {
    let fixture = Fixture::with_workspace();
    let script = fixture.write("own/deploy", "#!/bin/sh\nTOKEN=private\n");
    let program = fixture.object("own/program");
    fixture.link("work/script", "../own/deploy");
    fixture.link("work/program", "../own/program");
    fixture.link("work/system", "/bin/sh");
    assert!(is_refused(&fixture.resolve(&["./script"]), &script));
    assert!(has(&fixture.resolve(&["./program"]).unwrap(), &program));
    assert!(has(&fixture.resolve(&["./system"]).unwrap(), Path::new("/bin/sh")));
    // What the operator names is the operator's choice, whoever else names it.
    assert!(has(&fixture.resolve(&["./script", script.to_str().unwrap()]).unwrap(), &script));
}

#[test]
fn the_first_line_of_a_job_s_script_brings_no_script_of_the_operator_s() {
    let fixture = Fixture::with_workspace();
    let script = fixture.write("bin/deploy", "#!/bin/sh\nTOKEN=private\n");
    fixture.write("work/tool", "#!/usr/bin/env deploy\n");
    assert!(is_refused(&fixture.resolve(&["./tool"]), &script));
    assert!(has(&fixture.resolve(&["./tool", "deploy"]).unwrap(), &script));
    let key = fixture.private("keys/id");
    fixture.write("work/tool", &format!("#!{}\n", key.display()));
    assert!(!fixture.resolve(&["./tool"]).is_ok_and(|tree| has(&tree, &key)));
}

#[test]
fn a_python_of_the_operator_s_comes_with_its_library_and_nothing_around_it() {
    let fixture = Fixture::with_workspace();
    let python = fixture.object("share/uv/python/cpython/bin/python3.12");
    let library = "share/uv/python/cpython/lib/python3.12";
    let module = fixture.write(&format!("{library}/os.py"), "");
    fixture.write("work/.venv/pyvenv.cfg", "");
    fixture.link("work/.venv/bin/python", python.to_str().unwrap());
    let tree = fixture.resolve(&["./.venv/bin/python"]).unwrap();
    assert!(has(&tree, &python) && has(&tree, &module) && left_out(&tree).is_empty());

    // The same without a standard library: a project that is laid out like one.
    let python = fixture.object("project/bin/python3.12");
    let secret = fixture.write("project/lib/python3.12/secret", "");
    fixture.write("project/package.json", r#"{"name":"project"}"#);
    std::fs::remove_file(fixture.at("work/.venv/bin/python")).unwrap();
    fixture.link("work/.venv/bin/python", python.to_str().unwrap());
    let tree = fixture.resolve(&["./.venv/bin/python"]).unwrap();
    assert!(has(&tree, &python) && !has(&tree, &secret) && !has(&tree, &fixture.at("project/package.json")));
}

#[test]
fn the_loader_that_a_job_s_program_names_is_a_loader() {
    let fixture = Fixture::with_workspace();
    let key = fixture.private("k");
    let mut program = std::fs::read("/bin/sh").unwrap();
    let name = b"/lib64/ld-linux-x86-64.so.2\0";
    let position = program.windows(name.len()).position(|window| window == name);
    let (Some(position), true) = (position, key.as_os_str().len() < name.len()) else {
        crate::skip::report(
            "/bin/sh of this host has another loader, or the temporary directory has a long name",
        );
        return;
    };
    let path = fixture.write("work/tool", "");
    // The last one is public and not a program.
    for loader in [key.to_str().unwrap(), "/etc/shadow", "/dev/zero", "/usr/share", "/etc/passwd", "relative"]
    {
        program[position..position + name.len()].fill(0);
        program[position..position + loader.len()].copy_from_slice(loader.as_bytes());
        std::fs::write(&path, &program).unwrap();
        match fixture.resolve(&["./tool"]) {
            Err(ResolveError::JobChosen { .. } | ResolveError::NoLibrary { .. }) => {}
            other => panic!("{loader}: {other:?}"),
        }
    }
}

#[test]
fn special_files_and_links_of_a_job_are_not_read() {
    let fixture = Fixture::with_workspace();
    fixture.write("work/node_modules/tool/cli", "#!/bin/sh\n");
    let manifest = fixture.at("work/node_modules/tool/package.json");
    let sibling = fixture.write("secret", "");
    // The directory above the workspace is a package of the operator's.
    fixture.write("package.json", r#"{"name":"monorepo"}"#);
    fixture.fifo("work/library.so");
    fixture.fifo("work/.python-version");
    let shim = fixture.write(".pyenv/shims/tool3", "#!/bin/sh\n");
    let chosen = fixture.write(".pyenv/versions/3.11/bin/tool3", "#!/bin/sh\n");
    fixture.write(".pyenv/version", "3.11\n");
    let mut fixture = fixture;
    fixture.path.insert(0, shim.parent().unwrap().to_owned());
    for target in ["fifo", "/dev/zero", "/etc/passwd", "../../../package.json"] {
        match target {
            "fifo" => fixture.fifo("work/node_modules/tool/package.json"),
            target => symlink(target, &manifest).unwrap(),
        }
        let tree = fixture.resolve(&["./node_modules/tool/cli", "tool3"]).unwrap();
        assert!(!has(&tree, &sibling) && has(&tree, &chosen), "{target}");
        std::fs::remove_file(&manifest).unwrap();
    }
    // A version file that leads elsewhere names nothing.
    std::fs::remove_file(fixture.at("work/.python-version")).unwrap();
    fixture.write("elsewhere", "../../evil\n");
    fixture.link("work/.python-version", "../elsewhere");
    assert!(has(&fixture.resolve(&["tool3"]).unwrap(), &chosen));
}

#[test]
fn one_job_s_link_leads_to_no_other_job_s_home() {
    let fixture = Fixture::with_workspace();
    let homes = ".local/state/nix-jail/homes";
    let other = fixture.object(&format!("{homes}/other/tool"));
    let own = fixture.object(&format!("{homes}/own/lib/tool"));
    fixture.link("work/tool", other.to_str().unwrap());
    fixture.link(&format!("{homes}/own/bin/tool"), "../lib/tool");
    assert!(is_refused(&fixture.resolve(&["./tool"]), &other));
    let named = fixture.at(&format!("{homes}/own/bin/tool"));
    assert!(has(&fixture.resolve(&[named.to_str().unwrap()]).unwrap(), &own));
}
