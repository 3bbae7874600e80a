//! Why there is no jail: one variant per step, each with the thing it was about and what helps.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ContainerError;
use super::os::Os;

/// The cure where the kernel refuses a `/proc` of the jail's own.
pub(super) const PROC_CURE: &str = "inside a container the kernel refuses it while the container's /proc is masked: start that container with an unmasked /proc (docker: `--security-opt systempaths=unconfined`), or run on its host";

/// Why there is no jail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// The plan has no command.
    #[error("there is no command to run in the jail; name one")]
    NoCommand,
    /// A word with a NUL byte cannot be passed to a program.
    #[error("{what} holds a NUL byte, which no program can be given; remove it")]
    NulByte {
        /// Which word.
        what: String,
    },
    /// A host directory as standard input would be a way out.
    #[error(
        "standard stream {number} is a directory of the host, through which the job could leave its jail; redirect it from a file or /dev/null"
    )]
    StandardStream {
        /// 0, 1 or 2.
        number: i32,
    },
    /// The stage did not start.
    #[error("cannot start the jail's stage: {os}")]
    StartStage {
        /// Why.
        os: Os,
    },
    /// systemd made no scope for the stage.
    #[error(
        "systemd made no scope for the job ({how}; its reason is above, or in the journal); see `systemctl --user status` (without --user for root), or run the job by the native backend without limits on memory, CPUs and processes"
    )]
    Scope {
        /// How its program ended.
        how: String,
    },
    /// The systemd backend was asked for where it cannot work.
    #[error(
        "the systemd backend cannot be used here: {why}. Without --backend systemd the native backend makes the jail"
    )]
    NoSystemd {
        /// Why, and the cure.
        why: String,
    },
    /// The stage ended without a word.
    #[error(
        "the jail's stage ended before its work was done ({how}); if memory was short, free some, else please report this"
    )]
    StageEnded {
        /// How it ended.
        how: String,
    },
    /// A message between launcher and stage got lost.
    #[error("the launcher and its stage cannot talk to each other: {os}")]
    Channel {
        /// Why.
        os: Os,
    },
    /// A message between launcher and stage is not one.
    #[error(
        "the launcher and its stage do not understand each other: {0}; is the program being replaced while it runs?"
    )]
    Message(String),
    /// The plan did not reach the stage.
    #[error("cannot hand the plan to the stage: {os}")]
    HandPlan {
        /// Why.
        os: Os,
    },
    /// This host does not let us make user namespaces.
    #[error("this host forbids user namespaces ({os}), on which the jail rests.\n{cure}")]
    UserNamespace {
        /// Why.
        os: Os,
        /// What to do about it.
        cure: String,
    },
    /// The job's ids could not be mapped.
    #[error("cannot map the job's user and group ids: {os}.\n{cure}")]
    MapIds {
        /// Why.
        os: Os,
        /// What to do about it.
        cure: String,
    },
    /// The job's ids could not be taken on.
    #[error("cannot take on the job's user id {uid}: {os}")]
    TakeIds {
        /// Inside.
        uid: u32,
        /// Why.
        os: Os,
    },
    /// A namespace could not be made.
    #[error(
        "cannot make the jail's mount, network, IPC, host name, cgroup and process namespaces: {os}.\n{cure}"
    )]
    Namespaces {
        /// Why.
        os: Os,
        /// What to do about it.
        cure: String,
    },
    /// The packet filter of a pod took no rules.
    #[error(
        "cannot wall off the pod's network: {os}; this container needs user 0 with the capability NET_ADMIN, and its node a kernel of 5.2 or newer with nf_tables"
    )]
    Wall {
        /// Why.
        os: Os,
    },
    /// A namespace is still the host's.
    #[error("the jail's {namespace} namespace is not its own; refusing to run anything in it")]
    NotIsolated {
        /// Its name.
        namespace: String,
    },
    /// The namespaces could not be looked at.
    #[error("cannot prove that the jail is isolated: reading its {namespace} namespace failed: {os}")]
    Proof {
        /// Its name.
        namespace: String,
        /// Why.
        os: Os,
    },
    /// The host name was refused.
    #[error("cannot set the jail's host name: {os}")]
    HostName {
        /// Why.
        os: Os,
    },
    /// The jail's network could not be set up.
    #[error("cannot set up the jail's network ({step}): {os}")]
    Network {
        /// Which step.
        step: String,
        /// Why.
        os: Os,
    },
    /// A proxy's socket could not be bound inside.
    #[error("cannot listen on {protocol} port {port} inside the jail: {os}; is the port named twice?")]
    Listen {
        /// `TCP` or `UDP`.
        protocol: String,
        /// The port.
        port: u16,
        /// Why.
        os: Os,
    },
    /// A process could not be made.
    #[error("cannot make the jail's processes: {os}; is the limit on processes (ulimit -u) reached?")]
    Fork {
        /// Why.
        os: Os,
    },
    /// What is to be bound cannot be opened.
    #[error("cannot open {path:?} to bind it into the jail: {os}")]
    OpenSource {
        /// On the host.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
        /// Why.
        os: Os,
    },
    /// What is to be bound is reached through a symbolic link.
    #[error(
        "{path:?} is or lies behind a symbolic link and is not bound into the jail, since a link may be changed meanwhile; name the real path (`realpath`)"
    )]
    SymlinkSource {
        /// On the host.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
    },
    /// What is to be bound cannot be cloned.
    #[error("cannot bind {path:?} into the jail: {os}")]
    CloneSource {
        /// On the host.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
        /// Why.
        os: Os,
    },
    /// The file system cannot show its files as another user's.
    #[error(
        "the file system of {path:?} cannot map its owner to the job's user ({os}), and the job never runs as root; start the jail as an ordinary user, or use a directory on ext4, xfs, btrfs or tmpfs (Linux 5.12 or later)"
    )]
    IdMap {
        /// On the host.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
        /// Why.
        os: Os,
    },
    /// A mount could not be made read-only.
    #[error("cannot restrict the mount at {path:?}: {os}")]
    Restrict {
        /// In the jail.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
        /// Why.
        os: Os,
    },
    /// A place in the jail's tree could not be made.
    #[error("cannot make {path:?} in the jail's file tree: {os}")]
    MakeTarget {
        /// In the jail.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
        /// Why.
        os: Os,
    },
    /// What is mounted below a directory of the host's does not find its place there.
    #[error(
        "cannot mount anything at {path:?}: {os}; it lies in a directory of the host that is in the jail, where nothing is made for a mount and no symbolic link is followed; create it on the host"
    )]
    NoPlace {
        /// In the jail.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
        /// Why.
        os: Os,
    },
    /// The host's changes to protected files could not be watched.
    #[error(
        "cannot watch for changes that the host makes to protected files ({step}): {os}; if inotify has no instances or watches left, raise fs.inotify.max_user_instances or max_user_watches"
    )]
    WatchProtected {
        /// Which step.
        step: String,
        /// Why.
        os: Os,
    },
    /// The host replaced a protected file, and the new one could not be protected.
    #[error(
        "the host replaced {path:?}, and the new one could not be made read-only for the job: {os}; the job was ended; look at that file before you go on"
    )]
    Unprotected {
        /// In the jail.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
        /// Why.
        os: Os,
    },
    /// The host replaced a protected file, and the job opened the new one before it was protected.
    #[error(
        "the host replaced {path:?}, and the job opened the new one before it was read-only again; the job was ended; look at that file before you go on"
    )]
    OpenedUnprotected {
        /// In the jail.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
    },
    /// A place in the tree is no place.
    #[error(
        "{path:?} is no place for an entry of the jail's file tree: it must be absolute, below `/`, without `..`"
    )]
    Target {
        /// In the jail.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
    },
    /// A mount could not be attached.
    #[error("cannot mount {path:?} in the jail: {os}")]
    Attach {
        /// In the jail.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
        /// Why.
        os: Os,
    },
    /// A tmpfs could not be mounted.
    #[error("cannot mount a tmpfs at {path:?} in the jail: {os}")]
    Tmpfs {
        /// In the jail.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
        /// Why.
        os: Os,
    },
    /// A file of the jail's own could not be written.
    #[error("cannot write {path:?} of the jail's own: {os}")]
    WriteFile {
        /// In the jail.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
        /// Why.
        os: Os,
    },
    /// An overlay could not be mounted.
    #[error(
        "cannot lay {upper:?} over {path:?}: {os}; an unprivileged overlay needs Linux 5.11 and an upper directory on ext4, xfs, btrfs or tmpfs (not itself an overlay, not NFS): choose another directory for the changes, or another workspace mode"
    )]
    Overlay {
        /// In the jail.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
        /// On the host.
        #[serde(with = "crate::bytes")]
        upper: PathBuf,
        /// Why.
        os: Os,
    },
    /// `/proc` was refused.
    #[error("cannot mount the jail's own /proc: {os}; {}", PROC_CURE)]
    Proc {
        /// Why.
        os: Os,
    },
    /// `/dev` could not be made.
    #[error("cannot make {path:?} of the jail's own /dev: {os}")]
    Device {
        /// In the jail.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
        /// Why.
        os: Os,
    },
    /// The new root could not be entered.
    #[error("cannot enter the jail's file tree: {os}")]
    EnterRoot {
        /// Why.
        os: Os,
    },
    /// The job's terminal could not be made.
    #[error("cannot make a terminal for the job ({step}): {os}")]
    Terminal {
        /// Which step.
        step: String,
        /// Why.
        os: Os,
    },
    /// The working directory is not there.
    #[error("cannot start in {path:?}: {os}; is it part of the jail's file tree?")]
    WorkingDirectory {
        /// In the jail.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
        /// Why.
        os: Os,
    },
    /// A privilege could not be dropped.
    #[error("cannot drop the job's privileges ({step}): {os}")]
    Privileges {
        /// Which step.
        step: String,
        /// Why.
        os: Os,
    },
    /// A limit could not be set.
    #[error("cannot limit the job's {what}: {os}")]
    Limit {
        /// What.
        what: String,
        /// Why.
        os: Os,
    },
    /// The Landlock rules were refused.
    #[error("cannot apply the job's Landlock rules: {0}")]
    Landlock(String),
    /// The system-call filter was refused.
    #[error("cannot apply the job's system-call filter: {0}; does this kernel have CONFIG_SECCOMP_FILTER?")]
    Seccomp(String),
    /// A step in watching over the job failed.
    #[error("cannot watch over the job ({step}): {os}")]
    Watch {
        /// Which step.
        step: String,
        /// Why.
        os: Os,
    },
    /// The control group could not be made.
    #[error("cannot limit the job by the control group {path:?}: {os}")]
    ControlGroup {
        /// On the host.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
        /// Why.
        os: Os,
    },
    /// What this platform cannot do.
    #[error("this backend cannot make {what}; {cure}")]
    Unsupported {
        /// What.
        what: String,
        /// What helps.
        cure: String,
    },
    /// A path that a profile cannot say.
    #[error(
        "{path:?} cannot be written into the job's sandbox profile: it must be absolute and UTF-8; rename it"
    )]
    OddPath {
        /// On the host.
        #[serde(with = "crate::bytes")]
        path: PathBuf,
    },
    /// Apple's program makes no sandbox.
    #[error("{program:?} makes no sandbox here, so there is no jail ({text}); {cure}", cure = crate::backend::seatbelt::FORBIDDEN)]
    Seatbelt {
        /// The program.
        #[serde(with = "crate::bytes")]
        program: PathBuf,
        /// What it says.
        text: String,
    },
    /// There is no container.
    #[error(transparent)]
    Container(#[from] ContainerError),
}

impl Error {
    /// A step in watching over the job failed.
    pub(crate) fn watch(step: &str, os: impl Into<Os>) -> Error {
        Error::Watch { step: step.to_owned(), os: os.into() }
    }
}
