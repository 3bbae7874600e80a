//! The processes of this user, and the end of one, as macOS tells them.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};
use nix::unistd::{Pid, getuid};

use crate::backend::seatbelt::watchdog::Process;

/// Becomes readable when a process has ended.
#[derive(Debug)]
pub(crate) struct End(Kqueue);

impl End {
    /// Of a child that has not been waited for.
    pub(crate) fn of(pid: Pid) -> nix::Result<End> {
        let queue = Kqueue::new()?;
        let ident = usize::try_from(pid.as_raw()).map_err(|_| Errno::ESRCH)?;
        let event = KEvent::new(
            ident,
            EventFilter::EVFILT_PROC,
            EvFlags::EV_ADD | EvFlags::EV_ENABLE,
            FilterFlag::NOTE_EXIT,
            0,
            0,
        );
        queue.kevent(&[event], &mut [], None)?;
        Ok(End(queue))
    }

    /// What to poll.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Every process of this user.
pub(crate) fn processes() -> nix::Result<Vec<Process>> {
    let user = getuid().as_raw();
    Ok(numbers()?
        .into_iter()
        .filter_map(process)
        .filter(|(of, _)| *of == user)
        .map(|(_, process)| process)
        .collect())
}

/// When a process of this user started, in microseconds since the Unix epoch: with its number it names one process for
/// good.
pub fn started_ticks(pid: u32) -> Option<u64> {
    process(i32::try_from(pid).ok()?).map(|(_, process)| process.started)
}

fn numbers() -> nix::Result<Vec<libc::pid_t>> {
    // SAFETY: a null buffer of size 0 asks for the number of processes.
    // JUSTIFICATION: nix has no wrapper.
    let count = Errno::result(unsafe { libc::proc_listallpids(std::ptr::null_mut(), 0) })?;
    // Some may start meanwhile.
    let mut numbers = vec![0; usize::try_from(count).unwrap_or(0) + 256];
    let bytes = libc::c_int::try_from(size_of_val(numbers.as_slice())).map_err(|_| Errno::ENOMEM)?;
    // SAFETY: the buffer is as long as said and holds whole numbers of processes.
    // JUSTIFICATION: as above.
    let count = Errno::result(unsafe { libc::proc_listallpids(numbers.as_mut_ptr().cast(), bytes) })?;
    numbers.truncate(usize::try_from(count).unwrap_or(0));
    Ok(numbers)
}

/// A process with its user; `None` if it has just ended, or is another user's.
fn process(pid: libc::pid_t) -> Option<(libc::uid_t, Process)> {
    let mut information = MaybeUninit::<libc::proc_bsdinfo>::uninit();
    let size = libc::c_int::try_from(size_of::<libc::proc_bsdinfo>()).ok()?;
    // SAFETY: the kernel writes at most `size` bytes to a buffer of that size.
    // JUSTIFICATION: nix has no wrapper.
    let written =
        unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDTBSDINFO, 0, information.as_mut_ptr().cast(), size) };
    if written != size {
        return None;
    }
    // SAFETY: the kernel has written all of it, and it is made of numbers.
    // JUSTIFICATION: as above.
    let information = unsafe { information.assume_init() };
    let mut usage = MaybeUninit::<libc::rusage_info_v0>::uninit();
    // SAFETY: this flavour is of this type, to which the kernel writes.
    // JUSTIFICATION: as above.
    let result = unsafe { libc::proc_pid_rusage(pid, libc::RUSAGE_INFO_V0, usage.as_mut_ptr().cast()) };
    if result != 0 {
        return None;
    }
    // SAFETY: the call has succeeded, and it is made of numbers.
    // JUSTIFICATION: as above.
    let usage = unsafe { usage.assume_init() };
    let process = Process {
        pid,
        parent: i32::try_from(information.pbi_ppid).ok()?,
        group: i32::try_from(information.pbi_pgid).ok()?,
        started: information.pbi_start_tvsec * 1_000_000 + information.pbi_start_tvusec,
        memory: usage.ri_phys_footprint,
        cpu: duration(usage.ri_user_time.saturating_add(usage.ri_system_time))?,
    };
    Some((information.pbi_ruid, process))
}

/// From the processor's own ticks, which are 41.7 ns on Apple's and 1 ns on Intel's.
#[expect(deprecated, reason = "its successor is a crate of its own for this one call")]
fn duration(ticks: u64) -> Option<Duration> {
    let mut base = libc::mach_timebase_info { numer: 0, denom: 0 };
    // SAFETY: the kernel's library writes one such struct.
    // JUSTIFICATION: nix has no wrapper.
    unsafe { libc::mach_timebase_info(&raw mut base) };
    let nanoseconds = u128::from(ticks) * u128::from(base.numer) / u128::from(base.denom.max(1));
    Some(Duration::from_nanos(u64::try_from(nanoseconds).ok()?))
}
