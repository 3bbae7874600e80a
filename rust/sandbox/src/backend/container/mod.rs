//! The container backend: an engine of the host (Docker, Podman) makes the namespaces and the mounts, this program is
//! the container's pid 1 and hands the listeners out.
//!
//! ```text
//! launcher ── docker run ──► engine ── pid 1 of the container: this program ── the command
//!     └───────── socket bound into the container: plan and streams in, listeners out ────┘
//! ```
//! One container per job. The other way, a second one that only holds the network namespace, would cost a container's
//! start (two thirds of a job's) and keep one more process; here the same process that had the network's capabilities
//! has dropped them for good before the job's first instruction.
//!
//! The job's command, environment and streams cross the socket, so the engine's records hold none of them.
//!
//! No socket and no descriptor reaches an engine in a virtual machine or on another host. There all of it crosses by
//! the standard streams of `docker run`: see [`crate::relay`].

mod arguments;
mod doctor;
mod engine;
mod image;
mod job_dir;
mod layout;
mod program;
mod proof;
mod relayed;
mod start;

use std::path::{Path, PathBuf};

pub use doctor::diagnose;
pub use engine::Kind;
use engine::{Engine, Reached, Rights};

use crate::backend::native::identity::FIRST_KERNEL_ID;
use crate::backend::{Backend, ContainerError, Error, JobIds, Prepared};
use crate::host_program::HostPrograms;
use crate::plan::Plan;

/// Makes jails of containers.
#[derive(Debug)]
pub struct Container {
    who: Identified,
    runtime: PathBuf,
}

/// What the jail's maker decides.
#[derive(Debug)]
pub struct Settings<'a> {
    /// Whose engine.
    pub kind: Kind,
    /// The operator's programs: the engine's is one of them.
    pub programs: &'a HostPrograms,
    /// A private directory of the operator's, for the containers' files.
    pub runtime: PathBuf,
    /// Relay as if the engine were on another kernel.
    pub relay: bool,
    /// To whom the workspace belongs: who the job is when root starts it.
    pub workspace_owner: Option<JobIds>,
}

/// An engine and who jobs are there.
#[derive(Debug)]
struct Identified {
    engine: Engine,
    rights: Rights,
    /// Why all that the job and its proxy say to each other is relayed through the engine, if it is.
    relay: Option<String>,
    /// As the job sees itself.
    inside: JobIds,
    /// As the namespace outside of the container's sees it: the host, or the engine's own, where the operator is root.
    outside: JobIds,
}

impl Container {
    /// Finds the engine; an error if it cannot be used.
    pub fn new(settings: Settings<'_>) -> Result<Container, Error> {
        let engine = Engine::new(settings.kind, settings.programs);
        let Reached { rights, elsewhere } = engine.reach()?;
        let relay = elsewhere
            .map(|endpoint| format!("the engine at {endpoint} runs on another kernel"))
            .or_else(|| settings.relay.then(|| "--container-relay".to_owned()));
        if relay.is_some() && rights == Rights::Rootless {
            let what = "a jail whose files are not the job's own, with a rootless engine,".to_owned();
            let cure = "use root's engine there, or one of this host".to_owned();
            return Err(ContainerError::Elsewhere { what, cure }.into());
        }
        let outside = outside(settings.workspace_owner);
        let root = JobIds { uid: 0, gid: 0 };
        let (inside, outside) = match rights {
            Rights::Root => (outside, outside),
            Rights::Rootless => (root, outside),
            Rights::KeepsIds => (outside, root),
        };
        Ok(Container {
            who: Identified { engine, rights, relay, inside, outside },
            runtime: settings.runtime,
        })
    }

    /// Removes what launchers that were killed have left behind.
    pub fn reap(runtime: &Path, programs: &HostPrograms) {
        job_dir::reap(runtime, programs);
    }
}

impl Backend for Container {
    fn job_ids(&self) -> JobIds {
        self.who.inside
    }

    fn prepare(&self, plan: &Plan) -> Result<Box<dyn Prepared>, Error> {
        Ok(Box::new(start::start(&self.who, &self.runtime, plan)?))
    }
}

/// Never root: root's job is whoever the workspace belongs to, or nobody in particular.
fn outside(workspace_owner: Option<JobIds>) -> JobIds {
    let own = engine::own_ids();
    if own.uid != 0 {
        return own;
    }
    workspace_owner.filter(|owner| owner.uid != 0 && owner.gid != 0).unwrap_or_else(|| {
        let nobody = FIRST_KERNEL_ID + std::process::id();
        JobIds { uid: nobody, gid: nobody }
    })
}
