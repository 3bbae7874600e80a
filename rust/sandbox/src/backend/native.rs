//! The native backend: Linux namespaces, made by a stage of our own, without privileges.

pub(super) mod cgroup;
mod doctor;
pub(super) mod identity;
mod proof;
pub(super) mod start;

use std::os::fd::OwnedFd;

use crate::backend::{Backend, Error, JobIds, Prepared};
use crate::plan::Plan;

pub use doctor::diagnose;

/// Makes jails of Linux namespaces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

impl Native {
    /// The same as [`Backend::prepare`], but that the job is killed as soon as the other end of `lifeline` is closed.
    pub fn prepare_bound_to(&self, plan: &Plan, lifeline: OwnedFd) -> Result<Box<dyn Prepared>, Error> {
        let mut waiting = start::start(plan, || cgroup::enforcement(&plan.job, &plan.limits))?;
        waiting.lifeline = Some(lifeline);
        Ok(Box::new(waiting))
    }
}

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
