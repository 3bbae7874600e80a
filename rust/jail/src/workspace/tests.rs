use std::collections::HashMap;
use std::fs;

use super::*;

fn operator(home: &Path) -> Operator {
    Operator { environment: HashMap::new(), directory: home.to_owned(), home: home.to_owned(), uid: 1000 }
}

fn project() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let project = home.path().canonicalize().unwrap().join("project");
    fs::create_dir_all(project.join(".git/hooks")).unwrap();
    fs::write(project.join(".git/config"), "").unwrap();
    (home, project)
}

fn open(home: &Path, directory: &Path) -> Result<Workspace, WorkspaceError> {
    Workspace::open(directory, WorkspaceMode::Rw, &[], false, &operator(home))
}

#[test]
fn what_holds_more_than_a_project_is_refused() {
    let (home, project) = project();
    assert!(open(home.path(), &project).is_ok());
    for directory in
        [Path::new("/"), home.path(), home.path().parent().unwrap(), Path::new("/etc"), Path::new("/dev")]
    {
        let error = open(home.path(), directory).unwrap_err();
        assert!(matches!(error, WorkspaceError::TooMuch { .. }), "{directory:?}: {error}");
        assert!(Workspace::open(directory, WorkspaceMode::Ro, &[], true, &operator(home.path())).is_ok());
    }
    // Through a link just as well.
    std::os::unix::fs::symlink(home.path(), project.join("link")).unwrap();
    assert!(matches!(open(home.path(), &project.join("link")).unwrap_err(), WorkspaceError::TooMuch { .. }));
    assert!(matches!(
        open(home.path(), &project.join("nothing")).unwrap_err(),
        WorkspaceError::Missing { .. }
    ));
    assert!(matches!(
        open(home.path(), &project.join(".git/config")).unwrap_err(),
        WorkspaceError::NotADirectory { .. }
    ));
}

#[test]
fn what_jails_are_made_of_is_no_job_s_to_change() {
    let (home, project) = project();
    let real = home.path().canonicalize().unwrap();
    let (config, state) = (real.join(".config/nix-jail"), real.join(".local/state/nix-jail"));
    for directory in [&config, &state] {
        fs::create_dir_all(directory).unwrap();
        let error = open(home.path(), directory).unwrap_err();
        assert!(matches!(error, WorkspaceError::TooMuch { .. }), "{directory:?}: {error}");
        let insisted =
            Workspace::open(directory, WorkspaceMode::Rw, &[], true, &operator(home.path())).unwrap();
        assert_eq!(insisted.entries(Path::new("/unused")).len(), 1);
        let around = open(home.path(), directory.parent().unwrap()).unwrap();
        let read_only =
            Entry::Bind { source: directory.clone(), target: directory.clone(), access: Access::ReadOnly };
        assert!(around.entries(Path::new("/unused")).contains(&read_only), "{directory:?}");
        fs::write(directory.join("claude.json"), "").unwrap();
        // The launcher writes records itself.
        assert_eq!(around.changed().is_empty(), directory == &state);
    }
    // Also where they are only named.
    let mut operator = operator(home.path());
    operator.environment.insert("JAIL_PATH".into(), project.join("jails").into());
    let workspace = Workspace::open(&project, WorkspaceMode::Rw, &[], false, &operator).unwrap();
    fs::create_dir(project.join("jails")).unwrap();
    assert_eq!(workspace.changed(), [Path::new("jails")]);
}

#[test]
fn files_that_run_later_are_read_only_and_cannot_be_moved_away() {
    let (home, project) = project();
    let entries = open(home.path(), &project).unwrap().entries(Path::new("/unused"));
    let bind = |path: &str, access| {
        let path = project.join(path);
        Entry::Bind { source: path.clone(), target: path, access }
    };
    assert_eq!(
        entries,
        [
            Entry::Bind { source: project.clone(), target: project.clone(), access: Access::ReadWrite },
            bind(".git", Access::ReadWrite),
            bind(".git/hooks", Access::ReadOnly),
            bind(".git/config", Access::ReadOnly),
        ]
    );
}

#[test]
fn a_file_that_runs_later_is_reported_when_it_appears_or_changes() {
    let (home, project) = project();
    let workspace = open(home.path(), &project).unwrap();
    assert!(workspace.changed().is_empty());
    fs::create_dir(project.join(".vscode")).unwrap();
    fs::write(project.join(".git/hooks/pre-commit"), "#!/bin/sh\n").unwrap();
    fs::write(project.join("README.md"), "an ordinary file").unwrap();
    fs::write(project.join("flake.nix"), "{ }").unwrap();
    assert_eq!(workspace.changed(), [".git/hooks", ".vscode", "flake.nix"].map(Path::new));
}

#[test]
fn the_pointer_of_a_linked_worktree_is_protected() {
    let (home, project) = project();
    let worktree = home.path().canonicalize().unwrap().join("worktree");
    fs::create_dir(&worktree).unwrap();
    fs::write(worktree.join(".git"), format!("gitdir: {}/.git/worktrees/x\n", project.display())).unwrap();
    let pointer = worktree.join(".git");
    let entries = open(home.path(), &worktree).unwrap().entries(Path::new("/unused"));
    assert!(entries.contains(&Entry::Bind {
        source: pointer.clone(),
        target: pointer,
        access: Access::ReadOnly
    }));
}

#[test]
fn a_link_in_place_of_a_protected_file_is_not_followed() {
    let (home, project) = project();
    fs::write(home.path().join("secret"), "").unwrap();
    std::os::unix::fs::symlink(home.path().join("secret"), project.join(".envrc")).unwrap();
    let workspace = open(home.path(), &project).unwrap();
    assert!(!format!("{:?}", workspace.entries(Path::new("/unused"))).contains(".envrc"));
    fs::remove_file(project.join(".envrc")).unwrap();
    assert_eq!(workspace.changed(), [Path::new(".envrc")]);
}

#[test]
fn what_an_allowed_envrc_loads_is_protected_with_it() {
    let (home, project) = project();
    fs::write(project.join("flake.nix"), "{ }").unwrap();
    let entries = |workspace: &Workspace| format!("{:?}", workspace.entries(Path::new("/unused")));
    assert!(!entries(&open(home.path(), &project).unwrap()).contains("flake.nix"));
    fs::write(project.join(".envrc"), "use flake\n").unwrap();
    // What direnv has kept of the last time, and takes instead of asking again.
    fs::create_dir(project.join(".direnv")).unwrap();
    let protected = entries(&open(home.path(), &project).unwrap());
    assert!(protected.contains("flake.nix") && protected.contains(".direnv"), "{protected}");
}

#[test]
fn hooks_in_another_place_are_protected_there() {
    let (home, project) = project();
    for (value, place) in
        [("./tools/hooks", "tools/hooks"), ("\"tools/hooks\"", "tools/hooks"), ("../x", ""), ("/x", "")]
    {
        fs::write(project.join(".git/config"), format!("[core]\n\tbare = false\n\thooksPath = {value}\n"))
            .unwrap();
        fs::create_dir_all(project.join("tools/hooks")).unwrap();
        let found = open(home.path(), &project).unwrap().entries(Path::new("/unused"));
        let hooks = Entry::Bind {
            source: project.join("tools/hooks"),
            target: project.join("tools/hooks"),
            access: Access::ReadOnly,
        };
        assert_eq!(found.contains(&hooks), !place.is_empty(), "{value}");
    }
}

#[test]
fn a_repository_that_a_job_makes_is_reported_however_git_would_find_it() {
    for (made, reported) in [
        // A pointer to a repository of the job's own.
        (&[".git"][..], ".git"),
        // A repository without a work tree around it.
        (&["HEAD", "config", "objects/x", "refs/x"], "config"),
        (&[".git/modules/new/HEAD", ".git/modules/new/config"], ".git/modules/new/config"),
        (&[".git/worktrees/new/HEAD", ".git/worktrees/new/commondir"], ".git/worktrees/new/commondir"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let project = home.path().join("project");
        fs::create_dir(&project).unwrap();
        let workspace = open(home.path(), &project).unwrap();
        for path in made {
            fs::create_dir_all(project.join(path).parent().unwrap()).unwrap();
            fs::write(project.join(path), "").unwrap();
        }
        assert_eq!(workspace.changed(), [Path::new(reported)]);
    }
}

#[test]
fn what_a_job_makes_of_files_that_are_read_does_not_hold_the_launcher_up() {
    let (home, project) = project();
    fs::remove_file(project.join(".git/config")).unwrap();
    let workspace = open(home.path(), &project).unwrap();
    for name in ["config", "index"] {
        nix::unistd::mkfifo(&project.join(".git").join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    assert_eq!(workspace.changed(), [Path::new(".git/config")]);
}

/// Whether there is git to make repositories with; says so if not.
fn has_git() -> bool {
    let found = std::process::Command::new("git").arg("--version").output();
    found.inspect_err(|error| crate::skip::report(&format!("git: {error}"))).is_ok()
}

/// Runs git, without the settings of whoever runs the tests.
fn git(directory: &Path, words: &[&str]) {
    let output = std::process::Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@t.test", "-c", "protocol.file.allow=always"])
        .args(words)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A project with a repository of its own, in which another repository, `library`, lies beside it.
fn with_library() -> (tempfile::TempDir, PathBuf) {
    let (home, project) = project();
    let library = home.path().join("library");
    fs::create_dir(&library).unwrap();
    git(&library, &["init", "--quiet"]);
    git(&library, &["commit", "--quiet", "--allow-empty", "--message=one"]);
    fs::remove_dir_all(project.join(".git")).unwrap();
    git(&project, &["init", "--quiet"]);
    (home, project)
}

#[test]
fn the_work_trees_of_submodules_are_protected() {
    if !has_git() {
        return;
    }
    for version in ["2", "4"] {
        let (home, project) = with_library();
        let library = home.path().join("library");
        git(&project, &["config", "index.version", version]);
        git(&project, &["submodule", "--quiet", "add", library.to_str().unwrap(), "libraries/one"]);
        git(&project, &["clone", "--quiet", library.to_str().unwrap(), "vendored"]);
        git(&project, &["add", "vendored"]);
        let inner = project.join("libraries/one");
        git(&inner, &["submodule", "--quiet", "add", library.to_str().unwrap(), "inner"]);
        let entries = open(home.path(), &project).unwrap().entries(Path::new("/unused"));
        let read_only = |path: &str| {
            let path = project.join(path);
            entries.contains(&Entry::Bind { source: path.clone(), target: path, access: Access::ReadOnly })
        };
        for path in ["libraries/one/.git", "libraries/one/inner/.git", "vendored/.git/config"] {
            assert!(read_only(path), "version {version}: {path}: {entries:?}");
        }
    }
}

#[test]
fn a_submodule_that_a_job_makes_is_reported() {
    if !has_git() {
        return;
    }
    for split in ["--no-split-index", "--split-index"] {
        let (home, project) = with_library();
        let workspace = open(home.path(), &project).unwrap();
        let library = home.path().join("library");
        git(&project, &["clone", "--quiet", library.to_str().unwrap(), "made"]);
        assert!(workspace.changed().is_empty(), "nothing leads git there yet");
        git(&project, &["add", "made"]);
        git(&project, &["update-index", split]);
        assert_eq!(workspace.changed(), ["made/.git/config", "made/.git/hooks"].map(Path::new), "{split}");
    }
}

#[test]
fn what_a_job_made_unreadable_or_endless_is_reported() {
    let (home, project) = project();
    let workspace = open(home.path(), &project).unwrap();
    fs::create_dir(project.join(".vscode")).unwrap();
    for number in 0..5000 {
        fs::write(project.join(format!(".vscode/{number}")), "").unwrap();
    }
    assert_eq!(workspace.changed(), [Path::new(".vscode")]);
    assert_eq!(open(home.path(), &project).unwrap().changed(), [Path::new(".vscode")]);
}
