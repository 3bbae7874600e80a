//! The launcher's limit on open files. A job decides how many connections its proxy has, and the same process needs
//! descriptors for the operator's logins.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use proxy::config::Limits;

/// The most that is asked for. A proxy with all its connections needs a twentieth of it.
const MAX_OPEN_FILES: rlim_t = 65_536;
/// Kept free of connections, for everything else that the process opens.
const RESERVED: usize = 256;
/// Descriptors of one connection of the job: itself, the one to the server, one that is being dialled.
const PER_CONNECTION: usize = 3;

/// Raises the limit and returns the proxy's limits, reduced to fit below it.
///
/// Call it after the job's sandbox was spawned: the job is to have the operator's own soft limit, as programs that use
/// select(2) rely on it.
pub(crate) fn fitting(limits: Limits) -> Limits {
    let open_files = raise().unwrap_or(MAX_OPEN_FILES);
    Limits { connections: limits.connections.min(connections(open_files)), ..limits }
}

fn raise() -> nix::Result<rlim_t> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.min(MAX_OPEN_FILES).max(soft);
    // macOS refuses more than its own maximum whatever the hard limit says.
    Ok(setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).map_or(soft, |()| wanted))
}

fn connections(open_files: rlim_t) -> usize {
    let open_files = usize::try_from(open_files).unwrap_or(usize::MAX);
    (open_files.saturating_sub(RESERVED.min(open_files / 2)) / PER_CONNECTION).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        for (open_files, expected) in [(0, 1), (64, 10), (256, 42), (1024, 256), (4096, 1280)] {
            assert_eq!(connections(open_files), expected, "{open_files}");
        }
        assert!(connections(MAX_OPEN_FILES) > Limits::default().connections);
    }
}
