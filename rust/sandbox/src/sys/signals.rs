//! Signals: as bytes of a pipe for the launcher, back to their defaults for the job.
//!
//! The launcher has threads of its own and of libraries, which do not block what a signalfd would need blocked in
//! every one of them. A handler that writes one byte works whichever thread the kernel picks.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// What the launcher passes on to its job, or acts on.
const CAUGHT: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGTSTP,
    Signal::SIGCONT,
];

const NOBODY: i32 = -1;
static WRITER: AtomicI32 = AtomicI32::new(NOBODY);

/// The signals of this process as long as this lives.
#[derive(Debug)]
pub(crate) struct Caught {
    reader: OwnedFd,
    _writer: OwnedFd,
    before: Vec<(Signal, SigAction)>,
}

impl Caught {
    /// Starts catching; `None` if another job of this process does already (signals go to the first).
    pub(crate) fn start() -> nix::Result<Option<Caught>> {
        let (reader, writer) = pipe()?;
        if WRITER.compare_exchange(NOBODY, writer.as_raw_fd(), Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return Ok(None);
        }
        let mut caught = Caught { reader, _writer: writer, before: Vec::new() };
        for signal in CAUGHT {
            // A signal that was ignored stays so (nohup); a background job of a plain shell ignores INT and QUIT.
            let before = set(signal, SigHandler::Handler(note))?;
            if matches!(before.handler(), SigHandler::SigIgn) {
                set(signal, SigHandler::SigIgn)?;
            }
            caught.before.push((signal, before));
        }
        Ok(Some(caught))
    }

    /// Becomes readable when there is a signal.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// The next signal, if there is one.
    pub(crate) fn next(&self) -> Option<Signal> {
        let mut byte = [0];
        match nix::unistd::read(&self.reader, &mut byte) {
            Ok(1) => Signal::try_from(i32::from(byte[0])).ok(),
            _ => None,
        }
    }

    /// Stops this process group as ^Z does, and returns when it goes on, at `deadline` at the latest. Where nobody could
    /// continue it (an orphaned process group) the kernel ignores the stop, and this returns at once.
    pub(crate) fn stop_process_group(&self, deadline: Option<Instant>) -> nix::Result<()> {
        let _alarm = deadline.map(alarm).transpose()?;
        let group = nix::unistd::getpgrp();
        // Ignored while the group gets it, so that ours comes from raise: that one returns only after the stop.
        set(Signal::SIGTSTP, SigHandler::SigIgn)?;
        let _ = nix::sys::signal::killpg(group, Signal::SIGTSTP);
        set(Signal::SIGTSTP, SigHandler::SigDfl)?;
        nix::sys::signal::raise(Signal::SIGTSTP)?;
        set(Signal::SIGTSTP, SigHandler::Handler(note)).map(drop)
    }
}

/// Makes the kernel continue this process at that time: a stopped process enforces no limit. Dropped, it does not.
#[cfg(target_os = "linux")]
fn alarm(at: Instant) -> nix::Result<nix::sys::timer::Timer> {
    use nix::sys::signal::{SigEvent, SigevNotify};
    use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
    // Zero would turn it off. It comes again and again: the first may come before the stop.
    const AGAIN: std::time::Duration = std::time::Duration::from_secs(1);
    let left = at.saturating_duration_since(Instant::now()).max(std::time::Duration::from_millis(1));
    let event = SigEvent::new(SigevNotify::SigevSignal { signal: Signal::SIGCONT, si_value: 0 });
    let mut timer = Timer::new(nix::time::ClockId::CLOCK_MONOTONIC, event)?;
    timer.set(Expiration::IntervalDelayed(left.into(), AGAIN.into()), TimerSetTimeFlags::empty())?;
    Ok(timer)
}

/// There are no such timers; only the operator can stop the launcher there.
#[cfg(not(target_os = "linux"))]
fn alarm(_: Instant) -> nix::Result<()> {
    Ok(())
}

impl Drop for Caught {
    fn drop(&mut self) {
        for (signal, action) in &self.before {
            // SAFETY: the action is one that was in force before, whatever it is.
            // JUSTIFICATION: setting a signal's action has no safe form.
            let _ = unsafe { sigaction(*signal, action) };
        }
        WRITER.store(NOBODY, Ordering::SeqCst);
    }
}

/// Restores the default action of those of these signals that this process ignores. A process inherits ignored signals
/// from whoever started it: `nohup` ignores SIGHUP, the shell of a script ignores SIGINT for what it starts with `&`.
pub fn restore_ignored(signals: &[Signal]) -> nix::Result<()> {
    for &signal in signals {
        let before = set(signal, SigHandler::SigDfl)?;
        if !matches!(before.handler(), SigHandler::SigIgn) {
            // SAFETY: the action is the one that was in force a moment ago.
            // JUSTIFICATION: setting a signal's action has no safe form.
            unsafe { sigaction(signal, &before) }?;
        }
    }
    Ok(())
}

/// A pipe that neither blocks nor is inherited.
#[cfg(target_os = "linux")]
fn pipe() -> nix::Result<(OwnedFd, OwnedFd)> {
    use nix::fcntl::OFlag;
    nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
}

/// The same in two steps, which are all that there is: a program that another thread starts in between inherits it,
/// which is of no use to it.
#[cfg(not(target_os = "linux"))]
fn pipe() -> nix::Result<(OwnedFd, OwnedFd)> {
    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    let (reader, writer) = nix::unistd::pipe()?;
    for end in [&reader, &writer] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    Ok((reader, writer))
}

/// Every signal back to its default action and none blocked: what a program may expect at its start.
#[cfg(target_os = "linux")]
pub(crate) fn reset() -> nix::Result<()> {
    /// The kernel's `struct sigaction` (not the C library's) is at most this long; all zero is the default action.
    const DEFAULT: [u64; 4] = [0; 4];
    /// Of the kernel's signal set.
    const SET_BYTES: usize = 8;
    for number in 1..=64 {
        // SAFETY: the kernel reads one action, which holds no handler.
        // JUSTIFICATION: the C library refuses to touch its own two signals, which its posix_spawn leaves ignored.
        // SIGKILL and SIGSTOP refuse, which is right.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                DEFAULT.as_ptr(),
                std::ptr::null_mut::<libc::c_void>(),
                SET_BYTES,
            )
        };
    }
    SigSet::empty().thread_set_mask()
}

fn set(signal: Signal, handler: SigHandler) -> nix::Result<SigAction> {
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the only handler used is `note`, which is async-signal-safe.
    // JUSTIFICATION: setting a signal's action has no safe form.
    unsafe { sigaction(signal, &action) }
}

extern "C" fn note(signal: libc::c_int) {
    let errno = Errno::last();
    let byte = signal as u8;
    let writer = WRITER.load(Ordering::SeqCst);
    // SAFETY: write(2) is async-signal-safe; one byte of our stack is read. If the pipe is gone it fails.
    // JUSTIFICATION: nothing but raw calls may run in a handler.
    unsafe { libc::write(writer, (&raw const byte).cast(), 1) };
    errno.set();
}
