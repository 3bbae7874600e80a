//! Pipes in place of the files among the launcher's standard streams.
//!
//! Whoever holds a regular file or a block device can move in it, cut it off, and open it again by `/proc/self/fd` with
//! other rights: a job whose output goes to the operator's log could rewrite the log, and one whose input is a file read
//! all of it. So the job has a pipe, and a thread here copies between the pipe and the file, where the operator's shell has
//! positioned it.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, PipeReader, PipeWriter, Read, Seek, SeekFrom, Write, pipe};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;

use super::Error;
use crate::terminal::relay::is_given_up;

/// Bytes of one copy: what a pipe holds.
const CHUNK: usize = 64 * 1024;

/// Returns standard streams for the job: copies of ours, pipes where those are files, /dev/null where they are closed.
pub(super) fn standard_streams() -> Result<([OwnedFd; 3], Files), Error> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let streams = [copy(0, stdin.as_fd())?, copy(1, stdout.as_fd())?, copy(2, stderr.as_fd())?];
    Files::replace(streams).map_err(|error| Error::StartStage { os: error.into() })
}

fn copy(number: i32, stream: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    let start = |error: std::io::Error| Error::StartStage { os: error.into() };
    let Ok(copy) = stream.try_clone_to_owned() else {
        let null = File::options().read(true).write(true).open("/dev/null").map_err(start)?;
        return Ok(null.into());
    };
    let copy = File::from(copy);
    if copy.metadata().map_err(start)?.is_dir() {
        return Err(Error::StandardStream { number });
    }
    Ok(copy.into())
}

/// The threads that copy. Dropped, they end when everything that the job has written is in its files.
#[derive(Debug, Default)]
pub(super) struct Files {
    copies: Vec<Copy>,
}

#[derive(Debug)]
struct Copy {
    what: &'static str,
    /// Closed when the job is over.
    over: Option<PipeWriter>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Files {
    /// Puts pipes in the place of the files among the standard streams.
    pub(super) fn replace(streams: [OwnedFd; 3]) -> std::io::Result<([OwnedFd; 3], Files)> {
        let mut files = Files::default();
        let [stdin, stdout, stderr] = streams.map(File::from);
        let stdin = if is_file(&stdin)? { files.feed(stdin)? } else { stdin.into() };
        let is_one = is_file(&stdout)? && is_same(&stdout, &stderr)?;
        let stdout = if is_file(&stdout)? { files.collect("output", stdout)? } else { stdout.into() };
        let stderr = match is_file(&stderr)? {
            // One pipe, so that what is written to both stays in order.
            true if is_one => stdout.try_clone()?,
            true => files.collect("error output", stderr)?,
            false => stderr.into(),
        };
        Ok(([stdin, stdout, stderr], files))
    }

    /// Writes what is still in the pipes, once no process of the job is left, and says what went wrong.
    pub(super) fn finish(&mut self) {
        for error in self.copies.drain(..).filter_map(|mut copy| copy.finish()) {
            let mut stderr = std::io::stderr();
            // A terminal that takes nothing would keep the launcher for ever.
            if !(is_given_up() && stderr.is_terminal()) {
                let _ = writeln!(stderr, "jail: {error}");
            }
        }
    }

    fn feed(&mut self, file: File) -> std::io::Result<OwnedFd> {
        let (reader, writer) = pipe()?;
        let theirs = reader.try_clone()?;
        self.start("input", move |over| feed(file, reader, writer, over))?;
        Ok(theirs.into())
    }

    fn collect(&mut self, what: &'static str, file: File) -> std::io::Result<OwnedFd> {
        let (reader, writer) = pipe()?;
        self.start(what, move |over| collect(file, reader, over))?;
        Ok(writer.into())
    }

    fn start(
        &mut self,
        what: &'static str,
        copy: impl FnOnce(&PipeReader) -> std::io::Result<()> + Send + 'static,
    ) -> std::io::Result<()> {
        let (ours, theirs) = pipe()?;
        let copy = move || {
            // Signals are for the launcher's own thread; a write beyond the operator's limit (SIGXFSZ) is an error.
            let _ = SigSet::all().thread_set_mask();
            copy(&ours)
        };
        let thread = thread::Builder::new().name(what.to_owned()).spawn(copy)?;
        self.copies.push(Copy { what, over: Some(theirs), thread: Some(thread) });
        Ok(())
    }
}

impl Copy {
    fn finish(&mut self) -> Option<String> {
        self.over = None;
        let copied = self.thread.take()?.join().unwrap_or_else(|_| Err(std::io::Error::other("a panic")));
        let error = copied.err()?;
        let direction = if self.what == "input" { "read" } else { "write" };
        Some(format!("cannot {direction} the file of the job's standard {}: {error}", self.what))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Returns true for what can be moved in, and opened again.
fn is_file(stream: &File) -> std::io::Result<bool> {
    let kind = stream.metadata()?.file_type();
    Ok(kind.is_file() || kind.is_block_device())
}

/// Returns true if what goes to one comes to the other, at the same place.
fn is_same(one: &File, other: &File) -> std::io::Result<bool> {
    let appends = |file: &File| -> std::io::Result<bool> {
        Ok(OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?).contains(OFlag::O_APPEND))
    };
    let (of_one, of_other) = (one.metadata()?, other.metadata()?);
    let is_same =
        (of_one.dev(), of_one.ino(), of_one.rdev()) == (of_other.dev(), of_other.ino(), of_other.rdev());
    Ok(is_same && appends(one)? == appends(other)?)
}

/// Copies what the job writes until there is no more of it, or no more can be written: then the job's pipe breaks.
fn collect(mut file: File, mut pipe: PipeReader, over: &PipeReader) -> std::io::Result<()> {
    // This end of the pipe is ours alone.
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let mut buffer = vec![0; CHUNK];
    loop {
        // Looked at before the pipe: what the job has written before its end is in there then.
        let is_over = wait(&pipe, PollFlags::POLLIN, over)?;
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => file.write_all(buffer.get(..length).unwrap_or_default())?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if is_over {
            return Ok(());
        }
    }
}

/// Copies the file to the job as fast as the job reads. What it has not read is left to whoever reads the file next.
fn feed(
    mut file: File,
    mut unread: PipeReader,
    mut pipe: PipeWriter,
    over: &PipeReader,
) -> std::io::Result<()> {
    // This end of the pipe is ours alone; the other one is the job's, too.
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let mut buffer = vec![0; CHUNK];
    let mut pending = 0..0;
    // What came from the file: the job can open its end of the pipe for writing, and what it puts there is not unread input.
    let mut taken = 0_usize;
    let fed = loop {
        if pending.is_empty() {
            match file.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(length) => {
                    taken = taken.saturating_add(length);
                    pending = 0..length;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => break Err(error),
            }
        }
        match pipe.write(buffer.get(pending.clone()).unwrap_or_default()) {
            Ok(length) => pending.start += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if wait(&pipe, PollFlags::POLLOUT, over)? {
                    break Ok(());
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    // The job sees the end of its input when it has read the rest.
    drop(pipe);
    while !wait(over, PollFlags::POLLIN, over)? {}
    fcntl(&unread, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let mut left = pending.len();
    while let Ok(length @ 1..) = unread.read(&mut buffer) {
        left = left.saturating_add(length);
    }
    if let Ok(left @ 1..) = i64::try_from(left.min(taken)) {
        file.seek(SeekFrom::Current(-left))?;
    }
    fed
}

/// Waits for a pipe or the end of the job; whether it is the end.
fn wait(pipe: &impl AsFd, flags: PollFlags, over: &PipeReader) -> std::io::Result<bool> {
    let mut events = [PollFd::new(over.as_fd(), PollFlags::POLLIN), PollFd::new(pipe.as_fd(), flags)];
    match poll(&mut events, PollTimeout::NONE) {
        Ok(_) => Ok(events.first().and_then(PollFd::any).unwrap_or(false)),
        Err(Errno::EINTR) => Ok(false),
        Err(os) => Err(os.into()),
    }
}
