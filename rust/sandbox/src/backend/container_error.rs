//! Why there is no container: what the engine lacks or refuses, and what helps.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::os::Os;

/// Why there is no container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ContainerError {
    /// The engine's program is not there.
    #[error(
        "cannot start `{program}`: {os}; install it, or choose another backend with --backend (`jail doctor` says what this host has)"
    )]
    Program {
        /// Its name.
        program: String,
        /// Why.
        os: Os,
    },
    /// A job may have written the engine's program.
    #[error("{why}; remove it, or put the engine's directory on PATH before the workspace's")]
    Unsafe {
        /// What lies where.
        why: String,
    },
    /// The engine's program has started, and nothing else has come of it.
    #[error(
        "`{program}` has made no container within {seconds} s; see whether the engine works, then try again"
    )]
    Late {
        /// Its name.
        program: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The engine does not answer.
    #[error("cannot reach the engine at {socket:?}: {os}; {cure}")]
    Unreachable {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        os: Os,
        /// What to do about it.
        cure: String,
    },
    /// The engine runs on another kernel, which this does not get to.
    #[error("{what} cannot be had from an engine on another kernel; {cure}")]
    Elsewhere {
        /// What was asked for.
        what: String,
        /// What to do about it.
        cure: String,
    },
    /// The stream that carries a job's connections broke.
    #[error("the way through the engine to the job broke: {what}")]
    Relay {
        /// How.
        what: String,
    },
    /// Something else is there than on this host.
    #[error(
        "the engine runs on another kernel and does not have this host's {path:?}; share it with the engine's machine (Docker Desktop: Settings, Resources, File sharing), leave it out (--workspace none), or use an engine of this host"
    )]
    NotShared {
        /// In the jail.
        path: PathBuf,
    },
    /// It is shared, but belongs to somebody else there.
    #[error(
        "{path:?} belongs to somebody else on the engine's machine, and the job cannot write to it; use --workspace-mode ro, or an engine of this host"
    )]
    NotWritable {
        /// In the jail.
        path: PathBuf,
    },
    /// The engine's program says no.
    #[error("{program} did not make the jail's container: {said}")]
    Refused {
        /// Its name.
        program: String,
        /// In its own words.
        said: String,
    },
    /// The container is gone though its job has not ended.
    #[error(
        "the job was ended: its container was removed, or {program} stopped working, while it ran; {said}"
    )]
    Ended {
        /// The engine's program.
        program: String,
        /// In its own words.
        said: String,
    },
    /// A place of the operator's for the container's files cannot be used.
    #[error("cannot use {path:?} for the container's files: {os}; XDG_RUNTIME_DIR moves it")]
    Place {
        /// Which.
        path: PathBuf,
        /// Why.
        os: Os,
    },
    /// The program itself cannot be put into the container.
    #[error("cannot tell which files this program consists of: {os}; is /proc mounted?")]
    OwnProgram {
        /// Why.
        os: Os,
    },
    /// A path that the engine's program cannot be told.
    #[error(
        "{path:?} cannot be named to the engine: it is not text or holds `\"`, `,` or a line break (with --workspace-mode overlay also `:` or `\\`); rename it"
    )]
    Path {
        /// Which.
        path: PathBuf,
    },
    /// More than a command line holds.
    #[error(
        "{count} files and directories are too many for one container (at most 2000); put fewer programs into the jail, or use the native backend"
    )]
    TooMany {
        /// How many.
        count: usize,
    },
    /// Read-only means more than the engine makes of it.
    #[error(
        "{path:?} has other file systems mounted below it ({below:?}), which the engine would leave writable; name the parts one by one"
    )]
    MountsBelow {
        /// The source.
        path: PathBuf,
        /// The first of them.
        below: PathBuf,
    },
    /// The engine would make the place on the host, as root.
    #[error(
        "{path:?} does not exist, and the engine would make it on the host as root in order to mount there; make it first, or choose another target"
    )]
    NoMountPoint {
        /// On the host.
        path: PathBuf,
    },
    /// What was bound is not what was looked at.
    #[error("{path:?} was replaced while the jail was being made; refusing to run anything in it")]
    Replaced {
        /// In the jail.
        path: PathBuf,
    },
    /// More of the host is there than was asked for.
    #[error(
        "the engine has mounted something of the host at {path:?} that is no part of this jail; refusing to run anything in it (is a file of the workspace being replaced by a link?)"
    )]
    Unexpected {
        /// In the jail.
        path: PathBuf,
    },
    /// Ids mean somebody else there.
    #[error(
        "the engine's user namespace has no place for user {uid}, to whom the workspace belongs ({map}); use an engine without remapped users, a rootless one of that user, or another backend"
    )]
    Ids {
        /// On the host.
        uid: u32,
        /// The engine's map.
        map: String,
    },
    /// The job would be root.
    #[error(
        "{path:?} belongs to root, and a job never runs as root; start the jail as an ordinary user, with --workspace-mode ro or overlay, or use the native backend, which maps owners"
    )]
    RootsFiles {
        /// On the host.
        path: PathBuf,
    },
    /// A workspace mode that the engine does not have.
    #[error("{program} cannot lay changes over {path:?} ({why}); use --workspace-mode ro or rw")]
    Overlay {
        /// The engine's program.
        program: String,
        /// On the host.
        path: PathBuf,
        /// Why.
        why: String,
    },
}
