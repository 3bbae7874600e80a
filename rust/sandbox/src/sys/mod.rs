//! Raw system calls: the only place with `unsafe`, one file per matter, safe functions outwards.

#[cfg(target_os = "linux")]
pub(crate) mod capabilities;
#[cfg(target_os = "linux")]
pub(crate) mod fds;
pub(crate) mod memory;
#[cfg(target_os = "linux")]
pub(crate) mod mount;
#[cfg(target_os = "linux")]
pub(crate) mod network;
#[cfg(target_os = "linux")]
pub(crate) mod probe;
#[cfg(target_os = "linux")]
pub(crate) mod process;
pub(crate) mod signals;
pub(crate) mod terminal;
#[cfg(target_os = "linux")]
pub(crate) mod uts;

// What a job is to a system without namespaces: its processes. The tests run it on Linux too.
#[cfg(any(target_os = "macos", test))]
pub(crate) mod launch;
#[cfg(target_os = "macos")]
#[path = "table_macos.rs"]
pub(crate) mod table;
#[cfg(all(target_os = "linux", test))]
#[path = "table_linux.rs"]
pub(crate) mod table;
