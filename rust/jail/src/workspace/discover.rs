//! Looks through a directory that a job can write for what the host obeys later: the files of the list in every work
//! tree, and what git obeys in every repository, wherever pointers, settings and links lead to it.
//!
//! Everything found is a job's to write. The look is bounded; what cannot be looked into, and what there is too much of,
//! is protected as a whole or named as such.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox::beneath::{BeneathError, Budget, Kind, Limits, Listed, Listing, Metadata, RealPath, Tree};

use super::{fingerprint, git_config, runs_later};

/// What git runs, or takes the names of programs from, in a repository, and where it looks for the same elsewhere.
/// gitrepository-layout(5), git-rebase(1): a rebase under way goes on with the commands in its directory.
const OF_GIT: [&str; 9] = [
    "hooks",
    "config",
    "config.worktree",
    "commondir",
    "gitdir",
    "remotes",
    "branches",
    "rebase-merge",
    "rebase-apply",
];

/// Directories of git's own in a directory called `.git`. Those in it that are repositories are found as such; the others
/// hold no projects.
const OWN_OF_GIT: [&str; 6] = ["objects", "refs", "logs", "hooks", "worktrees", "modules"];

/// Names of directories that hold many others and no projects of their own: they are looked through last.
const LAST: [&str; 9] =
    ["node_modules", "target", ".venv", "venv", ".tox", ".cache", ".direnv", "__pycache__", "vendor"];

const LIMITS: Limits = Limits { entries: 300_000, depth: 64, time: Duration::from_secs(3) };
/// For all that these directories lead to. What is left out is protected as a whole, so this is not short.
const LATER_LIMITS: Limits = Limits { time: Duration::from_secs(10), ..LIMITS };
/// Directories that are looked through for repositories.
const DIRECTORIES: usize = 20_000;
/// Directories below a repository's `modules` or `worktrees`.
const INNER_DIRECTORIES: usize = 2048;
/// Repositories that are protected file by file; the others are protected as a whole.
const REPOSITORIES: usize = 256;
/// Repositories that are looked at.
const MOST_REPOSITORIES: usize = 2048;
/// Work trees in which the files of the list are looked for; the others are protected as a whole.
const WORK_TREES: usize = 2048;
/// Files of settings that one look reads.
const CONFIGS: usize = 1024;
/// Includes and directories of hooks in all of these files.
const LEADS: usize = 4096;
/// Files that one look finds, present or not, and the bytes of their paths.
const FILES: usize = 200_000;
const BYTES: usize = 16 << 20;
/// Files of settings of the operator's own that are read, with those that they include.
const OPERATOR_FILES: usize = 64;
/// Entries of a directory of the operator's own hooks that are looked at.
const OPERATOR_HOOKS: usize = 1024;
pub(super) const LARGEST_POINTER: u64 = 64 << 10;
/// Files with set-user-id or set-group-id bits or capabilities that are protected one by one; the directories of others
/// are protected as a whole.
const PRIVILEGED: usize = 256;

/// What the operator's own settings lead git to, in every repository.
#[derive(Clone, Debug, Default)]
pub(super) struct Global {
    /// Values of `core.hooksPath`.
    pub(super) hooks: Vec<PathBuf>,
    /// Files of settings that are included.
    pub(super) files: Vec<PathBuf>,
    /// The operator's home directory.
    pub(super) home: PathBuf,
    /// Whether the workspace is the work tree of a repository that lies elsewhere: then the values of `core.hooksPath`
    /// count there, too.
    pub(super) is_linked: bool,
    /// The git directories of that repository.
    pub(super) directories: Vec<PathBuf>,
}

/// What a look found, as paths relative to the root.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Files and directories that run later, present or not.
    pub(super) files: BTreeSet<PathBuf>,
    /// Directories that nobody can look into, or in which there is too much: protected as a whole.
    pub(super) closed: BTreeSet<PathBuf>,
    /// Directories that are protected as a whole because they are others' to change.
    pub(super) of_others: BTreeSet<PathBuf>,
    /// Directories that git would take for repositories, and that are not called `.git`.
    pub(super) bare: BTreeSet<PathBuf>,
    /// Directories that were not looked through to the end, and why.
    pub(super) cut: BTreeMap<PathBuf, String>,
    /// Files that give who runs them the rights of their owner, their group or of their own capabilities, and that the
    /// job could write: those among `files` and `closed` that are protected for this reason.
    pub(super) privileged: BTreeSet<PathBuf>,
    /// Directories with a default access control list, and a hash of it.
    pub(super) default_acls: BTreeMap<PathBuf, String>,
}

/// Looks through the tree. `is_workspace` says that its root is a work tree, with or without a repository.
pub(super) fn look(tree: &Tree, is_workspace: bool, global: &Global) -> Found {
    let mut look = Look {
        tree,
        owners: Owners::of(tree),
        global,
        budget: Budget::new(LIMITS),
        left: LEADS,
        bytes: 0,
        found: Found::default(),
        work_trees: BTreeSet::new(),
        repositories: BTreeMap::new(),
        waiting: VecDeque::new(),
        configs: BTreeSet::new(),
    };
    if is_workspace {
        look.work_trees.insert(PathBuf::new());
        for hooks in global.hooks.iter().filter(|_| global.is_linked) {
            look.hooks_path(hooks, Path::new(""), &[tree.path().to_owned()]);
        }
    }
    look.directories();
    // However much there was to look through, what was found is looked at: with a time of its own.
    look.budget = Budget::new(LATER_LIMITS);
    look.repositories();
    let global_files: Vec<PathBuf> = global.files.iter().filter_map(|file| inside(tree, file)).collect();
    look.found.files.extend(global_files);
    for top in std::mem::take(&mut look.work_trees) {
        look.work_tree(&top);
    }
    look.behind_links();
    look.found
}

struct Look<'a> {
    tree: &'a Tree,
    owners: Owners,
    global: &'a Global,
    budget: Budget,
    /// Includes and directories of hooks that are still followed.
    left: usize,
    /// Bytes in the paths of the files of work trees.
    bytes: usize,
    found: Found,
    work_trees: BTreeSet<PathBuf>,
    /// Directories of git's, each with the work trees that are known to be its own.
    repositories: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    waiting: VecDeque<PathBuf>,
    configs: BTreeSet<PathBuf>,
}

impl Look<'_> {
    /// Looks through all directories, the shallow ones first.
    fn directories(&mut self) {
        let mut queue = VecDeque::from([PathBuf::new()]);
        let (mut in_git, mut last) = (VecDeque::new(), VecDeque::new());
        let mut left = DIRECTORIES;
        while let Some(directory) =
            queue.pop_front().or_else(|| in_git.pop_front()).or_else(|| last.pop_front())
        {
            let is_late = directory.iter().any(|name| LAST.iter().any(|last| name == *last));
            match left.checked_sub(1) {
                Some(less) => left = less,
                None if is_late => return,
                None => {
                    let why = format!("there are more than {DIRECTORIES} directories");
                    self.found.cut.insert(PathBuf::new(), why);
                    return;
                }
            }
            let Listing { entries, default_acl } = match self.tree.inspect(&directory, &mut self.budget) {
                Ok(Some(listing)) => listing,
                Ok(None) => continue,
                Err(BeneathError::Budget { .. }) if is_late => return,
                Err(BeneathError::Budget { exceeded, .. }) => {
                    self.found.cut.insert(PathBuf::new(), exceeded.to_string());
                    return;
                }
                Err(error) => {
                    self.close(&directory, &error);
                    continue;
                }
            };
            if let Some(list) = default_acl {
                self.found.default_acls.insert(directory.clone(), fingerprint::of_bytes(&list));
            }
            let owners = self.owners;
            for entry in entries.iter().filter(|entry| owners.let_write(entry)) {
                self.privileged(directory.join(&entry.name));
            }
            let kind =
                |wanted: &str| entries.iter().find(|entry| entry.name == wanted).map(|entry| entry.kind);
            if [("HEAD", Kind::File), ("objects", Kind::Directory), ("refs", Kind::Directory)]
                .into_iter()
                .all(|(name, wanted)| kind(name).is_some_and(|kind| kind == wanted || kind == Kind::Link))
            {
                // Without `.git`, git takes what looks like a repository for one. A job can make any directory look so:
                // what lies below is looked through all the same.
                self.add_repository(directory.clone(), None);
                if !is_git(&self.tree.path().join(&directory)) {
                    self.found.bare.insert(directory.clone());
                }
            }
            let absolute = self.tree.path().join(&directory);
            let is_of_git = is_git(&absolute) || self.global.directories.contains(&absolute);
            let is_below_git = is_of_git || directory.iter().any(|name| name.eq_ignore_ascii_case(".git"));
            // On a file system without case, `.GIT` is `.git`.
            for Listed { name, kind, .. } in entries {
                let path = directory.join(&name);
                if name.eq_ignore_ascii_case(".git") {
                    if self.work_trees.len() < WORK_TREES {
                        self.work_trees.insert(directory.clone());
                    } else if !self.work_trees.contains(&directory) {
                        self.leave_out(
                            directory.clone(),
                            &format!("there are more than {WORK_TREES} work trees"),
                        );
                    }
                    self.pointer(&directory, &path, kind);
                }
                let is_own = is_of_git && OWN_OF_GIT.iter().any(|own| name == *own);
                if kind != Kind::Directory || is_own {
                    continue;
                }
                if is_late || LAST.iter().any(|last| name == *last) {
                    last.push_back(path);
                } else if is_below_git || name.eq_ignore_ascii_case(".git") {
                    in_git.push_back(path);
                } else {
                    queue.push_back(path);
                }
            }
        }
    }

    /// Adds a file that gives who runs it somebody's rights. The kernel takes these away at write(2), but not at a write to
    /// a shared mapping: whoever runs it later would run the job's bytes with them.
    fn privileged(&mut self, path: PathBuf) {
        if self.found.privileged.len() < PRIVILEGED {
            self.found.files.insert(path.clone());
        } else {
            let directory = path.parent().unwrap_or(Path::new("")).to_owned();
            if directory.as_os_str().is_empty() {
                self.found.files.insert(path.clone());
            }
            self.found.closed.insert(directory);
        }
        self.found.privileged.insert(path);
    }

    /// Adds what `.git` in a work tree is, or points to.
    fn pointer(&mut self, top: &Path, git: &Path, kind: Kind) {
        match kind {
            Kind::Directory => self.add_repository(git.to_owned(), Some(top.to_owned())),
            Kind::Link => {
                self.found.files.insert(git.to_owned());
                if let Ok(Some(followed)) = self.tree.follow(git) {
                    let kind = followed.metadata.kind;
                    self.pointer(top, &followed.path, kind);
                }
            }
            Kind::File => {
                self.found.files.insert(git.to_owned());
                let contents = self.tree.read_start(git, LARGEST_POINTER).ok().flatten().unwrap_or_default();
                let target = contents.strip_prefix(b"gitdir:").unwrap_or_default().trim_ascii();
                self.add_pointed(Path::new(OsStr::from_bytes(target)), git, Some(top.to_owned()));
            }
            Kind::Special => {}
        }
    }

    /// Adds the repository that a file names, if it lies in the tree.
    fn add_pointed(&mut self, target: &Path, file: &Path, top: Option<PathBuf>) {
        let tree = self.tree;
        if target.as_os_str().is_empty() {
            return;
        }
        let base = self.tree.path().join(file.parent().unwrap_or(Path::new("")));
        if let Some(inside) = inside(tree, &git_config::normal(&base.join(target)))
            && let Ok(Some(followed)) = self.tree.follow(&inside)
            && followed.metadata.kind == Kind::Directory
        {
            self.add_repository(followed.path, top);
        }
    }

    fn add_repository(&mut self, directory: PathBuf, top: Option<PathBuf>) {
        if self.repositories.len() >= MOST_REPOSITORIES && !self.repositories.contains_key(&directory) {
            let why = format!("there are more than {MOST_REPOSITORIES} repositories");
            self.found.cut.insert(PathBuf::new(), why);
            return;
        }
        if !self.repositories.contains_key(&directory) {
            self.waiting.push_back(directory.clone());
        }
        self.repositories.entry(directory).or_default().extend(top);
    }

    /// Adds what git obeys in each repository; more of them may be found on the way.
    fn repositories(&mut self) {
        let mut count = 0;
        while let Some(git) = self.waiting.pop_front() {
            count += 1;
            if count > REPOSITORIES && !git.as_os_str().is_empty() {
                self.leave_out(git, &format!("there are more than {REPOSITORIES} repositories"));
                continue;
            }
            if let Some(why) = self.too_much() {
                self.leave_out(git, &why);
                continue;
            }
            self.found.files.extend(OF_GIT.iter().map(|name| git.join(name)));
            let tops = self.tops(&git);
            for config in ["config", "config.worktree"] {
                self.config(&git.join(config), &git, &tops);
            }
            for hooks in self.global.hooks.clone() {
                self.hooks_path(&hooks, &git, &tops);
            }
            self.links_of(&git.join("hooks"));
            if let Ok(Some(common)) = self.tree.read_start(&git.join("commondir"), LARGEST_POINTER) {
                let common = Path::new(OsStr::from_bytes(common.trim_ascii_end()));
                self.add_pointed(common, &git.join("commondir"), None);
            }
            for (name, deep) in [("modules", true), ("worktrees", false)] {
                self.inner(&git.join(name), deep);
            }
        }
    }

    /// The work trees of a repository: relative paths in its settings start there.
    fn tops(&self, git: &Path) -> Vec<PathBuf> {
        let mut tops: BTreeSet<PathBuf> = self.repositories.get(git).cloned().unwrap_or_default();
        tops.insert(git.to_owned());
        if git.file_name().is_some_and(|name| name.eq_ignore_ascii_case(".git")) {
            tops.extend(git.parent().map(Path::to_owned));
        }
        tops.into_iter().map(|top| self.tree.path().join(top)).collect()
    }

    /// Reads a file of settings and what it includes.
    fn config(&mut self, file: &Path, git: &Path, tops: &[PathBuf]) {
        let tree = self.tree;
        let mut waiting = vec![file.to_owned()];
        while let Some(file) = waiting.pop() {
            if self.configs.contains(&file) {
                continue;
            }
            if self.configs.len() >= CONFIGS {
                self.leave_out(git.to_owned(), &format!("there are more than {CONFIGS} files of settings"));
                return;
            }
            self.configs.insert(file.clone());
            let leads = match self.tree.read_file(&file, git_config::LARGEST) {
                Ok(None) => continue,
                Ok(Some(bytes)) => git_config::read(&bytes),
                Err(error) => {
                    self.found.cut.insert(file, error.to_string());
                    continue;
                }
            };
            let Some(leads) = leads else {
                self.found.cut.insert(file, "it is no file of settings that git could read".to_owned());
                continue;
            };
            let count = leads.includes.len() + leads.hooks.len() * (tops.len() + leads.work_trees.len() + 1);
            match self.left.checked_sub(count) {
                Some(left) => self.left = left,
                None => {
                    self.found
                        .cut
                        .insert(file, format!("there are more than {LEADS} includes and hooks paths"));
                    self.found.closed.insert(git.to_owned());
                    return;
                }
            }
            let mut tops = tops.to_vec();
            let directory = self.tree.path().join(file.parent().unwrap_or(Path::new("")));
            let absolute = |value: &Path, base: &Path| git_config::absolute(value, base, &self.global.home);
            tops.extend(leads.work_trees.iter().map(|top| absolute(top, &self.tree.path().join(git))));
            let included: Vec<PathBuf> =
                leads.includes.iter().map(|value| absolute(value, &directory)).collect();
            for included in included.iter().filter_map(|included| inside(tree, included)) {
                self.found.files.insert(included.clone());
                if let Ok(Some(followed)) = self.tree.follow(&included) {
                    self.found.files.insert(followed.path.clone());
                    waiting.push(followed.path);
                }
            }
            for hooks in &leads.hooks {
                self.hooks_path(hooks, git, &tops);
            }
        }
    }

    /// Adds a directory of hooks wherever a value of `core.hooksPath` can mean one.
    fn hooks_path(&mut self, value: &Path, git: &Path, tops: &[PathBuf]) {
        let tree = self.tree;
        let bases = tops.iter().cloned().chain([self.tree.path().join(git)]);
        let paths: BTreeSet<PathBuf> =
            bases.map(|base| git_config::absolute(value, &base, &self.global.home)).collect();
        for path in paths.iter().filter_map(|path| inside(tree, path)) {
            // Hooks in the top of a work tree: then each one counts, not the whole work tree.
            if path.as_os_str().is_empty() || tops.iter().any(|top| *top == self.tree.path().join(&path)) {
                self.found.files.extend(HOOKS.iter().map(|hook| path.join(hook)));
                continue;
            }
            self.links_of(&path);
            self.found.files.insert(path);
        }
    }

    /// Adds what the links in a directory lead to.
    fn links_of(&mut self, directory: &Path) {
        let directory = match self.tree.follow(directory) {
            Ok(Some(followed)) if followed.metadata.kind == Kind::Directory => followed.path,
            _ => return,
        };
        let entries = match self.tree.list(&directory, &mut self.budget) {
            Ok(entries) => entries.unwrap_or_default(),
            Err(error) => return self.close(&directory, &error),
        };
        for (name, _) in entries.into_iter().filter(|(_, kind)| *kind == Kind::Link) {
            if let Ok(Some(followed)) = self.tree.follow(&directory.join(name)) {
                self.found.files.insert(followed.path);
            }
        }
    }

    /// Adds the repositories in a repository: submodules, whose names can hold slashes, and linked worktrees.
    fn inner(&mut self, directory: &Path, deep: bool) {
        let mut waiting = VecDeque::from([directory.to_owned()]);
        let (mut repositories, mut left) = (Vec::new(), INNER_DIRECTORIES);
        while let Some(directory_now) = waiting.pop_front() {
            let entries = match self.tree.list(&directory_now, &mut self.budget) {
                Ok(entries) => entries.unwrap_or_default(),
                Err(BeneathError::Budget { exceeded, .. }) => {
                    self.found.closed.insert(directory.to_owned());
                    self.found.cut.insert(directory.to_owned(), exceeded.to_string());
                    return;
                }
                Err(error) => {
                    self.close(&directory_now, &error);
                    continue;
                }
            };
            for (name, _) in entries.into_iter().filter(|(_, kind)| *kind == Kind::Directory) {
                let inner = directory_now.join(name);
                let is_repository = !matches!(self.tree.metadata(&inner.join("HEAD")), Ok(None));
                left = left.saturating_sub(1);
                if left == 0 || repositories.len() >= REPOSITORIES {
                    self.found.closed.insert(directory.to_owned());
                    self.found.cut.insert(directory.to_owned(), "there are too many directories".to_owned());
                    return;
                }
                if is_repository {
                    repositories.push(inner);
                } else if deep {
                    waiting.push_back(inner);
                }
            }
        }
        for repository in repositories {
            self.add_repository(repository, None);
        }
    }

    fn work_tree(&mut self, top: &Path) {
        let tree = self.tree;
        if let Some(why) = self.too_much() {
            self.leave_out(top.to_owned(), &why);
            return;
        }
        let (files, unseen) = runs_later::of_work_tree(self.tree, top, &mut self.budget);
        self.bytes += files.iter().map(|file| file.as_os_str().len()).sum::<usize>();
        self.found.files.extend(files);
        for (directory, error) in unseen {
            self.close(&directory, &error);
        }
        // A shared repository of Mercurial has its settings elsewhere.
        let shared = top.join(".hg/sharedpath");
        if let Ok(Some(path)) = self.tree.read_start(&shared, LARGEST_POINTER) {
            let base = self.tree.path().join(top).join(".hg");
            let path = git_config::normal(&base.join(OsStr::from_bytes(path.trim_ascii_end())));
            if let Some(inside) = inside(tree, &path) {
                self.found.files.insert(inside.join("hgrc"));
            }
        }
    }

    /// The real places of files that are reached by links: it is there that they are changed.
    fn behind_links(&mut self) {
        let followed: Vec<PathBuf> = self
            .found
            .files
            .iter()
            // Of a repository, only what git obeys is protected, not all of it.
            .filter(|path| !path.file_name().is_some_and(|name| name.eq_ignore_ascii_case(".git")))
            .filter_map(|path| match self.tree.metadata(path) {
                Ok(Some(Metadata { kind: Kind::Link, .. })) | Err(BeneathError::Link { .. }) => {
                    self.tree.follow(path).ok().flatten().map(|followed| followed.path)
                }
                _ => None,
            })
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        self.found.files.extend(followed);
    }

    /// Returns why nothing more is looked at, if that is so.
    fn too_much(&self) -> Option<String> {
        if self.found.files.len() >= FILES || self.bytes >= BYTES {
            return Some(
                "there are too many repositories and work trees, or their paths are too long".to_owned(),
            );
        }
        self.budget.check_time(PathBuf::new).err().map(|_| "it took too long".to_owned())
    }

    /// Protects as a whole what there is too much of to look at each.
    fn leave_out(&mut self, directory: PathBuf, why: &str) {
        self.found.cut.entry(PathBuf::new()).or_insert_with(|| why.to_owned());
        self.found.closed.insert(directory);
    }

    /// Protects as a whole what cannot be looked into.
    fn close(&mut self, directory: &Path, error: &BeneathError) {
        self.found.cut.insert(directory.to_owned(), error.to_string());
        self.found.closed.insert(directory.to_owned());
    }
}

/// Whose files the job can write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owners {
    /// The user who starts the job.
    operator: u32,
    /// The owner of the tree, whose files are the job's when root starts it.
    tree: Option<u32>,
}

impl Owners {
    pub(super) fn of(tree: &Tree) -> Owners {
        let root = tree.metadata(Path::new("")).ok().flatten();
        Owners { operator: nix::unistd::geteuid().as_raw(), tree: root.map(|root| root.uid) }
    }

    /// Everybody who may be the owner of a file that the operator binds by itself.
    pub(super) fn of_file(file: &Listed) -> Owners {
        Owners { operator: nix::unistd::geteuid().as_raw(), tree: file.file.map(|file| file.uid) }
    }

    /// Returns true if the file has rights of its own and the job can write it with these rights left. Its owner can do so
    /// whatever its mode is: an access control list gives the permission to write and leaves the set-user-id bit.
    pub(super) fn let_write(&self, file: &Listed) -> bool {
        let Some(metadata) = file.file else { return false };
        let Metadata { mode, uid, .. } = metadata;
        let is_owner = uid == self.operator || Some(uid) == self.tree;
        let is_for_others = mode & 0o022 != 0;
        (metadata.is_set_id() || file.has_capabilities) && (is_owner || is_for_others)
    }
}

/// Whether git takes a directory or file for a repository by its name.
fn is_git(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.eq_ignore_ascii_case(".git"))
}

/// An absolute path as one relative to the root, if it lies below it.
fn inside(tree: &Tree, path: &Path) -> Option<PathBuf> {
    path.strip_prefix(tree.path()).ok().map(Path::to_owned)
}

/// The names of git's hooks: githooks(5).
const HOOKS: [&str; 28] = [
    "applypatch-msg",
    "pre-applypatch",
    "post-applypatch",
    "pre-commit",
    "pre-merge-commit",
    "prepare-commit-msg",
    "commit-msg",
    "post-commit",
    "pre-rebase",
    "post-checkout",
    "post-merge",
    "pre-push",
    "pre-receive",
    "update",
    "proc-receive",
    "post-receive",
    "post-update",
    "reference-transaction",
    "push-to-checkout",
    "pre-auto-gc",
    "post-rewrite",
    "sendemail-validate",
    "fsmonitor-watchman",
    "p4-changelist",
    "p4-prepare-changelist",
    "p4-post-changelist",
    "p4-pre-submit",
    "post-index-change",
];

/// What the operator's own files of settings lead git to. They are the operator's: links in their paths are followed, and
/// every place on the way counts, since a job that can write one of them decides what git reads.
pub(super) fn global(files: &[PathBuf], home: &Path) -> Global {
    let mut global = Global { home: home.to_owned(), ..Global::default() };
    let mut waiting: Vec<PathBuf> = files.to_vec();
    let mut seen = BTreeSet::new();
    while let Some(file) = waiting.pop() {
        if seen.len() >= OPERATOR_FILES || !seen.insert(file.clone()) {
            continue;
        }
        global.files.extend(places(&file));
        let Some(parent) = file.parent() else { continue };
        let bytes = settings_of_operator(&file);
        let Some(leads) = bytes.and_then(|bytes| git_config::read(&bytes)) else { continue };
        waiting.extend(leads.includes.iter().map(|value| git_config::absolute(value, parent, home)));
        for hooks in leads.hooks {
            if hooks.is_absolute() || hooks.starts_with("~") {
                let directory = git_config::absolute(&hooks, Path::new("/"), home);
                global.hooks.extend(places(&directory));
                global.files.extend(links_in(&directory));
            }
            global.hooks.push(hooks);
        }
    }
    global
}

/// The path itself, every link on the way to the file, and where the file really lies or would lie.
fn places(path: &Path) -> BTreeSet<PathBuf> {
    const MOST_LINKS: usize = 40;
    let mut places = BTreeSet::from([path.to_owned()]);
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if let Ok(real) = RealPath::of(&path) {
            places.extend(real.links);
            places.insert(real.path);
            break;
        }
        // Something is missing on the way, perhaps behind a link: whoever makes it there makes the file.
        let existing = path.ancestors().find_map(|above| {
            let real = RealPath::of(above.parent()?).ok()?;
            Some((real, above.file_name()?.to_owned(), path.strip_prefix(above).ok()?.to_owned()))
        });
        let Some((around, name, rest)) = existing else { break };
        places.extend(around.links);
        let place = around.path.join(name);
        let target = std::fs::read_link(&place).ok();
        places.insert(git_config::normal(&place.join(&rest)));
        places.insert(place);
        let Some(target) = target else { break };
        path = git_config::normal(&around.path.join(target).join(rest));
        places.insert(path.clone());
    }
    places
}

/// The places of the hooks in a directory of the operator's that are links.
fn links_in(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().take(OPERATOR_HOOKS);
    let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    links.flat_map(|link| places(&link.path())).collect()
}

/// Adds what the settings of a repository that lies elsewhere lead git to, in the work tree at `top`.
pub(super) fn add_repository(global: &mut Global, git: &Path, common: &Path, top: &Path) {
    let files = [common.join("config"), common.join("config.worktree"), git.join("config.worktree")];
    let leads = self::global(&files, &global.home);
    global.files.extend(leads.files);
    let hooks = leads.hooks.iter().map(|value| git_config::absolute(value, top, &global.home));
    let hooks: Vec<PathBuf> = hooks.collect();
    global.hooks.extend(hooks);
    global.is_linked = true;
    global.directories = vec![git.to_owned(), common.to_owned()];
}

/// The other work trees' directories of a repository, when the job works in the one at `git`: none of them is its own.
pub(super) fn other_worktrees(tree: &Tree, git: &Path) -> BTreeSet<PathBuf> {
    let directory = Path::new("worktrees");
    let limits = Limits { entries: INNER_DIRECTORIES, depth: 1, time: Duration::from_secs(1) };
    match tree.list(directory, &mut Budget::new(limits)) {
        Ok(entries) => entries
            .unwrap_or_default()
            .into_iter()
            .filter(|(_, kind)| *kind == Kind::Directory)
            .map(|(name, _)| directory.join(name))
            .filter(|path| tree.path().join(path) != git)
            .collect(),
        Err(_) => BTreeSet::from([directory.to_owned()]),
    }
}

/// Reads a file of the operator's settings of git, if it is a regular file and not too large. Links are followed.
pub(crate) fn settings_of_operator(file: &Path) -> Option<Vec<u8>> {
    // A link may lead elsewhere, as dotfile managers make them.
    let real = file.canonicalize().ok()?;
    let tree = Tree::open(real.parent()?).ok()?;
    tree.read_file(Path::new(real.file_name()?), git_config::LARGEST).ok().flatten()
}
