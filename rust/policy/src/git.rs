//! What a job may do with git repositories over smart HTTP: which ones it reads, which refs it moves and how.

mod call;
mod lfs;
mod reference;
mod repository;
mod rule;
mod text;

pub(crate) use call::{Call, could_move_refs, resembles_push};
pub use reference::{Change, RefName, RefNameError, RefPattern, RefUpdate};
pub use repository::Repository;
pub use rule::GitRule;
pub(crate) use text::parse;

#[cfg(test)]
mod tests;
