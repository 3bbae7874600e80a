//! The operator's identity for git in the jail: name, e-mail address, and the default branch of new repositories.
//!
//! They are read from the operator's own settings, never from a repository's, and stand in the jail's `/etc/gitconfig`.
//! There they have the lowest precedence: the settings of a repository, and those that a job makes in its home, win as they
//! do without a jail. Variables such as `GIT_CONFIG_KEY_0` would win over both.
//!
//! No program is started. A file of settings that lies where a job can write may be the operator's all the same (a project
//! of dotfiles is a workspace like any other): its own values are read, but nothing that it includes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use gix_config::File;
use gix_config::file::{Metadata, init};
use gix_glob::wildmatch;
use sandbox::beneath::RealPath;
use sandbox::plan::Entry;

use crate::operator::Operator;
use crate::workspace;
use crate::written;

/// The file that git reads before all others, and the variable that names it for a git that was built to read another.
pub(crate) const SYSTEM_SETTINGS: &str = "/etc/gitconfig";
pub(crate) const SYSTEM_SETTINGS_VARIABLE: &str = "GIT_CONFIG_SYSTEM";

/// Section, key.
const TAKEN: [(&str, &str); 3] = [("user", "name"), ("user", "email"), ("init", "defaultBranch")];
/// Maximum number of files, and of includes within includes (as many as git follows).
const FILES: usize = 64;
const DEPTH: usize = 10;
/// Maximum number of settings that are read from variables.
const VARIABLES: usize = 256;
const LONGEST_VALUE: usize = 1024;

/// Returns the jail's `/etc/gitconfig`; `None` if the operator has set nothing of it. `git_directory` decides about
/// `includeIf "gitdir:…"`.
pub(crate) fn settings_file(git_directory: &Path, operator: &Operator) -> Option<Entry> {
    let values = read(git_directory, operator);
    (!values.is_empty()).then(|| Entry::File {
        target: SYSTEM_SETTINGS.into(),
        contents: render(&values).into_bytes(),
        mode: 0o444,
    })
}

/// Values by their position in [`TAKEN`].
type Values = BTreeMap<usize, String>;

fn read(git_directory: &Path, operator: &Operator) -> Values {
    let home = operator.home.canonicalize().unwrap_or_else(|_| operator.home.clone());
    let mut reader = Reader { operator, home, git_directory, left: FILES, values: Values::new() };
    for file in workspace::settings_of_git(operator) {
        reader.file(&file, DEPTH);
    }
    reader.variables();
    reader.values
}

struct Reader<'a> {
    operator: &'a Operator,
    home: PathBuf,
    git_directory: &'a Path,
    left: usize,
    values: Values,
}

impl Reader<'_> {
    /// Reads a file and its includes, in git's order: the last value counts.
    fn file(&mut self, file: &Path, depth: usize) {
        let Some(left) = self.left.checked_sub(1) else { return };
        self.left = left;
        let Some(bytes) = workspace::settings_of_operator(file) else { return };
        let options = init::Options { lossy: true, ..init::Options::default() };
        let Ok(settings) = File::from_bytes_no_includes(&bytes, Metadata::api(), options) else { return };
        let may_include = depth > 0 && !self.may_be_of_a_job(file);
        let directory = file.parent().unwrap_or(Path::new("/"));
        for section in settings.sections() {
            let header = section.header();
            let name = header.name().to_ascii_lowercase();
            let is_included = match (name.as_slice(), header.subsection_name()) {
                (b"include", None) => true,
                (b"includeif", Some(condition)) => self.holds(condition, directory),
                (name, None) => {
                    for (position, (section_name, key)) in TAKEN.iter().enumerate() {
                        if name == section_name.as_bytes()
                            && let Some(value) = section.values(key).last()
                        {
                            self.take(position, value);
                        }
                    }
                    false
                }
                _ => false,
            };
            if is_included && may_include {
                for value in section.values("path") {
                    let included = workspace::path_of_setting(
                        Path::new(OsStr::from_bytes(&value)),
                        directory,
                        &self.home,
                    );
                    self.file(&included, depth - 1);
                }
            }
        }
    }

    /// `GIT_CONFIG_COUNT`, `GIT_CONFIG_KEY_0` … of the operator's own environment: git-config(1).
    fn variables(&mut self) {
        let value = |name: &str| self.operator.variable(name).map(OsStr::to_owned);
        let count = value("GIT_CONFIG_COUNT").and_then(|count| count.to_str()?.parse::<usize>().ok());
        for number in 0..count.unwrap_or(0).min(VARIABLES) {
            let (key, value) =
                (value(&format!("GIT_CONFIG_KEY_{number}")), value(&format!("GIT_CONFIG_VALUE_{number}")));
            let (Some(key), Some(value)) = (key, value) else { continue };
            let is = |(section, name): &(&str, &str)| key.eq_ignore_ascii_case(format!("{section}.{name}"));
            if let Some(position) = TAKEN.iter().position(is) {
                self.take(position, value.as_bytes());
            }
        }
    }

    /// Takes a value that is text for people; an empty one is none, as with git.
    fn take(&mut self, position: usize, value: &[u8]) {
        let text = std::str::from_utf8(value).ok();
        let text = text.filter(|text| text.len() <= LONGEST_VALUE && !text.contains(char::is_control));
        match text {
            Some("") => drop(self.values.remove(&position)),
            Some(text) => drop(self.values.insert(position, text.to_owned())),
            None => {}
        }
    }

    /// Returns true if the condition of an include holds. Those about a repository's contents (`onbranch`,
    /// `hasconfig`) never do: a job can write these.
    fn holds(&self, condition: &[u8], directory: &Path) -> bool {
        let mode = wildmatch::Mode::NO_MATCH_SLASH_LITERAL;
        let (pattern, mode) = match (condition.strip_prefix(b"gitdir:"), condition.strip_prefix(b"gitdir/i:"))
        {
            (Some(pattern), _) => (pattern, mode),
            (_, Some(pattern)) => (pattern, mode | wildmatch::Mode::IGNORE_CASE),
            _ => return false,
        };
        let mut full = match (pattern.strip_prefix(b"~/"), pattern.strip_prefix(b"./")) {
            (Some(rest), _) => self.home.join(OsStr::from_bytes(rest)).into_os_string().into_vec(),
            (_, Some(rest)) => directory.join(OsStr::from_bytes(rest)).into_os_string().into_vec(),
            _ if pattern.starts_with(b"/") => pattern.to_vec(),
            _ => [b"**/", pattern].concat(),
        };
        if full.ends_with(b"/") {
            full.extend(b"**");
        }
        wildmatch(full.as_slice().into(), self.git_directory.as_os_str().as_bytes().into(), mode)
    }

    fn may_be_of_a_job(&self, file: &Path) -> bool {
        let (Ok(places), Ok(real)) = (written::places(self.operator), RealPath::of(file)) else {
            return true;
        };
        places.iter().any(|place| real.depends_on(place))
    }
}

/// The values as a file of settings.
fn render(values: &Values) -> String {
    let mut text = String::from("# The operator's own settings, read when the job started.\n");
    for (position, value) in values {
        let (section, key) = TAKEN[*position];
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        text.push_str(&format!("[{section}]\n\t{key} = \"{value}\"\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The settings of an operator with these files below the home directory, for a repository there.
    fn read_with(files: &[(&str, &str)], variables: &[(&str, &str)], writable: &[&str]) -> String {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        for (path, contents) in files {
            fs::create_dir_all(home.join(path).parent().unwrap()).unwrap();
            fs::write(home.join(path), contents).unwrap();
        }
        let mut environment: std::collections::HashMap<_, _> =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        environment.insert("GIT_CONFIG_NOSYSTEM".into(), "1".into());
        let writable = writable.iter().map(|path| home.join(path)).collect();
        let operator =
            Operator { environment, directory: home.clone(), home: home.clone(), uid: 1000, writable };
        let values = read(&home.join("code/project/.git"), &operator);
        fs::remove_dir_all(&home).unwrap();
        values.values().cloned().collect::<Vec<_>>().join("|")
    }

    #[test]
    fn the_last_value_counts_in_git_s_order_of_files() {
        let files = [
            (
                ".config/git/config",
                "[user]\n\tname = first\n\temail = a@example.com\n[init]\n\tdefaultBranch = trunk\n",
            ),
            (".gitconfig", "[user \"other\"]\n\temail = other@example.com\n[USER] NAME = \"A. Name\"\n"),
        ];
        assert_eq!(read_with(&files, &[], &[]), "A. Name|a@example.com|trunk");
        let variables = [
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "User.Email"),
            ("GIT_CONFIG_VALUE_0", "b@example.com"),
        ];
        assert_eq!(read_with(&files, &variables, &[]), "A. Name|b@example.com|trunk");
        assert_eq!(read_with(&files, &[("GIT_CONFIG_GLOBAL", "/dev/null")], &[]), "");
    }

    #[test]
    fn includes_are_read_where_their_condition_holds() {
        for (header, is_read) in [
            ("[include]", true),
            ("[includeIf \"gitdir:~/code/\"]", true),
            ("[includeIf \"gitdir:code/\"]", true),
            ("[includeIf \"gitdir:~/code/*/.git\"]", true),
            ("[includeIf \"gitdir/i:~/CODE/\"]", true),
            ("[includeIf \"gitdir:~/CODE/\"]", false),
            ("[includeIf \"gitdir:~/play/\"]", false),
            ("[includeIf \"onbranch:main\"]", false),
            ("[includeIf \"hasconfig:remote.*.url:**\"]", false),
        ] {
            let own = format!("[user]\n\temail = own@example.com\n{header}\n\tpath = more\n");
            let files = [(".gitconfig", own.as_str()), ("more", "[user]\n\temail = more@example.com\n")];
            let expected = if is_read { "more@example.com" } else { "own@example.com" };
            assert_eq!(read_with(&files, &[], &[]), expected, "{header}");
        }
        let endless = [(".gitconfig", "[user]\n\temail = a@example.com\n[include]\n\tpath = .gitconfig\n")];
        assert_eq!(read_with(&endless, &[], &[]), "a@example.com");
    }

    #[test]
    fn what_a_job_can_write_includes_nothing() {
        let files = [
            (".gitconfig", "[include]\n\tpath = dotfiles/git\n"),
            ("dotfiles/git", "[user]\n\temail = a@example.com\n[include]\n\tpath = ~/private\n"),
            ("private", "[user]\n\tname = secret\n"),
        ];
        assert_eq!(read_with(&files, &[], &[]), "secret|a@example.com");
        assert_eq!(read_with(&files, &[], &["dotfiles"]), "a@example.com");
    }

    #[test]
    fn values_are_written_as_git_reads_them() {
        let values = Values::from([(0, "A \"B\" \\ #;".to_owned())]);
        let text = render(&values);
        let settings =
            File::from_bytes_no_includes(text.as_bytes(), Metadata::api(), init::Options::default()).unwrap();
        assert_eq!(settings.string("user.name").unwrap().as_slice(), b"A \"B\" \\ #;");
        let long = format!("[user]\n\tname = {}\n\temail = a\u{1b}b\n", "x".repeat(LONGEST_VALUE + 1));
        assert_eq!(read_with(&[(".gitconfig", &long)], &[], &[]), "");
    }
}
