//! The structured form of a rule, before it is validated.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::git::GitRule;
use crate::host_pattern::HostPattern;
use crate::path_glob::PathGlob;
use crate::scheme::RuleScheme;

/// The structured form of a rule, before it is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleParts {
    /// What to do with a request that matches.
    #[serde(default)]
    pub action: Action,
    /// How the request travels.
    #[serde(default)]
    pub scheme: RuleScheme,
    /// To whom; at least one, save in a git rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostPattern>,
    /// The ports; none means the scheme's own, which tcp has not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// The HTTP methods, as they are sent; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// The paths; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathGlob>,
    /// What git may do, in place of everything above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitRule>,
    /// The credential that these requests use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// What a rule does with a request that it matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The request goes on.
    #[default]
    Allow,
    /// The request is refused.
    Deny,
}
