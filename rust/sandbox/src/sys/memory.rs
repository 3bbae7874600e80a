//! The allocator of the launcher.

/// How much freed memory stays with the process instead of going back to the kernel.
#[cfg(target_env = "gnu")]
const KEPT: nix::libc::c_int = 2 * 1024 * 1024;

/// Makes glibc keep a little memory that was freed: a proxy frees and takes the same buffers all the time, and faulting
/// them in again costs a fifth of its bulk throughput. Elsewhere there is nothing to do.
pub fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes two numbers and locks the allocator itself.
    // JUSTIFICATION: there is no other way but an environment variable, which is read before main.
    unsafe {
        nix::libc::mallopt(nix::libc::M_TRIM_THRESHOLD, KEPT);
    }
}
