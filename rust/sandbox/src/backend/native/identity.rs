//! Who a job is.
//!
//! An ordinary user's job keeps its ids: inside and outside they are the same numbers, and the job has no
//! capabilities. Root's job never is root: a process with kernel uid 0 may turn the host's levers in /proc by file
//! mode alone. It is user 1000 inside, and outside an id that belongs to nobody else: 1 879 100 000 plus the stage's
//! pid, above the range that systemd gives to containers and below its foreign ids, different for every job at work.

use std::fs;

use nix::unistd::{Pid, getegid, geteuid};

use crate::backend::JobIds;
use crate::wire::Identity;

/// What root's job sees as its user and group.
const ID_OF_ROOTS_JOB: u32 = 1000;
pub(in crate::backend) const FIRST_KERNEL_ID: u32 = 1_879_100_000;

/// The ids of a job that this process starts.
pub(super) fn job_ids() -> JobIds {
    if is_real_root() {
        JobIds { uid: ID_OF_ROOTS_JOB, gid: ID_OF_ROOTS_JOB }
    } else {
        JobIds { uid: geteuid().as_raw(), gid: getegid().as_raw() }
    }
}

/// The identity of the job behind this stage.
pub(super) fn of_job(stage: Pid) -> Identity {
    let JobIds { uid: inside_uid, gid: inside_gid } = job_ids();
    let kernel_id = is_real_root().then(|| FIRST_KERNEL_ID + stage.as_raw().unsigned_abs());
    Identity { inside_uid, inside_gid, kernel_id }
}

/// Maps the ids of a stage that has just entered its user namespace.
pub(super) fn map(stage: Pid, identity: Identity) -> std::io::Result<()> {
    let Identity { inside_uid, inside_gid, kernel_id } = identity;
    let file = |name: &str| format!("/proc/{stage}/{name}");
    if kernel_id.is_none() {
        // The price of a group map without privileges.
        fs::write(file("setgroups"), "deny")?;
    }
    let outside = |own: u32| kernel_id.unwrap_or(own);
    fs::write(file("uid_map"), format!("{inside_uid} {} 1", outside(geteuid().as_raw())))?;
    fs::write(file("gid_map"), format!("{inside_gid} {} 1", outside(getegid().as_raw())))
}

/// Root of the host, not of a user namespace, where uid 0 is an ordinary user's.
fn is_real_root() -> bool {
    let everything = |map: String| map.split_whitespace().eq(["0", "0", "4294967295"]);
    geteuid().is_root() && fs::read_to_string("/proc/self/uid_map").is_ok_and(everything)
}
