//! Git directories outside of the workspace: those that are bound, and everything that a job could write to be given more.

use std::fs;
use std::os::unix::fs::symlink;

use super::super::{Baseline, Changes};
use super::*;

/// An operator with a repository, and a linked worktree of it that is the workspace.
struct Place {
    _directory: tempfile::TempDir,
    home: PathBuf,
    operator: Operator,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().canonicalize().unwrap();
        let operator = Operator {
            environment: std::collections::HashMap::new(),
            directory: home.clone(),
            home: home.clone(),
            uid: nix::unistd::geteuid().as_raw(),
            writable: Vec::new(),
        };
        let place = Place { _directory: directory, home, operator };
        place.repository("repo/.git");
        place.link("repo/.git", "tree", "tree");
        place
    }

    fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.home.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    fn repository(&self, path: &str) {
        self.write(&format!("{path}/HEAD"), "ref: refs/heads/main\n");
        self.write(&format!("{path}/config"), "");
        fs::create_dir_all(self.home.join(path).join("objects")).unwrap();
        fs::create_dir_all(self.home.join(path).join("refs")).unwrap();
    }

    /// Both sides of a linked worktree, as git writes them.
    fn link(&self, repository: &str, tree: &str, name: &str) {
        let home = self.home.display();
        self.write(&format!("{tree}/.git"), format!("gitdir: {home}/{repository}/worktrees/{name}\n"));
        self.write(&format!("{repository}/worktrees/{name}/HEAD"), "ref: refs/heads/x\n");
        self.write(&format!("{repository}/worktrees/{name}/commondir"), "../..\n");
        self.write(&format!("{repository}/worktrees/{name}/gitdir"), format!("{home}/{tree}/.git\n"));
    }

    fn find(&self, workspace: &str) -> Result<Option<Repository>, String> {
        self.find_in_mode(workspace, WorkspaceMode::Rw)
    }

    fn find_in_mode(&self, workspace: &str, mode: WorkspaceMode) -> Result<Option<Repository>, String> {
        let workspace =
            Workspace::open(&self.home.join(workspace), mode, &[], false, &self.operator).unwrap();
        let operator = self.operator.with_writable([workspace.path.clone()]);
        find(&workspace, &operator)
    }

    /// What is bound, by path below the home directory, with `rw` or `ro`.
    fn bound(&self, workspace: &str) -> String {
        let Ok(Some(repository)) = self.find(workspace) else { return String::new() };
        let shown = repository.binds().into_iter().map(|bind| {
            let Entry::Bind { source, access, .. } = bind else { panic!("{bind:?}") };
            let access = if access == Access::ReadWrite { "rw" } else { "ro" };
            format!("{access} {}", source.strip_prefix(&self.home).unwrap().display())
        });
        shown.collect::<Vec<_>>().join(", ")
    }
}

#[test]
fn the_git_directory_of_a_linked_worktree_is_bound() {
    let place = Place::new();
    assert_eq!(place.bound("tree"), "rw repo/.git");
    for mode in [WorkspaceMode::Ro, WorkspaceMode::Overlay] {
        assert_eq!(place.find_in_mode("tree", mode).unwrap().unwrap().writable(), None, "{mode:?}");
    }
    // Relative pointers, as git writes them with worktree.useRelativePaths.
    place.write("tree/.git", "gitdir: ../repo/.git/worktrees/tree\n");
    place.write("repo/.git/worktrees/tree/gitdir", "../../../../tree/.git\n");
    assert_eq!(place.bound("tree"), "rw repo/.git");
    // The main work tree has it inside.
    assert_eq!(place.find("repo"), Ok(None));
    // A part of either.
    fs::create_dir_all(place.home.join("repo/part/deep")).unwrap();
    assert_eq!(place.bound("repo/part/deep"), "ro repo/.git");
    fs::create_dir_all(place.home.join("tree/part")).unwrap();
    assert_eq!(place.bound("tree/part"), "ro repo/.git, ro tree/.git");
}

#[test]
fn secrets_of_a_repository_around_the_workspace_are_filtered() {
    let place = Place::new();
    place.write(
        "repo/.git/config",
        "[remote \"o\"]\n\turl = https://u:secret@h.test/a\n[include]\n\tpath = more\n",
    );
    place.write("repo/.git/more", "[http]\n\textraHeader = secret\n");
    place.write("repo/.git/worktrees/tree/config.worktree", "[credential]\n\thelper = !echo secret\n");
    fs::create_dir_all(place.home.join("repo/part")).unwrap();
    for (workspace, expected) in [
        ("repo/part", vec!["config", "more"]),
        ("tree", vec!["config", "more", "worktrees/tree/config.worktree"]),
    ] {
        let repository = place.find(workspace).unwrap().unwrap();
        let mut found = Vec::new();
        for entry in repository.filtered_settings() {
            let Entry::File { target, contents, .. } = entry else { panic!("{entry:?}") };
            assert!(!String::from_utf8(contents).unwrap().contains("secret"), "{target:?}");
            found.push(target.strip_prefix(place.home.join("repo/.git")).unwrap().display().to_string());
        }
        found.sort();
        assert_eq!(found, expected, "{workspace}");
    }
}

#[test]
fn a_repository_of_another_user_around_the_workspace_is_not_bound() {
    if !nix::unistd::geteuid().is_root() {
        return crate::skip::report("only root can give a directory to another user");
    }
    let place = Place::new();
    fs::create_dir_all(place.home.join("repo/part")).unwrap();
    assert_eq!(place.bound("repo/part"), "ro repo/.git");
    std::os::unix::fs::chown(place.home.join("repo"), Some(4321), None).unwrap();
    assert!(place.find("repo/part").unwrap_err().contains("another user's"));
}

#[test]
fn the_git_directory_of_a_submodule_is_bound_if_its_settings_name_it() {
    let place = Place::new();
    place.repository("repo/.git/modules/lib/x");
    place.write("repo/lib/x/.git", "gitdir: ../../.git/modules/lib/x\n");
    assert_eq!(place.bound("repo/lib/x"), "");
    place.write("repo/.git/modules/lib/x/config", "[core]\n\tworktree = ../../../../lib/x\n");
    assert_eq!(place.bound("repo/lib/x"), "rw repo/.git/modules/lib/x");
}

#[test]
fn a_pointer_alone_binds_nothing() {
    let place = Place::new();
    let home = place.home.display().to_string();
    place.write("private/id", "secret");
    place.repository("other/.git");
    for pointer in [
        "private",
        "private/worktrees/x",
        "other/.git",
        "other/.git/worktrees/x",
        "repo/.git",
        "repo/.git/modules/x",
        "repo/.git/worktrees/tree/../../../../private",
        "repo/.git/worktrees/nothing",
    ] {
        place.write("job/.git", format!("gitdir: {home}/{pointer}\n"));
        assert!(place.find("job").is_err(), "{pointer}");
    }
    // Another worktree's side names that one.
    place.write("job/.git", format!("gitdir: {home}/repo/.git/worktrees/tree\n"));
    assert!(place.find("job").is_err());
    for contents in
        ["", "gitdir:", "gitdir: \n", "gitdir: .\n", "gitdir: /\n", "gitdir: /worktrees/x\n", "\0\0"]
    {
        place.write("job/.git", contents);
        assert!(!matches!(place.find("job"), Ok(Some(_))), "{contents:?}");
    }
}

#[test]
fn both_sides_made_in_the_workspace_bind_nothing() {
    let place = Place::new();
    place.write("private/id", "secret");
    let home = place.home.display().to_string();
    // A whole layout below the workspace: it is there already.
    place.repository("job/fake");
    place.link("job/fake", "job", "x");
    assert_eq!(place.find("job"), Ok(None));
    // The same, reached through a link that leads out.
    fs::remove_dir_all(place.home.join("job/fake")).unwrap();
    symlink(place.home.join("private"), place.home.join("job/fake")).unwrap();
    place.write("job/.git", format!("gitdir: {home}/job/fake/worktrees/x\n"));
    assert_eq!(place.find("job"), Ok(None));
    // Reached by a detour.
    place.repository("job/fake2");
    place.link("job/fake2", "job", "x");
    place.write("job/.git", format!("gitdir: {home}/repo/../job/fake2/worktrees/x\n"));
    assert_eq!(place.find("job"), Ok(None));
    // A part that names a place in the workspace as common directory.
    place.write("repo/.git/worktrees/tree/commondir", format!("{home}/private\n"));
    assert!(place.find("tree").is_err());
    // Git's directory is a link in a directory that is another's.
    let place = Place::new();
    fs::remove_dir_all(place.home.join("repo/.git/objects")).unwrap();
    symlink(place.home.join("private"), place.home.join("repo/.git/objects")).unwrap();
    assert!(place.find("tree").is_err());
}

#[test]
fn a_git_directory_that_holds_more_is_not_bound() {
    let place = Place::new();
    // A bare repository around its work trees.
    place.repository("all");
    place.link("all", "all/tree", "tree");
    assert!(place.find("all/tree").unwrap_err().contains("holds more than a git directory"));
    // What jails keep, homes of other jobs among it.
    let homes = ".local/state/nix-jail/homes/x/contents/r";
    place.repository(homes);
    place.link(homes, "job", "x");
    assert!(place.find("job").is_err());
    // The home directory as a repository: nothing of it is the workspace's.
    place.repository(".git");
    fs::create_dir_all(place.home.join("plain")).unwrap();
    assert_eq!(place.find("plain"), Ok(None));
}

#[test]
fn what_is_no_regular_pointer_does_not_hold_the_launcher_up() {
    let place = Place::new();
    fs::create_dir_all(place.home.join("job")).unwrap();
    let pointer = place.home.join("job/.git");
    nix::unistd::mkfifo(&pointer, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(place.find("job").is_err());
    fs::remove_file(&pointer).unwrap();
    symlink(place.home.join("repo/.git"), &pointer).unwrap();
    assert!(place.find("job").is_err());
    // The other side.
    let other_side = place.home.join("repo/.git/worktrees/tree/gitdir");
    fs::remove_file(&other_side).unwrap();
    nix::unistd::mkfifo(&other_side, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(place.find("tree").is_err());
}

#[test]
fn a_pointer_that_a_job_made_is_not_obeyed_until_somebody_else_changes_it() {
    for made in ["tree/.git", "repo/.git/worktrees/tree/gitdir"] {
        let place = Place::new();
        let made = place.home.join(made);
        let changes = Changes { files: vec![made.clone()], ..Changes::default() };
        provenance::remember(&changes, None, &place.operator).unwrap();
        let why = place.find("tree").unwrap_err();
        assert!(why.contains("a job has made") && why.contains(made.to_str().unwrap()), "{why}");
        // As `touch` does.
        let file = fs::OpenOptions::new().write(true).open(&made).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(place.bound("tree"), "rw repo/.git");
    }
}

#[test]
fn a_pointer_that_a_job_at_work_made_is_not_obeyed() {
    let place = Place::new();
    fs::remove_file(place.home.join("tree/.git")).unwrap();
    let workspace =
        Workspace::open(&place.home.join("tree"), WorkspaceMode::Rw, &[], false, &place.operator).unwrap();
    let baseline: Baseline =
        super::super::Guard::new(Some(&workspace), Vec::new(), &place.operator).unwrap().baseline();
    crate::unreported::owe("job-1", &baseline, &place.operator).unwrap();
    place.link("repo/.git", "tree", "tree");
    assert!(place.find("tree").unwrap_err().contains("a job has made"));
    // Its end is compared, and what was made is on record.
    let owed = crate::unreported::collect(&place.operator);
    assert_eq!(owed[0].changes.files, [Path::new(".git")]);
    assert!(place.find("tree").unwrap_err().contains("a job has made"));
}

#[test]
fn a_stored_state_that_cannot_be_read_is_reported_and_counts_as_changed() {
    let place = Place::new();
    crate::unreported::owe("job-1", &Baseline::default(), &place.operator).unwrap();
    let stored = place.operator.state().join("unreported/job-1.json");
    fs::write(&stored, "{").unwrap();
    for _ in 0..2 {
        let owed = crate::unreported::collect(&place.operator);
        assert_eq!(owed[0].unreadable.as_deref(), Some(stored.as_path()));
        assert!(place.find("tree").unwrap_err().contains("a job has made"));
    }
    fs::remove_file(&stored).unwrap();
    assert!(crate::unreported::collect(&place.operator).is_empty());
    assert_eq!(place.bound("tree"), "rw repo/.git");
}
