//! What a file of git's settings leads git to: other files of settings, and directories of hooks.
//!
//! Conditions of includes are not evaluated: whether one holds can change, and a file that is included perhaps is
//! protected like one that is included.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gix_config::File;
use gix_config::file::{Metadata, init};

/// Larger settings are not read.
pub(super) const LARGEST: u64 = 1 << 20;

/// Where settings lead.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Leads {
    /// Values of `include.path` and `includeIf.*.path`.
    pub(super) includes: Vec<PathBuf>,
    /// Values of `core.hooksPath`.
    pub(super) hooks: Vec<PathBuf>,
    /// Values of `core.worktree`.
    pub(super) work_trees: Vec<PathBuf>,
}

/// Reads settings as git does. `None` if they cannot be read so; then git refuses to work with them, too.
pub(super) fn read(bytes: &[u8]) -> Option<Leads> {
    let options = init::Options { lossy: true, ..init::Options::default() };
    let file = File::from_bytes_no_includes(bytes, Metadata::api(), options).ok()?;
    let mut leads = Leads::default();
    for section in file.sections() {
        let header = section.header();
        let name = header.name().to_ascii_lowercase();
        let has_subsection = header.subsection_name().is_some();
        let paths = |key: &str| section.values(key).into_iter().map(|value| path(&value)).collect::<Vec<_>>();
        match (name.as_slice(), has_subsection) {
            (b"include", false) | (b"includeif", true) => leads.includes.extend(paths("path")),
            (b"core", false) => {
                leads.hooks.extend(paths("hooksPath"));
                leads.work_trees.extend(paths("worktree"));
            }
            _ => {}
        }
    }
    Some(leads)
}

fn path(value: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(value))
}

/// The absolute path that a value stands for: `~/` is the operator's home, what is relative lies at `base`.
pub(crate) fn absolute(value: &Path, base: &Path, home: &Path) -> PathBuf {
    let value = value.strip_prefix(":(optional)").unwrap_or(value);
    let joined = match value.strip_prefix("~") {
        Ok(rest) => home.join(rest),
        Err(_) => base.join(value),
    };
    normal(&joined)
}

/// The path without `.` and `..`, as text: links are not looked at.
pub(super) fn normal(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    /// What git itself says; `None` if it refuses the file.
    fn real(config: &[u8], key: &str) -> Option<Vec<PathBuf>> {
        let mut git = Command::new("git");
        git.args(["config", "--no-includes", "--file", "-", "--null", "--get-all", key]).current_dir("/");
        git.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let mut git = git.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        git.stdin.take().unwrap().write_all(config).unwrap();
        let output = git.wait_with_output().unwrap();
        // 1: no such key.
        matches!(output.status.code(), Some(0 | 1)).then(|| {
            let values = output.stdout.split(|byte| *byte == 0).map(path).collect::<Vec<_>>();
            values[..values.len().saturating_sub(1)].to_vec()
        })
    }

    fn has_git() -> bool {
        let found = Command::new("git").arg("--version").output();
        found.inspect_err(|error| crate::skip::report(&format!("git: {error}"))).is_ok()
    }

    #[test]
    fn hooks_paths_are_read_in_every_spelling() {
        for config in [
            "[core]\n\thooksPath = .githooks # ours\n",
            "[core] hooksPath = .githooks\n",
            "[core]\n\thooksPath = \\\n.githooks\n",
            "[core]\n\thooksPath = \".git\"\"hooks\"\n",
            "[CORE]\n\tHOOKSPATH=.githooks;x\n",
            "[core]\r\n\thooksPath = .githooks\r\n",
            "[user]\n\tname = x\n[core]hookspath=.githooks",
        ] {
            let leads = read(config.as_bytes()).unwrap();
            assert_eq!(leads.hooks, [Path::new(".githooks")], "{config:?}");
        }
        let leads = read(b"[include]\n\tpath = a\n[includeIf \"gitdir:/x\"]\n\tpath = ~/b\n").unwrap();
        assert_eq!(leads.includes, [Path::new("a"), Path::new("~/b")]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn what_git_accepts_is_read_as_git_reads_it(parts in prop::collection::vec(prop::sample::select(vec![
            "[core]", "[CoRe]", "[core \"x\"]", "[core.x]", "[include]", "\n", "\r\n", " ", "\t", "hooksPath", "HOOKSPATH",
            "path", "=", " = ", "\"", "\\\"", "\\\\", "\\n", "\\\n", "#", ";", " # c", "a", "../b", "/c", ".githooks", "\u{e9}",
        ]), 0..24)) {
            if !has_git() { return Ok(()); }
            let config = format!("[core]\n{}", parts.concat());
            let (Some(hooks), Some(includes)) = (real(config.as_bytes(), "core.hooksPath"), real(config.as_bytes(), "include.path")) else {
                return Ok(());
            };
            let leads = read(config.as_bytes());
            prop_assert!(leads.is_some(), "git reads {config:?}: {hooks:?}");
            let leads = leads.unwrap_or_default();
            // What git does not read may be protected all the same.
            prop_assert!(hooks.iter().all(|path| path.as_os_str().is_empty() || leads.hooks.contains(path)), "{config:?}: {hooks:?}, {leads:?}");
            prop_assert!(includes.iter().all(|path| path.as_os_str().is_empty() || leads.includes.contains(path)), "{config:?}: {includes:?}, {leads:?}");
        }
    }
}
