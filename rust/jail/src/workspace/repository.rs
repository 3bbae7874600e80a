//! The git directory of a workspace, where it lies outside: that of a linked worktree, of a submodule, or of a repository
//! around the workspace.
//!
//! The pointer `.git` may be a job's, and so may everything in the workspace. A pointer alone never chooses what is bound:
//! the git directory that it names must name the work tree in turn (`worktrees/NAME/gitdir`, or `core.worktree` of a
//! submodule), must look like one of git's, and must belong to the same user. A job writes that other side only in a
//! directory that it was given. So that two jobs of two projects cannot write one side each, a pointer on either side that
//! a job has made is not obeyed: [`super::provenance`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sandbox::beneath::{Kind, RealPath, Tree};
use sandbox::plan::{Access, Entry};

use super::{Workspace, discover, git_config, provenance, records, shown, too_much};
use crate::operator::Operator;
use crate::spec::WorkspaceMode;

/// A git directory outside of the workspace that is in the jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    /// The top of the work tree: the workspace, or a directory above it.
    pub(super) top: PathBuf,
    /// The git directory of this work tree.
    pub(crate) git: PathBuf,
    /// The directory that has the objects and refs.
    pub(super) common: PathBuf,
    kind: Pointer,
    access: Access,
}

/// Files of settings of one repository that are looked at, with those that they include.
const MOST_SETTINGS: usize = 16;

/// How a work tree leads to its git directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pointer {
    LinkedWorktree,
    Submodule,
    /// `.git` is the git directory itself.
    Directory,
}

/// Finds the git directory. `Err` is why there is one that is not in the jail.
pub(super) fn find(workspace: &Workspace, operator: &Operator) -> Result<Option<Repository>, String> {
    let path = &workspace.path;
    let Some((top, kind)) = path.ancestors().find_map(|top| Some((top.to_owned(), git_in(top)?))) else {
        return Ok(None);
    };
    // git takes what looks like a repository for one before it looks further up.
    if (top != *path && looks_like_git_directory(path)) || too_much(&top, operator).is_some() {
        return Ok(None);
    }
    // A repository of all that somebody's home holds is not the project's.
    if top != *path && owner(&top).is_none_or(|uid| home_of(uid).is_some_and(|home| home.starts_with(&top))) {
        return Ok(None);
    }
    let refused = |why: &str| {
        Err(format!(
            "the git directory of {} is not in the jail, so that git does not work there: {why}",
            shown(&top)
        ))
    };
    if top != *path && owner(&top) != Some(owner_expected(path, operator)) {
        return refused("it is another user's");
    }
    let pointed = match kind {
        Kind::Directory if top == *path => return Ok(None),
        Kind::Directory => Some((top.join(".git"), Pointer::Directory)),
        // Before it is followed.
        Kind::File if provenance::is_of_job(&top.join(".git"), operator) => {
            return refused(&made_by_job(&top.join(".git")));
        }
        Kind::File => match read_pointer(&top) {
            // What lies in the workspace is in the jail.
            Some(git) if git.starts_with(path) => return Ok(None),
            Some(git) => named_back(&git, &top, workspace, operator),
            None => None,
        },
        _ => None,
    };
    let Some((git, pointer)) = pointed else {
        return refused(
            "its .git leads to a place that does not name it in turn, as `git worktree add` and `git submodule` make it; to repair that: git worktree repair",
        );
    };
    let common = match pointer {
        Pointer::LinkedWorktree => git.ancestors().nth(2).unwrap_or(&git).to_owned(),
        Pointer::Submodule | Pointer::Directory => git.clone(),
    };
    if !looks_like_git_directory(&common) || owner(&common) != Some(owner_expected(&top, operator)) {
        return refused("what its .git leads to is no git directory of yours");
    }
    let holds_too_much = path.starts_with(&common)
        || too_much(&common, operator).is_some()
        || records(operator).iter().any(|own| common.starts_with(own) || own.starts_with(&common));
    if holds_too_much {
        return refused(&format!(
            "{} holds more than a git directory; move it to a directory of its own (git worktree repair corrects the pointers)",
            shown(&common)
        ));
    }
    let pointers = match pointer {
        Pointer::LinkedWorktree => vec![top.join(".git"), git.join("gitdir")],
        Pointer::Submodule => vec![top.join(".git"), git.join("config")],
        Pointer::Directory => Vec::new(),
    };
    if let Some(made) = pointers.iter().find(|pointer| provenance::is_of_job(pointer, operator)) {
        return refused(&made_by_job(made));
    }
    let is_writable = top == *path && workspace.mode == WorkspaceMode::Rw;
    let access = if is_writable { Access::ReadWrite } else { Access::ReadOnly };
    Ok(Some(Repository { top, git, common, kind: pointer, access }))
}

impl Repository {
    /// Returns the git directory, if the job can write it.
    pub(crate) fn writable(&self) -> Option<&Path> {
        (self.access == Access::ReadWrite).then_some(&self.common)
    }

    /// What is bound for it.
    pub(super) fn binds(&self) -> Vec<Entry> {
        let bind = |path: PathBuf, access| Entry::Bind { source: path.clone(), target: path, access };
        let mut binds = vec![bind(self.common.clone(), self.access)];
        // That of the workspace itself is in it.
        if self.kind != Pointer::Directory && self.access == Access::ReadOnly {
            binds.push(bind(self.top.join(".git"), Access::ReadOnly));
        }
        binds
    }

    /// Copies without secrets that lie over its settings. Not for a submodule, whose git directory is the project's alone.
    pub(crate) fn filtered_settings(&self) -> Vec<Entry> {
        // There are no mounts on macOS.
        if self.kind == Pointer::Submodule || cfg!(target_os = "macos") {
            return Vec::new();
        }
        let Ok(tree) = Tree::open(&self.common) else { return Vec::new() };
        let mut pending = vec![self.git.join("config.worktree")];
        pending.extend(["config.worktree", "config"].map(|name| self.common.join(name)));
        let mut entries: Vec<Entry> = Vec::new();
        while let Some(path) = pending.pop() {
            let Ok(relative) = path.strip_prefix(&self.common) else { continue };
            let is_file = matches!(tree.metadata(relative), Ok(Some(found)) if found.kind == Kind::File);
            let is_known = entries.iter().any(|entry| entry.target() == path);
            if !is_file || is_known || entries.len() >= MOST_SETTINGS {
                continue;
            }
            // What cannot be read as settings is no use to git either.
            let bytes = tree.read_file(relative, git_config::LARGEST).ok().flatten().unwrap_or_default();
            let included = git_config::read(&bytes).unwrap_or_default().includes;
            let around = path.parent().unwrap_or(&self.common);
            pending.extend(included.iter().map(|path| git_config::normal(&around.join(path))));
            let contents = git_config::without_secrets(&bytes).unwrap_or_default();
            entries.push(Entry::File { target: path, contents, mode: 0o444 });
        }
        entries
    }

    /// Settings of git that the layout asks for.
    pub(crate) fn configuration(&self) -> Vec<(String, String)> {
        // The work trees of others are not in the jail: git would take their records for leftovers.
        let mut settings = vec![("gc.worktreePruneExpire".to_owned(), "never".to_owned())];
        // The directories around a workspace are the jail's own, and perhaps not the job's.
        settings.extend(self.top.to_str().map(|top| ("safe.directory".to_owned(), top.to_owned())));
        settings
    }

    /// A sentence for the operator: what is in the jail beside the workspace.
    pub(super) fn notice(&self, workspace: &Workspace) -> String {
        let (top, common) = (shown(&self.top), shown(&self.common));
        if self.top != workspace.path {
            return format!(
                "the workspace is a part of the repository {top}, whose other files are not in the jail: git can show its history and changes, and commit nothing; to commit, give the job all of it with --workspace {top}"
            );
        }
        let what = if self.kind == Pointer::Submodule { "submodule" } else { "linked worktree" };
        match self.access {
            Access::ReadWrite => format!(
                "the workspace is a {what}: its git directory {common} is in the jail too, with hooks and settings read-only"
            ),
            Access::ReadOnly => format!(
                "the workspace is a {what}: its git directory {common} is in the jail too, read-only, so that git can commit nothing"
            ),
        }
    }
}

fn made_by_job(pointer: &Path) -> String {
    format!("a job has made {0}; look at it, and if it is right: touch {0}", shown(pointer))
}

/// What `.git` in a directory is; `None` if there is nothing, or the directory is not to be seen.
fn git_in(top: &Path) -> Option<Kind> {
    let metadata = Tree::open(top).ok()?.metadata(Path::new(".git")).ok()??;
    Some(metadata.kind)
}

/// The path in a pointer file, without `.` and `..`.
fn read_pointer(top: &Path) -> Option<PathBuf> {
    let contents = Tree::open(top).ok()?.read_start(Path::new(".git"), discover::LARGEST_POINTER).ok()??;
    let target = contents.strip_prefix(b"gitdir:")?.trim_ascii();
    (!target.is_empty()).then(|| git_config::normal(&top.join(OsStr::from_bytes(target))))
}

/// The real path of the git directory that a pointer names, if it has the form of one and names the work tree in turn.
fn named_back(
    git: &Path,
    top: &Path,
    workspace: &Workspace,
    operator: &Operator,
) -> Option<(PathBuf, Pointer)> {
    // Before anything at that place is looked at.
    form(git)?;
    let real = RealPath::of(git).ok()?;
    let is_of_job = |link: &PathBuf| {
        link.starts_with(&workspace.path) || operator.writable.iter().any(|place| link.starts_with(place))
    };
    if real.links.iter().any(is_of_job) {
        return None;
    }
    let git = real.path;
    let tree = Tree::open(&git).ok()?;
    let is_there = |name: &str, wanted| matches!(tree.metadata(Path::new(name)), Ok(Some(found)) if found.kind == wanted);
    if !is_there("HEAD", Kind::File) {
        return None;
    }
    let pointer = form(&git)?;
    let (other_side, named) = match pointer {
        Pointer::LinkedWorktree => {
            let common = tree.read_start(Path::new("commondir"), discover::LARGEST_POINTER).ok()??;
            let common = git_config::normal(&git.join(OsStr::from_bytes(common.trim_ascii_end())));
            if git.ancestors().nth(2) != Some(&common) {
                return None;
            }
            let back = tree.read_start(Path::new("gitdir"), discover::LARGEST_POINTER).ok()??;
            let back = git_config::normal(&git.join(OsStr::from_bytes(back.trim_ascii_end())));
            (git.join("gitdir"), (back.file_name()? == ".git").then(|| back.parent().map(Path::to_owned))??)
        }
        Pointer::Submodule => {
            let settings = tree.read_file(Path::new("config"), git_config::LARGEST).ok()??;
            let leads = git_config::read(&settings)?;
            (git.join("config"), git_config::normal(&git.join(leads.work_trees.last()?)))
        }
        Pointer::Directory => return None,
    };
    // A path that a job has written is not looked up.
    let leads_here = || {
        !provenance::is_of_job(&other_side, operator)
            && RealPath::of(&named).is_ok_and(|real| real.path == top)
    };
    (named == top || leads_here()).then_some((git, pointer))
}

/// What the path of a git directory says about it.
fn form(git: &Path) -> Option<Pointer> {
    let mut above = git.ancestors().skip(1);
    if above.next()?.file_name()? == "worktrees" {
        return Some(Pointer::LinkedWorktree);
    }
    git.ancestors()
        .skip(1)
        .any(|path| path.file_name().is_some_and(|name| name == "modules"))
        .then_some(Pointer::Submodule)
}

/// Returns true if git would take the directory for a repository.
fn looks_like_git_directory(directory: &Path) -> bool {
    let Ok(tree) = Tree::open(directory) else { return false };
    [("HEAD", Kind::File), ("objects", Kind::Directory), ("refs", Kind::Directory)].into_iter().all(
        |(name, wanted)| matches!(tree.metadata(Path::new(name)), Ok(Some(found)) if found.kind == wanted),
    )
}

fn owner(directory: &Path) -> Option<u32> {
    Some(Tree::open(directory).ok()?.metadata(Path::new("")).ok()??.uid)
}

/// The home directory of a user of this host, without links.
fn home_of(uid: u32) -> Option<PathBuf> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok()??;
    user.dir.canonicalize().ok().filter(|home| home != Path::new("/"))
}

/// Whose a git directory must be: the operator's; for root that of the owner of the work tree, who is whom the job is for.
fn owner_expected(top: &Path, operator: &Operator) -> u32 {
    match operator.uid {
        0 => owner(top).unwrap_or(0),
        uid => uid,
    }
}

#[cfg(test)]
#[path = "repository_tests.rs"]
mod tests;
