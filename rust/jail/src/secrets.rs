//! Where the real tokens come from, and what the job sees instead of them.

mod command;
pub(crate) mod dummy;
mod file;
mod keyring;
mod live;
mod login;
mod names;
pub(crate) mod prompt;
mod replacement;
mod source;
mod value;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use sandbox::backend::{Finding, State};

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::operator::Operator;
use sandbox::host_program::HostPrograms;

pub(crate) use live::Live;
pub(crate) use login::Pointers;
pub(crate) use names::Names;
pub(crate) use source::{SecretLocation, Source};

/// The first source that exists, and what it holds.
#[derive(Debug)]
pub(crate) struct Found {
    /// The real token.
    pub(crate) secret: SecretString,
    /// Where it was.
    pub(crate) source: Source,
}

/// What the sources are read with.
#[derive(Clone)]
pub(crate) struct Context {
    /// The operator's environment.
    pub(crate) environment: HashMap<OsString, OsString>,
    /// The operator's home directory: what `~/` in a `file:` source is.
    pub(crate) home: PathBuf,
    /// The operator's name: the account of a `keyring:` source that names none.
    pub(crate) user: String,
    /// Whether files that others can read are accepted.
    pub(crate) insecure_files: bool,
    /// How long a command or a keychain may take.
    pub(crate) time_limit: Duration,
    /// The programs of `command:` sources.
    pub(crate) programs: HostPrograms,
}

impl From<&Operator> for Context {
    fn from(operator: &Operator) -> Context {
        let account = nix::unistd::User::from_uid(operator.uid.into()).ok().flatten();
        // Without an entry in passwd (a container) the variable is all there is.
        let variable = || Some(operator.variable("USER")?.to_string_lossy().into_owned());
        Context {
            environment: operator.environment.clone(),
            home: operator.home.clone(),
            user: account.map(|account| account.name).or_else(variable).unwrap_or_default(),
            insecure_files: false,
            // Long enough to answer an unlock dialogue, short enough where nobody is there to answer.
            time_limit: Duration::from_secs(30),
            programs: operator.programs(),
        }
    }
}

impl Context {
    fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment.get(OsStr::new(name)).map(OsString::as_os_str)
    }
}

// The environment may hold the secrets themselves.
impl fmt::Debug for Context {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Context")
            .field("home", &self.home)
            .field("user", &self.user)
            .field("insecure_files", &self.insecure_files)
            .field("time_limit", &self.time_limit)
            .finish_non_exhaustive()
    }
}

/// Why a credential has no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// None of the sources exists.
    #[error(
        "no secret for {name}; looked at:{looked}\nput it into one of these places, or name another one: \
         --credential {name}=SOURCE@HOST with env:VAR, file:PATH, command:PROGRAM, keyring:SERVICE or systemd:NAME",
        looked = .looked.iter().map(|(source, why)| format!("\n  {source}: {why}")).collect::<String>()
    )]
    NotFound {
        /// The credential.
        name: String,
        /// Each source, and why it is not there.
        looked: Vec<(Source, String)>,
    },
    /// A source is there and cannot be used. The ones after it are not asked: a token that silently comes from
    /// another place than yesterday is worse than an error.
    #[error("the secret for {name} cannot be taken from {source_name}: {what}; {cure}")]
    Broken {
        /// The credential.
        name: String,
        /// The source, in its text form.
        source_name: String,
        /// What happened.
        what: String,
        /// What to do.
        cure: String,
    },
}

impl SecretError {
    /// Whether there just is no secret; otherwise there is one that cannot be used.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, SecretError::NotFound { .. })
    }
}

/// Takes the secret from the first of `sources` that exists.
pub(crate) fn read_first(name: &str, sources: &[Source], context: &Context) -> Result<Found, SecretError> {
    let mut looked = Vec::new();
    for source in sources {
        match read(source, context) {
            Ok(secret) => {
                let found = Found { secret, source: source.clone() };
                tracing::debug!(credential = name, source = %found.source, "secret found");
                return Ok(found);
            }
            Err(Miss::Absent(why)) => looked.push((source.clone(), why)),
            Err(broken) => return Err(broken.of(name, source)),
        }
    }
    Err(SecretError::NotFound { name: name.to_owned(), looked })
}

/// Takes the secret from one source.
fn read(source: &Source, context: &Context) -> Result<SecretString, Miss> {
    value::secret(bytes(source, context)?, source.pointer.as_deref())
}

/// Stores what a `keyring:` source will read: a token, or JSON that a pointer leads into.
pub(crate) fn store(source: &Source, value: &Bytes, context: &Context) -> Result<(), SecretError> {
    let SecretLocation::Keyring { service, account } = &source.place else { return Ok(()) };
    let account = account.as_deref().unwrap_or(&context.user);
    // What could not be used is said now, not when the job is to start.
    let is_json = matches!(serde_json::from_slice(value), Ok(serde_json::Value::Object(_)));
    let checked = if is_json { Ok(()) } else { value::secret(value.clone(), None).map(drop) };
    let line = value.strip_suffix(b"\n").map_or(&value[..], |line| line.strip_suffix(b"\r").unwrap_or(line));
    checked
        .and_then(|()| keyring::write(service, account, line, context.time_limit))
        .map_err(|miss| miss.of("the keychain", source))
}

/// Removes what a `keyring:` source reads.
pub(crate) fn remove(source: &Source, context: &Context) -> Result<(), SecretError> {
    let SecretLocation::Keyring { service, account } = &source.place else { return Ok(()) };
    keyring::remove(service, account.as_deref().unwrap_or(&context.user), context.time_limit)
        .map_err(|miss| miss.of("the keychain", source))
}

fn bytes(source: &Source, context: &Context) -> Result<Bytes, Miss> {
    match &source.place {
        SecretLocation::Environment(variable) => environment(variable, context),
        SecretLocation::File(path) => file::read(&file::expand(path, context), context.insecure_files),
        SecretLocation::Command(argv) => command::read(argv, &context.programs, context.time_limit),
        SecretLocation::Keyring { service, account } => {
            keyring::read(service, account.as_deref().unwrap_or(&context.user), context.time_limit)
        }
        SecretLocation::Systemd(name) => {
            let bytes = file::read(&file::systemd(name, context)?, true)?;
            // What a declared jail's unit has in the place of one that is not there.
            if bytes.trim_ascii().is_empty() {
                return Err(Miss::Absent("systemd found no such credential, or an empty one".to_owned()));
            }
            Ok(bytes)
        }
    }
}

fn environment(variable: &str, context: &Context) -> Result<Bytes, Miss> {
    match context.variable(variable) {
        None => Err(Miss::Absent("not set".to_owned())),
        // The shell's idiom for "unset in this command": VAR= jail …
        Some(value) if value.is_empty() => Err(Miss::Absent("set, but empty".to_owned())),
        Some(value) => Ok(Zeroizing::new(value.as_encoded_bytes().to_vec())),
    }
}

/// What this host offers for keeping secrets.
pub(crate) fn diagnose(context: &Context) -> Vec<Finding> {
    let mut findings = vec![match keyring::probe(context.time_limit.min(PROBE)) {
        Ok(()) => {
            Finding { what: "the keychain answers".to_owned(), state: State::Ok, cure: keychain_hint() }
        }
        Err(Miss::Absent(why) | Miss::Broken { what: why, .. }) => Finding {
            what: format!("keyring: sources do not work: {why}"),
            state: State::Degraded,
            cure: Some(format!("start or unlock it, or keep secrets elsewhere: {}", keyring::ALTERNATIVES)),
        },
    }];
    // Only a service has them, so that their absence is no finding.
    if let Some(directory) = context.variable("CREDENTIALS_DIRECTORY") {
        let what = format!("systemd's credentials are in {}", directory.display());
        findings.push(Finding { what, state: State::Ok, cure: None });
    }
    findings
}

/// Says why secrets in the keychain cannot be read here.
pub(crate) fn check_keychain(context: &Context) -> Result<(), String> {
    keyring::probe(context.time_limit.min(PROBE)).map_err(|miss| match miss {
        Miss::Absent(why) | Miss::Broken { what: why, .. } => {
            format!("{why}; start or unlock it, or keep secrets elsewhere: {}", keyring::ALTERNATIVES)
        }
    })
}

/// What people on a Mac wonder about.
fn keychain_hint() -> Option<String> {
    cfg!(target_os = "macos").then(|| {
        "the Keychain asks at each use, whatever \"Always Allow\" says, as long as this program is not signed by a \
         developer (what Nix builds is not); items that /usr/bin/security has stored it reads without asking: \
         command:/usr/bin/security find-generic-password -w -s SERVICE"
            .to_owned()
    })
}

/// `doctor` asks for nothing that needs an unlock dialogue.
const PROBE: Duration = Duration::from_secs(3);

/// What a source holds; wiped when dropped.
type Bytes = Zeroizing<Vec<u8>>;

/// More than any token is, less than a mistake (a log file, a device) would cost.
const MAX_SOURCE_BYTES: usize = 64 * 1024;

/// Why a source gave nothing.
#[derive(Debug)]
enum Miss {
    /// It is not there: the next one is asked.
    Absent(String),
    /// It is there and something is wrong with it.
    Broken { what: String, cure: String },
}

impl Miss {
    fn of(self, name: &str, source: &Source) -> SecretError {
        let name = name.to_owned();
        match self {
            Miss::Absent(why) => SecretError::NotFound { name, looked: vec![(source.clone(), why)] },
            Miss::Broken { what, cure } => {
                SecretError::Broken { name, source_name: source.to_string(), what, cure }
            }
        }
    }

    fn broken(what: impl Into<String>, cure: impl Into<String>) -> Miss {
        Miss::Broken { what: what.into(), cure: cure.into() }
    }
}

#[cfg(test)]
mod tests;

/// The host's programs for an operator without variables.
#[cfg(test)]
fn programs_without_variables(home: &std::path::Path) -> HostPrograms {
    let (directory, home) = ("/".into(), home.to_owned());
    HostPrograms::new(sandbox::host_program::Settings { directory, home, ..Default::default() })
}
