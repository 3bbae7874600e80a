//! The policy: what a job may do on the network.
//!
//! Everything here is pure: no I/O, no clock, no async. The proxy, `jail explain` and the tests call the same function,
//! [`Policy::decide`], and get the same decision.
//!
//! ```text
//! "GET https://HOST/PATH" ─ rule_text ─► RuleParts ─ Rule::new ─► Rule ─┐
//! { "hosts": […], … } ─────── serde ───────┘                            ├─► Policy
//!                                                                       │     │ decide
//! method, scheme, authority, path, query ─────────► Request ────────────┼─────┘
//!                                                                       ▼
//!                                    Decision::{Allow, Push, Deny { reason, rule }}
//! ```
//! The first rule that matches decides; none means deny. [`Authority`] and [`RequestPath`] exist in canonical form only, so
//! that a comparison cannot be evaded by another spelling. [`Reason`] lists every reason of a denial. `address` has the
//! ranges that a job never reaches.
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
