//! Many streams over one: the lanes, and the loop that moves their bytes.
//!
//! On every lane only so much is on its way as the other side has room for; a connection that nobody reads holds up
//! itself and no other.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};
use nix::unistd::{read, write};
use serde::Serialize;

use super::error::broken;
use super::frame::{Frame, Kind, first, put};
use crate::backend::Error;

/// What may be on its way on one lane.
const WINDOW: usize = 128 * 1024;
/// What is read at once, and so a frame's length.
const CHUNK: usize = 32 * 1024;
/// What may wait for the stream before nothing more is read from the lanes.
const MUCH: usize = 512 * 1024;
/// What a pipe takes without blocking once it takes anything.
const PIPE: usize = 4096;

/// Where a lane's bytes are from and go to on this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A connection.
    Socket,
    /// Of a terminal: it hangs up as a whole.
    Terminal,
    /// A pipe's end that is ours alone.
    Pipe,
    /// Somebody else's stream, whose mode is not ours to change.
    Borrowed,
}

/// All lanes, and the stream that carries them.
#[derive(Debug)]
pub(super) struct Lanes {
    input: OwnedFd,
    output: OwnedFd,
    /// What was read of the stream, and how much of it is done with.
    incoming: Vec<u8>,
    done: usize,
    is_at_end: bool,
    has_told_end: bool,
    outgoing: VecDeque<u8>,
    lanes: BTreeMap<u32, Lane>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Lane {
    end: End,
    /// Where bytes for the other side come from, until there are no more.
    from: Option<Rc<OwnedFd>>,
    /// Where bytes of the other side go, until there are no more.
    to: Option<Rc<OwnedFd>>,
    /// How much the other side has room for.
    room: usize,
    /// What has come and waits.
    waiting: VecDeque<u8>,
    /// What was taken since the other side was told.
    taken: usize,
    /// Whether the other side has said that no more will come.
    is_ended: bool,
}

/// What happened on the stream.
#[derive(Debug)]
pub(super) enum Event {
    /// Something was said.
    Said(Vec<u8>),
    /// The other side has opened a lane.
    Opened(u32, Vec<u8>),
    /// The other side is gone; no lane brings anything any more.
    Gone,
}

impl Lanes {
    /// Over these two, which nobody else has.
    pub(super) fn over(input: OwnedFd, output: OwnedFd) -> Result<Lanes, Error> {
        for fd in [&input, &output] {
            stop_blocking(fd).map_err(|os| Error::watch("set up the stream", os))?;
        }
        Ok(Lanes {
            input,
            output,
            incoming: Vec::new(),
            done: 0,
            is_at_end: false,
            has_told_end: false,
            outgoing: VecDeque::new(),
            lanes: BTreeMap::new(),
            buffer: vec![0; CHUNK],
        })
    }

    /// Says something to the other side.
    pub(super) fn say(&mut self, words: &impl Serialize) -> Result<(), Error> {
        let bytes = postcard::to_stdvec(words).map_err(|error| Error::Message(error.to_string()))?;
        self.put(Kind::Said, 0, &bytes);
        Ok(())
    }

    /// Opens a lane to an address at the other side.
    pub(super) fn open(&mut self, lane: u32, address: &[u8]) {
        self.put(Kind::Open, lane, address);
    }

    /// Joins a lane to what is here.
    pub(super) fn join(&mut self, lane: u32, end: End, from: Option<OwnedFd>, to: Option<OwnedFd>) {
        self.add(lane, end, from.map(Rc::new), to.map(Rc::new));
    }

    /// Joins a lane to one descriptor for both directions.
    pub(super) fn join_both(&mut self, lane: u32, end: End, both: OwnedFd) {
        let both = Rc::new(both);
        self.add(lane, end, Some(both.clone()), Some(both));
    }

    /// Refuses a lane that the other side has opened.
    pub(super) fn refuse(&mut self, lane: u32) {
        self.put(Kind::Reset, lane, &[]);
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Whether there is still something to come or to go on this lane.
    pub(super) fn has(&self, lane: u32) -> bool {
        self.lanes.contains_key(&lane)
    }

    /// Waits until everything said and sent has left.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        loop {
            self.send()?;
            if self.outgoing.is_empty() {
                return Ok(());
            }
            match poll(&mut [PollFd::new(self.output.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(os) => return Err(Error::watch("poll", os)),
            }
        }
    }

    fn add(&mut self, lane: u32, end: End, from: Option<Rc<OwnedFd>>, to: Option<Rc<OwnedFd>>) {
        if end != End::Borrowed {
            // A descriptor that does not do so is one that is about to fail.
            let _ = from.iter().chain(&to).try_for_each(|fd| stop_blocking(fd));
        }
        let lanes = Lane { end, from, to, room: WINDOW, waiting: VecDeque::new(), taken: 0, is_ended: false };
        self.lanes.insert(lane, lanes);
    }

    fn put(&mut self, kind: Kind, lane: u32, bytes: &[u8]) {
        let mut frame = Vec::with_capacity(bytes.len() + 16);
        put(&mut frame, kind, lane, bytes);
        self.outgoing.extend(frame);
    }

    /// Waits until something can be moved or one of `others` is readable, moves what can be; tells which of the others
    /// are. What has come of the stream is then to be asked for, to the last.
    pub(super) fn turn(&mut self, others: &[BorrowedFd<'_>]) -> Result<Vec<bool>, Error> {
        self.send()?;
        let may_read = self.outgoing.len() < MUCH;
        // At its end it would be ready for ever.
        let wanted = if self.is_at_end { None } else { Some(self.input.as_fd()) };
        let skipped_input = usize::from(wanted.is_some());
        let mut events: Vec<_> = wanted.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        events.extend(others.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)));
        if !self.outgoing.is_empty() {
            events.push(PollFd::new(self.output.as_fd(), PollFlags::POLLOUT));
        }
        let mut whose = Vec::new();
        let skipped = events.len();
        for (&number, lane) in &self.lanes {
            if let Some(from) = lane.from.as_ref().filter(|_| may_read && lane.room > 0) {
                whose.push((number, false));
                events.push(PollFd::new(from.as_fd(), PollFlags::POLLIN));
            }
            if let Some(to) = lane.to.as_ref().filter(|_| !lane.waiting.is_empty()) {
                whose.push((number, true));
                events.push(PollFd::new(to.as_fd(), PollFlags::POLLOUT));
            }
        }
        match poll(&mut events, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(os) => return Err(Error::watch("poll", os)),
        }
        let ready: Vec<bool> = events.iter().map(|event| event.any().unwrap_or(false)).collect();
        let ready_lanes = whose.into_iter().zip(ready.iter().skip(skipped));
        let ready_lanes: Vec<_> = ready_lanes.filter(|(_, ready)| **ready).map(|(lane, _)| lane).collect();
        for (number, is_output) in ready_lanes {
            if is_output { self.write_out(number) } else { self.read_in(number) }
        }
        if !self.is_at_end && ready.first() == Some(&true) {
            self.receive()?;
        }
        Ok(ready.into_iter().skip(skipped_input).take(others.len()).collect())
    }

    /// Reads what this side has for the other.
    fn read_in(&mut self, number: u32) {
        let Some(lane) = self.lanes.get_mut(&number) else { return };
        // Others may have filled it since the look.
        let Some(from) = lane.from.as_ref().filter(|_| self.outgoing.len() < MUCH) else { return };
        let most = lane.room.min(CHUNK);
        let Some(buffer) = self.buffer.get_mut(..most) else { return };
        match read(from, buffer) {
            Ok(length) if length > 0 => {
                lane.room -= length;
                let bytes = buffer.get(..length).unwrap_or_default().to_vec();
                self.put(Kind::Data, number, &bytes);
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // EIO: nobody has the terminal's other side open any more.
            Ok(_) | Err(Errno::EIO) => {
                lane.from = None;
                lane.to.take_if(|_| lane.end == End::Terminal);
                self.put(Kind::End, number, &[]);
                self.leave_if_done(number);
            }
            Err(_) => self.reset(number),
        }
    }

    /// Writes what the other side had for this one.
    fn write_out(&mut self, number: u32) {
        let Some(lane) = self.lanes.get_mut(&number) else { return };
        while let (Some(to), (bytes, _)) = (&lane.to, lane.waiting.as_slices()) {
            let most = if lane.end == End::Borrowed { PIPE } else { bytes.len() };
            match write(to, bytes.get(..most).unwrap_or(bytes)) {
                Ok(length) if length > 0 => {
                    lane.waiting.drain(..length);
                    lane.taken += length;
                }
                Ok(_) | Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(_) => return self.reset(number),
            }
            // Only after the next poll it is known not to block.
            if lane.end == End::Borrowed || lane.waiting.is_empty() {
                break;
            }
        }
        if lane.taken >= WINDOW / 2 {
            let taken = std::mem::take(&mut lane.taken) as u32;
            self.put(Kind::Taken, number, &taken.to_le_bytes());
        }
        self.end_if_written(number);
    }

    /// Passes the end of what the other side had on, behind the last byte of it.
    fn end_if_written(&mut self, number: u32) {
        let Some(lane) = self.lanes.get_mut(&number) else { return };
        if !lane.is_ended || !lane.waiting.is_empty() {
            return;
        }
        if let Some(to) = lane.to.take()
            && lane.end == End::Socket
        {
            let _ = shutdown(to.as_raw_fd(), Shutdown::Write);
        }
        if lane.end == End::Terminal {
            lane.from = None;
        }
        self.leave_if_done(number);
    }

    fn leave_if_done(&mut self, number: u32) {
        if self.lanes.get(&number).is_some_and(|lane| lane.from.is_none() && lane.to.is_none()) {
            self.lanes.remove(&number);
        }
    }

    /// Closes a lane both ways and tells the other side.
    fn reset(&mut self, number: u32) {
        self.close(number);
        self.put(Kind::Reset, number, &[]);
    }

    fn close(&mut self, number: u32) {
        let Some(Lane { end: End::Socket, from, to, .. }) = self.lanes.remove(&number) else { return };
        if let Some(socket) = from.or(to) {
            // So that who is connected sees a reset, not an orderly end.
            let _ = setsockopt(&*socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
        }
    }

    /// Takes what the stream has.
    fn receive(&mut self) -> Result<(), Error> {
        self.incoming.drain(..std::mem::take(&mut self.done));
        loop {
            match read(&self.input, &mut self.buffer) {
                Ok(0) => self.is_at_end = true,
                Ok(length) => {
                    self.incoming.extend(self.buffer.get(..length).unwrap_or_default());
                    // As long as there is more, but not for ever.
                    if length == CHUNK && self.incoming.len() < MUCH {
                        continue;
                    }
                }
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => {}
                Err(os) => return Err(Error::watch("read the stream", os)),
            }
            return Ok(());
        }
    }

    /// The next thing that has happened, if all of it has come. One at a time: what follows the opening of a lane is for
    /// what the lane is joined to.
    pub(super) fn next(&mut self) -> Result<Option<Event>, Error> {
        let incoming = std::mem::take(&mut self.incoming);
        let event = self.take_until_event(&incoming);
        self.incoming = incoming;
        event
    }

    fn take_until_event(&mut self, incoming: &[u8]) -> Result<Option<Event>, Error> {
        while let Some(Frame { kind, lane, body, length }) =
            first(incoming.get(self.done..).unwrap_or_default())?
        {
            self.done += length;
            match kind {
                Kind::Said => return Ok(Some(Event::Said(body.to_vec()))),
                Kind::Open => return Ok(Some(Event::Opened(lane, body.to_vec()))),
                Kind::Reset => self.close(lane),
                Kind::Data | Kind::Taken | Kind::End => self.pass_on(kind, lane, body)?,
            }
        }
        if !self.is_at_end || std::mem::replace(&mut self.has_told_end, true) {
            return Ok(None);
        }
        // What has come still goes to where it belongs.
        for number in self.lanes.keys().copied().collect::<Vec<_>>() {
            if let Some(lane) = self.lanes.get_mut(&number) {
                (lane.from, lane.is_ended) = (None, true);
            }
            self.end_if_written(number);
        }
        Ok(Some(Event::Gone))
    }

    fn pass_on(&mut self, kind: Kind, number: u32, body: &[u8]) -> Result<(), Error> {
        // What is on its way to a lane that was closed meanwhile goes nowhere.
        let Some(lane) = self.lanes.get_mut(&number) else { return Ok(()) };
        match (kind, body) {
            (Kind::Data, body) if lane.waiting.len() + body.len() <= WINDOW && !lane.is_ended => {
                lane.waiting.extend(body);
                if lane.end != End::Borrowed {
                    self.write_out(number);
                }
            }
            (Kind::Taken, &[a, b, c, d]) => {
                lane.room += u32::from_le_bytes([a, b, c, d]) as usize;
                if lane.room > WINDOW {
                    return Err(broken("more room than there is"));
                }
            }
            (Kind::End, []) => {
                lane.is_ended = true;
                self.end_if_written(number);
            }
            _ => return Err(broken("more bytes than there was room for")),
        }
        Ok(())
    }

    /// Sends what the stream takes now.
    fn send(&mut self) -> Result<(), Error> {
        while let (bytes @ [_, ..], _) = self.outgoing.as_slices() {
            match write(&self.output, bytes) {
                Ok(length) => drop(self.outgoing.drain(..length)),
                Err(Errno::EINTR) => {}
                // Whether the other side is gone, and with which last words, is for the reading side to tell.
                Err(Errno::EPIPE) => self.outgoing.clear(),
                Err(Errno::EAGAIN) => break,
                Err(os) => return Err(Error::watch("write to the stream", os)),
            }
        }
        Ok(())
    }
}

fn stop_blocking(fd: &OwnedFd) -> nix::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}
