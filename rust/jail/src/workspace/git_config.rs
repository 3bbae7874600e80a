//! What a file of git's settings leads git to: other files of settings, and directories of hooks.
//!
//! Conditions of includes are not evaluated: whether one holds can change, and a file that is included perhaps is
//! protected like one that is included.

use std::collections::BTreeSet;
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

/// The settings without what a server could take for the operator's: `*.extraHeader`, all of `credential`, keys that end
/// in `pass`, `password`, `token` or `secret`, and the userinfo of URLs. `None` if they cannot be read.
pub(super) fn without_secrets(bytes: &[u8]) -> Option<Vec<u8>> {
    let options = init::Options { lossy: true, ..init::Options::default() };
    let file = File::from_bytes_no_includes(bytes, Metadata::api(), options).ok()?;
    let mut kept = Vec::new();
    for section in file.sections() {
        let header = section.header();
        let name = header.name().to_ascii_lowercase();
        if name == b"credential" {
            continue;
        }
        kept.extend([b"[", name.as_slice()].concat());
        if let Some(subsection) = header.subsection_name() {
            kept.extend(b" ");
            kept.extend(quoted(&without_userinfo(subsection), false));
        }
        kept.extend(b"]\n");
        let mut written = BTreeSet::new();
        for key in section.value_names() {
            let lower = key.to_ascii_lowercase();
            let is_secret = lower == "extraheader" || SECRET_KEYS.iter().any(|end| lower.ends_with(end));
            if is_secret || !written.insert(lower) {
                continue;
            }
            let values = section.values(&key);
            // A key without a value is true.
            if values.len() == 1 && matches!(section.value_implicit(&key), Some(None)) {
                kept.extend(format!("\t{key}\n").as_bytes());
                continue;
            }
            for value in values {
                kept.extend(format!("\t{key} = ").as_bytes());
                kept.extend(quoted(&without_userinfo(&value), true));
                kept.extend(b"\n");
            }
        }
    }
    Some(kept)
}

const SECRET_KEYS: [&str; 4] = ["pass", "password", "token", "secret"];

/// The text as git reads it between quotes. A subsection has no escapes but those of `"` and `\`.
fn quoted(text: &[u8], is_value: bool) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for byte in text {
        match byte {
            b'"' | b'\\' => quoted.extend([b'\\', *byte]),
            b'\n' if is_value => quoted.extend(b"\\n"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'"');
    quoted
}

/// The text without the userinfo of the URLs in it. That of `ssh` keeps the user, which is no secret and needed.
fn without_userinfo(text: &[u8]) -> Vec<u8> {
    const MARK: &[u8] = b"://";
    let mut kept = Vec::new();
    let mut rest = text;
    while let Some(position) = rest.windows(MARK.len()).position(|window| window == MARK) {
        let (scheme, after) = rest.split_at(position + MARK.len());
        let is_end = |byte: &u8| b"/?#'\"".contains(byte) || byte.is_ascii_whitespace();
        let end = after.iter().position(is_end).unwrap_or(after.len());
        let (authority, after) = after.split_at(end);
        kept.extend(scheme);
        match authority.iter().rposition(|byte| *byte == b'@') {
            None => kept.extend(authority),
            Some(at) => {
                if scheme[..position].to_ascii_lowercase().ends_with(b"ssh") {
                    let user = authority[..at].split(|byte| *byte == b':').next().unwrap_or_default();
                    kept.extend([user, b"@"].concat());
                }
                kept.extend(&authority[at + 1..]);
            }
        }
        rest = after;
    }
    kept.extend(rest);
    kept
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

    #[test]
    fn secrets_of_servers_are_left_out() {
        let settings = b"[core]\n\tbare\n\tignorecase = false\n[Http]\n\textraHeader = AUTHORIZATION: basic c2VjcmV0\n\
            [http \"https://u:secret@h.test/\"]\n\tEXTRAHEADER = X: secret\n\tproxy = http://u:secret@p.test:3128\n\
            [remote \"origin\"]\n\turl = https://secret@h.test/a.git\n\turl = \"ssh://git:secret@h.test/a@b\"\n\
            \tfetch = +refs/heads/*:refs/remotes/origin/*\n\turl = git@h.test:a.git\n\
            [credential \"https://h.test\"]\n\thelper = \"!echo password=secret\"\n[credential]\n\tusername = secret\n\
            [sendemail]\n\tsmtpPass = secret\n[alias]\n\tx = \"!a \\\"b\\\" \\\\ c\\nd\"\n";
        let kept = without_secrets(settings).unwrap();
        let text = String::from_utf8(kept.clone()).unwrap();
        assert!(!text.contains("secret") && !text.contains("c2VjcmV0"), "{text}");
        let read = File::from_bytes_no_includes(&kept, Metadata::api(), init::Options::default()).unwrap();
        assert!(read.boolean("core.bare").unwrap().unwrap());
        assert!(!read.boolean("core.ignorecase").unwrap().unwrap());
        let urls = read.strings("remote.origin.url").unwrap();
        assert_eq!(urls, ["https://h.test/a.git", "ssh://git@h.test/a@b", "git@h.test:a.git"]);
        assert_eq!(read.string("http.https://h.test/.proxy").unwrap(), "http://p.test:3128");
        assert_eq!(read.string("alias.x").unwrap(), "!a \"b\" \\ c\nd");
        assert_eq!(without_secrets(b"[core\nx"), None);
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
