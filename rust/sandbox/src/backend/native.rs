//! The native backend: Linux namespaces, made by a stage of our own, without privileges.

pub(super) mod cgroup;
mod doctor;
pub(super) mod identity;
mod proof;
pub(super) mod start;

use crate::backend::disk::Disk;
use crate::backend::run;
use crate::backend::{Backend, Ended, Error, JobIds, Listeners, Prepared};
use crate::plan::Plan;

pub use doctor::diagnose;

/// Makes jails of Linux namespaces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

impl Backend for Native {
    fn job_ids(&self) -> JobIds {
        identity::job_ids()
    }

    fn prepare(&self, plan: &Plan) -> Result<Box<dyn Prepared>, Error> {
        Ok(Box::new(start::start(plan, || cgroup::enforcement(&plan.job, &plan.limits))?))
    }
}

/// Removes what launchers that were killed have left of their jobs: empty control groups.
pub fn tidy() {
    cgroup::reap_everywhere();
}

/// A stage that waits to be released. Dropped instead, it ends at the loss of its channel.
pub(super) struct Waiting {
    stage: start::Stage,
    listeners: Listeners,
    notices: Vec<String>,
    timeout: Option<std::time::Duration>,
    disk: Option<Disk>,
}

impl Prepared for Waiting {
    fn take_listeners(&mut self) -> Listeners {
        std::mem::take(&mut self.listeners)
    }

    fn notices(&self) -> &[String] {
        &self.notices
    }

    fn run(self: Box<Self>) -> Result<Ended, Error> {
        // What was not taken is closed, so that a connection to it is refused instead of hanging.
        let Waiting { stage, listeners, timeout, disk, .. } = *self;
        drop(listeners);
        run::run(stage, timeout, disk)
    }
}
