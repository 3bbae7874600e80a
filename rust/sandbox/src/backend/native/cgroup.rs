//! Limits on memory, processes and CPU by control groups (version 2), where this user may make them.
//!
//! Two ways, in this order: a scope of systemd, the system's for root and the user's own for anybody else, in which the
//! stage is started and which systemd removes however the job ended; a group of our own, where there is no systemd and
//! a part of the tree is ours. Where neither is open the job runs without these limits, and the user is told which.

mod group;
mod hierarchy;
pub(in crate::backend) mod scope;

use std::fs;

use nix::unistd::Pid;

use crate::backend::Error;
use crate::plan::Limits;
pub(super) use group::{Group, reap_everywhere};
use hierarchy::{group_of, is_unified};
pub(super) use scope::Scope;

/// How a plan's limits are enforced.
#[derive(Debug)]
pub(in crate::backend) enum Enforcement {
    /// Nothing is limited that needs a group.
    Unneeded,
    /// By a scope of systemd.
    Scope(Scope),
    /// By a group of ours.
    Group(Group),
    /// Not; these are the sentences that say so.
    None(Vec<String>),
}

/// Finds the way for this job's limits.
pub(super) fn enforcement(job: &str, limits: &Limits) -> Result<Enforcement, Error> {
    if limits.memory.is_none() && limits.pids.is_none() && limits.cpus.is_none() {
        return Ok(Enforcement::Unneeded);
    }
    if let Ok(manager) = scope::manager() {
        return Ok(Enforcement::Scope(manager.scope(job, limits, &[])));
    }
    if let Some(parent) = group::parent() {
        return Group::make(&parent, limits).map(Enforcement::Group);
    }
    let cure = "no control group of version 2 is delegated to this user (`jail doctor` says more)";
    Ok(Enforcement::None(sentences(limits, cure)))
}

/// What does not hold for the stage, which systemd has put into a scope: a controller that the user's systemd was not
/// given is no error to it.
pub(super) fn unenforced(stage: Pid, limits: &Limits) -> Vec<String> {
    let group = group_of(&stage.to_string());
    let holds = |file: &str| {
        let value = group.as_ref().and_then(|group| fs::read_to_string(group.join(file)).ok());
        value.is_some_and(|value| !value.starts_with("max"))
    };
    let left = Limits {
        memory: limits.memory.filter(|_| !holds("memory.max")),
        pids: limits.pids.filter(|_| !holds("pids.max")),
        cpus: limits.cpus.filter(|_| !holds("cpu.max")),
        ..Limits::default()
    };
    let cure = "this user's systemd was not given its controller; as root, Delegate=cpu memory pids for user@.service gives it";
    sentences(&left, cure)
}

/// Why limits cannot be enforced, as a cure; nothing if they can. Makes nothing but what the first job would.
pub(super) fn hindrance() -> Option<String> {
    if scope::manager().is_ok() || group::parent().is_some() {
        return None;
    }
    Some(if is_unified() {
        "log in to a session of systemd, or as root: loginctl enable-linger USER (or start the jail as root)"
            .to_owned()
    } else {
        "boot with control groups of version 2 alone (systemd.unified_cgroup_hierarchy=1 on the kernel's command line)"
            .to_owned()
    })
}

/// The sentence for each limit that a group would enforce and nothing else does.
fn sentences(limits: &Limits, cure: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    if limits.memory.is_some() {
        sentences.push(format!("the memory limit is not enforced: {cure}"));
    }
    if limits.cpus.is_some() {
        sentences.push(format!("the limit on CPUs is not enforced: {cure}"));
    }
    if limits.pids.is_some() {
        sentences.push(format!("the limit on processes is enforced by RLIMIT_NPROC only: {cure}"));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_without_a_group_has_its_sentence() {
        let limits = Limits { memory: Some(1), pids: Some(1), cpus: Some(1.0), ..Limits::default() };
        assert_eq!(sentences(&limits, "cure").len(), 3);
        assert!(sentences(&Limits::default(), "cure").is_empty());
    }

    #[test]
    fn a_process_that_is_in_no_group_of_ours_has_no_limit() {
        let limits = Limits { memory: Some(1), pids: None, cpus: Some(1.0), ..Limits::default() };
        // No kernel gives such a number to a process.
        let nobody = Pid::from_raw(i32::MAX);
        let [memory, cpus] = <[String; 2]>::try_from(unenforced(nobody, &limits)).unwrap();
        assert!(memory.starts_with("the memory limit is not enforced"), "{memory}");
        assert!(cpus.starts_with("the limit on CPUs is not enforced"), "{cpus}");
    }
}
