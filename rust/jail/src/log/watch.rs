//! Waiting for a job's directory to change.

pub(super) use platform::Watch;

#[cfg(target_os = "linux")]
mod platform {
    use std::io;
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

    use crate::job::JobDirectory;

    /// Sees events written and the record replaced.
    pub(crate) struct Watch(Inotify);

    impl Watch {
        pub(crate) fn on(directory: &JobDirectory) -> io::Result<Watch> {
            let watch = Inotify::init(InitFlags::IN_CLOEXEC)?;
            watch.add_watch(&directory.path(""), AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVED_TO)?;
            Ok(Watch(watch))
        }

        /// Returns at a change, and after that many milliseconds at the latest.
        pub(crate) fn wait(&mut self, milliseconds: u16) -> io::Result<()> {
            let mut events = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            if poll(&mut events, PollTimeout::from(milliseconds))? > 0 {
                self.0.read_events()?;
            }
            Ok(())
        }
    }
}

#[cfg(target_os = "macos")]
mod platform {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;

    use nix::libc::timespec;
    use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};

    use crate::job::JobDirectory;

    /// Sees events written and the record replaced.
    pub(crate) struct Watch {
        queue: Kqueue,
        _watched: [File; 2],
    }

    impl Watch {
        pub(crate) fn on(directory: &JobDirectory) -> io::Result<Watch> {
            let watched = [File::open(directory.audit())?, File::open(directory.path(""))?];
            let queue = Kqueue::new()?;
            for file in &watched {
                let ident = usize::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
                let flags = EvFlags::EV_ADD | EvFlags::EV_CLEAR;
                let wanted = FilterFlag::NOTE_WRITE | FilterFlag::NOTE_EXTEND;
                queue.kevent(
                    &[KEvent::new(ident, EventFilter::EVFILT_VNODE, flags, wanted, 0, 0)],
                    &mut [],
                    None,
                )?;
            }
            Ok(Watch { queue, _watched: watched })
        }

        /// Returns at a change, and after that many milliseconds at the latest.
        pub(crate) fn wait(&mut self, milliseconds: u16) -> io::Result<()> {
            let (seconds, rest) = (i64::from(milliseconds / 1000), i64::from(milliseconds % 1000));
            let time = timespec { tv_sec: seconds, tv_nsec: rest * 1_000_000 };
            let nothing =
                KEvent::new(0, EventFilter::EVFILT_VNODE, EvFlags::empty(), FilterFlag::empty(), 0, 0);
            self.queue.kevent(&[], &mut [nothing], Some(time))?;
            Ok(())
        }
    }
}
