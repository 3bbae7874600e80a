//! What the far end reports about its container, because descriptors cannot cross.

use serde::{Deserialize, Serialize};

/// The surroundings of a container's PID 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerInfo {
    /// The boot id of the kernel.
    pub(crate) kernel: String,
    /// The inode numbers of its namespaces, in the order of [`crate::wire::NAMESPACES`].
    pub(crate) namespaces: Vec<u64>,
    /// The network interfaces that are up.
    pub(crate) interfaces: Vec<String>,
}

/// Returns the boot id of the running kernel, which no other boot of any machine has.
pub(crate) fn kernel() -> std::io::Result<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned())
}
