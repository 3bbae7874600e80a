//! `--toolchain LANGUAGE`: the version of a language that the operator's version manager gives, read-only. Its caches are the
//! job's own, in the jail's home.
//!
//! Which version that is, the manager's own files say, and the operator's variable. Files of a workspace
//! (`rust-toolchain.toml`, `.python-version`, `.nvmrc`) have no say: a job may have written them. Nothing is taken from where
//! jobs can write, now or earlier.

use std::path::{Path, PathBuf};

use sandbox::beneath::{Budget, Kind, Limits};

use super::choice::{Chooser, Role};
use super::system::over;
use super::tree::Located;
use super::{Host, MAX_SCANNING_TIME, Presence, ResolveError};
use crate::spec::Language;
use crate::written;

/// Programs of a language that are there without a version manager, too.
fn usual_programs(language: Language) -> &'static [&'static str] {
    match language {
        Language::Rust => &["rustc", "cargo", "rustfmt?", "cargo-clippy?", "clippy-driver?", "rustdoc?"],
        Language::Node => &["node", "npm?", "npx?", "corepack?"],
        Language::Python => &["python3", "pip3?"],
        Language::Go => &["go", "gofmt?"],
        Language::Java => &["java", "javac?"],
    }
}

/// A version manager, as data.
struct Manager {
    name: &'static str,
    language: Language,
    /// The variable that names its directory.
    root: &'static str,
    /// Its directory below the operator's home, without the variable.
    usual: &'static str,
    /// The operator's variable that names a version.
    version: Option<&'static str>,
    default: DefaultVersion,
    /// The directory of the versions, and what lies between the directory of one and its `bin`.
    versions: &'static str,
    inside: &'static str,
}

/// Where a manager keeps its default version.
enum DefaultVersion {
    /// The first line of a file; a part of a version (`20`) is the newest that starts so.
    Line(&'static str),
    /// A key at the top of a TOML file.
    Toml(&'static str, &'static str),
    /// A pointer into a JSON file.
    Json(&'static str, &'static str),
    /// A link to the version's directory, which is in [`Manager::versions`].
    Link(&'static str),
    /// Nowhere: the newest is meant.
    Newest,
}

const MANAGERS: &[Manager] = &[
    Manager {
        name: "rustup",
        language: Language::Rust,
        root: "RUSTUP_HOME",
        usual: ".rustup",
        version: Some("RUSTUP_TOOLCHAIN"),
        default: DefaultVersion::Toml("settings.toml", "default_toolchain"),
        versions: "toolchains",
        inside: "",
    },
    Manager {
        name: "nvm",
        language: Language::Node,
        root: "NVM_DIR",
        usual: ".nvm",
        version: None,
        default: DefaultVersion::Line("alias/default"),
        versions: "versions/node",
        inside: "",
    },
    Manager {
        name: "fnm",
        language: Language::Node,
        root: "FNM_DIR",
        usual: ".local/share/fnm",
        version: None,
        default: DefaultVersion::Link("aliases/default"),
        versions: "node-versions",
        inside: "installation",
    },
    Manager {
        name: "Volta",
        language: Language::Node,
        root: "VOLTA_HOME",
        usual: ".volta",
        version: None,
        default: DefaultVersion::Json("tools/user/platform.json", "/node/runtime"),
        versions: "tools/image/node",
        inside: "",
    },
    Manager {
        name: "nodenv",
        language: Language::Node,
        root: "NODENV_ROOT",
        usual: ".nodenv",
        version: Some("NODENV_VERSION"),
        default: DefaultVersion::Line("version"),
        versions: "versions",
        inside: "",
    },
    Manager {
        name: "pyenv",
        language: Language::Python,
        root: "PYENV_ROOT",
        usual: ".pyenv",
        version: Some("PYENV_VERSION"),
        default: DefaultVersion::Line("version"),
        versions: "versions",
        inside: "",
    },
    Manager {
        name: "uv",
        language: Language::Python,
        root: "UV_PYTHON_INSTALL_DIR",
        usual: ".local/share/uv/python",
        version: None,
        default: DefaultVersion::Newest,
        versions: "",
        inside: "",
    },
    Manager {
        name: "goenv",
        language: Language::Go,
        root: "GOENV_ROOT",
        usual: ".goenv",
        version: Some("GOENV_VERSION"),
        default: DefaultVersion::Line("version"),
        versions: "versions",
        inside: "",
    },
    Manager {
        name: "SDKMAN!",
        language: Language::Java,
        root: "SDKMAN_DIR",
        usual: ".sdkman",
        version: None,
        default: DefaultVersion::Link("candidates/java/current"),
        versions: "candidates/java",
        inside: "",
    },
];

/// Settings that package managers keep in a toolchain, tokens for registries among them.
const SETTINGS: [&str; 5] =
    ["etc/npmrc", "lib/node_modules/npm/npmrc", "lib/node_modules/npm/.npmrc", "pip.conf", "etc/pip.conf"];

/// The most bytes of a file that names a version.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// Maximum number of versions of one manager, and of programs of one version.
const MAX_ENTRIES: usize = 4096;

/// Adds the toolchain of a language: that of the first version manager which has one, or else the operator's own programs.
pub(super) fn add(host: &mut Host<'_>, language: Language) -> Result<(), ResolveError> {
    for manager in MANAGERS.iter().filter(|manager| manager.language == language) {
        if let Some(toolchain) = manager.toolchain(host)? {
            tracing::debug!(manager = manager.name, path = %toolchain.path.display(), "toolchain");
            return install(host, language, &toolchain);
        }
    }
    for program in usual_programs(language) {
        match program.strip_suffix('?') {
            Some(program) => host.program(program, Presence::Optional)?,
            None => host.program(program, Presence::Required).map_err(|error| missing(language, error))?,
        }
    }
    Ok(())
}

fn missing(language: Language, error: ResolveError) -> ResolveError {
    let ResolveError::NotFound { name, looked } = error else { return error };
    let managers: Vec<_> =
        MANAGERS.iter().filter(|manager| manager.language == language).map(|manager| manager.name).collect();
    let looked = format!("{looked}, and where {} keep versions", managers.join(", "));
    ResolveError::NotFound { name, looked }
}

impl Manager {
    /// The directory of the version that the manager gives, with `bin` in it; `None` where there is no such manager.
    fn toolchain(&self, host: &mut Host<'_>) -> Result<Option<Located>, ResolveError> {
        let operator = host.operator;
        let root = operator.variable(self.root).map(PathBuf::from).filter(|root| root.is_absolute());
        let root = root.unwrap_or_else(|| operator.home.join(self.usual));
        let versions = root.join(self.versions);
        let Some(directory) = host.tree.locate(&versions, &Chooser::Operator)?.filter(Located::is_directory)
        else {
            return Ok(None);
        };
        refuse_written(host, &directory)?;
        let mut names = names(host, &directory)?;
        names.sort_by_cached_key(|name| numbers(name));
        let chosen = self.version.and_then(|variable| operator.variable(variable)?.to_str());
        let chosen = match chosen.map(str::to_owned).filter(|version| !version.is_empty()) {
            Some(version) => Some(version),
            None => self.default_version(host, &root)?,
        };
        if chosen.as_deref() == Some("system") {
            return Ok(None);
        }
        let name = match &chosen {
            Some(chosen) => named(&names, chosen),
            None => names.last(),
        };
        let Some(name) = name else { return Ok(None) };
        let found = host.tree.locate(&versions.join(name).join(self.inside), &Chooser::Operator)?;
        let Some(found) = found.filter(Located::is_directory) else { return Ok(None) };
        refuse_written(host, &found)?;
        Ok(host.tree.exists(&found.path.join("bin")).then_some(found))
    }

    fn default_version(&self, host: &mut Host<'_>, root: &Path) -> Result<Option<String>, ResolveError> {
        let (DefaultVersion::Line(file)
        | DefaultVersion::Toml(file, _)
        | DefaultVersion::Json(file, _)
        | DefaultVersion::Link(file)) = self.default
        else {
            return Ok(None);
        };
        let Some(found) = host.tree.locate(&root.join(file), &Chooser::Operator)? else { return Ok(None) };
        refuse_written(host, &found)?;
        if matches!(self.default, DefaultVersion::Link(_)) {
            let version = without_end(&found.path, self.inside);
            return Ok(version.and_then(|path| Some(path.file_name()?.to_str()?.to_owned())));
        }
        let Some(text) = host.tree.read(&root.join(file), &Chooser::Operator, MAX_FILE_BYTES) else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&text);
        Ok(match self.default {
            DefaultVersion::Toml(_, key) => text
                .parse::<toml_edit::DocumentMut>()
                .ok()
                .and_then(|document| document.get(key)?.as_str().map(str::to_owned)),
            DefaultVersion::Json(_, pointer) => serde_json::from_str::<serde_json::Value>(&text)
                .ok()
                .and_then(|value| value.pointer(pointer)?.as_str().map(str::to_owned)),
            DefaultVersion::Line(_) | DefaultVersion::Link(_) | DefaultVersion::Newest => {
                text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
            }
        })
    }
}

/// The path without these last components; `None` if it does not end with them.
fn without_end<'a>(path: &'a Path, end: &str) -> Option<&'a Path> {
    match end {
        "" => Some(path),
        end if path.ends_with(end) => path.ancestors().nth(Path::new(end).components().count()),
        _ => None,
    }
}

/// The version of this name, else the newest that starts with it as a part (`20`, `v20`), else, where the manager names what
/// is no version (`node`, `lts/*`), the newest.
fn named<'a>(names: &'a [String], chosen: &str) -> Option<&'a String> {
    let bare = chosen.trim_start_matches('v');
    let starts = |name: &str| {
        let rest = name.trim_start_matches('v').strip_prefix(bare);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
    };
    names
        .iter()
        .find(|name| *name == chosen)
        .or_else(|| names.iter().rev().find(|name| starts(name)))
        .or_else(|| {
            names.last().filter(|_| ["node", "stable"].contains(&chosen) || chosen.starts_with("lts/"))
        })
}

/// The numbers in a version, by which the newer one is the greater.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|it: char| !it.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// Refuses a path in a directory that jobs can or could write, a path reached through a link in one, and a path that
/// contains one.
fn refuse_written(host: &Host<'_>, found: &Located) -> Result<(), ResolveError> {
    let refused = || ResolveError::JobChosen { path: found.asked().to_owned(), real: found.path.clone() };
    let places = written::places(host.operator).map_err(|_| refused())?;
    let passes = |place: &PathBuf| {
        found.path.starts_with(place)
            || place.starts_with(&found.path)
            || found.links().any(|link| link.starts_with(place))
    };
    if found.chooser != Chooser::Operator || places.iter().any(passes) {
        return Err(refused());
    }
    Ok(())
}

fn names(host: &Host<'_>, directory: &Located) -> Result<Vec<String>, ResolveError> {
    let mut budget = Budget::new(Limits { entries: MAX_ENTRIES, depth: 0, time: MAX_SCANNING_TIME });
    let entries = host.tree.list(&directory.path, &mut budget);
    let entries = entries
        .map_err(|error| super::unreadable(&directory.path, std::io::Error::other(error.to_string())))?;
    let names =
        entries.into_iter().filter(|(_, kind)| matches!(kind, Kind::Directory | Kind::Link | Kind::File));
    Ok(names.filter_map(|(name, _)| name.into_string().ok()).filter(|name| !name.starts_with('.')).collect())
}

/// Adds a toolchain: all of it, the libraries that its programs and modules need, and its programs on `PATH` before others.
fn install(host: &mut Host<'_>, language: Language, toolchain: &Located) -> Result<(), ResolveError> {
    host.tree.admit(toolchain, Role::Data)?;
    host.directory(toolchain)?;
    let settings = SETTINGS.map(|name| toolchain.path.join(name));
    host.hidden.extend(settings.into_iter().filter(|path| path.is_file()).map(|path| over(path, Kind::File)));
    let programs = toolchain.path.join("bin");
    let Some(located) = host.tree.locate(&programs, &Chooser::Operator)?.filter(Located::is_directory) else {
        return Ok(());
    };
    for name in names(host, &located)? {
        host.module(&programs.join(&name), &Chooser::Operator);
        host.names.insert(name.into());
    }
    host.path.retain(|known| *known != programs);
    host.path.insert(0, programs);
    // Interpreters of the scripts among them.
    for program in ["env", "sh"] {
        host.program(program, Presence::Optional)?;
    }
    match language {
        // Another version than this one is not there, and is not fetched.
        Language::Go => host.environment.push(("GOTOOLCHAIN".into(), "local".into())),
        Language::Java => {
            host.java = true;
            host.environment.push(("JAVA_HOME".into(), toolchain.path.clone().into_os_string()));
        }
        Language::Rust | Language::Node | Language::Python => {}
    }
    Ok(())
}

#[cfg(test)]
#[path = "toolchain_tests.rs"]
mod tests;
