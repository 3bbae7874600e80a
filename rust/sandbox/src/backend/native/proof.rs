//! The proof that a jail is one: none of its namespaces is ours.

use std::fs;
use std::path::PathBuf;

use nix::unistd::Pid;

use crate::backend::Error;
use crate::plan::Network;

/// Those that the job's isolation rests on, beside the network's.
const NAMESPACES: [&str; 5] = ["user", "mnt", "pid", "ipc", "uts"];

/// Compares the namespaces of the jail's init with ours.
pub(super) fn isolated(init: Pid, network: Network) -> Result<(), Error> {
    let net = (network == Network::Own).then_some("net");
    for namespace in NAMESPACES.into_iter().chain(net) {
        let of = |process: String| -> Result<PathBuf, Error> {
            fs::read_link(format!("/proc/{process}/ns/{namespace}"))
                .map_err(|error| Error::Proof { namespace: namespace.to_owned(), os: error.into() })
        };
        if of(init.to_string())? == of("self".to_owned())? {
            return Err(Error::NotIsolated { namespace: namespace.to_owned() });
        }
    }
    Ok(())
}
