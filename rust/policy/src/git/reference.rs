//! Refs: their names, the patterns of rules, and what a push does to them.

use std::fmt;
use std::str::FromStr;

use crate::glob::Glob;
use crate::rule_error::RuleError;
use crate::text_form::{excerpt, serde_as_text};

/// The full name of a ref, `refs/…`, as git itself would accept it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RefName(String);

/// A text that is no ref.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the full name of a ref: write e.g. `refs/heads/main`")]
pub struct RefNameError(String);

/// What a push does to a ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It did not exist.
    Create,
    /// It moves on: the commit it was at stays among its ancestors.
    Advance,
    /// It moves to where this is not so, or is not known to be so.
    Rewind,
    /// It is gone.
    Delete,
}

/// One ref of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUpdate {
    /// Which.
    pub name: RefName,
    /// What becomes of it.
    pub change: Change,
}

/// Which refs a rule is about: a name with wildcards, or with `^` in front one that is taken out again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefPattern {
    text: String,
    excludes: bool,
    glob: Glob,
}

impl RefName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RefName {
    type Err = RefNameError;

    fn from_str(text: &str) -> Result<RefName, RefNameError> {
        match is_ref(text) && !text.contains('*') {
            true => Ok(RefName(text.to_owned())),
            false => Err(RefNameError(excerpt(text))),
        }
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// git-check-ref-format(1), and a `*` for patterns; longer names than a file system takes are nobody's.
fn is_ref(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && !part.ends_with('.') && !part.ends_with(".lock")
    };
    text.len() <= 1024
        && text.strip_prefix("refs/").is_some_and(|rest| rest.split('/').all(is_part))
        && !text.contains("..")
        && !text.contains("@{")
        && !text.contains(|character: char| {
            character.is_control() || character.is_whitespace() || "~^:?[\\".contains(character)
        })
}

impl RefPattern {
    /// Whether it takes refs out.
    pub fn excludes(&self) -> bool {
        self.excludes
    }

    /// Whether it is about this ref. What is taken out is so in any letter case: some servers keep refs where case
    /// means nothing.
    pub(crate) fn matches(&self, name: &RefName) -> bool {
        match self.excludes {
            true => self.glob.matches(&name.as_str().to_lowercase()),
            false => self.glob.matches(name.as_str()),
        }
    }
}

impl FromStr for RefPattern {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<RefPattern, RuleError> {
        let (excludes, name) = match text.strip_prefix('^') {
            Some(name) => (true, name),
            None => (false, text),
        };
        let full = if name.starts_with("refs/") { name.to_owned() } else { format!("refs/heads/{name}") };
        // The comma parts patterns in a rule's text; `+` is how git spells force.
        if name.starts_with('+') || !is_ref(&full) || full.contains(',') || full.contains("***") {
            return Err(RuleError::Ref(excerpt(text)));
        }
        let glob = Glob::new(&if excludes { full.to_lowercase() } else { full.clone() });
        let text = if excludes { format!("^{full}") } else { full };
        Ok(RefPattern { text, excludes, glob })
    }
}

impl fmt::Display for RefPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

serde_as_text!(
    RefPattern,
    "A ref with wildcards: `*` does not cross `/`, `**` does; `^` in front takes out.",
    "refs/heads/agent/*"
);
