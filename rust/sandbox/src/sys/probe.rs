//! Questions to the kernel that change nothing.

use std::ptr;

use nix::errno::Errno;
use nix::libc;

/// The version of Landlock that the kernel speaks.
pub(crate) fn landlock_abi() -> nix::Result<libc::c_long> {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the kernel takes no attributes: a null pointer and a size of 0.
    // JUSTIFICATION: the landlock crate does not tell the version.
    let result = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<libc::c_void>(), 0_usize, VERSION)
    };
    Errno::result(result)
}
