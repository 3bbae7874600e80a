//! The job's system calls: a list of what programs use, and a list of what is refused by name.
//!
//! Two filters, since one has a single answer for everything else: what is on neither list fails with ENOSYS, as on a
//! kernel that lacks it, so that libraries fall back (clone3, io_uring); what is refused fails with EPERM. Calls of
//! another architecture (i386) end the process, and x32 numbers are on no list.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use crate::backend::Error;
use crate::plan::Protection;

mod allowed;

/// Namespaces that could be made new: with one, a job could mount, or gain capabilities to attack the kernel with.
const NEW_NAMESPACES: [libc::c_int; 8] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    // CLONE_NEWTIME; for clone(2) the same bit is part of the exit signal's byte, and never set by a valid signal.
    0x80,
];

/// The libc crate lacks it for one of the C libraries.
const KEXEC_FILE_LOAD: libc::c_long = if cfg!(target_arch = "aarch64") { 294 } else { 320 };

/// What works with mounts; refused, unless namespaces may be nested.
const MOUNTS: &[libc::c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
];

/// Refused whatever the arguments: what loads code into the kernel, reaches into other processes past ptrace, opens
/// files by number, or has a long record of kernel bugs.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // Namespaces.
    libc::SYS_setns,
    // Kernel code and state.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    KEXEC_FILE_LOAD,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    // Keys are not namespaced.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Other processes' memory and descriptors.
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // io_uring works past filters like this one.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // The whole file system's watch.
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
];

/// x86 only: ports and segments.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS__sysctl,
    libc::SYS_ustat,
    libc::SYS_sysfs,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// Terminal requests that type into a terminal, or change what it is.
#[allow(clippy::unnecessary_cast, reason = "their type depends on the C library")]
const REFUSED_IOCTLS: [u64; 3] = [libc::TIOCSTI as u64, libc::TIOCLINUX as u64, libc::TIOCSETD as u64];

/// Types of requests that manage a file system of many subvolumes, btrfs and bcachefs: a snapshot copies a whole
/// subvolume, also what lies around the workspace, into a place that the job can read.
const SUBVOLUME_IOCTL_TYPES: [u64; 2] = [0x94, 0xbc];
/// Where the type of a request is in its number.
const IOCTL_TYPE: u64 = 0xff00;
/// Requests of these types that every file system answers: sharing the data of files that are open already
/// (FICLONE, FICLONERANGE, FIDEDUPERANGE).
const REFLINK_IOCTLS: [u64; 3] = [0x4004_9409, 0x4020_940d, 0xc018_9436];
/// Requests that reserve space in a file, as fallocate(2) does (FS_IOC_RESVSP, FS_IOC_RESVSP64, FS_IOC_ZERO_RANGE; on XFS
/// before Linux 5.17 also XFS_IOC_ALLOCSP, _FREESP, _ALLOCSP64, _FREESP64), and FS_IOC_FSSETXATTR, by which the next byte
/// written to a file of XFS reserves gigabytes (an extent size hint).
const RESERVING_IOCTLS: [u64; 8] =
    [0x4030_5828, 0x4030_582a, 0x4030_5839, 0x4030_580a, 0x4030_580b, 0x4030_5824, 0x4030_5825, 0x401c_5820];

/// The kinds of sockets over IP, without their flags. Another kind makes the kernel load the protocol that has it
/// (SEQPACKET: SCTP; DCCP), as an explicit protocol does.
const IP_SOCKET_KINDS: [libc::c_int; 3] = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW];
/// The bits of a socket's type that are its kind.
const SOCKET_KIND: u64 = 0xf;

/// Domains that know no network namespace, or reach deep into the kernel, are not among these.
const SOCKET_DOMAINS: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// What is spoken over IP. To ask for another protocol is enough to make the kernel load it, and those that few use have
/// a long record of bugs. 0 is the usual one of the socket's kind; multipath TCP is what Go listens with.
const IP_PROTOCOLS: [libc::c_int; 6] =
    [0, libc::IPPROTO_ICMP, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_ICMPV6, libc::IPPROTO_MPTCP];

/// Where a call's mode is, as the number of its argument.
const MODES: &[(libc::c_long, u8)] = &[
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (FCHMODAT2, 2),
    (libc::SYS_mknodat, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, 1),
];
/// The same for calls that look at the mode only if they create: where the flags are, and where the mode is.
const MODES_OF_NEW_FILES: &[(libc::c_long, u8, u8)] = &[
    (libc::SYS_openat, 2, 3),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 1, 2),
];
/// Not every version of the C library's list has it.
const FCHMODAT2: libc::c_long = 452;
/// The libc crate does not name it on every architecture.
const SETRLIMIT: libc::c_long = if cfg!(target_arch = "aarch64") { 164 } else { 160 };

/// The process that must report the job's end, whose limits are its own.
const INIT: u64 = 1;

/// Personalities: Linux as it is, with addresses not randomised (debuggers), with short inode numbers; and the query.
const PERSONALITIES: [u64; 6] = [0, 0x0008, 0x0002_0000, 0x0002_0008, 0x0004_0000, 0xffff_ffff];

/// Restricts this process and what it starts: init, whose work with mounts is done, and with it the job.
/// `is_disk_limited` says that the plan limits what the job may take of a disk.
pub(crate) fn apply(weakened: &[Protection], is_disk_limited: bool) -> Result<(), Error> {
    let mut programs = vec![allowed_program(weakened)?, core_limit_program()?];
    if is_disk_limited {
        programs.push(unreserved_program()?);
    }
    programs.push(refused_program(weakened)?);
    for program in programs {
        apply_filter(&program).map_err(|error| Error::Seccomp(error.to_string()))?;
    }
    Ok(())
}

/// Keeps the limit on core files as [`super::limits::turn_core_files_off`] has set it, while the job is told that its
/// own has been set: programs that turn their core files off give up if they cannot. A job that lowered the limit to 0
/// would have the host's core handler started.
fn core_limit_program() -> Result<BpfProgram, Error> {
    let core = condition(0, Op::Eq, libc::RLIMIT_CORE as u64)?;
    let core_of_process = condition(1, Op::Eq, libc::RLIMIT_CORE as u64)?;
    // A pointer: any bit of it may be set.
    let is_set = Condition::new(2, Len::Qword, Op::Ne, 0).map_err(seccomp)?;
    let mut rules = BTreeMap::from([(libc::SYS_prlimit64, vec![rule(vec![core_of_process, is_set])?])]);
    rules.insert(SETRLIMIT, vec![rule(vec![core])?]);
    compile(rules, SeccompAction::Allow, SeccompAction::Errno(0))
}

/// With a limit on the disk, space is taken by writing only. What would reserve it takes all of a disk in one call,
/// before anybody can look; it fails as on a file system that cannot reserve (EOPNOTSUPP), where the C library writes.
fn unreserved_program() -> Result<BpfProgram, Error> {
    let mut rules = BTreeMap::from([(libc::SYS_fallocate, Vec::new())]);
    for request in RESERVING_IOCTLS {
        rules.entry(libc::SYS_ioctl).or_default().push(rule(vec![condition(1, Op::Eq, request)?])?);
    }
    compile(rules, SeccompAction::Allow, SeccompAction::Errno(libc::EOPNOTSUPP as u32))
}

/// What is not on the list is not there.
fn allowed_program(weakened: &[Protection]) -> Result<BpfProgram, Error> {
    let nested: &[libc::c_long] = if weakened.contains(&Protection::NestedNamespaces) { MOUNTS } else { &[] };
    let calls = allowed::CALLS.iter().chain(allowed::CALLS_HERE).chain(nested);
    compile(
        calls.map(|&call| (call, Vec::new())).collect(),
        SeccompAction::Errno(libc::ENOSYS as u32),
        SeccompAction::Allow,
    )
}

/// What is refused by name, or by its arguments. The filter installed last gives the error number.
fn refused_program(weakened: &[Protection]) -> Result<BpfProgram, Error> {
    let mut rules: BTreeMap<libc::c_long, Vec<SeccompRule>> = BTreeMap::new();
    for &call in REFUSED.iter().chain(REFUSED_HERE) {
        rules.insert(call, Vec::new());
    }
    if !weakened.contains(&Protection::NestedNamespaces) {
        refuse_namespaces(&mut rules)?;
    }
    for request in REFUSED_IOCTLS {
        rules.entry(libc::SYS_ioctl).or_default().push(rule(vec![condition(1, Op::Eq, request)?])?);
    }
    // Init has the job's user, who could otherwise take the descriptors and the memory away with which it reports.
    rules.insert(libc::SYS_prlimit64, vec![rule(vec![condition(0, Op::Eq, INIT)?])?]);
    for kind in SUBVOLUME_IOCTL_TYPES {
        let mut conditions = vec![condition(1, Op::MaskedEq(IOCTL_TYPE), kind << 8)?];
        for request in REFLINK_IOCTLS {
            conditions.push(condition(1, Op::Ne, request)?);
        }
        rules.entry(libc::SYS_ioctl).or_default().push(rule(conditions)?);
    }
    rules.insert(libc::SYS_personality, vec![none_of(0, &PERSONALITIES)?]);
    let domains = SOCKET_DOMAINS.map(|domain| domain as u64);
    let netlink_beyond_routes = rule(vec![
        condition(0, Op::Eq, libc::AF_NETLINK as u64)?,
        condition(2, Op::Ne, libc::NETLINK_ROUTE as u64)?,
    ])?;
    let mut sockets = vec![none_of(0, &domains)?, netlink_beyond_routes];
    for domain in [libc::AF_INET, libc::AF_INET6] {
        let mut conditions = vec![condition(0, Op::Eq, domain as u64)?];
        for protocol in IP_PROTOCOLS {
            conditions.push(condition(2, Op::Ne, protocol as u64)?);
        }
        sockets.push(rule(conditions)?);
        for kind in
            (0..=SOCKET_KIND).filter(|kind| IP_SOCKET_KINDS.iter().all(|known| *known as u64 != *kind))
        {
            sockets.push(rule(vec![
                condition(0, Op::Eq, domain as u64)?,
                condition(1, Op::MaskedEq(SOCKET_KIND), kind)?,
            ])?);
        }
    }
    rules.insert(libc::SYS_socket, sockets);
    rules.insert(libc::SYS_socketpair, vec![none_of(0, &[libc::AF_UNIX as u64])?]);
    if !weakened.contains(&Protection::SetIdFiles) {
        refuse_setuid_files(&mut rules)?;
    }
    compile(rules, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32))
}

/// What a new namespace is for (mounts, other namespaces) goes with it.
fn refuse_namespaces(rules: &mut BTreeMap<libc::c_long, Vec<SeccompRule>>) -> Result<(), Error> {
    for &call in MOUNTS {
        rules.insert(call, Vec::new());
    }
    for namespace in NEW_NAMESPACES {
        let bit = namespace as u64;
        let set = rule(vec![condition(0, Op::MaskedEq(bit), bit)?])?;
        rules.entry(libc::SYS_unshare).or_default().push(set.clone());
        if namespace != 0x80 {
            rules.entry(libc::SYS_clone).or_default().push(set);
        }
    }
    Ok(())
}

/// A set-user-id file in the workspace would be run later on the host, as the workspace's owner (who may be root)
/// by whoever finds it. openat2, whose mode lies in memory, is on no list.
fn refuse_setuid_files(rules: &mut BTreeMap<libc::c_long, Vec<SeccompRule>>) -> Result<(), Error> {
    for bit in [u64::from(libc::S_ISUID), u64::from(libc::S_ISGID)] {
        for &(call, mode) in MODES {
            rules.entry(call).or_default().push(rule(vec![condition(mode, Op::MaskedEq(bit), bit)?])?);
        }
        for &(call, flags, mode) in MODES_OF_NEW_FILES {
            // O_TMPFILE is a bit of its own and that of O_DIRECTORY.
            for creating in [libc::O_CREAT as u64, (libc::O_TMPFILE & !libc::O_DIRECTORY) as u64] {
                rules.entry(call).or_default().push(rule(vec![
                    condition(flags, Op::MaskedEq(creating), creating)?,
                    condition(mode, Op::MaskedEq(bit), bit)?,
                ])?);
            }
        }
    }
    Ok(())
}

fn none_of(argument: u8, values: &[u64]) -> Result<SeccompRule, Error> {
    let conditions: Result<_, Error> =
        values.iter().map(|&value| condition(argument, Op::Ne, value)).collect();
    rule(conditions?)
}

fn rule(conditions: Vec<Condition>) -> Result<SeccompRule, Error> {
    SeccompRule::new(conditions).map_err(seccomp)
}

/// The kernel reads these arguments as 32-bit numbers; so do we, or garbage in the upper half would slip through.
fn condition(argument: u8, operator: Op, value: u64) -> Result<Condition, Error> {
    Condition::new(argument, Len::Dword, operator, value).map_err(seccomp)
}

fn compile(
    rules: BTreeMap<libc::c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, Error> {
    #[cfg(target_arch = "x86_64")]
    let architecture = TargetArch::x86_64;
    #[cfg(target_arch = "aarch64")]
    let architecture = TargetArch::aarch64;
    SeccompFilter::new(rules, otherwise, matched, architecture)
        .and_then(BpfProgram::try_from)
        .map_err(seccomp)
}

fn seccomp(error: seccompiler::BackendError) -> Error {
    Error::Seccomp(error.to_string())
}
