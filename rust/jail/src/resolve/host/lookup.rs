//! From a name to the program that the operator would start by it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::ResolveError;
use super::choice::Chooser;
use super::tree::{Located, Tree};
use crate::operator::Operator;

/// Finds the program `name`: a path, or a name on the operator's `PATH`.
pub(super) fn find(name: &str, operator: &Operator, tree: &mut Tree) -> Result<PathBuf, ResolveError> {
    if name.contains('/') {
        let path = operator.path(Path::new(name));
        return match tree.locate(&path, &Chooser::Operator)? {
            Some(found) if found.is_program() => Ok(path),
            Some(_) => Err(ResolveError::NotExecutable { path }),
            None => Err(ResolveError::NotFound { name: name.to_owned(), looked: "that place".to_owned() }),
        };
    }
    on_path(name, &search_path(operator), operator, tree)
}

/// The absolute directories: a relative one would let the workspace say what `git` is.
fn search_path(operator: &Operator) -> Vec<PathBuf> {
    let path = operator.variable("PATH").unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    std::env::split_paths(path).filter(|directory| directory.is_absolute()).collect()
}

fn on_path(
    name: &str,
    directories: &[PathBuf],
    operator: &Operator,
    tree: &mut Tree,
) -> Result<PathBuf, ResolveError> {
    for (position, directory) in directories.iter().enumerate() {
        let path = directory.join(name);
        if !is_executable(&path, tree) {
            continue;
        }
        return match version_manager(&path, tree) {
            Some(manager) => match manager.choice(&path, name, operator, tree)? {
                Choice::Program(path) => Ok(path),
                Choice::System => on_path(name, &directories[position + 1..], operator, tree),
            },
            None => Ok(path),
        };
    }
    let looked = directories.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    Err(ResolveError::NotFound { name: name.to_owned(), looked: looked.join(", ") })
}

/// A directory that cannot be searched is passed over, as shells do it.
fn is_executable(path: &Path, tree: &mut Tree) -> bool {
    let found = tree.locate(path, &Chooser::Operator).ok().flatten();
    found.as_ref().is_some_and(Located::is_program)
}

/// One of the tools that put a script in front of every version of a language.
struct VersionManager {
    root: PathBuf,
    name: &'static str,
    file: &'static str,
}

/// The program that a stand-in would start.
enum Choice {
    Program(PathBuf),
    /// The next one on `PATH`.
    System,
}

const VERSION_MANAGERS: &[(&str, &str)] = &[
    ("pyenv", ".python-version"),
    ("rbenv", ".ruby-version"),
    ("nodenv", ".node-version"),
    ("goenv", ".go-version"),
];

/// More than any file that names versions holds.
const MAX_VERSIONS: u64 = 4096;

fn version_manager(path: &Path, tree: &mut Tree) -> Option<VersionManager> {
    let root = path.parent().filter(|directory| directory.ends_with("shims"))?.parent()?;
    let (name, file) = VERSION_MANAGERS.iter().find(|(name, _)| {
        tree.exists(&root.join("libexec").join(name))
            || root.file_name() == Some(OsStr::new(&format!(".{name}")))
    })?;
    Some(VersionManager { root: root.to_owned(), name, file })
}

impl VersionManager {
    /// What the stand-in would choose: by variable, by a file in this directory or above, or by default.
    fn choice(
        &self,
        path: &Path,
        program: &str,
        operator: &Operator,
        tree: &mut Tree,
    ) -> Result<Choice, ResolveError> {
        let variable = operator.variable(&format!("{}_VERSION", self.name.to_uppercase()));
        let variable =
            variable.map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty());
        // A job may have made any of these files: what is no file, or lies behind a link of its own, names nothing.
        let above = operator.directory.ancestors().map(|above| above.join(self.file));
        let mut files = above.chain([self.root.join("version")]);
        let in_file = || {
            files.find_map(|file| {
                let text = tree.read(&file, &Chooser::Operator, MAX_VERSIONS)?;
                String::from_utf8(text).ok()
            })
        };
        let text = variable.or_else(in_file).unwrap_or_else(|| "system".to_owned());
        for version in text.split([':', '\n', ' ']).map(str::trim).filter(|version| !version.is_empty()) {
            if version == "system" {
                return Ok(Choice::System);
            }
            // The file may be the workspace's: a version is a name, never a path out of the manager's directory.
            let is_name = !version.contains('/') && version != "..";
            let path = self.root.join("versions").join(version).join("bin").join(program);
            if is_name && is_executable(&path, tree) {
                return Ok(Choice::Program(path));
            }
        }
        let cure = format!("`{} which {program}` prints it, or says what is wrong", self.name);
        Err(ResolveError::StandIn { path: path.to_owned(), manager: self.name.to_owned(), cure })
    }
}

/// Programs that look at the name by which they are called and start another one.
const STAND_INS: &[(&str, &str)] = &[
    ("mise", "mise which"),
    ("rustup", "rustup which"),
    ("volta-shim", "volta which"),
    ("snap", "ls /snap/*/current/bin/"),
];

/// Refuses a path at which another program than the wanted one lies.
pub(super) fn genuine(path: &Path, real: &Path) -> Result<(), ResolveError> {
    let (name, real) = (path.file_name().unwrap_or_default(), real.file_name().unwrap_or_default());
    match STAND_INS.iter().find(|(manager, _)| OsStr::new(manager) == real && name != real) {
        Some((manager, command)) => {
            let cure = format!("`{command} {}` prints it", name.to_string_lossy());
            Err(ResolveError::StandIn { path: path.to_owned(), manager: (*manager).to_owned(), cure })
        }
        None => Ok(()),
    }
}

/// The programs that a script's first line names: the interpreter, and what `env` would start.
pub(super) fn interpreters(line: &[String]) -> Vec<String> {
    let Some(interpreter) = line.first() else { return Vec::new() };
    let mut programs = vec![interpreter.clone()];
    if Path::new(interpreter).file_name() == Some(OsStr::new("env"))
        && let Some(argument) = line.get(1)
    {
        // The kernel gives env one argument; env -S splits it itself.
        let is_operand = |word: &&str| !word.starts_with('-') && !word.contains('=');
        let split = argument.starts_with("-S") || argument.starts_with("--split-string");
        let text =
            argument.trim_start_matches("--split-string").trim_start_matches("-S").trim_start_matches('=');
        let mut words = text.split_whitespace();
        let program = if split { words.find(is_operand) } else { Some(argument.as_str()).filter(is_operand) };
        programs.extend(program.map(str::to_owned));
    }
    programs
}
