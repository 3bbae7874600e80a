//! Who makes a jail.

use std::net::{TcpListener, UdpSocket};

use serde::{Deserialize, Serialize};

use crate::plan::Plan;

#[cfg(target_os = "linux")]
pub mod container;
mod container_error;
mod disk;
mod error;
mod files;
#[cfg(target_os = "linux")]
pub mod native;
mod os;
#[cfg(target_os = "linux")]
mod run;
pub mod seatbelt;
#[cfg(target_os = "linux")]
pub mod systemd;

pub use container_error::ContainerError;
pub use error::Error;
pub use os::Os;

/// Makes jails of one kind.
pub trait Backend {
    /// The ids that a job of this process sees as its own.
    fn job_ids(&self) -> JobIds;
    /// How the job reaches its proxy.
    fn reach(&self) -> Reach {
        Reach::Everywhere
    }
    /// Makes the namespaces, binds the sockets inside and hands them out. Nothing of the job runs yet.
    fn prepare(&self, plan: &Plan) -> Result<Box<dyn Prepared>, Error>;
}

/// A jail that waits for its proxy.
pub trait Prepared {
    /// The listening sockets of `Plan::listen`, in its order; taken once.
    fn take_listeners(&mut self) -> Listeners;
    /// What of the plan could not be enforced, as sentences for the user (e.g. a memory limit without cgroup).
    fn notices(&self) -> &[String];
    /// Builds the file tree, drops every privilege, starts the command, and returns when the command has ended:
    /// passes signals, window size and job control on meanwhile.
    fn run(self: Box<Self>) -> Result<Ended, Error>;
}

/// The user and group that a job sees as its own, for the jail's /etc/passwd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobIds {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
}

/// How a job reaches its proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Whatever address it connects to, on the ports of the plan.
    Everywhere,
    /// By one port of the host's loopback, which other programs can reach too: the proxy asks for the secret.
    Port {
        /// On 127.0.0.1.
        port: u16,
        /// The password of its proxy.
        secret: String,
    },
}

/// Sockets bound inside a jail.
#[derive(Debug, Default)]
pub struct Listeners {
    /// With their ports.
    pub tcp: Vec<(u16, TcpListener)>,
    /// With their ports.
    pub udp: Vec<(u16, UdpSocket)>,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Code(u8),
    /// By this signal.
    Signal(i32),
    /// Its wall-clock time ran out.
    TimedOut,
    /// It took more of a disk than its limit.
    DiskUsedUp(Exhausted),
    /// What it may not be without was gone.
    CutOff,
}

/// What of a disk a job used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// Free space.
    Space,
    /// Free inodes: the file system can hold only so many files.
    Inodes,
}

/// One thing that a host offers to a backend, or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is, in a few words.
    pub what: String,
    /// Whether it is there.
    pub state: State,
    /// What to do where it is not.
    pub cure: Option<String>,
}

/// Whether a backend finds what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there.
    Ok,
    /// Jails run, with less.
    Degraded,
    /// No jail runs without it.
    Missing,
}
