//! The specification of one jail: what `NAME.json` holds, what the flags of `jail run` add to, what Nix renders.

mod home;
mod parts;
mod validate;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use policy::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rule_sets;

pub(crate) use home::{Home, HomeSpec, Piece, SeedSpec, in_home, template};
pub(crate) use parts::{
    Allowance, BackendName, BindSpec, ClosureSpec, CredentialSpec, GatewaySpec, HardeningSpec, Language,
    LimitsSpec, ServiceSpec, UpstreamSpec, WorkspaceMode,
};
pub(crate) use validate::{is_name, is_variable};

/// The version of this format.
pub(crate) const VERSION: u32 = 1;
/// The largest file that is read as a specification.
pub(crate) const MAX_BYTES: u64 = 4 << 20;

/// One jail.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct JailSpec {
    /// The version of this format: 1.
    pub(crate) version: u32,
    /// The jail's name; the file's name is `NAME.json`.
    pub(crate) name: String,
    /// One line for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    /// The command and its first arguments; the words of the command line come after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) command: Vec<String>,
    /// Programs of the host (names or paths) that are in the jail, with what they need to run. `NAME?` is one that may
    /// be missing, `@shell` a shell with the usual small tools, `@system` all of the host's `/usr` (read-only; the same as
    /// `@shell` where a host has no programs there).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) programs: Vec<String>,
    /// Languages whose version manager's default version is in the jail, read-only: rustup, nvm, fnm, Volta, nodenv, pyenv,
    /// uv, goenv, SDKMAN!; where there is none, the language's programs on `PATH`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) toolchains: Vec<Language>,
    /// Store paths that are in the jail; what Nix renders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) closure: Option<ClosureSpec>,
    /// What the job may do on the network, in order: the first rule that matches decides, none means deny. `@NAME` stands
    /// for the rules of a named set (`jail rules`).
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "rule_sets::deserialize")]
    pub(crate) rules: Vec<Rule>,
    /// What the project's file adds to them.
    #[serde(skip)]
    pub(crate) project_rules: ProjectRules,
    /// The secrets that the job uses without having them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) credentials: Vec<CredentialSpec>,
    /// Other ways to the API of the agent's model, which the operator's environment chooses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) gateways: Vec<GatewaySpec>,
    /// Variables of the jail.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) environment: BTreeMap<String, String>,
    /// Variables taken over from the operator's environment where they are set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pass_environment: Vec<String>,
    /// How the job sees its workspace.
    #[serde(default)]
    pub(crate) workspace_mode: WorkspaceMode,
    /// Files of the workspace that run later on the host, protected beside the built-in list; relative paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) protect: Vec<PathBuf>,
    /// The job's home directory.
    #[serde(default)]
    pub(crate) home: HomeSpec,
    /// Further files and directories of the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) binds: Vec<BindSpec>,
    /// What the job may use up.
    #[serde(default, skip_serializing_if = "LimitsSpec::is_empty")]
    pub(crate) limits: LimitsSpec,
    /// Who makes the jail.
    #[serde(default)]
    pub(crate) backend: BackendName,
    /// Which protections are weakened.
    #[serde(default, skip_serializing_if = "HardeningSpec::is_empty")]
    pub(crate) hardening: HardeningSpec,
    /// The proxy's way to the outside.
    #[serde(default, skip_serializing_if = "UpstreamSpec::is_empty")]
    pub(crate) upstream: UpstreamSpec,
    /// How it runs as a service of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<ServiceSpec>,
}

/// What a project adds to the rules of a jail. The first rule that matches decides: what the project denies comes before
/// the rules of the jail, what it allows comes after them, so that no project file allows what the jail denies.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProjectRules {
    pub(crate) denied: Vec<Rule>,
    pub(crate) allowed: Vec<Rule>,
}

/// Why a file is not a specification.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is JSON of another shape, or not JSON.
    #[error("{file}: at {location}: {message}")]
    Shape {
        /// The file's name.
        file: String,
        /// The JSON path.
        location: String,
        /// What is wrong there.
        message: String,
    },
    /// Another version of the format.
    #[error("{file} is of version {found}, this jail reads version {VERSION}; update the one that is older")]
    Version {
        /// The file's name.
        file: String,
        /// The version it says.
        found: u64,
    },
    /// A value that fits its type and still makes no sense.
    #[error("{file}: {message}")]
    Value {
        /// The file's name.
        file: String,
        /// What, and the cure.
        message: String,
    },
    /// No jail of that name.
    #[error(
        "there is no jail {name:?}; looked in {looked}. Ready-made jails: {known}. To run a program of this host: jail run --host PROGRAM -- PROGRAM"
    )]
    Unknown {
        /// The name.
        name: String,
        /// The directories.
        looked: String,
        /// The built-in names.
        known: String,
    },
}

/// The jails that come with the program.
const PRESETS: &[(&str, &str)] = &[
    ("claude", include_str!("../presets/claude.json")),
    ("codex", include_str!("../presets/codex.json")),
    ("copilot", include_str!("../presets/copilot.json")),
    ("gemini", include_str!("../presets/gemini.json")),
    ("opencode", include_str!("../presets/opencode.json")),
    ("pi", include_str!("../presets/pi.json")),
    ("qwen", include_str!("../presets/qwen.json")),
    ("shell", include_str!("../presets/shell.json")),
];

impl JailSpec {
    /// A jail with nothing in it and no way out: what `jail run` without a NAME starts from.
    pub(crate) fn empty() -> JailSpec {
        JailSpec {
            version: VERSION,
            name: "job".to_owned(),
            description: String::new(),
            command: Vec::new(),
            programs: Vec::new(),
            toolchains: Vec::new(),
            closure: None,
            rules: Vec::new(),
            project_rules: ProjectRules::default(),
            credentials: Vec::new(),
            gateways: Vec::new(),
            // The one locale that needs no files of the host.
            environment: BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]),
            pass_environment: ["TERM", "COLORTERM", "NO_COLOR", "TZ"].map(str::to_owned).to_vec(),
            workspace_mode: WorkspaceMode::default(),
            protect: Vec::new(),
            home: HomeSpec::default(),
            binds: Vec::new(),
            limits: LimitsSpec::default(),
            backend: BackendName::default(),
            hardening: HardeningSpec::default(),
            upstream: UpstreamSpec::default(),
            service: None,
        }
    }

    /// Finds the jail `name`: in the directories given, in order, then among the ready-made ones.
    ///
    /// The workspace is never looked at: a job could put a jail of its own there.
    pub(crate) fn find(name: &str, directories: &[PathBuf]) -> Result<JailSpec, SpecError> {
        // A name is a file name, so that `jail ../x` never reads a file beside the directories.
        if is_name(name) {
            for directory in directories {
                let path = directory.join(format!("{name}.json"));
                if path.is_file() {
                    return JailSpec::load(&path);
                }
            }
            if let Some((file, text)) = PRESETS.iter().find(|(preset, _)| *preset == name) {
                return JailSpec::parse(text, file);
            }
        }
        Err(SpecError::Unknown {
            name: name.to_owned(),
            looked: directories.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
            known: PRESETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
        })
    }

    /// Reads the file at `path`.
    pub(crate) fn load(path: &Path) -> Result<JailSpec, SpecError> {
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
            .and_then(|read| {
                let is_read = u64::try_from(read).is_ok_and(|read| read <= MAX_BYTES);
                is_read.then_some(()).ok_or_else(|| std::io::ErrorKind::FileTooLarge.into())
            })
            .map_err(|error| SpecError::Read { path: path.to_owned(), error })?;
        JailSpec::parse(&text, &path.display().to_string())
    }

    /// Reads a text; `file` is its name in errors.
    pub(crate) fn parse(text: &str, file: &str) -> Result<JailSpec, SpecError> {
        // The version first: a file of another version has other fields, and its errors would mislead.
        #[derive(Deserialize)]
        struct Versioned {
            version: Option<u64>,
        }
        if let Ok(Versioned { version: Some(found) }) = serde_json::from_str(text)
            && found != u64::from(VERSION)
        {
            return Err(SpecError::Version { file: file.to_owned(), found });
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let spec: JailSpec =
            serde_path_to_error::deserialize(&mut json).map_err(|error| SpecError::Shape {
                file: file.to_owned(),
                location: error.path().to_string(),
                message: error.inner().to_string(),
            })?;
        json.end().map_err(|error| SpecError::Shape {
            file: file.to_owned(),
            location: "its end".to_owned(),
            message: error.to_string(),
        })?;
        spec.validate().map_err(|message| SpecError::Value { file: file.to_owned(), message })?;
        Ok(spec)
    }
}

/// The directories in which jails are looked for: `JAIL_PATH`, the system's, the operator's.
pub(crate) fn directories(jail_path: Option<&std::ffi::OsStr>, config_home: Option<&Path>) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = jail_path
        .map(|path| std::env::split_paths(path).filter(|path| path.is_absolute()).collect())
        .unwrap_or_default();
    directories.push(PathBuf::from("/etc/nix-jail"));
    directories.extend(config_home.map(|path| path.join("nix-jail")));
    directories
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
