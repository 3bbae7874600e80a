//! Which files of a work tree run later on the host, as data.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sandbox::beneath::{BeneathError, Budget, Tree};

/// The list: a pattern and where its behaviour is documented, on each line that is not a comment.
const LIST: &str = include_str!("runs_later.txt");

/// What `direnv` loads behind an `.envrc` that was allowed once: `use flake` and its like run shell hooks on the host,
/// or what they have kept of them.
const LOADED_BY_ENVRC: &[&str] =
    &["flake.nix", "flake.lock", "shell.nix", "default.nix", "devenv.nix", "devenv.yaml", ".env", ".direnv"];

/// What Nix evaluates and builds outside of any jail at the next `--develop` or `nix develop`. Editing it is a job's
/// work like any other, so it is not read-only; that it was edited is said.
pub(super) const BUILT_LATER: &[&str] = &["flake.nix", "flake.lock", "shell.nix", "default.nix"];

/// The patterns of the list and their sources.
fn entries() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(char::is_whitespace)).map(|(path, source)| (path, source.trim()))
}

/// The files of the list in the work tree at `top`, present or not, relative to the root of the tree. Patterns stand for
/// what is there. The second part are the directories in which that could not be found out, and why.
pub(super) fn of_work_tree(
    tree: &Tree,
    top: &Path,
    budget: &mut Budget,
) -> (Vec<PathBuf>, BTreeMap<PathBuf, BeneathError>) {
    let (mut files, mut unseen) = (Vec::new(), BTreeMap::new());
    let mut listed: BTreeMap<PathBuf, (PathBuf, Vec<OsString>)> = BTreeMap::new();
    for (pattern, _) in entries() {
        let path = top.join(pattern);
        let Some((start, end)) = file_name(pattern).split_once('*') else {
            files.push(path);
            continue;
        };
        let parent = path.parent().unwrap_or(top);
        let (directory, names) = listed.entry(parent.to_owned()).or_insert_with(|| {
            // A link to another directory in the tree is as good as that directory.
            let directory = match tree.follow(parent) {
                Ok(Some(followed)) => followed.path,
                _ => parent.to_owned(),
            };
            let names = match tree.list(&directory, budget) {
                Ok(names) => names.unwrap_or_default().into_iter().map(|(name, _)| name).collect(),
                Err(BeneathError::Link { .. } | BeneathError::NotADirectory { .. }) => Vec::new(),
                Err(error) => {
                    unseen.insert(directory.clone(), error);
                    Vec::new()
                }
            };
            (directory, names)
        });
        files.extend(
            names.iter().filter(|name| is_between(name, start, end)).map(|name| directory.join(name)),
        );
    }
    if !matches!(tree.metadata(&top.join(".envrc")), Ok(None)) {
        files.extend(LOADED_BY_ENVRC.iter().map(|name| top.join(name)));
    }
    (files, unseen)
}

fn file_name(pattern: &str) -> &str {
    pattern.rsplit_once('/').map_or(pattern, |(_, name)| name)
}

fn is_between(name: &OsStr, start: &str, end: &str) -> bool {
    let rest = name.as_bytes().strip_prefix(start.as_bytes());
    rest.is_some_and(|rest| rest.ends_with(end.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Component;
    use std::time::Duration;

    use sandbox::beneath::Limits;

    use super::*;

    fn budget(entries: usize) -> Budget {
        Budget::new(Limits { entries, depth: 1, time: Duration::from_secs(60) })
    }

    #[test]
    fn every_entry_is_a_path_in_the_work_tree_and_has_a_source() {
        let mut known = BTreeSet::new();
        for (pattern, source) in entries() {
            let plain = Path::new(pattern).components().all(|part| matches!(part, Component::Normal(_)));
            assert!(plain, "{pattern}");
            assert!(!Path::new(pattern).parent().unwrap().to_string_lossy().contains('*'), "{pattern}");
            assert!(pattern.matches('*').count() <= 1, "{pattern}");
            assert!(source.starts_with("https://") || source.starts_with("man:"), "{pattern}: {source}");
            assert!(known.insert(pattern), "{pattern} is there twice");
        }
        let lines = LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        assert!(lines == known.len() && lines > 100, "{lines} lines, {} entries", known.len());
    }

    #[test]
    fn patterns_stand_for_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a.code-workspace", "mise.production.toml", "mise.toml.bak", ".lintstagedrc"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let tree = Tree::open(directory.path()).unwrap();
        let (files, unseen) = of_work_tree(&tree, Path::new(""), &mut budget(100));
        assert!(unseen.is_empty(), "{unseen:?}");
        let has = |name: &str| files.iter().any(|file| file == Path::new(name));
        assert!(has("a.code-workspace") && has("mise.production.toml") && has(".lintstagedrc"));
        assert!(has(".envrc") && !has("mise.toml.bak"));
    }

    #[test]
    fn a_directory_with_too_much_in_it_is_named_and_not_taken_for_empty() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..5 {
            std::fs::write(directory.path().join(format!("{number}.code-workspace")), "").unwrap();
        }
        let tree = Tree::open(directory.path()).unwrap();
        let (_, unseen) = of_work_tree(&tree, Path::new(""), &mut budget(4));
        assert!(matches!(unseen.get(Path::new("")), Some(BeneathError::Budget { .. })), "{unseen:?}");
    }
}
