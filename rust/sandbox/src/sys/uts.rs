//! Names of this machine in its UTS namespace.

use std::ffi::CStr;

use nix::errno::Errno;
use nix::libc;

/// Sets the NIS domain name of this process's UTS namespace.
pub(crate) fn set_domain_name(name: &CStr) -> nix::Result<()> {
    // SAFETY: the kernel reads as many bytes as the string has.
    // JUSTIFICATION: nix has no wrapper.
    let result = unsafe { libc::setdomainname(name.as_ptr(), name.count_bytes()) };
    Errno::result(result).map(drop)
}
