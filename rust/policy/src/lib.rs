//! What a job may do.
//!
//! Everything here is pure: no I/O, no clock, no async. The proxy, `jail explain` and the tests ask the same
//! question, [`Policy::decide`], and get the same answer.
#![forbid(unsafe_code)]

pub mod address;
mod authority;
mod authority_error;
mod decide;
mod git;
mod glob;
mod host;
mod host_pattern;
mod path;
mod path_glob;
mod reason;
mod request;
mod rule;
mod rule_error;
mod rule_parts;
mod rule_text;
mod scheme;
mod text_form;

pub use authority::Authority;
pub use authority_error::AuthorityError;
pub use decide::{Decision, Policy, PolicyError, PushDecision, RuleId};
pub use git::{Change, GitRule, RefName, RefNameError, RefPattern, RefUpdate, Repository};
pub use host::{DnsName, Host};
pub use host_pattern::HostPattern;
pub use path::{PathError, RequestPath};
pub use path_glob::PathGlob;
pub use reason::{Reason, UnknownReason};
pub use request::Request;
pub use rule::Rule;
pub use rule_error::RuleError;
pub use rule_parts::{Action, RuleParts};
pub use scheme::{RuleScheme, Scheme};
