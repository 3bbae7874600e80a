//! What a jail looks like, as plain data.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything a backend needs to know.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// The job's id, which no other job of this host has: the host's tools show the job by it. Letters, digits, `-`,
    /// `_` and `.` only.
    pub job: String,
    /// The command and its arguments; a command without `/` is looked up in the `PATH` of `environment`, inside.
    pub command: Vec<OsString>,
    /// The whole environment of the command.
    pub environment: Vec<(OsString, OsString)>,
    /// Where the command starts.
    #[serde(with = "crate::bytes")]
    pub working_directory: PathBuf,
    /// The name that uname(2) gives inside.
    pub hostname: String,
    /// The file tree beside what every jail has (`/proc`, `/dev`, `/tmp`, `/run`, an empty root), in order; a later
    /// entry may lie on top of an earlier one. Parents that are missing are made (mode 0755).
    pub tree: Vec<Entry>,
    /// Paths in writable places that the job must not make, where a backend can refuse that (a mount namespace cannot:
    /// there is nothing to mount on).
    #[serde(with = "crate::bytes::list")]
    pub absent: Vec<PathBuf>,
    /// Targets of binds that are directories of the host's, in which nothing is made for the sake of the jail: what is
    /// mounted below one of them must find its place there, and not through a symbolic link.
    #[serde(with = "crate::bytes::list")]
    pub given: Vec<PathBuf>,
    /// Targets of binds that are mounted anew when the host replaces the file or directory below them, the shallower
    /// before the deeper. The kernel detaches a mount when somebody outside of its namespace removes its mount point or
    /// renames something over it.
    #[serde(with = "crate::bytes::list")]
    pub durable: Vec<PathBuf>,
    /// Whose network namespace the job is in.
    pub network: Network,
    /// The sockets bound inside and handed out; none in a network that somebody else made.
    pub listen: Listen,
    /// What the job may use up.
    pub limits: Limits,
    /// What is weaker than usual.
    pub weakened: Vec<Protection>,
}

/// Whose network namespace a job is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// One of its own, made with the jail.
    #[default]
    Own,
    /// The launcher's, which is the jail's already: systemd made it, and the launcher has proven it
    /// ([`crate::unit`]).
    Launchers,
}

/// A protection that can be weakened by its name, where a program cannot live with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protection {
    /// No user namespaces, nor others, beneath the jail's; no mounts.
    NestedNamespaces,
    /// No files with set-user-id or set-group-id bits.
    SetIdFiles,
}

/// One piece of the jail's file tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A file or directory of the host. `source` must be a real path: no component may be a symbolic link, since a
    /// link could be changed between the caller's look and the mount. What is opened, once, is what is bound.
    Bind {
        /// On the host.
        #[serde(with = "crate::bytes")]
        source: PathBuf,
        /// In the jail.
        #[serde(with = "crate::bytes")]
        target: PathBuf,
        /// Whether the job may write to it.
        access: Access,
    },
    /// A directory of the host whose changes go elsewhere (overlayfs).
    Overlay {
        /// The host's directory, read only.
        #[serde(with = "crate::bytes")]
        lower: PathBuf,
        /// Where changes go: an existing empty directory; a sibling `work` directory of it is made.
        #[serde(with = "crate::bytes")]
        upper: PathBuf,
        /// In the jail.
        #[serde(with = "crate::bytes")]
        target: PathBuf,
    },
    /// A file of the jail's own, read-only also where the directory around it is the job's.
    File {
        /// In the jail.
        #[serde(with = "crate::bytes")]
        target: PathBuf,
        /// What it holds.
        #[serde(with = "crate::bytes")]
        contents: Vec<u8>,
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link of the jail's own.
    Symlink {
        /// In the jail.
        #[serde(with = "crate::bytes")]
        target: PathBuf,
        /// What it points to.
        #[serde(with = "crate::bytes")]
        to: PathBuf,
    },
    /// A directory of the jail's own; the job's if `writable`, on a tmpfs.
    Directory {
        /// In the jail.
        #[serde(with = "crate::bytes")]
        target: PathBuf,
        /// Whether it belongs to the job.
        writable: bool,
    },
}

impl Entry {
    /// Returns its path in the jail.
    pub fn target(&self) -> &Path {
        match self {
            Entry::Bind { target, .. }
            | Entry::Overlay { target, .. }
            | Entry::File { target, .. }
            | Entry::Symlink { target, .. }
            | Entry::Directory { target, .. } => target,
        }
    }
}

/// Whether the job may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// It may not.
    ReadOnly,
    /// It may.
    ReadWrite,
}

/// The sockets of the proxy: bound in the jail's network namespace to every address, IPv4 and IPv6.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Listen {
    /// TCP ports.
    pub tcp: Vec<u16>,
    /// UDP ports.
    pub udp: Vec<u16>,
}

/// What the job may use up; `None` is no limit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory (cgroup).
    pub memory: Option<u64>,
    /// Processes and threads (cgroup where there is one, and RLIMIT_NPROC).
    pub pids: Option<u64>,
    /// CPUs' worth of time (cgroup).
    pub cpus: Option<f64>,
    /// Wall-clock time; the job gets SIGTERM, and SIGKILL ten seconds later.
    pub timeout: Option<Duration>,
    /// Bytes by which the free space of a file system that the job writes to may shrink while it runs, whoever it is
    /// that writes. Free inodes count, too: one for every 4096 bytes, and a quarter of them at most. The nearer the limit,
    /// the more often this is looked at, between once a second and 500 times. The job gets SIGKILL.
    pub disk: Option<u64>,
}
