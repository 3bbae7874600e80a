//! The host's files that the job may write, and those among them that are read-only because the host obeys them later.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox::beneath::{BeneathError, Budget, Kind, Limits, Tree};
use sandbox::plan::{Access, Entry};
use serde::{Deserialize, Serialize};

use super::discover::{self, Found, Global, Owners};
use super::fingerprint::Fingerprint;
use super::{Workspace, WorkspaceError, runs_later};
use crate::console;
use crate::operator::Operator;
use crate::spec::WorkspaceMode;

/// The directories and files of the host that a job gets, with what is protected in them.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Every directory and file that the job can write, looked at once.
    roots: Vec<Root>,
    /// The operator's binds.
    binds: Vec<Entry>,
    /// What jails keep, where it lies in the workspace: changed by launchers, and by nobody else.
    records: Vec<PathBuf>,
    /// Files that are read-only because who runs them gets somebody's rights.
    privileged: Vec<PathBuf>,
    scope: Scope,
    before: Snapshot,
}

/// What is looked at: enough to look again when the launcher is gone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Scope {
    /// The workspace, if the job can write it.
    workspace: Option<OsString>,
    /// Other directories and files that the job can write.
    others: Vec<OsString>,
    /// What is protected beside the list, relative to the workspace.
    protect: Vec<OsString>,
    /// The repository that the workspace belongs to, where it lies elsewhere.
    #[serde(default)]
    repository: Option<Elsewhere>,
}

/// A repository that lies outside of its work tree.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Elsewhere {
    top: OsString,
    git: OsString,
    common: OsString,
}

/// What was there at one time, by absolute path. What is not in it was not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    #[serde(with = "pairs")]
    files: BTreeMap<OsString, Fingerprint>,
    /// Directories that are protected as a whole.
    #[serde(with = "pairs", default)]
    closed: BTreeMap<OsString, Fingerprint>,
    /// Directories that git would take for repositories, and that are not called `.git`.
    #[serde(default)]
    bare: BTreeSet<OsString>,
    /// What was not looked through to the end.
    #[serde(with = "pairs")]
    cut: BTreeMap<OsString, String>,
    /// Directories with a default access control list, and a hash of it.
    #[serde(with = "pairs", default)]
    default_acls: BTreeMap<OsString, String>,
}

/// What is not as it was before a job, of what matters to the host later. Paths in the workspace are relative to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Files that run later on the host.
    pub(crate) files: Vec<PathBuf>,
    /// Directories that have got a default access control list, by which files that the host makes there later may be
    /// open to others.
    pub(crate) default_acls: Vec<PathBuf>,
}

impl Changes {
    /// Returns true if there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.default_acls.is_empty()
    }
}

/// What is stored with a job's record, outside of the job's reach.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Baseline {
    scope: Scope,
    before: Snapshot,
}

/// Maps as lists of pairs: a key of JSON's own maps must be text, and a path need not be.
mod pairs {
    use std::collections::BTreeMap;

    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K: DeserializeOwned + Ord, V: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<K, V>, D::Error> {
        Vec::<(K, V)>::deserialize(deserializer).map(|pairs| pairs.into_iter().collect())
    }
}

/// A directory or file of the host that the job can write.
#[derive(Debug)]
struct Root {
    source: PathBuf,
    target: PathBuf,
    /// What is read-only, relative to the source; the empty path is all of it.
    protected: BTreeSet<PathBuf>,
}

impl Guard {
    /// Looks at what the job will be able to write: the workspace, and what the operator's `binds` name.
    pub(crate) fn new(
        workspace: Option<&Workspace>,
        mut binds: Vec<Entry>,
        operator: &Operator,
    ) -> Result<Guard, WorkspaceError> {
        let repository = workspace.and_then(Workspace::repository);
        for bind in repository.iter().flat_map(|repository| repository.binds()) {
            // What the operator has bound is as the operator wants it.
            if !binds.iter().any(|own| bind.target().starts_with(own.target())) {
                binds.push(bind);
            }
        }
        let written = workspace.filter(|workspace| workspace.mode == WorkspaceMode::Rw);
        check_places(workspace, &binds)?;
        let mut roots: Vec<(PathBuf, PathBuf)> =
            written.map(|workspace| (workspace.path.clone(), workspace.path.clone())).into_iter().collect();
        roots.extend(binds.iter().filter_map(|bind| match bind {
            Entry::Bind { source, target, access: Access::ReadWrite } => {
                Some((source.clone(), target.clone()))
            }
            _ => None,
        }));
        let others = roots.iter().skip(usize::from(written.is_some()));
        let scope = Scope {
            workspace: written.map(|workspace| workspace.path.clone().into()),
            others: others.map(|(source, _)| source.clone().into()).collect(),
            protect: written
                .map(|workspace| workspace.protect.iter().map(|path| path.clone().into()).collect())
                .unwrap_or_default(),
            repository: repository.map(|repository| Elsewhere {
                top: repository.top.clone().into(),
                git: repository.git.clone().into(),
                common: repository.common.clone().into(),
            }),
        };
        let seen = scope.look(operator);
        // Only the workspace itself must be there to be looked at.
        let protected = seen.protected();
        let roots = roots
            .into_iter()
            .map(|(source, target)| {
                let inside = protected.iter().filter_map(|path| path.strip_prefix(&source).ok());
                let protected = outermost(inside.map(Path::to_owned).collect());
                Root { source, target, protected }
            })
            .collect();
        let records = written.map(|workspace| workspace.records.clone()).unwrap_or_default();
        let privileged = seen.privileged();
        Ok(Guard { roots, binds, records, privileged, scope, before: seen.snapshot() })
    }

    /// The workspace, the binds and what is protected in them as pieces of the jail's file tree, the shallower before
    /// the deeper, so that none covers another; `layer` is an empty directory for an overlay's changes.
    pub(crate) fn entries(&self, workspace: Option<&Workspace>, layer: &Path) -> Vec<Entry> {
        let mut entries = self.binds.clone();
        entries.extend(workspace.map(|workspace| workspace.base(layer)));
        for entry in &mut entries {
            if let Entry::Bind { source, access, .. } = entry
                && self.is_protected_whole(source)
            {
                *access = Access::ReadOnly;
            }
        }
        entries.extend(self.protections(workspace));
        entries.sort_by_key(|entry| entry.target().components().count());
        entries
    }

    /// Mounts of [`Guard::entries`] that must last when the host replaces what they lie on.
    pub(crate) fn durable(&self, workspace: Option<&Workspace>) -> Vec<PathBuf> {
        let mut durable: Vec<PathBuf> =
            self.protections(workspace).iter().map(|entry| entry.target().to_owned()).collect();
        durable.sort_by_key(|target| target.components().count());
        durable
    }

    /// The host's directories and files that the job has, workspace and binds.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Path> {
        let binds = self.binds.iter().filter_map(|bind| match bind {
            Entry::Bind { source, .. } => Some(source.as_path()),
            _ => None,
        });
        self.roots.iter().map(|root| root.source.as_path()).chain(binds)
    }

    /// Directories of the host in which no place is made for a mount.
    pub(crate) fn given(&self, workspace: Option<&Workspace>) -> Vec<PathBuf> {
        let binds = self.binds.iter().map(|entry| entry.target().to_owned());
        binds.chain(workspace.map(|workspace| workspace.path.clone())).collect()
    }

    /// Files of the list that are not there, for backends that can keep it so.
    pub(crate) fn absent(&self) -> Vec<PathBuf> {
        let Some(workspace) = self.scope.workspace.as_ref().map(PathBuf::from) else { return Vec::new() };
        let Ok(tree) = Tree::open(&workspace) else { return Vec::new() };
        let candidates = discover::look(&tree, true, &Global::default()).files;
        let protect = self.scope.protect.iter().map(PathBuf::from);
        let all: BTreeSet<PathBuf> = candidates.into_iter().chain(protect).collect();
        all.into_iter()
            .filter(|path| matches!(tree.metadata(path), Ok(None)))
            .map(|path| workspace.join(path))
            .collect()
    }

    /// Sentences about what could not be looked into and is read-only as a whole, or not protected in detail, and about
    /// files that a job would expect to be able to write.
    pub(crate) fn notices(&self) -> Vec<String> {
        const MOST_NAMED: usize = 4;
        let path = |path: &Path| console::escape_control_chars(&shown(path));
        let cut = self.before.cut.iter();
        let mut notices: Vec<String> = cut
            .map(|(at, why)| {
                format!(
                    "{} was not looked through for files that run later: {}; what was not seen is read-only or not protected",
                    path(Path::new(at)),
                    console::escape_control_chars(&why.replace('\n', " "))
                )
            })
            .collect();
        let why = "who runs it gets the rights of its owner, its group or its file capabilities (chmod ug-s or setcap -r makes it an ordinary file)";
        let named = self.privileged.iter().take(MOST_NAMED);
        notices.extend(named.map(|file| format!("{} is read-only for the job: {why}", path(file))));
        if let Some(more) = self.privileged.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
            notices.push(format!("{more} more such files are read-only for the job"));
        }
        notices
    }

    /// What is to be stored before the job starts.
    pub(crate) fn baseline(&self) -> Baseline {
        Baseline { scope: self.scope.clone(), before: self.before.clone() }
    }

    /// The workspace, if the job can write it.
    pub(crate) fn workspace(&self) -> Option<&Path> {
        self.scope.workspace.as_ref().map(Path::new)
    }

    /// Compares what is there with what was there before the job.
    pub(crate) fn changes(&self, operator: &Operator) -> Changes {
        self.baseline().changes(operator)
    }

    fn is_protected_whole(&self, source: &Path) -> bool {
        self.roots.iter().any(|root| root.source == source && root.protected.contains(Path::new("")))
    }

    fn protections(&self, workspace: Option<&Workspace>) -> Vec<Entry> {
        let mut over: Vec<PathBuf> = self.binds.iter().map(|bind| bind.target().to_owned()).collect();
        over.extend(workspace.map(|workspace| workspace.path.clone()));
        let (mut pins, mut read_only) = (BTreeMap::new(), BTreeMap::new());
        for root in &self.roots {
            let Ok(tree) = Tree::open(&root.source) else { continue };
            let is_first = self.scope.workspace.as_ref().is_some_and(|path| Path::new(path) == root.source);
            let records = self.records.iter().filter(|_| is_first);
            for relative in root.protected.iter().chain(records).filter(|path| !path.as_os_str().is_empty()) {
                // A link cannot be a mount point, and where it leads is not in the jail, or protected itself.
                let is_plain = matches!(
                    tree.metadata(relative),
                    Ok(Some(metadata)) if matches!(metadata.kind, Kind::File | Kind::Directory)
                );
                let target = root.target.join(relative);
                let is_covered = over.iter().any(|over| {
                    *over != root.target && over.starts_with(&root.target) && target.starts_with(over)
                });
                if !is_plain || is_covered {
                    continue;
                }
                // A directory above a mount point can be renamed away together with it; one that is a mount point
                // itself cannot. So each directory on the way is bound onto itself.
                let parents = relative.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
                for parent in parents {
                    pins.insert(root.target.join(parent), root.source.join(parent));
                }
                read_only.insert(target, root.source.join(relative));
            }
        }
        let bind = |access| move |(target, source)| Entry::Bind { source, target, access };
        pins.retain(|pin, _| !over.contains(pin));
        let pins = pins.into_iter().map(bind(Access::ReadWrite));
        pins.chain(read_only.into_iter().map(bind(Access::ReadOnly))).collect()
    }
}

impl Baseline {
    /// Compares what is there with what was there, as far as can be told.
    pub(crate) fn changes(&self, operator: &Operator) -> Changes {
        let seen = self.scope.look(operator);
        let after = seen.snapshot();
        let mut changed = BTreeSet::new();
        let before = |path: &OsString| self.before.files.get(path).unwrap_or(&Fingerprint::Absent);
        for (path, now) in &after.files {
            if *now == Fingerprint::Unknown || before(path) != now {
                changed.insert(PathBuf::from(path));
            }
        }
        // What nothing leads to any more may still have been changed.
        for (path, before) in &self.before.files {
            if !after.files.contains_key(path) && self.scope.fingerprint(Path::new(path)) != *before {
                changed.insert(PathBuf::from(path));
            }
        }
        // What is closed at both times was read-only: too much of it to compare is no change.
        for (path, now) in &after.closed {
            if self.before.closed.get(path) != Some(now) {
                changed.insert(PathBuf::from(path));
            }
        }
        for (path, before) in &self.before.closed {
            if !after.closed.contains_key(path) && self.scope.fingerprint(Path::new(path)) != *before {
                changed.insert(PathBuf::from(path));
            }
        }
        changed.extend(after.bare.difference(&self.before.bare).map(PathBuf::from));
        let cut = after.cut.iter().filter(|(path, why)| self.before.cut.get(*path) != Some(*why));
        changed.extend(cut.map(|(path, _)| PathBuf::from(path)));
        let relative = |path: PathBuf| match &self.scope.workspace {
            Some(workspace) if path.as_os_str() == workspace.as_os_str() => PathBuf::from("."),
            Some(workspace) => path.strip_prefix(workspace).map(Path::to_owned).unwrap_or(path),
            None => path,
        };
        Changes {
            files: changed.into_iter().map(relative).collect(),
            default_acls: self.new_default_acls(&after).into_iter().map(relative).collect(),
        }
    }

    /// Returns the directories with a default access control list that they neither had before nor inherited from the
    /// directory around them.
    fn new_default_acls(&self, after: &Snapshot) -> Vec<PathBuf> {
        let is_new = |path: &OsString, list: &String| {
            let inherited =
                Path::new(path).parent().and_then(|around| after.default_acls.get(around.as_os_str()));
            self.before.default_acls.get(path) != Some(list) && inherited != Some(list)
        };
        let new = after.default_acls.iter().filter(|(path, list)| is_new(path, list));
        new.map(|(path, _)| PathBuf::from(path)).collect()
    }

    /// Returns true if the job could write the file and it is not as it was.
    pub(crate) fn may_have_changed(&self, path: &Path) -> bool {
        let mut sources = self.scope.workspace.iter().chain(&self.scope.others);
        let before = self.before.files.get(path.as_os_str()).unwrap_or(&Fingerprint::Absent);
        sources.any(|source| path.starts_with(source)) && self.scope.fingerprint(path) != *before
    }

    /// The workspace that it is about.
    pub(crate) fn workspace(&self) -> Option<&Path> {
        self.scope.workspace.as_ref().map(Path::new)
    }
}

/// How long the files that one look found are looked at.
const COMPARED_FOR: Duration = Duration::from_secs(10);

/// What one look at everything in a scope found.
struct Seen {
    trees: Vec<(Tree, Found, PathBuf)>,
    /// Files that are writable by themselves and give who runs them somebody's rights.
    privileged: BTreeSet<PathBuf>,
    scope: Scope,
}

impl Scope {
    fn look(&self, operator: &Operator) -> Seen {
        let mut global = discover::global(&settings_of_git(operator), &operator.home);
        if let Some(Elsewhere { top, git, common }) = &self.repository {
            discover::add_repository(&mut global, Path::new(git), Path::new(common), Path::new(top));
        }
        let mut trees: Vec<(Tree, Found, PathBuf)> = Vec::new();
        let mut privileged = BTreeSet::new();
        let sources = self.workspace.iter().chain(&self.others).map(PathBuf::from);
        for source in sources {
            if source.is_file() && is_privileged(&source) {
                privileged.insert(source.clone());
            }
            // What lies in another directory is looked at with it.
            if trees.iter().any(|(_, _, other)| source.starts_with(other)) || !source.is_dir() {
                continue;
            }
            let Ok(tree) = Tree::open(&source) else { continue };
            let is_workspace = self.workspace.as_ref().is_some_and(|path| Path::new(path) == source);
            let mut found = discover::look(&tree, is_workspace, &global);
            if is_workspace {
                found.files.extend(self.protect.iter().map(PathBuf::from));
            }
            if let Some(repository) = &self.repository
                && source.as_os_str() == repository.common
            {
                found.of_others.extend(discover::other_worktrees(&tree, Path::new(&repository.git)));
            }
            trees.push((tree, found, source));
        }
        Seen { trees, privileged, scope: self.clone() }
    }

    /// Looks at one file again.
    fn fingerprint(&self, path: &Path) -> Fingerprint {
        let sources = self.workspace.iter().chain(&self.others).map(Path::new);
        for source in sources.filter(|source| path.starts_with(source)) {
            if let (Ok(tree), Ok(inside)) = (Tree::open(source), path.strip_prefix(source)) {
                return Fingerprint::of(&tree, inside);
            }
        }
        Fingerprint::Unknown
    }
}

impl Seen {
    /// Everything that is to be read-only where it exists, by absolute path.
    fn protected(&self) -> BTreeSet<PathBuf> {
        let mut protected = self.privileged.clone();
        for (tree, found, source) in &self.trees {
            for path in found.files.iter().chain(&found.closed).chain(&found.of_others) {
                protected.insert(source.join(nearest_visible(tree, path)));
            }
        }
        protected.retain(|path| {
            // The root of a workspace that cannot be looked through is no protected file.
            !self.trees.iter().any(|(_, _, source)| source == path)
                || self.scope.others.iter().any(|other| Path::new(other) == path)
        });
        protected
    }

    /// Every file that gives who runs it somebody's rights, by absolute path.
    fn privileged(&self) -> Vec<PathBuf> {
        let found = self
            .trees
            .iter()
            .flat_map(|(_, found, source)| found.privileged.iter().map(|path| source.join(path)));
        found.chain(self.privileged.iter().cloned()).collect()
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let budget = Budget::new(Limits { entries: 0, depth: 0, time: COMPARED_FOR });
        for (tree, found, source) in &self.trees {
            let is_workspace = self.scope.workspace.as_ref().is_some_and(|path| Path::new(path) == source);
            let built = runs_later::BUILT_LATER.iter().filter(|_| is_workspace).map(PathBuf::from);
            for path in found.files.iter().cloned().chain(built) {
                if budget.check_time(PathBuf::new).is_err() {
                    snapshot.cut.insert(source.into(), "comparing took too long".to_owned());
                    break;
                }
                if is_idle(tree, &path) {
                    continue;
                }
                let fingerprint = Fingerprint::of(tree, &path);
                if fingerprint != Fingerprint::Absent {
                    snapshot.files.insert(source.join(path).into(), fingerprint);
                }
            }
            // The root itself is never closed: a job works in it.
            for path in found.closed.iter().filter(|path| !path.as_os_str().is_empty()) {
                let fingerprint = match budget.check_time(PathBuf::new) {
                    Ok(()) => Fingerprint::of(tree, path),
                    Err(_) => Fingerprint::Unknown,
                };
                snapshot.closed.insert(source.join(path).into(), fingerprint);
            }
            snapshot.bare.extend(found.bare.iter().map(|path| join(source, path).into()));
            for (path, why) in &found.cut {
                snapshot.cut.entry(join(source, path).into()).or_insert_with(|| why.clone());
            }
            let acls = found.default_acls.iter();
            snapshot.default_acls.extend(acls.map(|(path, list)| (join(source, path).into(), list.clone())));
        }
        snapshot
    }
}

/// Returns true if a file that the operator binds by itself gives who runs it somebody's rights.
fn is_privileged(file: &Path) -> bool {
    let (Some(parent), Some(name)) = (file.parent(), file.file_name()) else { return false };
    let found = Tree::open(parent).and_then(|tree| tree.inspect_entry(Path::new(name)));
    // What cannot be looked at may be one.
    found.map_or(true, |found| found.is_some_and(|file| Owners::of_file(&file).let_write(&file)))
}

/// Whether it is a directory that git makes in every repository and hardly ever uses, and nothing is in it.
fn is_idle(tree: &Tree, path: &Path) -> bool {
    const MADE_BY_GIT: [&str; 2] = ["branches", "remotes"];
    let only_one = Limits { entries: 1, depth: 1, time: Duration::from_secs(1) };
    path.file_name().is_some_and(|name| MADE_BY_GIT.iter().any(|made| name == *made))
        && matches!(tree.list(path, &mut Budget::new(only_one)), Ok(Some(entries)) if entries.is_empty())
}

/// The path itself, or the directory on the way to it that nobody can look into: that one is protected instead.
fn nearest_visible(tree: &Tree, path: &Path) -> PathBuf {
    let is_hidden = |path: &Path| matches!(tree.metadata(path), Err(BeneathError::System { .. }));
    path.ancestors().find(|path| !is_hidden(path)).unwrap_or(path).to_owned()
}

/// Without what lies in something else that is protected.
fn outermost(paths: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let is_inner = |path: &PathBuf| path.ancestors().skip(1).any(|above| paths.contains(above));
    paths.iter().filter(|path| !is_inner(path)).cloned().collect()
}

/// Every place of a bind in the workspace, or in another bind, must be there: none is made on the host.
fn check_places(workspace: Option<&Workspace>, binds: &[Entry]) -> Result<(), WorkspaceError> {
    let mut around: Vec<(&Path, &Path)> = binds
        .iter()
        .filter_map(|bind| match bind {
            Entry::Bind { source, target, .. } => Some((source.as_path(), target.as_path())),
            _ => None,
        })
        .collect();
    around.extend(workspace.map(|workspace| (workspace.path.as_path(), workspace.path.as_path())));
    for bind in binds {
        let target = bind.target();
        let above = around.iter().filter(|(_, above)| target != *above && target.starts_with(above));
        let Some((source, above)) = above.max_by_key(|(_, above)| above.components().count()) else {
            continue;
        };
        let inside = target.strip_prefix(above).unwrap_or(target);
        let found = Tree::open(source).and_then(|tree| tree.metadata(inside));
        let why = match found {
            Ok(Some(metadata)) if metadata.kind == Kind::Link => "it is a symbolic link".to_owned(),
            Ok(Some(_)) => continue,
            Ok(None) => "it does not exist".to_owned(),
            Err(error) => error.to_string().replace('\n', " "),
        };
        return Err(WorkspaceError::Place { path: target.to_owned(), why });
    }
    Ok(())
}

/// Where git looks for the operator's own settings: git-config(1).
pub(crate) fn settings_of_git(operator: &Operator) -> Vec<PathBuf> {
    let is_unset = operator
        .variable("GIT_CONFIG_NOSYSTEM")
        .is_none_or(|value| ["", "0", "no", "false", "off"].iter().any(|no| value.eq_ignore_ascii_case(no)));
    let system = is_unset.then(|| {
        operator.variable("GIT_CONFIG_SYSTEM").map_or_else(|| "/etc/gitconfig".into(), PathBuf::from)
    });
    let own = match operator.variable("GIT_CONFIG_GLOBAL") {
        Some(file) => vec![PathBuf::from(file)],
        None => vec![operator.config_home().join("git/config"), operator.home.join(".gitconfig")],
    };
    system.into_iter().chain(own).filter(|file| file.is_absolute()).collect()
}

fn join(source: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { source.to_owned() } else { source.join(path) }
}

/// A path for a message: on one line and not too long.
pub(crate) fn shown(path: &Path) -> String {
    const LONGEST: usize = 512;
    let text = path.display().to_string().replace('\n', " ");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
