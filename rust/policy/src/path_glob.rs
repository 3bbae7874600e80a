//! The path of a rule.

use std::fmt;
use std::str::FromStr;

use crate::glob::Glob;
use crate::path::{PathError, RequestPath, canonical_part, fold};
use crate::rule_error::RuleError;
use crate::text_form::{excerpt, serde_as_text};

/// A path with wildcards: `*` stands for anything within a segment, `**` for anything, `/**/` for any number of
/// segments, also none. A literal star is written `%2A`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathGlob {
    text: String,
    glob: Glob,
    /// In folded form and without a slash at the end, for denying rules.
    folded: Glob,
}

impl FromStr for PathGlob {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<PathGlob, RuleError> {
        refuse_what_never_matches(text)?;
        let literals: Result<Vec<_>, _> = text.split('*').map(canonical_part).collect();
        let text = literals.map_err(RuleError::Path)?.join("*");
        let glob = Glob::new(&text);
        let folded = text.split('*').map(fold).collect::<Vec<_>>().join("*");
        let bare = folded.strip_suffix('/').filter(|bare| !bare.is_empty());
        let folded = Glob::new(bare.unwrap_or(&folded));
        Ok(PathGlob { text, glob, folded })
    }
}

/// A glob without its wildcards is a path, so what no path holds makes a rule that is never used.
fn refuse_what_never_matches(text: &str) -> Result<(), RuleError> {
    if !text.starts_with('/') {
        return Err(RuleError::Path(PathError::NotAbsolute(excerpt(text))));
    }
    if text.contains('?') {
        return Err(RuleError::Query(excerpt(text)));
    }
    if text.contains("***") {
        return Err(RuleError::Stars(excerpt(text)));
    }
    let path = RequestPath::parse(text).map_err(RuleError::Path)?;
    match path.as_str().contains(';') {
        true => Err(RuleError::Parameters(excerpt(text))),
        false => Ok(()),
    }
}

impl PathGlob {
    /// Whether a canonical path fits.
    pub(crate) fn matches(&self, path: &str) -> bool {
        self.glob.matches(path)
    }

    /// Whether a folded path fits.
    pub(crate) fn matches_folded(&self, path: &str) -> bool {
        self.folded.matches(path)
    }

    /// The path as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for PathGlob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

serde_as_text!(PathGlob, "A path; `*` does not cross `/`, `**` does.", "/repos/*");

#[cfg(test)]
#[path = "path_glob_tests.rs"]
mod tests;
