//! What ends `jail` early, and the exit code that says so.

use std::process::ExitCode;

/// What is to be ended does not run.
pub(crate) const NOT_RUNNING: u8 = 1;
/// A wrong command line, as clap's own errors have it.
pub(crate) const USAGE: u8 = 2;
/// The job's time ran out, as timeout(1) has it, or its disk.
pub(crate) const USED_UP: u8 = 124;
/// The jail could not be made, as env(1) and docker(1) have it.
pub(crate) const NO_JAIL: u8 = 125;
/// The command is not there, as a shell has it.
pub(crate) const NOT_FOUND: u8 = 127;

/// An error for the operator: one text (what happened, to what, the cure) and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    /// The text.
    pub(crate) message: String,
}

impl Failure {
    /// The command line is wrong.
    pub(crate) fn usage(message: impl ToString) -> Failure {
        Failure { code: USAGE, message: message.to_string() }
    }

    /// The jail could not be made.
    pub(crate) fn no_jail(message: impl ToString) -> Failure {
        Failure { code: NO_JAIL, message: message.to_string() }
    }

    /// The exit code for main.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}
