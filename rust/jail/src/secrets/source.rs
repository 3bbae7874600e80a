//! The text form of a source: `env:VAR`, `file:PATH`, `command:ARGV`, `keyring:SERVICE[/ACCOUNT]`, `systemd:NAME`,
//! each with an optional `#/json/pointer`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A place, and the value in it that is the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Where.
    pub(crate) place: SecretLocation,
    /// For a place that holds JSON: the pointer (RFC 6901) of the string in it.
    pub(crate) pointer: Option<String>,
}

/// A place that holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretLocation {
    /// A variable of the operator's environment.
    Environment(String),
    /// A file; absolute, or in the operator's home (`~/`).
    File(PathBuf),
    /// What a program prints; never a shell's text.
    Command(Vec<String>),
    /// The platform's keychain.
    Keyring {
        /// Its service.
        service: String,
        /// Its account; the operator's name if there is none.
        account: Option<String>,
    },
    /// A credential that systemd gave this process.
    Systemd(String),
}

/// Why a text is not a source.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a place for a secret: {problem}")]
pub(crate) struct SourceError {
    text: String,
    problem: String,
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Source, SourceError> {
        parse(text).map_err(|problem| {
            // Somebody who pastes the secret itself here must not find it in a terminal's scroll-back or a CI log.
            let known = text.split_once(':').is_some_and(|(kind, _)| KINDS.contains(&kind));
            let text = if known { text.to_owned() } else { "the text given".to_owned() };
            SourceError { text, problem }
        })
    }
}

const KINDS: [&str; 5] = ["env", "file", "command", "keyring", "systemd"];

fn parse(text: &str) -> Result<Source, String> {
    let forms = "write env:VAR, file:PATH, command:PROGRAM ARGUMENTS, keyring:SERVICE[/ACCOUNT] or systemd:NAME, \
                 with #/json/pointer at its end where the place holds JSON";
    let (kind, rest) = text.split_once(':').ok_or_else(|| forms.to_owned())?;
    if kind == "command" {
        let (argv, pointer) = command(rest)?;
        return Ok(Source { place: SecretLocation::Command(argv), pointer });
    }
    let (rest, pointer) = split_pointer(rest);
    let place = match kind {
        "env" => SecretLocation::Environment(variable(rest)?),
        "file" => SecretLocation::File(path(rest)?),
        "keyring" => keyring(rest)?,
        "systemd" => SecretLocation::Systemd(credential(rest)?),
        _ => return Err(forms.to_owned()),
    };
    Ok(Source { place, pointer })
}

fn split_pointer(text: &str) -> (&str, Option<String>) {
    match text.rfind("#/") {
        Some(position) => (&text[..position], Some(text[position + 1..].to_owned())),
        None => (text, None),
    }
}

fn command(text: &str) -> Result<(Vec<String>, Option<String>), String> {
    let (argv, pointer) = if text.trim_start().starts_with('[') {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Vec<String>>();
        let argv =
            values.next().and_then(Result::ok).ok_or("the JSON list after command: holds strings only")?;
        let rest = &text[values.byte_offset()..];
        match rest.strip_prefix('#') {
            Some(pointer) if pointer.starts_with('/') => (argv, Some(pointer.to_owned())),
            None if rest.trim().is_empty() => (argv, None),
            _ => return Err("after the JSON list only #/json/pointer may follow".to_owned()),
        }
    } else {
        let (words, pointer) = split_pointer(text);
        (shell_words::split(words).map_err(|_| "a quote is not closed")?, pointer)
    };
    match argv.first() {
        Some(program) if !program.is_empty() => Ok((argv, pointer)),
        _ => Err("it names no program".to_owned()),
    }
}

fn variable(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && !text.contains(['=', '\0', ' ', '$']);
    is_name.then(|| text.to_owned()).ok_or_else(|| "the name of a variable follows, without $".to_owned())
}

fn path(text: &str) -> Result<PathBuf, String> {
    // A relative path would name another file in each directory, often one that the job can write.
    let is_fixed = (text.starts_with('/') || text.starts_with("~/")) && !text.contains('\0');
    is_fixed.then(|| PathBuf::from(text)).ok_or_else(|| "the path starts with / or ~/".to_owned())
}

fn keyring(text: &str) -> Result<SecretLocation, String> {
    // The last slash: services are named like paths more often than accounts are.
    let (service, account) = match text.rsplit_once('/') {
        Some((service, account)) => (service, Some(account.to_owned())),
        None => (text, None),
    };
    if service.is_empty() || account.as_ref().is_some_and(String::is_empty) {
        return Err("a service follows, or a service, a slash and an account".to_owned());
    }
    Ok(SecretLocation::Keyring { service: service.to_owned(), account })
}

fn credential(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && text != "." && text != ".." && !text.contains(['/', '\0']);
    is_name.then(|| text.to_owned()).ok_or_else(|| "the name of a credential follows, without /".to_owned())
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            SecretLocation::Environment(variable) => write!(formatter, "env:{variable}")?,
            SecretLocation::File(path) => write!(formatter, "file:{}", path.display())?,
            SecretLocation::Command(argv) => {
                let words = shell_words::join(argv);
                // The list where the words would be read back as something else.
                if words.contains("#/") || words.starts_with('[') {
                    write!(formatter, "command:{}", serde_json::to_string(argv).map_err(|_| fmt::Error)?)?;
                } else {
                    write!(formatter, "command:{words}")?;
                }
            }
            SecretLocation::Keyring { service, account: None } => write!(formatter, "keyring:{service}")?,
            SecretLocation::Keyring { service, account: Some(account) } => {
                write!(formatter, "keyring:{service}/{account}")?;
            }
            SecretLocation::Systemd(name) => write!(formatter, "systemd:{name}")?,
        }
        match &self.pointer {
            Some(pointer) => write!(formatter, "#{pointer}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Source, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
