//! Writes to the user's terminal on a thread of its own.
//!
//! A terminal that nobody drains (a stalled connection, a stopped program around it) blocks that thread and never the
//! launcher, which goes on enforcing limits and passing signals on. What waits is bounded: while there is much of it, the
//! launcher does not read the job's terminal, so that the job waits as it would with a terminal of the host. The open
//! file description is shared with other programs of the host, so its flags are never changed; if somebody has made it
//! non-blocking, the thread waits until the terminal takes more.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::{getpgrp, tcgetpgrp, write};

/// Bytes that may wait for the terminal before nothing more is read for it.
const LIMIT: usize = 64 * 1024;
/// Bytes of one write: what is known of the terminal's progress is as fine as this.
const PIECE: usize = 4096;
/// Time without progress after which a terminal counts as stalled.
pub(crate) const STALLED: Duration = Duration::from_secs(2);
/// Interval between looks at whether this process is in the terminal's foreground: nothing tells it.
pub(crate) const FOREGROUND_LOOK: Duration = Duration::from_millis(250);

/// The user's terminal, and what waits to be shown there.
#[derive(Debug)]
pub(crate) struct Screen {
    shared: Arc<Shared>,
    progress: PipeReader,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    waiting: Vec<u8>,
    /// What is written when the terminal was given up.
    last: Vec<u8>,
    /// Bytes that are not written yet, with those that the thread is writing.
    unwritten: usize,
    /// When the terminal last took something, or had nothing to take.
    last_progress: Instant,
    /// The launcher waits for progress.
    is_awaited: bool,
    /// The terminal has hung up, or was given up.
    is_closed: bool,
    /// Nothing more comes.
    is_over: bool,
}

impl Screen {
    /// Starts the thread.
    pub(crate) fn new(terminal: OwnedFd) -> std::io::Result<Screen> {
        let (progress, wake) = pipe()?;
        for end in [progress.as_fd(), wake.as_fd()] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let state = State {
            waiting: Vec::new(),
            last: Vec::new(),
            unwritten: 0,
            last_progress: Instant::now(),
            is_awaited: false,
            is_closed: false,
            is_over: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let theirs = shared.clone();
        thread::Builder::new().name("screen".to_owned()).spawn(move || theirs.show(&terminal, &wake))?;
        Ok(Screen { shared, progress })
    }

    /// Shows this after what was pushed before.
    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut state = self.shared.state();
        if state.is_closed || bytes.is_empty() {
            return;
        }
        if state.unwritten == 0 {
            state.last_progress = Instant::now();
        }
        state.unwritten += bytes.len();
        state.waiting.extend(bytes);
        self.shared.changed.notify_all();
    }

    /// Returns true if more may be pushed; if not, [`Screen::progress`] becomes readable when there is progress.
    pub(crate) fn has_space(&self) -> bool {
        let mut state = self.shared.state();
        state.is_awaited |= state.unwritten >= LIMIT;
        state.unwritten < LIMIT
    }

    /// Returns true if everything is shown, or nothing can be; if not, [`Screen::progress`] becomes readable when there
    /// is progress.
    pub(crate) fn is_drained(&self) -> bool {
        let mut state = self.shared.state();
        state.is_awaited |= state.unwritten > 0;
        state.unwritten == 0
    }

    /// Returns true if something waits that the terminal has not taken for a while.
    pub(crate) fn is_stalled(&self) -> bool {
        let state = self.shared.state();
        state.unwritten > 0 && state.last_progress.elapsed() >= STALLED
    }

    /// Becomes readable at the progress that was waited for.
    pub(crate) fn progress(&self) -> BorrowedFd<'_> {
        self.progress.as_fd()
    }

    /// Takes note of the progress.
    pub(crate) fn note_progress(&mut self) {
        let _ = self.progress.read(&mut [0; 64]);
    }

    /// Drops what waits, and what is still to come. If the terminal takes something again while this process lives, it gets
    /// `last`.
    pub(crate) fn give_up(&self, last: &[u8]) {
        let mut state = self.shared.state();
        state.close();
        state.last = last.to_vec();
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.shared.state().is_over = true;
        // Not waited for: it ends when everything is shown, or with this process.
        self.shared.changed.notify_all();
    }
}

impl State {
    fn close(&mut self) {
        self.is_closed = true;
        self.waiting.clear();
        self.unwritten = 0;
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, terminal: &OwnedFd, mut wake: &PipeWriter) {
        // Signals are for the launcher's own thread. A write in the background must not stop the launcher (SIGTTOU).
        let _ = SigSet::all().thread_set_mask();
        while let Some(bytes) = self.next() {
            for piece in bytes.chunks(PIECE) {
                let is_shown = self.write(terminal, piece);
                let mut state = self.state();
                if is_shown && !state.is_closed {
                    state.unwritten = state.unwritten.saturating_sub(piece.len());
                    state.last_progress = Instant::now();
                } else {
                    state.close();
                }
                if std::mem::take(&mut state.is_awaited) {
                    // A full pipe wakes the launcher, too.
                    let _ = wake.write(&[0]);
                }
                if state.is_closed {
                    let last = std::mem::take(&mut state.last);
                    drop(state);
                    if is_shown {
                        self.write(terminal, &last);
                    }
                    return;
                }
            }
        }
    }

    fn next(&self) -> Option<Vec<u8>> {
        let mut state = self.state();
        loop {
            if state.is_closed || (state.waiting.is_empty() && state.is_over) {
                return None;
            }
            if !state.waiting.is_empty() {
                return Some(std::mem::take(&mut state.waiting));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns false if the terminal has hung up or was given up.
    fn write(&self, terminal: &OwnedFd, mut piece: &[u8]) -> bool {
        while !piece.is_empty() {
            if !self.await_foreground(terminal) {
                return false;
            }
            match write(terminal, piece) {
                Ok(length) => piece = piece.get(length..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let _ = poll(&mut [PollFd::new(terminal.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE);
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// Waits while the user's settings (`stty tostop`) forbid output from the background. Returns false if the terminal
    /// was given up.
    fn await_foreground(&self, terminal: &OwnedFd) -> bool {
        let is_held_back = || {
            tcgetpgrp(terminal).is_ok_and(|foreground| foreground != getpgrp())
                && tcgetattr(terminal).is_ok_and(|settings| settings.local_flags.contains(LocalFlags::TOSTOP))
        };
        while is_held_back() {
            let state = self.state();
            if state.is_closed {
                return false;
            }
            let wait = self.changed.wait_timeout(state, FOREGROUND_LOOK);
            drop(wait.unwrap_or_else(PoisonError::into_inner));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use nix::pty::{OpenptyResult, openpty};
    use nix::sys::termios::{SetArg, cfmakeraw, tcsetattr};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn terminal() -> OpenptyResult {
        let pair = openpty(None, None).unwrap();
        let mut settings = tcgetattr(&pair.slave).unwrap();
        cfmakeraw(&mut settings);
        tcsetattr(&pair.slave, SetArg::TCSANOW, &settings).unwrap();
        pair
    }

    fn flags(terminal: &OwnedFd) -> OFlag {
        OFlag::from_bits_retain(fcntl(terminal, FcntlArg::F_GETFL).unwrap())
    }

    /// Waits for progress, as the launcher does.
    fn wait(screen: &mut Screen) {
        let patience = PollTimeout::try_from(PATIENCE).unwrap();
        let ready = poll(&mut [PollFd::new(screen.progress(), PollFlags::POLLIN)], patience).unwrap();
        assert_eq!(ready, 1, "no progress in {PATIENCE:?}");
        screen.note_progress();
    }

    /// Fills a terminal that nobody reads, and what may wait for it.
    fn fill(screen: &Screen) {
        while screen.has_space() {
            screen.push(&[b'x'; PIECE]);
        }
    }

    #[test]
    fn a_terminal_that_nobody_reads_blocks_nobody_and_is_given_up() {
        let OpenptyResult { master, slave } = terminal();
        let screen = Screen::new(slave.try_clone().unwrap()).unwrap();
        let begun = Instant::now();
        // What the terminal itself takes goes first; then nothing moves any more.
        while !screen.is_stalled() {
            fill(&screen);
            assert!(begun.elapsed() < PATIENCE, "it does not count as stalled");
            thread::yield_now();
        }
        assert!(!screen.has_space() && !screen.is_drained());
        assert!(screen.shared.state().unwritten <= LIMIT + PIECE);
        screen.give_up(b"last");
        assert!(screen.is_drained() && !screen.is_stalled());
        screen.push(b"more");
        assert!(screen.is_drained());
        // Whoever reads after all finds the terminal as it was.
        let reader = thread::spawn(move || {
            let (mut master, mut read, mut piece) = (File::from(master), Vec::new(), [0; PIECE]);
            while !read.ends_with(b"last") {
                let length = master.read(&mut piece).unwrap();
                read.extend(&piece[..length]);
            }
            read
        });
        let begun = Instant::now();
        while !reader.is_finished() {
            assert!(begun.elapsed() < PATIENCE, "the last output is not written");
            thread::yield_now();
        }
        assert!(!reader.join().unwrap().windows(4).any(|window| window == b"more"));
        drop((screen, slave));
    }

    #[test]
    fn nothing_is_lost_on_a_terminal_that_somebody_made_non_blocking() {
        let OpenptyResult { master, slave } = terminal();
        fcntl(&slave, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK)).unwrap();
        let before = flags(&slave);
        let mut screen = Screen::new(slave.try_clone().unwrap()).unwrap();
        let sent: Vec<u8> = (0..1_000_000u32).map(|number| b'a' + (number % 23) as u8).collect();
        let length = sent.len();
        let reader = thread::spawn(move || {
            let (mut master, mut read) = (File::from(master), vec![0; length]);
            master.read_exact(&mut read).unwrap();
            (master, read)
        });
        for chunk in sent.chunks(10_000) {
            while !screen.has_space() {
                wait(&mut screen);
            }
            screen.push(chunk);
        }
        while !screen.is_drained() {
            wait(&mut screen);
        }
        let (_master, read) = reader.join().unwrap();
        assert!(read == sent, "what is shown is not what was written");
        assert_eq!(flags(&slave), before, "the flags are those of other programs, too");
    }

    #[test]
    fn a_terminal_that_has_hung_up_takes_everything_away() {
        let OpenptyResult { master, slave } = terminal();
        let mut screen = Screen::new(slave).unwrap();
        fill(&screen);
        drop(master);
        while !screen.is_drained() {
            wait(&mut screen);
        }
        screen.push(b"more");
        assert!(screen.is_drained());
    }
}
