//! From the names of programs to the files that are in the jail.

pub(crate) mod host;
