//! Which files of a workspace run later on the host.

use std::path::{Component, Path, PathBuf};

use super::{read, submodules};

/// What git runs, or takes the names of programs from, in a repository; and where it looks for the same elsewhere.
const OF_GIT: [&str; 4] = ["hooks", "config", "config.worktree", "commondir"];

/// What programs of the host run or obey when they see it in a directory: read-only in the jail where it exists,
/// reported when a job makes or changes it.
///
/// A directory stands for everything in it.
const RUNS_LATER: &[&str] = &[
    // Mercurial and Jujutsu take the names of programs from these; git's are found where its repositories are.
    ".hg/hgrc",
    ".jj/repo/config.toml",
    // direnv, mise and the like run these on `cd`.
    ".envrc",
    ".mise.toml",
    ".mise.local.toml",
    "mise.toml",
    "mise.local.toml",
    ".mise",
    ".tool-versions",
    ".devenv.nix",
    // Editors run tasks and tools named here.
    ".vscode",
    ".idea",
    ".nvim.lua",
    ".nvimrc",
    ".exrc",
    ".vimrc",
    ".dir-locals.el",
    ".zed",
    ".helix",
    // Coding agents run hooks and servers named here.
    ".claude",
    ".mcp.json",
    ".cursor",
    ".codex",
    ".gemini",
    ".opencode",
    "opencode.json",
    ".aider.conf.yml",
    // Tools that run code of their configuration in the directory itself.
    ".pre-commit-config.yaml",
    ".husky",
    "lefthook.yml",
    ".npmrc",
    ".yarnrc.yml",
    ".cargo/config.toml",
    ".cargo/config",
];

/// What `direnv` loads behind an `.envrc` that was allowed once: `use flake` and its like run shell hooks on the host,
/// or what they have kept of them.
const LOADED_BY_ENVRC: &[&str] =
    &["flake.nix", "flake.lock", "shell.nix", "default.nix", "devenv.nix", "devenv.yaml", ".env", ".direnv"];

/// What Nix evaluates and builds outside of any jail at the next `--develop` or `nix develop`. Editing it is a job's
/// work like any other, so it is not read-only; that it was edited is said.
pub(super) const BUILT_LATER: &[&str] = &["flake.nix", "flake.lock", "shell.nix", "default.nix"];

/// The files of this workspace, relative to it; `protect` is what the jail adds.
pub(super) fn of(workspace: &Path, protect: &[PathBuf]) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = RUNS_LATER.iter().map(PathBuf::from).collect();
    files.extend(protect.iter().cloned());
    if workspace.join(".envrc").exists() {
        files.extend(LOADED_BY_ENVRC.iter().map(PathBuf::from));
    }
    files.extend(hooks_path(workspace));
    files.extend(inner_repositories(workspace));
    files.extend(submodules::work_trees(workspace).iter().flat_map(|tree| of_repository(workspace, tree)));
    // Without `.git`, git takes what looks like a repository for one.
    if ["HEAD", "objects", "refs"].iter().all(|name| workspace.join(name).exists()) {
        files.extend(OF_GIT.map(PathBuf::from));
    }
    files.extend(behind_links(workspace, &files));
    files
}

/// What makes git in this work tree run something. In a linked worktree or a submodule, `.git` is a file that points
/// to the repository.
fn of_repository(workspace: &Path, tree: &Path) -> Vec<PathBuf> {
    let git = tree.join(".git");
    if std::fs::symlink_metadata(workspace.join(&git)).is_ok_and(|git| git.is_file()) {
        return vec![git];
    }
    OF_GIT.map(|name| git.join(name)).to_vec()
}

/// Where git looks for hooks instead of `.git/hooks`, if that is in the workspace.
fn hooks_path(workspace: &Path) -> Option<PathBuf> {
    const LARGEST: usize = 1 << 20;
    let config = String::from_utf8(read(&workspace.join(".git/config"), LARGEST)?).ok()?;
    // The last one counts; the section need not be looked at, as no other has such a key.
    let value = config.lines().rev().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        key.trim().eq_ignore_ascii_case("hooksPath").then(|| value.trim().trim_matches('"'))
    })?;
    let path = Path::new(value).strip_prefix(workspace).unwrap_or(Path::new(value));
    let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let path: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
    (inside && path != Path::new("")).then_some(path)
}

/// Submodules and linked worktrees are repositories in the repository, each with hooks and settings of its own.
fn inner_repositories(workspace: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::from(".git/modules"), PathBuf::from(".git/worktrees")];
    while let Some(directory) = waiting.pop() {
        let entries = std::fs::read_dir(workspace.join(&directory)).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let inner = directory.join(entry.file_name());
            if workspace.join(&inner).join("HEAD").exists() {
                found.extend(OF_GIT.iter().chain(&["gitdir"]).map(|name| inner.join(name)));
                waiting.push(inner.join("modules"));
            } else {
                // A submodule's name can hold slashes.
                waiting.push(inner);
            }
        }
    }
    found
}

/// The real places, in the workspace, of files that are reached by symbolic links: it is there that they are changed.
fn behind_links(workspace: &Path, runs_later: &[PathBuf]) -> Vec<PathBuf> {
    runs_later
        .iter()
        .filter_map(|relative| {
            let real = workspace.join(relative).canonicalize().ok()?;
            let real = real.strip_prefix(workspace).ok()?;
            (real != relative && real != Path::new("")).then(|| real.to_owned())
        })
        .collect()
}
