//! The error of a peer that breaks the relay's protocol.

use crate::backend::{ContainerError, Error};

pub(super) fn broken(what: impl Into<String>) -> Error {
    ContainerError::Relay { what: what.into() }.into()
}
