//! What is typed goes to the job, what the job writes goes to the user, filtered.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{read, write};

use super::filter::Filter;
use super::left::Left;
use super::outside::Outside;
use super::screen::{FOREGROUND_LOOK, STALLED, Screen};
use crate::sys::signals::Caught;
use crate::sys::terminal::set_window_size;

/// One read's worth.
const CHUNK: usize = 16 * 1024;
/// How long a terminal that is slow, but not stalled, may take for the last output of a job that was ended.
const LONGEST_END: Duration = Duration::from_secs(10);
/// The keys that end a program: ^C and ^\\.
const ENDING_KEYS: [u8; 2] = [0x03, 0x1c];

static GIVEN_UP: AtomicBool = AtomicBool::new(false);

/// Returns true if the user's terminal did not take a job's last output, and so would block whoever writes to it.
pub fn is_given_up() -> bool {
    GIVEN_UP.load(Ordering::Relaxed)
}

/// Both terminals, and what is on its way between them.
#[derive(Debug)]
pub(crate) struct Relay {
    outside: Outside,
    screen: Screen,
    master: OwnedFd,
    filter: Filter,
    /// What the job leaves in force on the screen.
    left: Left,
    /// Typed, and not yet taken by the job.
    typed: Vec<u8>,
    /// The keyboard has hung up.
    deaf: bool,
    /// The job's side has.
    mute: bool,
    /// The settings of the job's terminal if it was set up like the user's while that was in the hands of a shell's line
    /// editor.
    provisional: Option<Termios>,
}

impl Relay {
    /// Joins the two.
    pub(crate) fn new(outside: Outside, master: OwnedFd) -> std::io::Result<Relay> {
        // A job that does not read must not stop us; this end of the pseudo-terminal is ours alone.
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK | OFlag::O_RDWR))?;
        let screen = Screen::new(outside.screen().try_clone_to_owned()?)?;
        let mut relay = Relay {
            outside,
            screen,
            master,
            filter: Filter::default(),
            left: Left::default(),
            typed: Vec::new(),
            deaf: false,
            mute: false,
            provisional: None,
        };
        relay.resume();
        if !relay.outside.is_taken() {
            relay.provisional = tcgetattr(&relay.master).ok();
        }
        Ok(relay)
    }

    /// Takes the keyboard (again) and tells the job how large the window is.
    pub(crate) fn resume(&mut self) {
        // Without the keyboard the job goes on in the background.
        let _ = self.outside.take();
        if let Some(settings) = self.outside.settings()
            && let Some(provisional) = self.provisional.take()
            // Else they are the job's own.
            && tcgetattr(&self.master).is_ok_and(|now| now == provisional)
        {
            let _ = tcsetattr(&self.master, SetArg::TCSANOW, settings);
        }
        self.resize();
    }

    /// Leaves the user's terminal as it was.
    pub(crate) fn suspend(&mut self) {
        self.outside.give_back();
    }

    /// The window may have another size.
    pub(crate) fn resize(&self) {
        if let Ok(size) = self.outside.size() {
            let _ = set_window_size(self.master.as_fd(), size);
        }
    }

    /// What to wait for at the keyboard.
    pub(crate) fn keyboard(&self) -> (BorrowedFd<'_>, PollFlags) {
        // What was typed and not taken is the bound on what is read ahead.
        let listens = self.outside.is_taken() && self.typed.is_empty();
        let flags = if listens { PollFlags::POLLIN } else { PollFlags::empty() };
        (self.outside.keyboard(), flags)
    }

    /// What to wait for at the job's side; `None` when nobody there has it open any more, or when the user's terminal
    /// has to take what there is first.
    pub(crate) fn job(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, self.screen.has_space());
        flags.set(PollFlags::POLLOUT, !self.typed.is_empty());
        (!self.mute && !flags.is_empty()).then_some((self.master.as_fd(), flags))
    }

    /// What becomes readable when the user's terminal has taken something that was waited for.
    pub(crate) fn progress(&self) -> BorrowedFd<'_> {
        self.screen.progress()
    }

    /// After which time to call [`Relay::turn`] even if nothing happens.
    #[cfg_attr(target_os = "macos", allow(dead_code, reason = "the watcher of Linux asks"))]
    pub(crate) fn next_look(&self) -> Option<Duration> {
        (!self.outside.is_taken() && !self.deaf).then_some(FOREGROUND_LOOK)
    }

    /// Moves what can be moved; whether the user's side has hung up.
    pub(crate) fn turn(&mut self, keyboard: PollFlags, job: PollFlags, progress: PollFlags) -> bool {
        if !progress.is_empty() {
            self.screen.note_progress();
        }
        if !self.outside.is_taken() {
            // A shell brings its job to the foreground without a signal if it has not been stopped.
            self.resume();
        }
        if keyboard.contains(PollFlags::POLLIN) {
            self.read_keyboard();
        } else if keyboard.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
            self.deaf = true;
        }
        if !self.typed.is_empty() {
            self.type_on();
        }
        if job.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            self.show();
        }
        self.deaf
    }

    /// Returns true if everything that the job has written until now is shown.
    #[cfg_attr(target_os = "macos", allow(dead_code, reason = "the watcher of Linux asks"))]
    pub(crate) fn is_drained(&self) -> bool {
        let mut events = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        let has_more = !self.mute
            && poll(&mut events, PollTimeout::ZERO).is_ok()
            && events
                .iter()
                .any(|event| event.revents().is_some_and(|flags| flags.contains(PollFlags::POLLIN)));
        self.screen.is_drained() && !has_more
    }

    /// Drops what the user's terminal does not take, if it takes nothing: nobody waits for it any longer.
    #[cfg_attr(target_os = "macos", allow(dead_code, reason = "the watcher of Linux asks"))]
    pub(crate) fn give_up_if_stalled(&self) {
        if self.screen.is_stalled() {
            self.give_up();
        }
    }

    fn give_up(&self) {
        // What was being written may end in the middle of a sequence, which CAN ends.
        let mut last = vec![0x18];
        last.extend(self.left.reset());
        self.screen.give_up(&last);
        GIVEN_UP.store(true, Ordering::Relaxed);
    }

    /// Shows what the job has written before its end, and takes back what it has set: what the launcher has to say is
    /// to be seen. Waits for the user's terminal as other programs do, until a signal or a key asks for the end or
    /// `deadline` comes; from then on, or if the job `was_ended`, only as long as the terminal takes something.
    pub(crate) fn finish(mut self, signals: Option<&Caught>, was_ended: bool, deadline: Option<Instant>) {
        while !self.mute && self.show() {}
        let mut last = Vec::new();
        self.filter.finish(&mut last);
        last.extend(self.left.reset());
        self.screen.push(&last);
        self.typed.clear();
        let mut ends_at = was_ended.then(|| Instant::now() + LONGEST_END);
        while !self.screen.is_drained() {
            let now = Instant::now();
            // First, as a signal that is not taken would end each wait at once.
            let is_asked = self.is_asked_to_end(signals);
            if is_asked || deadline.is_some_and(|deadline| deadline <= now) {
                ends_at.get_or_insert(now + LONGEST_END);
            }
            if ends_at.is_some_and(|end| end <= now || self.screen.is_stalled()) {
                return self.give_up();
            }
            // Whether it is stalled is a question of time.
            let wait = if ends_at.is_some() { STALLED / 4 } else { STALLED };
            let mut events = vec![
                PollFd::new(self.screen.progress(), PollFlags::POLLIN),
                PollFd::new(self.outside.keyboard(), self.keyboard().1),
            ];
            events.extend(signals.map(|signals| PollFd::new(signals.as_fd(), PollFlags::POLLIN)));
            let _ = poll(&mut events, PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX));
            let flags: Vec<_> =
                events.iter().map(|event| event.revents().unwrap_or(PollFlags::empty())).collect();
            drop(events);
            let [progress, keyboard, ..] = flags.as_slice() else { return };
            if !progress.is_empty() {
                self.screen.note_progress();
            }
            if keyboard.contains(PollFlags::POLLIN) {
                self.read_keyboard();
            }
            if self.deaf || keyboard.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL)
            {
                return self.give_up();
            }
        }
    }

    fn is_asked_to_end(&mut self, signals: Option<&Caught>) -> bool {
        let ends =
            |signal| matches!(signal, Signal::SIGHUP | Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTERM);
        // Each is taken, so that the wait does not end at once for the same one.
        let by_signal =
            std::iter::from_fn(|| signals.and_then(Caught::next)).filter(|signal| ends(*signal)).count() > 0;
        let by_key = self.typed.iter().any(|key| ENDING_KEYS.contains(key));
        self.typed.clear();
        by_signal || by_key
    }

    fn read_keyboard(&mut self) {
        let mut buffer = [0; CHUNK];
        match read(self.outside.keyboard(), &mut buffer) {
            Ok(0) => self.deaf = true,
            Ok(length) => self.typed.extend(buffer.iter().take(length)),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => self.deaf = true,
        }
    }

    fn type_on(&mut self) {
        match write(&self.master, &self.typed) {
            Ok(length) => drop(self.typed.drain(..length)),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => self.typed.clear(),
        }
    }

    /// Whether there was something to show.
    fn show(&mut self) -> bool {
        let mut buffer = [0; CHUNK];
        match read(&self.master, &mut buffer) {
            Ok(length) if length > 0 => {
                let mut output = Vec::with_capacity(length);
                self.filter.pass(buffer.get(..length).unwrap_or_default(), &mut output);
                self.left.note(&output);
                self.screen.push(&output);
                true
            }
            Err(Errno::EINTR) => true,
            Err(Errno::EAGAIN) => false,
            // EIO: no process of the job has its terminal open any more.
            Ok(_) | Err(_) => {
                self.mute = true;
                false
            }
        }
    }
}
