//! The git part of a rule: repositories, and what may happen to their refs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Change, RefPattern, RefUpdate, Repository};
use crate::reason::Reason;
use crate::rule_error::RuleError;

/// The git part of a rule. It opens what git asks for and nothing else of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GitRule {
    /// The repositories, e.g. `github.com/OWNER/REPO`; `*` in a path stays within one part of it.
    pub repos: Vec<Repository>,
    /// Whether they may be cloned and fetched.
    #[serde(default = "yes")]
    pub fetch: bool,
    /// The refs that may be made and moved on; a name that does not start with `refs/` is a branch, `^` takes out
    /// again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub push: Vec<RefPattern>,
    /// Whether these refs may also be moved to where they lose commits.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
    /// Whether these refs may be deleted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub delete: bool,
}

impl GitRule {
    /// A rule that could never match is an error.
    pub(crate) fn check(&self) -> Result<(), RuleError> {
        if self.repos.is_empty() {
            return Err(RuleError::NoRepositories);
        }
        if self.push.iter().all(RefPattern::excludes) {
            if !self.push.is_empty() || self.force || self.delete {
                return Err(RuleError::NoRefs);
            }
            if !self.fetch {
                return Err(RuleError::GitNothing);
            }
        }
        Ok(())
    }

    /// Whether anything at all may be pushed.
    pub(crate) fn pushes(&self) -> bool {
        !self.push.is_empty()
    }

    /// Why a ref may not be changed so; `None` if it may.
    pub(crate) fn refusal(&self, update: &RefUpdate) -> Option<Reason> {
        let named = |excludes: bool| {
            let mut patterns = self.push.iter().filter(|pattern| pattern.excludes() == excludes);
            patterns.any(|pattern| pattern.matches(&update.name))
        };
        if named(true) || !named(false) {
            return Some(Reason::RefNotAllowed);
        }
        match update.change {
            Change::Create | Change::Advance => None,
            Change::Delete => (!self.delete).then_some(Reason::DeleteNotAllowed),
            Change::Rewind => (!self.force).then_some(Reason::ForceNotAllowed),
        }
    }
}

// serde asks for functions of exactly these shapes.
fn yes() -> bool {
    true
}

fn is_false(value: &bool) -> bool {
    !*value
}
