//! The specification of one jail: what `NAME.json` holds, what the flags of `jail run` add to, what Nix renders.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use policy::{Authority, HostPattern, Rule};
use proxy::swap::{Place, PlaceError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cli;
use crate::quantity::{Bytes, Span};
use crate::secrets::Source;

/// The version of this format.
pub(crate) const VERSION: u32 = 1;

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
    /// be missing, `@shell` a shell with the usual small tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) programs: Vec<String>,
    /// Store paths that are in the jail; what Nix renders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) closure: Option<ClosureSpec>,
    /// What the job may do on the network, in order: the first rule that matches decides, none means deny.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rules: Vec<Rule>,
    /// The secrets that the job uses without having them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) credentials: Vec<CredentialSpec>,
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
    /// What becomes of the job's home directory.
    #[serde(default)]
    pub(crate) home: Home,
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

/// A secret that the job uses without having it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct CredentialSpec {
    /// The variable that holds the dummy inside.
    pub(crate) variable: String,
    /// Where the real one is, in order: the first that exists is used.
    #[schemars(with = "Vec<String>")]
    pub(crate) sources: Vec<Source>,
    /// The hosts that get the real one. Where rules name the credential, it goes by those rules only, and their hosts
    /// are its hosts too. An optional one without hosts is there for rules that name it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) hosts: Vec<HostPattern>,
    /// Header names that carry it, beside the well-known ones (`Authorization`, `x-api-key` …).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) headers: Vec<String>,
    /// Query parameters that carry it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) query_parameters: Vec<String>,
    /// Where it stands in a request, in place of the well-known headers: `header:NAME`, `header:NAME: Token token={}`,
    /// `basic:user`, `basic:password`, `query:NAME`, `cookie:NAME`, `aws:access-key-id`, `aws:secret-access-key`,
    /// `aws:session-token`, and `well-known` for those headers.
    #[schemars(with = "Vec<String>")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) inject: Vec<Place>,
    /// Credentials of one group are alternatives: the first that is found is used, the others' variables stay unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    /// How the login that a source holds is renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) oauth: Option<OauthSpec>,
    /// Whether the job starts without it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) optional: bool,
    /// Whether the job may use keys of its own towards these hosts.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) allow_foreign: bool,
    /// Whether the real token is swapped back for the dummy in answers.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub(crate) redact: bool,
}

/// A login with a refresh token (OAuth 2.0), in JSON. The proxy renews it before it expires and writes it back.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct OauthSpec {
    /// The JSON pointer of the access token: a `file:` or `keyring:` source that ends in it holds such a login, others
    /// are used as they are.
    pub(crate) token: String,
    /// The JSON pointer of the refresh token.
    pub(crate) refresh: String,
    /// The JSON pointer of the time at which the access token expires (seconds or milliseconds since 1970).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expiry: Option<String>,
    /// The URL that gives new tokens (https).
    pub(crate) endpoint: String,
    /// The client id that the login was made with.
    pub(crate) client_id: String,
    /// The variable that holds a dummy of the refresh token inside, for programs that renew by themselves: the proxy
    /// answers them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_variable: Option<String>,
    /// What makes a new login on the host, for errors: `claude /login`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cure: Option<String>,
}

impl OauthSpec {
    /// The server of `endpoint`, and the path there.
    pub(crate) fn server(&self) -> Result<(Authority, String), String> {
        let error =
            |why: String| format!("oauth.endpoint {:?}: {why}; write https://HOST/PATH", self.endpoint);
        let rest =
            self.endpoint.strip_prefix("https://").ok_or_else(|| error("it is not https".to_owned()))?;
        let (authority, path) = rest.split_once('/').ok_or_else(|| error("it has no path".to_owned()))?;
        let authority = Authority::parse(authority, Some(443)).map_err(|why| error(why.to_string()))?;
        if path.bytes().any(|byte| !byte.is_ascii_graphic() || b"?#%\\".contains(&byte)) {
            return Err(error("its path is not plain".to_owned()));
        }
        Ok((authority, format!("/{path}")))
    }
}

/// A file or directory of the host that is in the jail.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct BindSpec {
    /// On the host; `~/` is the operator's home.
    pub(crate) source: PathBuf,
    /// In the jail; the same path if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<PathBuf>,
    /// Whether the job may write to it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) writable: bool,
}

/// A closure of the Nix store: the jail sees these store paths and no others.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ClosureSpec {
    /// A file that lists the store paths, one per line (`store-paths` of `pkgs.closureInfo`).
    pub(crate) store_paths: PathBuf,
    /// The directories of these store paths that hold programs, for `PATH`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) path: Vec<PathBuf>,
    /// Variables of a dev shell; the jail's own (`HOME`, `PATH`, certificates …) stay as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) environment: BTreeMap<String, String>,
}

/// Which protections are weakened, each by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct HardeningSpec {
    /// What the job may do that jobs usually may not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) allow: Vec<Allowance>,
}

/// Something that a protection keeps from jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Allowance {
    /// Memory that is writable and executable, which just-in-time compilers need (Node, Java). Only services forbid it.
    WritableExecutableMemory,
    /// User namespaces beneath the jail's, with mounts in them: sandboxes of browsers, bubblewrap. Goes without Landlock.
    NestedUserNamespaces,
    /// Priorities and placement of processes (`nice`, `taskset`, real time). Only services forbid it.
    Scheduling,
    /// Files with set-user-id or set-group-id bits.
    SetUserIdFiles,
}

impl Allowance {
    /// In words, after "may have".
    pub(crate) fn words(self) -> &'static str {
        match self {
            Allowance::WritableExecutableMemory => "writable and executable memory",
            Allowance::NestedUserNamespaces => "user namespaces of its own, with mounts, and no Landlock",
            Allowance::Scheduling => "priorities and placement of processes",
            Allowance::SetUserIdFiles => "set-user-id files",
        }
    }
}

/// The proxy's way to the outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct UpstreamSpec {
    /// Certificates of upstream servers to trust beside the system's (PEM files).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ca: Vec<PathBuf>,
    /// The HTTP proxy behind which the outside is, as `[http://]HOST:PORT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxy: Option<String>,
    /// `HOST:PORT:ADDRESS:PORT`: this host and port is at that address, past resolver and address guard.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) connect_to: Vec<String>,
}

/// How a jail runs as a service of the system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct ServiceSpec {
    /// The directory it works in; none means no workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workspace: Option<PathBuf>,
    /// The user whom it runs as, for whom the workspace's files are; none means a user that exists for it alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
}

/// How the job sees its workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WorkspaceMode {
    /// Read-only.
    Ro,
    /// Read-write, but for the files that run later on the host.
    #[default]
    Rw,
    /// Read-write on a layer of the job's own; the workspace itself does not change.
    Overlay,
}

/// What becomes of the job's home directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Home {
    /// Empty at the start, gone at the end.
    #[default]
    Ephemeral,
    /// Kept per jail in the operator's state directory.
    Persistent,
}

/// Who makes the jail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BackendName {
    /// The platform's default; never a weaker one because the default is unavailable.
    #[default]
    Auto,
    /// Linux namespaces, made by the operator's own user.
    Native,
    /// The same in a unit of systemd: the system's for root, the user's own for anybody else.
    Systemd,
    /// A container of Docker on this host.
    Docker,
    /// A container of Podman on this host.
    Podman,
    /// Apple's sandbox, by a profile made for the job (macOS).
    Seatbelt,
}

impl std::fmt::Display for BackendName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            BackendName::Auto => "auto",
            BackendName::Native => "native",
            BackendName::Systemd => "systemd",
            BackendName::Docker => "docker",
            BackendName::Podman => "podman",
            BackendName::Seatbelt => "seatbelt",
        })
    }
}

/// What the job may use up; what is left out is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct LimitsSpec {
    /// Memory, e.g. `4G`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<Bytes>,
    /// CPUs' worth of time, e.g. 1.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpus: Option<f64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pids: Option<u64>,
    /// Wall-clock time, e.g. `2h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<Span>,
    /// By how much the free space of the disks that the job writes to may shrink while it runs, e.g. `20G`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disk: Option<Bytes>,
    /// Bytes per second to read, and as many to write, on the workspace's disk, e.g. `20M`. Services only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) io: Option<Bytes>,
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
    ("gemini", include_str!("../presets/gemini.json")),
    ("opencode", include_str!("../presets/opencode.json")),
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
            closure: None,
            rules: Vec::new(),
            credentials: Vec::new(),
            // The one locale that needs no files of the host.
            environment: BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]),
            pass_environment: ["TERM", "COLORTERM", "NO_COLOR", "TZ"].map(str::to_owned).to_vec(),
            workspace_mode: WorkspaceMode::default(),
            protect: Vec::new(),
            home: Home::default(),
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
        let text = std::fs::read_to_string(path)
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

    /// What serde cannot see: names, variables, references.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if !is_name(&self.name) {
            return Err(format!(
                "{:?} is not a jail's name; use letters, digits, `-`, `_` and `.`, starting with a letter or digit",
                self.name
            ));
        }
        let credentials = self.credentials.iter().map(|credential| &credential.variable);
        let of_closure = self.closure.iter().flat_map(|closure| closure.environment.keys());
        let variables =
            self.environment.keys().chain(&self.pass_environment).chain(credentials).chain(of_closure);
        for variable in variables {
            if !is_variable(variable) {
                return Err(format!("{variable:?} is not a variable's name; use letters, digits and `_`"));
            }
        }
        if let Some(closure) = &self.closure {
            let mut paths = std::iter::once(&closure.store_paths).chain(&closure.path);
            if let Some(path) = paths.find(|path| !path.is_absolute()) {
                return Err(format!("closure: {} must be an absolute path", path.display()));
            }
        }
        for (position, credential) in self.credentials.iter().enumerate() {
            let variable = &credential.variable;
            if self.credentials[..position].iter().any(|earlier| earlier.variable == *variable) {
                return Err(format!(
                    "credential {variable} is declared twice; give it several sources instead"
                ));
            }
            if self.environment.contains_key(variable) || self.pass_environment.contains(variable) {
                return Err(format!(
                    "{variable} is a credential and also a plain variable: the real value would be in the jail; remove the variable"
                ));
            }
            credential.places().map_err(|error| format!("credential {variable}: {error}"))?;
            let by_rule = self.rules.iter().any(|rule| rule.credential() == Some(variable));
            // An optional one may wait for a rule of the command line.
            let goes_nowhere = credential.hosts.is_empty() && !by_rule && !credential.optional;
            if credential.sources.is_empty() || goes_nowhere {
                return Err(format!(
                    "credential {variable} needs at least one source, and hosts (or a rule that names the credential)"
                ));
            }
        }
        self.credentials.iter().try_for_each(|credential| self.validate_oauth(credential))?;
        self.upstream.proxy().and_then(|_| self.upstream.connect_to())?;
        if let Some(service) = &self.service {
            if let Some(path) = service.workspace.iter().find(|path| !path.is_absolute()) {
                return Err(format!("service.workspace: {} must be an absolute path", path.display()));
            }
            if service.user.as_deref().is_some_and(|user| !is_user(user)) {
                return Err("service.user must be the name of an ordinary user, not root".to_owned());
            }
        }
        if let Some(path) = self.protect.iter().find(|path| !is_inside(path)) {
            return Err(format!("protect: {} must be a relative path without `..`", path.display()));
        }
        for rule in &self.rules {
            if let Some(name) = rule.credential()
                && !self.credentials.iter().any(|credential| credential.variable == name)
            {
                return Err(format!("a rule names credential {name}, which is not declared"));
            }
        }
        if let Some(cpus) = self.limits.cpus
            && !(cpus.is_finite() && cpus > 0.0)
        {
            return Err(format!("limits.cpus: {cpus} must be more than 0"));
        }
        Ok(())
    }

    fn validate_oauth(&self, credential: &CredentialSpec) -> Result<(), String> {
        let (name, Some(oauth)) = (&credential.variable, &credential.oauth) else { return Ok(()) };
        oauth.server().map_err(|error| format!("credential {name}: {error}"))?;
        for pointer in [&oauth.token, &oauth.refresh].into_iter().chain(&oauth.expiry) {
            if !pointer.starts_with('/') {
                return Err(format!(
                    "credential {name}: oauth: {pointer:?} is not a JSON pointer; it starts with /"
                ));
            }
        }
        if !credential.sources.iter().any(|source| source.pointer.as_ref() == Some(&oauth.token)) {
            return Err(format!(
                "credential {name}: no source ends in #{}, the pointer of oauth.token; add it to the one that holds the login",
                oauth.token
            ));
        }
        let Some(variable) = &oauth.refresh_variable else { return Ok(()) };
        let is_taken = self.credentials.iter().any(|other| other.variable == *variable)
            || self.environment.contains_key(variable)
            || self.pass_environment.contains(variable);
        if is_taken || !is_variable(variable) {
            return Err(format!(
                "credential {name}: oauth.refreshVariable {variable:?} must be a variable that nothing else sets"
            ));
        }
        Ok(())
    }
}

impl CredentialSpec {
    /// Where it stands in a request.
    pub(crate) fn places(&self) -> Result<Vec<Place>, PlaceError> {
        let mut places = match &self.inject[..] {
            [] => vec![Place::WellKnown],
            declared => declared.to_vec(),
        };
        let more = self.headers.iter().map(|name| Place::header(name));
        let parameters = self.query_parameters.iter().map(|name| format!("query:{name}").parse());
        for place in more.chain(parameters) {
            let place = place?;
            if !places.contains(&place) {
                places.push(place);
            }
        }
        Ok(places)
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

pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

pub(crate) fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// What useradd(8) takes by default; a jail never is root's.
fn is_user(name: &str) -> bool {
    name != "root"
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}

fn is_inside(path: &Path) -> bool {
    use std::path::Component;
    path.components().next().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)))
}

// serde asks for functions of exactly these shapes.
fn is_false(value: &bool) -> bool {
    !*value
}

fn is_true(value: &bool) -> bool {
    *value
}

fn yes() -> bool {
    true
}

impl HardeningSpec {
    fn is_empty(&self) -> bool {
        *self == HardeningSpec::default()
    }
}

impl UpstreamSpec {
    fn is_empty(&self) -> bool {
        *self == UpstreamSpec::default()
    }

    /// What `proxy` says.
    pub(crate) fn proxy(&self) -> Result<Option<Authority>, String> {
        let proxy = self.proxy.as_deref().map(cli::upstream_proxy).transpose();
        proxy.map_err(|error| format!("upstream.proxy: {error}"))
    }

    /// What `connectTo` says.
    pub(crate) fn connect_to(&self) -> Result<Vec<(Authority, SocketAddr)>, String> {
        let connect_to = self.connect_to.iter().map(|text| cli::connect_to(text)).collect::<Result<_, _>>();
        connect_to.map_err(|error| format!("upstream.connectTo: {error}"))
    }
}

impl LimitsSpec {
    fn is_empty(&self) -> bool {
        *self == LimitsSpec::default()
    }
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
