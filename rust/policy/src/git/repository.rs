//! Which repositories a rule is about.

use std::fmt;
use std::str::FromStr;

use crate::authority::Authority;
use crate::host_pattern::HostPattern;
use crate::path_glob::PathGlob;
use crate::rule_error::RuleError;
use crate::text_form::{excerpt, serde_as_text};

const HTTPS: u16 = 443;

/// `HOST[:PORT]/PATH`, reached by https; the path may have wildcards and is held without `.git`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    authority: Authority,
    path: PathGlob,
}

impl Repository {
    /// Whose it is.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The path, without `.git`.
    pub fn path(&self) -> &PathGlob {
        &self.path
    }

    pub(crate) fn host(&self) -> HostPattern {
        HostPattern::Exact(self.authority.host.clone())
    }
}

impl FromStr for Repository {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Repository, RuleError> {
        let bare = text.strip_prefix("https://").unwrap_or(text);
        if bare.contains("://") || bare.contains('@') {
            return Err(RuleError::Repository(excerpt(text)));
        }
        let (authority, path) = bare.find('/').map(|slash| bare.split_at(slash)).unwrap_or((bare, ""));
        let path = path.strip_suffix('/').unwrap_or(path);
        let path = path.strip_suffix(".git").unwrap_or(path);
        if path.len() < 2 || path.ends_with('/') {
            return Err(RuleError::Repository(excerpt(text)));
        }
        let authority = Authority::parse(authority, Some(HTTPS)).map_err(RuleError::Host)?;
        Ok(Repository { authority, path: path.parse()? })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.authority.port {
            HTTPS => write!(formatter, "{}{}", self.authority.host, self.path),
            port => write!(formatter, "{}:{port}{}", self.authority.host, self.path),
        }
    }
}

serde_as_text!(
    Repository,
    "A repository, HOST[:PORT]/PATH; `*` stays within one part.",
    "github.com/OWNER/REPO"
);
