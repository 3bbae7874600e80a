use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

/// A home with a workspace in it, which jobs can write, and a directory of the operator's programs.
struct Places(tempfile::TempDir);

impl Places {
    fn new() -> Places {
        let places = Places(tempfile::tempdir().unwrap());
        for directory in ["work/bin", "own"] {
            fs::create_dir_all(places.at(directory)).unwrap();
        }
        places
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(path)
    }

    fn script(&self, path: &str, text: &str) {
        fs::write(self.at(path), text).unwrap();
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn programs(&self, path: &[&str]) -> HostPrograms {
        let directories = path.iter().map(|path| self.at(path));
        let path =
            std::env::join_paths(directories.chain([PathBuf::from("/usr/bin"), "/bin".into()])).unwrap();
        let mut environment: HashMap<OsString, OsString> = HashMap::from([("PATH".into(), path)]);
        for (name, value) in [("PYTHONPATH", "/x"), ("GIT_DIR", "/x"), ("BASH_ENV", "/x"), ("KEPT", "yes")] {
            environment.insert(name.into(), value.into());
        }
        environment.insert("TOOL_ROOT".into(), self.at("work/bin").into());
        let writable = vec![self.at("work")];
        HostPrograms::new(Settings { environment, directory: self.at("work"), home: self.at(""), writable })
    }
}

#[test]
fn a_program_in_a_directory_that_jobs_can_write_is_passed_over() {
    let places = Places::new();
    places.script("work/bin/tool", "#!/bin/sh\necho job\n");
    places.script("own/tool", "#!/bin/sh\necho operator\n");
    symlink(places.at("work/bin"), places.at("link")).unwrap();
    symlink(places.at("own"), places.at("work/to-own")).unwrap();
    for path in [&["work/bin", "own"][..], &["link", "own"], &["work/to-own", "own"]] {
        let output = places.programs(path).command("tool").unwrap().output().unwrap();
        assert_eq!(output.stdout, b"operator\n", "{path:?}");
    }
    assert!(matches!(places.programs(&["work/bin"]).command("tool"), Err(HostProgramError::NotFound { .. })));
}

#[test]
fn a_program_link_or_interpreter_that_jobs_can_write_is_refused() {
    let places = Places::new();
    places.script("work/bin/tool", "#!/bin/sh\n");
    symlink("/bin/sh", places.at("work/bin/sh")).unwrap();
    symlink(places.at("work/bin/tool"), places.at("own/linked")).unwrap();
    places.script("own/script", &format!("#!{}\n", places.at("work/bin/sh").display()));
    let programs = places.programs(&["own"]);
    let (direct, relative) = (places.at("work/bin/tool"), "./bin/tool");
    for name in [direct.to_str().unwrap(), relative, "linked", "script"] {
        assert!(matches!(programs.command(name), Err(HostProgramError::Writable { .. })), "{name}");
    }
}

#[test]
fn a_name_means_the_same_program_as_long_as_the_job_runs() {
    let places = Places::new();
    fs::create_dir(places.at("first")).unwrap();
    places.script("own/tool", "#!/bin/sh\necho operator\n");
    let programs = places.programs(&["first", "own"]);
    programs.command("tool").unwrap();
    places.script("first/tool", "#!/bin/sh\necho another\n");
    assert_eq!(programs.clone().command("tool").unwrap().output().unwrap().stdout, b"operator\n");
    // A program that has become a link into the workspace is refused then, too.
    places.script("work/bin/tool", "#!/bin/sh\n");
    fs::remove_file(places.at("own/tool")).unwrap();
    symlink(places.at("work/bin/tool"), places.at("own/tool")).unwrap();
    assert!(matches!(programs.command("tool"), Err(HostProgramError::Writable { .. })));
}

#[test]
fn a_program_starts_in_the_root_without_variables_that_lead_into_a_workspace() {
    let places = Places::new();
    // Builtins of the shell alone: a build has no other programs.
    places.script(
        "own/tool",
        "#!/bin/sh\npwd\nfor name in KEPT PATH PYTHONPATH GIT_DIR BASH_ENV TOOL_ROOT; do\neval \"echo $name=\\${$name-absent}\"\ndone\n",
    );
    let output = places.programs(&["work/bin", "own"]).command("tool").unwrap().output().unwrap();
    let system: String = ["/usr/bin", "/bin"]
        .into_iter()
        .filter(|directory| Path::new(directory).is_dir())
        .map(|directory| format!(":{directory}"))
        .collect();
    let expected = format!(
        "/\nKEPT=yes\nPATH={}{system}\nPYTHONPATH=absent\nGIT_DIR=absent\nBASH_ENV=absent\nTOOL_ROOT=absent\n",
        places.at("own").display()
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn programs_of_the_system_are_not_looked_for_on_path() {
    let name = "nix-jail-no-such-program";
    assert_eq!(system_program(name), None);
    let error = system_command(name).unwrap_err();
    assert!(
        error.kind() == std::io::ErrorKind::NotFound && error.to_string().contains("/usr/bin"),
        "{error}"
    );
    let Some(shell) = system_program("sh") else {
        crate::skip::report("this machine has no shell where systems have it");
        return;
    };
    assert!(shell.is_absolute());
    // Builtins alone.
    let mut command = system_command("sh").unwrap();
    let output = command.args(["-c", "pwd; echo ${HOME-absent}"]).output().unwrap();
    assert_eq!(output.stdout, b"/\nabsent\n");
}
