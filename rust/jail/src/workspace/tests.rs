use std::collections::HashMap;
use std::fs;

use super::*;

fn operator(home: &Path) -> Operator {
    Operator {
        environment: HashMap::new(),
        directory: home.to_owned(),
        home: home.to_owned(),
        uid: 1000,
        writable: Vec::new(),
    }
}

fn project() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let project = home.path().canonicalize().unwrap().join("project");
    fs::create_dir_all(project.join(".git/hooks")).unwrap();
    fs::write(project.join(".git/config"), "").unwrap();
    (home, project)
}

/// A workspace that was looked at.
struct Opened {
    workspace: Workspace,
    guard: Guard,
    operator: Operator,
}

impl Opened {
    fn entries(&self) -> Vec<Entry> {
        self.guard.entries(Some(&self.workspace), Path::new("/unused"))
    }

    fn changed(&self) -> Vec<PathBuf> {
        self.guard.changes(&self.operator).files
    }

    fn is_read_only(&self, path: &Path) -> bool {
        let (source, target) = (path.to_owned(), path.to_owned());
        self.entries().contains(&Entry::Bind { source, target, access: Access::ReadOnly })
    }
}

fn open(home: &Path, directory: &Path) -> Result<Opened, WorkspaceError> {
    open_as(operator(home), directory, false, Vec::new())
}

fn open_as(
    operator: Operator,
    directory: &Path,
    any: bool,
    binds: Vec<Entry>,
) -> Result<Opened, WorkspaceError> {
    let workspace = Workspace::open(directory, WorkspaceMode::Rw, &[], any, &operator)?;
    let guard = Guard::new(Some(&workspace), binds, &operator)?;
    Ok(Opened { workspace, guard, operator })
}

#[test]
fn what_holds_more_than_a_project_is_refused() {
    let (home, project) = project();
    assert!(open(home.path(), &project).is_ok());
    for directory in
        [Path::new("/"), home.path(), home.path().parent().unwrap(), Path::new("/etc"), Path::new("/dev")]
    {
        let error = open(home.path(), directory).err().unwrap();
        assert!(matches!(error, WorkspaceError::TooMuch { .. }), "{directory:?}: {error}");
        assert!(Workspace::open(directory, WorkspaceMode::Ro, &[], true, &operator(home.path())).is_ok());
    }
    // Through a link just as well.
    std::os::unix::fs::symlink(home.path(), project.join("link")).unwrap();
    assert!(matches!(
        open(home.path(), &project.join("link")).err().unwrap(),
        WorkspaceError::TooMuch { .. }
    ));
    assert!(matches!(
        open(home.path(), &project.join("nothing")).err().unwrap(),
        WorkspaceError::Missing { .. }
    ));
    assert!(matches!(
        open(home.path(), &project.join(".git/config")).err().unwrap(),
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
        let error = open(home.path(), directory).err().unwrap();
        assert!(matches!(error, WorkspaceError::TooMuch { .. }), "{directory:?}: {error}");
        let insisted = open_as(operator(home.path()), directory, true, Vec::new()).unwrap();
        assert_eq!(insisted.entries().len(), 1);
        let around = open(home.path(), directory.parent().unwrap()).unwrap();
        let read_only =
            Entry::Bind { source: directory.clone(), target: directory.clone(), access: Access::ReadOnly };
        assert!(around.entries().contains(&read_only), "{directory:?}");
        fs::write(directory.join("claude.json"), "").unwrap();
        // The launcher writes records itself.
        assert_eq!(around.changed().is_empty(), directory == &state);
    }
    // Also where they are only named.
    let mut operator = operator(home.path());
    operator.environment.insert("JAIL_PATH".into(), project.join("jails").into());
    let workspace = open_as(operator, &project, false, Vec::new()).unwrap();
    fs::create_dir(project.join("jails")).unwrap();
    assert_eq!(workspace.changed(), [Path::new("jails")]);
}

#[test]
fn files_that_run_later_are_read_only_and_cannot_be_moved_away() {
    let (home, project) = project();
    let entries = open(home.path(), &project).unwrap().entries();
    let bind = |path: &str, access| {
        let path = project.join(path);
        Entry::Bind { source: path.clone(), target: path, access }
    };
    assert_eq!(
        entries,
        [
            Entry::Bind { source: project.clone(), target: project.clone(), access: Access::ReadWrite },
            bind(".git", Access::ReadWrite),
            bind(".git/config", Access::ReadOnly),
            bind(".git/hooks", Access::ReadOnly),
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
    let entries = open(home.path(), &worktree).unwrap().entries();
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
    assert!(!format!("{:?}", workspace.entries()).contains(".envrc"));
    fs::remove_file(project.join(".envrc")).unwrap();
    assert_eq!(workspace.changed(), [Path::new(".envrc")]);
}

#[test]
fn what_an_allowed_envrc_loads_is_protected_with_it() {
    let (home, project) = project();
    fs::write(project.join("flake.nix"), "{ }").unwrap();
    let entries = |workspace: &Opened| format!("{:?}", workspace.entries());
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
        let found = open(home.path(), &project).unwrap().entries();
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
        let mut expected = vec![PathBuf::from(reported)];
        if made[0] == "HEAD" {
            expected.insert(0, PathBuf::from("."));
        }
        assert_eq!(workspace.changed(), expected);
    }
}

/// Makes files with the directories around them.
fn make(directory: &Path, paths: &[&str]) {
    for path in paths {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
}

#[test]
fn what_looks_like_a_repository_hides_nothing_below_it() {
    let decoy = ["HEAD", "objects/x", "refs/x"];
    for (at, inner) in [("x", "x/e"), ("x", "x/objects/e"), (".git", ".git/e")] {
        let (home, project) = project();
        let opened = open(home.path(), &project).unwrap();
        make(&project.join(at), &decoy);
        make(&project.join(inner), &[".git/HEAD"]);
        fs::write(project.join(inner).join(".git/config"), "[core]\n\tfsmonitor = ./run\n").unwrap();
        let changed = opened.changed();
        let config = Path::new(inner).join(".git/config");
        assert!(changed.contains(&config), "{changed:?}");
        // By itself, too, unless its name says so.
        assert_eq!(changed.contains(&PathBuf::from(at)), at == "x", "{changed:?}");
        assert!(open(home.path(), &project).unwrap().is_read_only(&project.join(config)));
    }
    // The same at the top of a workspace that is no repository.
    let home = tempfile::tempdir().unwrap();
    let workspace = home.path().canonicalize().unwrap().join("workspace");
    make(&workspace, &decoy);
    make(&workspace.join("project"), &[".git/config", ".vscode/tasks.json"]);
    let opened = open(home.path(), &workspace).unwrap();
    for path in ["project/.git/config", "project/.vscode"] {
        assert!(opened.is_read_only(&workspace.join(path)), "{path}");
    }
    fs::write(workspace.join("project/.git/config"), "[core]\n").unwrap();
    assert_eq!(opened.changed(), [Path::new("project/.git/config")]);
}

#[test]
fn repositories_beyond_the_limit_are_protected_and_reported() {
    let (home, project) = project();
    let repository = |name: &str| make(&project.join(name), &[".git/HEAD", ".git/config"]);
    (0..255).for_each(|number| repository(&format!("r{number:03}")));
    let opened = open(home.path(), &project).unwrap();
    assert_eq!(opened.guard.notices(), [] as [&str; 0]);
    repository("zz");
    let changed = opened.changed();
    assert!(changed.contains(&PathBuf::from("zz/.git")), "{changed:?}");
    assert!(changed.contains(&PathBuf::from(".")), "that it was too much is said: {changed:?}");

    // Those that were there are read-only as a whole, and known to the next comparison.
    let opened = open(home.path(), &project).unwrap();
    assert!(opened.is_read_only(&project.join("zz/.git")));
    assert_eq!(opened.guard.notices().len(), 1, "{:?}", opened.guard.notices());
    assert_eq!(opened.changed(), [] as [&Path; 0]);
    fs::write(project.join("zz/.git/config"), "[core]\n\tfsmonitor = ./run\n").unwrap();
    assert_eq!(opened.changed(), [Path::new("zz/.git")]);
    repository("zzz");
    let stored = serde_json::to_vec(&opened.guard.baseline()).unwrap();
    let baseline: Baseline = serde_json::from_slice(&stored).unwrap();
    assert_eq!(baseline.changes(&opened.operator).files, ["zz/.git", "zzz/.git"].map(Path::new));
}

#[test]
fn settings_of_the_operator_that_are_links_into_the_workspace_are_protected() {
    use std::os::unix::fs::symlink;
    let (home, project) = project();
    make(&project, &["dotfiles/git/hooks/pre-commit", "scripts/pre-push", "more/included"]);
    let settings = "[include]\n\tpath = ~/included\n[core]\n\thooksPath = ~/hooks\n";
    fs::write(project.join("dotfiles/git/settings"), settings).unwrap();
    symlink(project.join("dotfiles/git/settings"), project.join("link")).unwrap();
    symlink(project.join("link"), home.path().join(".gitconfig")).unwrap();
    symlink(project.join("dotfiles/git/hooks"), home.path().join("hooks")).unwrap();
    symlink(project.join("scripts/pre-push"), project.join("dotfiles/git/hooks/pre-push")).unwrap();
    symlink(project.join("more/included"), home.path().join("included")).unwrap();
    // Not there yet, and git will read it as soon as it is.
    fs::create_dir(home.path().join(".config")).unwrap();
    symlink(project.join("later"), home.path().join(".config/git")).unwrap();
    let opened = open(home.path(), &project).unwrap();
    for path in ["dotfiles/git/settings", "dotfiles/git/hooks", "scripts/pre-push", "more/included"] {
        assert!(opened.is_read_only(&project.join(path)), "{path}: {:?}", opened.entries());
    }
    assert_eq!(opened.changed(), [] as [&Path; 0]);
    fs::remove_file(project.join("link")).unwrap();
    make(&project, &["link", "later/config"]);
    let changed = opened.changed();
    for path in ["link", "later/config"] {
        assert!(changed.contains(&PathBuf::from(path)), "{path}: {changed:?}");
    }
}

#[test]
fn patterns_count_in_a_directory_with_very_many_files() {
    let (home, project) = project();
    for number in 0..17_000 {
        fs::write(project.join(number.to_string()), "").unwrap();
    }
    fs::write(project.join("a.code-workspace"), "").unwrap();
    let opened = open(home.path(), &project).unwrap();
    assert!(opened.is_read_only(&project.join("a.code-workspace")));
    fs::write(project.join("b.code-workspace"), "").unwrap();
    assert_eq!(opened.changed(), [Path::new("b.code-workspace")]);
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
        let entries = open(home.path(), &project).unwrap().entries();
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
        // Git obeys it as soon as it is started there.
        assert_eq!(workspace.changed(), ["made/.git/config", "made/.git/hooks"].map(Path::new));
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

#[test]
fn an_error_other_than_absence_is_no_absence() {
    use std::os::unix::fs::PermissionsExt;
    if nix::unistd::geteuid().is_root() {
        crate::skip::report("root can look into every directory");
        return;
    }
    let (home, project) = project();
    let git = project.join(".git");
    fs::set_permissions(&git, fs::Permissions::from_mode(0o0)).unwrap();
    let opened = open(home.path(), &project).unwrap();
    // The job can neither give itself the permission nor move the directory away.
    assert!(opened.is_read_only(&git), "{:?}", opened.entries());
    assert!(
        opened.guard.notices().iter().any(|notice| notice.contains(".git")),
        "{:?}",
        opened.guard.notices()
    );
    // What cannot be compared is reported, and not taken for unchanged.
    let changed = opened.changed();
    assert!(changed.iter().any(|path| path == Path::new(".git/config")), "{changed:?}");
    fs::set_permissions(&git, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn repositories_below_the_workspace_are_protected_in_every_layout() {
    if !has_git() {
        return;
    }
    let (home, project) = with_library();
    let library = home.path().join("library");
    let clone = |name: &str| git(&project, &["clone", "--quiet", library.to_str().unwrap(), name]);
    clone("deep/in/clone");
    fs::create_dir_all(project.join("deep/in/clone/.vscode")).unwrap();
    git(&project.join("deep/in/clone"), &["worktree", "add", "--quiet", "-b", "b", "../../tree"]);
    fs::create_dir(project.join("elsewhere")).unwrap();
    git(&project, &["init", "--quiet", "--separate-git-dir", "elsewhere/x", "apart"]);
    git(&project, &["init", "--quiet", "--bare", "bare/.bare"]);
    fs::write(project.join("bare/.git"), "gitdir: ./.bare\n").unwrap();
    let opened = open(home.path(), &project).unwrap();
    for path in [
        "deep/in/clone/.git/config",
        "deep/in/clone/.git/hooks",
        "deep/in/clone/.vscode",
        "deep/in/clone/.git/worktrees/tree/commondir",
        "deep/in/clone/.git/worktrees/tree/gitdir",
        "deep/tree/.git",
        "apart/.git",
        "elsewhere/x/config",
        "elsewhere/x/hooks",
        "bare/.git",
        "bare/.bare/config",
        ".git/config",
    ] {
        assert!(opened.is_read_only(&project.join(path)), "{path}: {:?}", opened.entries());
    }
    assert_eq!(opened.changed(), [] as [&Path; 0]);
    clone("made");
    assert_eq!(opened.changed(), ["made/.git/config", "made/.git/hooks"].map(Path::new));
}

#[test]
fn what_settings_and_links_lead_git_to_is_protected() {
    let (home, project) = project();
    let make = |path: &str, contents: &str| {
        fs::create_dir_all(project.join(path).parent().unwrap()).unwrap();
        fs::write(project.join(path), contents).unwrap();
    };
    make(
        ".git/config",
        "[include]\n\tpath = ../settings/one\n[includeIf \"onbranch:x\"]\n\tpath = ../settings/never\n",
    );
    make("settings/one", "[include] path = two\n");
    make("settings/two", "[core] hooksPath = \"tool\"\"ing\" # ours\n");
    make("settings/never", "");
    make("tooling/pre-commit", "");
    make("scripts/pre-push", "");
    make("global-hooks/x", "");
    std::os::unix::fs::symlink("../../scripts/pre-push", project.join(".git/hooks/pre-push")).unwrap();
    fs::write(home.path().join(".gitconfig"), "[core]\n\thooksPath = global-hooks\n").unwrap();
    let opened = open(home.path(), &project).unwrap();
    for path in
        ["settings/one", "settings/two", "settings/never", "tooling", "scripts/pre-push", "global-hooks"]
    {
        assert!(opened.is_read_only(&project.join(path)), "{path}: {:?}", opened.entries());
    }
}

#[test]
fn a_repository_in_a_writable_bind_is_protected_there() {
    let (home, project) = project();
    let other = home.path().canonicalize().unwrap().join("other");
    fs::create_dir_all(other.join("objects")).unwrap();
    fs::create_dir_all(other.join("refs")).unwrap();
    fs::create_dir_all(other.join("hooks")).unwrap();
    fs::write(other.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    fs::write(other.join("config"), "").unwrap();
    let target = PathBuf::from("/mnt/repository");
    let bind = Entry::Bind { source: other.clone(), target: target.clone(), access: Access::ReadWrite };
    let opened = open_as(operator(home.path()), &project, false, vec![bind]).unwrap();
    for name in ["hooks", "config"] {
        let expected =
            Entry::Bind { source: other.join(name), target: target.join(name), access: Access::ReadOnly };
        assert!(opened.entries().contains(&expected), "{name}: {:?}", opened.entries());
    }
    fs::write(other.join("hooks/pre-commit"), "").unwrap();
    assert_eq!(opened.changed(), [other.join("hooks")]);
}

#[test]
fn a_bind_in_the_workspace_lies_over_it_and_never_opens_what_is_protected() {
    let (home, project) = project();
    let beside = home.path().canonicalize().unwrap().join("beside");
    fs::create_dir(&beside).unwrap();
    fs::create_dir_all(project.join("sub/data")).unwrap();
    fs::create_dir_all(project.join("sub/.git")).unwrap();
    fs::write(project.join("sub/.git/config"), "").unwrap();
    let bind =
        |source: &Path, target: PathBuf, access| Entry::Bind { source: source.to_owned(), target, access };
    let binds = vec![
        bind(&beside, project.join("sub/data"), Access::ReadOnly),
        // Its own place: what is protected in it stays so.
        bind(&project.join(".git"), project.join(".git"), Access::ReadWrite),
        bind(&project.join(".git/config"), project.join(".git/config"), Access::ReadWrite),
    ];
    let opened = open_as(operator(home.path()), &project, false, binds.clone()).unwrap();
    let entries = opened.entries();
    let position = |path: PathBuf| {
        let is_there = |entry: &Entry| matches!(entry, Entry::Bind { target, .. } if *target == path);
        entries.iter().rposition(is_there).unwrap_or_else(|| panic!("{path:?}: {entries:?}"))
    };
    assert!(position(project.clone()) < position(project.join("sub")));
    assert!(position(project.join("sub")) < position(project.join("sub/data")));
    assert!(position(project.join(".git")) < position(project.join(".git/hooks")));
    assert!(opened.is_read_only(&project.join(".git/hooks")));
    let access = |path: PathBuf| match &entries[position(path)] {
        Entry::Bind { access, .. } => *access,
        other => panic!("{other:?}"),
    };
    assert_eq!(access(project.join(".git/config")), Access::ReadOnly);
    for (missing, why) in [("sub/missing", "does not exist"), ("sub/link", "symbolic link")] {
        std::os::unix::fs::symlink("data", project.join("sub/link")).ok();
        let binds = vec![bind(&beside, project.join(missing), Access::ReadOnly)];
        let error = open_as(operator(home.path()), &project, false, binds).err().unwrap();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn a_great_many_made_up_repositories_neither_delay_a_start_nor_take_the_workspace_away() {
    let (home, project) = project();
    for number in 0..4000 {
        let module = project.join(format!(".git/modules/{number}"));
        fs::create_dir_all(&module).unwrap();
        fs::write(module.join("HEAD"), "").unwrap();
    }
    let opened = open(home.path(), &project).unwrap();
    assert!(opened.entries().len() < 2000, "{}", opened.entries().len());
    assert!(opened.is_read_only(&project.join(".git/modules")));
    assert!(opened.is_read_only(&project.join(".git/config")));
    assert_eq!(opened.guard.notices().len(), 1, "{:?}", opened.guard.notices());
    assert_eq!(opened.changed(), [] as [&Path; 0]);
    fs::create_dir(project.join(".vscode")).unwrap();
    assert_eq!(opened.changed(), [Path::new(".vscode")]);
}

#[test]
fn a_baseline_survives_its_launcher() {
    use std::os::unix::ffi::OsStrExt;
    let (home, project) = project();
    let odd = project.join(std::ffi::OsStr::from_bytes(b"odd-\xff"));
    fs::create_dir_all(odd.join(".git/hooks")).unwrap();
    let opened = open(home.path(), &project).unwrap();
    let stored = serde_json::to_vec(&opened.guard.baseline()).unwrap();
    fs::write(odd.join(".git/hooks/pre-commit"), "").unwrap();
    fs::remove_file(project.join(".git/config")).unwrap();
    let baseline: Baseline = serde_json::from_slice(&stored).unwrap();
    assert_eq!(baseline.workspace(), Some(project.as_path()));
    let changed = baseline.changes(&opened.operator).files;
    assert_eq!(changed, [Path::new(".git/config"), &odd.strip_prefix(&project).unwrap().join(".git/hooks")]);
}

#[test]
fn programs_with_rights_of_their_own_are_read_only_if_the_job_could_write_them() {
    use std::os::unix::fs::PermissionsExt;
    let (home, project) = project();
    fs::create_dir_all(project.join("node_modules/electron")).unwrap();
    let modes = [("one", 0o4755), ("node_modules/electron/chrome-sandbox", 0o2755), ("locked", 0o4555)];
    for (name, mode) in modes.into_iter().chain([("plain", 0o755)]) {
        fs::write(project.join(name), "").unwrap();
        fs::set_permissions(project.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    // The bit of a directory says whose group new files have.
    fs::create_dir(project.join("shared")).unwrap();
    fs::set_permissions(project.join("shared"), fs::Permissions::from_mode(0o2775)).unwrap();
    let opened = open(home.path(), &project).unwrap();
    for name in ["one", "node_modules/electron/chrome-sandbox", "locked"] {
        assert!(opened.is_read_only(&project.join(name)), "{name}");
        assert!(opened.guard.notices().iter().any(|notice| notice.contains(name)), "{name}");
    }
    for name in ["plain", "shared"] {
        assert!(!opened.is_read_only(&project.join(name)), "{name}");
    }
    assert_eq!(opened.guard.notices().len(), 3);
    fs::set_permissions(project.join("plain"), fs::Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(opened.changed(), [Path::new("plain")], "a new one is reported");

    // So is one that is bound by itself.
    let elsewhere = home.path().canonicalize().unwrap().join("tool");
    fs::write(&elsewhere, "").unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o4755)).unwrap();
    let (source, target) = (elsewhere.clone(), elsewhere.clone());
    let bind = Entry::Bind { source, target, access: Access::ReadWrite };
    let opened = open_as(operator(home.path()), &project, false, vec![bind]).unwrap();
    assert!(opened.is_read_only(&elsewhere));
}

#[test]
fn more_programs_with_rights_than_are_mounted_one_by_one_are_read_only_with_their_directory() {
    use std::os::unix::fs::PermissionsExt;
    let (home, project) = project();
    let directory = project.join("many");
    fs::create_dir(&directory).unwrap();
    for number in 0..300 {
        let file = directory.join(number.to_string());
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).unwrap();
    }
    assert!(open(home.path(), &project).unwrap().is_read_only(&directory));
}

#[cfg(target_os = "linux")]
#[test]
fn a_default_access_control_list_that_is_new_is_reported_where_it_begins() {
    use rustix::fs::{XattrFlags, setxattr};
    // Version 2, then tag, permissions and id of owner, group and others: each may do everything.
    let list = |others: u8| {
        let entry = |tag: u8, permissions: u8| [tag, 0, permissions, 0, 255, 255, 255, 255];
        [vec![2, 0, 0, 0], [entry(1, 7), entry(4, 7), entry(32, others)].concat()].concat()
    };
    let set = |path: &Path, others: u8| {
        setxattr(path, c"system.posix_acl_default", &list(others), XattrFlags::empty())
    };
    let (home, project) = project();
    fs::create_dir_all(project.join("old/inner")).unwrap();
    fs::create_dir_all(project.join("new")).unwrap();
    if set(&project.join("old"), 5).is_err() {
        crate::skip::report("this file system has no access control lists");
        return;
    }
    let opened = open(home.path(), &project).unwrap();
    let stored = serde_json::to_vec(&opened.guard.baseline()).unwrap();
    fs::create_dir(project.join("old/inherits")).unwrap();
    set(&project.join("new"), 7).unwrap();
    fs::create_dir(project.join("new/inherits")).unwrap();
    set(&project.join("old/inner"), 7).unwrap();
    let expected = ["new", "old/inner"].map(PathBuf::from);
    assert_eq!(opened.guard.changes(&opened.operator).default_acls, expected);
    let baseline: Baseline = serde_json::from_slice(&stored).unwrap();
    assert_eq!(
        baseline.changes(&opened.operator),
        Changes { files: Vec::new(), default_acls: expected.into() }
    );
    set(&project.join("old"), 7).unwrap();
    assert!(opened.guard.changes(&opened.operator).default_acls.contains(&PathBuf::from("old")));
}
