//! What a job may do.
//!
//! Everything here is pure: no I/O, no clock, no async. The proxy, `jail explain` and the tests ask the same
//! question, [`Policy::decide`], and get the same answer.
#![forbid(unsafe_code)]

pub mod address;
mod authority;
mod decide;
mod path;
mod rule;

pub use authority::{Authority, AuthorityError, DnsName, Host};
pub use decide::{Decision, Policy, PolicyError, Reason, Request, RuleId};
pub use path::{PathError, RequestPath};
pub use rule::{Action, HostPattern, Rule, RuleError, Scheme};
