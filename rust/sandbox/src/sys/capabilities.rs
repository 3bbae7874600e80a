//! Capabilities, and the bits that keep them from coming back.

use nix::errno::Errno;
use nix::libc;

/// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h: two words per set.
const VERSION_3: u32 = 0x2008_0522;

// Of linux/securebits.h: uid 0 means nothing, capabilities do not survive a change of uid, none are raised as
// ambient; each with its lock.
const SECURE_NOROOT_LOCKED: libc::c_ulong = 0b11;
const SECURE_NO_SETUID_FIXUP_LOCKED: libc::c_ulong = 0b11 << 2;
const SECURE_KEEP_CAPS_LOCKED_OFF: libc::c_ulong = 0b10 << 4;
const SECURE_NO_AMBIENT_RAISE_LOCKED: libc::c_ulong = 0b11 << 6;

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Empties the bounding set and locks the secure bits: no exec brings a capability back, not even by uid 0. Where both
/// is so already it needs no privilege.
pub(crate) fn bound() -> nix::Result<()> {
    let bits = SECURE_NOROOT_LOCKED
        | SECURE_NO_SETUID_FIXUP_LOCKED
        | SECURE_KEEP_CAPS_LOCKED_OFF
        | SECURE_NO_AMBIENT_RAISE_LOCKED;
    if prctl(libc::PR_GET_SECUREBITS, 0)? as libc::c_ulong != bits {
        prctl(libc::PR_SET_SECUREBITS, bits)?;
    }
    for capability in 0..64 {
        match prctl(libc::PR_CAPBSET_READ, capability) {
            Ok(0) => {}
            Ok(_) => drop(prctl(libc::PR_CAPBSET_DROP, capability)?),
            // The first number that the kernel does not know ends the list.
            Err(Errno::EINVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Empties every other set: ambient, effective, permitted, inheritable.
pub(crate) fn drop_all() -> nix::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong)?;
    let header = Header { version: VERSION_3, pid: 0 };
    let sets = [Sets { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: header and sets have the layout of linux/capability.h for version 3 and outlive the call.
    // JUSTIFICATION: nix has no wrapper.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const sets) };
    Errno::result(result).map(drop)
}

fn prctl(option: libc::c_int, argument: libc::c_ulong) -> nix::Result<libc::c_int> {
    const NONE: libc::c_ulong = 0;
    // SAFETY: every option used here takes numbers only.
    // JUSTIFICATION: nix wraps neither of these options.
    let result = unsafe { libc::prctl(option, argument, NONE, NONE, NONE) };
    Errno::result(result)
}
