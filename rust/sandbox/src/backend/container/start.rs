//! Starts a container, takes its listeners, and looks whether it is one.

use std::fs::{self, File};
use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockType, UnixAddr, bind, listen, shutdown, socket,
};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use super::engine::{self, Engine, Rights, words};
use super::image::{self, Image};
use super::job_dir::ContainerDir;
use super::layout;
use super::program;
use super::proof::{self, Visible};
use super::{Identified, arguments, relayed};
use crate::backend::disk::Disk;
use crate::backend::files::standard_streams;
use crate::backend::native::start::add;
use crate::backend::run::{Stage, Waiting};
use crate::backend::{ContainerError, Error, Listeners};
use crate::plan::{Limits, Network, Plan};
use crate::relay;
use crate::stage::job::DEFAULT_PROCESSES;
use crate::sys::fds;
use crate::sys::process::pidfd_open;
use crate::terminal::relay::is_given_up;
use crate::wire::{Channel, FromStage, Furnishing, Identity, Sent, ToStage, seal_plan};

/// How long the engine may take to remove a container that has ended.
const REMOVAL: u16 = 20_000;

/// The engine has no such image, or whatever else went wrong before the container existed.
pub(super) const NOT_MADE: i32 = 125;

/// How often a container is tried again whose image was missing: another program may remove images at any time.
pub(super) const MOST_TRIES: u8 = 3;

/// Starts a container for the plan and lets its pid 1 make everything up to the command.
pub(super) fn start(who: &Identified, runtime: &Path, plan: &Plan) -> Result<Waiting<Carried>, Error> {
    if plan.command.is_empty() {
        return Err(Error::NoCommand);
    }
    if plan.network != Network::Own {
        let cure = "leave the network to the engine".to_owned();
        return Err(Error::Unsupported { what: "a jail in a network that it did not make".to_owned(), cure });
    }
    let disk = Disk::of(plan, None)?;
    let (streams, files) = standard_streams()?;
    let is_relayed = who.relay.is_some();
    let mut layout = layout::of(&plan.tree, engine::own_ids().uid == 0)?;
    let own = if is_relayed { layout.move_in()? } else { Vec::new() };
    let program = program::own(is_relayed)?;
    let place = ContainerDir::create(runtime, &plan.job, &who.engine)?;
    if !is_relayed {
        place.furnish(&layout.own, &program)?;
    }
    for mount in &layout.mounts {
        if let layout::Mount::Overlay { upper, .. } = mount {
            make_work(upper)?;
        }
    }
    let own_program = |error: std::io::Error| ContainerError::OwnProgram { os: error.into() };
    let image = image::with(&layout.root_links, if is_relayed { &program.files } else { &[] });
    let image = image.map_err(own_program)?;
    let arguments = arguments::run(who, plan, &layout, &place, &program, &image.name)?;
    let visible = Visible::of(&layout, &place, &program, is_relayed)?;
    let furnishing = seal_plan(&Furnishing {
        plan: Plan { tree: layout.late, ..plan.clone() },
        writable: layout.writable,
        own,
        owned: layout.owned,
        bound: layout.bound,
        kernel: is_relayed.then(relay::kernel).transpose().map_err(own_program)?,
        outside: who.outside,
        processes: (who.rights != Rights::Root).then(|| plan.limits.pids.unwrap_or(DEFAULT_PROCESSES)),
        file_mask: file_mask(),
    })?;

    let (mut stage, stream) = if is_relayed {
        let (stage, stream) = relayed::start(who, place, &image, &arguments)?;
        (stage, Some(stream))
    } else {
        let listener = listen_at(&place)?;
        (call(who, place, &image, &arguments, &listener)?, None)
    };
    let identity = Identity { inside_uid: who.inside.uid, inside_gid: who.inside.gid, kernel_id: None };
    let [stdin, stdout, stderr] = &streams;
    let mut fds = vec![furnishing.as_fd(), stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    fds.extend(stream.iter().flatten().map(AsFd::as_fd));
    stage.channel.send(&ToStage::Begin { identity }, &fds)?;

    // Held open here, it would not end with the near end.
    drop(stream);

    let mut listeners = Listeners::default();
    let mut isolated = false;
    loop {
        match stage.next()? {
            (FromStage::Listeners { tcp, udp }, fds) => add(&mut listeners, &tcp, &udp, fds)?,
            (FromStage::Surroundings, fds) if !is_relayed => {
                proof::isolated(fds, &visible)?;
                isolated = true;
            }
            (FromStage::ContainerInfo(info), fds) if is_relayed => {
                proof::isolated_afar(&info, fds, &visible)?;
                isolated = true;
            }
            (FromStage::Ready, _) if isolated => break,
            (other, _) => return Err(Error::Message(format!("{other:?} out of turn"))),
        }
    }
    let mut notices = notices(who, plan, &stage.place)?;
    notices.extend(
        who.relay.iter().map(|why| format!("{why}: the job's connections are relayed through the engine")),
    );
    Ok(Waiting { stage, listeners, notices, timeout: plan.limits.timeout, disk, files, lifeline: None })
}

/// An engine without the control groups for a limit goes on without it. Some say so; a rootless Docker has to be asked.
fn notices(who: &Identified, plan: &Plan, place: &ContainerDir) -> Result<Vec<String>, Error> {
    let Limits { memory, pids, cpus, .. } = &plan.limits;
    if memory.is_none() && pids.is_none() && cpus.is_none() {
        return Ok(Vec::new());
    }
    if who.rights == Rights::Rootless
        && who.engine.ask(&["info", "--format", "{{.CgroupDriver}}"])?.trim() == "none"
    {
        let notice = "the limits on memory and CPUs are not enforced: this rootless engine has no control groups (boot with those of version 2)";
        return Ok(vec![notice.to_owned()]);
    }
    let said = fs::read_to_string(place.said()).unwrap_or_default();
    let of_limits =
        |line: &&str| ["discarded", "not supported", "ignored"].iter().any(|word| line.contains(word));
    Ok(said.lines().filter(of_limits).map(|line| format!("a limit is not enforced: {line}")).collect())
}

/// The container's pid 1, and the engine's program that carries it.
#[derive(Debug)]
pub(super) struct Carried {
    channel: Channel,
    carrier: Carrier,
    /// The relay's end on this host, which sees for us when the engine is gone.
    near: Option<Child>,
    engine: Engine,
    /// The job's terminal, which may come before it is asked for.
    early_terminal: Option<OwnedFd>,
    /// Whether every process of the job is gone.
    is_over: bool,
    // Dropped when the container is gone.
    place: ContainerDir,
}

/// `docker run`, which ends with its container, or when it loses the engine.
#[derive(Debug)]
pub(super) struct Carrier {
    pub(super) child: Child,
    ended: OwnedFd,
}

impl Stage for Carried {
    fn channel(&self) -> &Channel {
        &self.channel
    }

    fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.early_terminal.take()
    }

    fn carrier(&self) -> Option<BorrowedFd<'_>> {
        self.near.is_none().then(|| self.carrier.ended.as_fd())
    }

    fn next(&mut self) -> Result<(FromStage, Vec<OwnedFd>), Error> {
        // Last words count more than the end, which they may have come before.
        if self.near.is_none()
            && either(self.channel.as_fd(), self.carrier.ended.as_fd(), None)? != Some(true)
        {
            return Err(self.lost());
        }
        match self.channel.receive()? {
            Some((FromStage::Failed(error), _)) => Err(error),
            Some((FromStage::Gone, fds)) => {
                self.is_over = true;
                Ok((FromStage::Gone, fds))
            }
            Some(message) => Ok(message),
            None => {
                let _ = self.carrier.child.wait();
                Err(self.lost())
            }
        }
    }

    fn kill(&mut self) -> Result<(), Error> {
        // The container's processes are the engine's. Its pid 1 looks at the channel whatever the job does; the end of
        // what we send is the same request.
        if self.channel.try_send(&ToStage::Kill)? == Sent::Full {
            let _ = shutdown(self.channel.as_fd().as_raw_fd(), Shutdown::Write);
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.carrier.wait(&self.engine);
    }
}

impl Carried {
    pub(super) fn new(
        channel: Channel,
        carrier: Carrier,
        near: Option<Child>,
        engine: Engine,
        place: ContainerDir,
    ) -> Carried {
        Carried { channel, carrier, near, engine, early_terminal: None, is_over: false, place }
    }

    fn lost(&self) -> Error {
        let said = words(&fs::read(self.place.said()).unwrap_or_default());
        ContainerError::Ended { program: self.engine.kind.program().to_owned(), said }.into()
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        // The end of the conversation is the end of the container.
        let _ = shutdown(self.channel.as_fd().as_raw_fd(), Shutdown::Both);
        if let Some(near) = &mut self.near {
            let _ = near.kill();
            let _ = near.wait();
        }
        self.carrier.wait(&self.engine);
    }
}

impl Carrier {
    /// Waits until the container is removed, as long as a living engine may take.
    fn wait(&mut self, engine: &Engine) {
        let mut events = [PollFd::new(self.ended.as_fd(), PollFlags::POLLIN)];
        let ended = loop {
            match poll(&mut events, PollTimeout::from(REMOVAL)) {
                Err(Errno::EINTR) => {}
                other => break other.is_ok_and(|ready| ready > 0),
            }
        };
        if !ended {
            // A terminal that takes nothing would keep the launcher for ever.
            if !(is_given_up() && std::io::stderr().is_terminal()) {
                eprintln!(
                    "jail: {} does not end; the next jail command removes what is left",
                    engine.kind.program()
                );
            }
            let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// How long the engine may take to make a container of an image that it has.
const START: Duration = Duration::from_secs(120);

/// Starts the container and waits for its pid 1's call; imports the image if that is what is missing.
fn call(
    who: &Identified,
    place: ContainerDir,
    image: &Image<'_>,
    arguments: &[std::ffi::OsString],
    listener: &OwnedFd,
) -> Result<Carried, Error> {
    let mut tries_left = MOST_TRIES;
    loop {
        let mut carrier = spawn(&who.engine, &place, arguments, Stdio::null(), None)?;
        if is_called(who, &mut carrier, listener.as_fd())? {
            let caller = fds::accept(listener.as_fd()).map_err(|os| Error::Channel { os: os.into() })?;
            let channel = Channel::inherited(caller);
            let _ = fs::remove_file(place.socket());
            return Ok(Carried::new(channel, carrier, None, who.engine.clone(), place));
        }
        let status = carrier.child.wait().map_err(|error| who.engine.not_started(error))?;
        let said = fs::read(place.said()).unwrap_or_default();
        if status.code() == Some(NOT_MADE)
            && tries_left > 0
            && who.engine.provide(image, place.runtime(), &said)?
        {
            tries_left -= 1;
            continue;
        }
        return Err(who.engine.refused(&said));
    }
}

/// Starts the engine's program; what it says is kept, beside `output`.
pub(super) fn spawn(
    engine: &Engine,
    place: &ContainerDir,
    arguments: &[std::ffi::OsString],
    input: Stdio,
    output: Option<Stdio>,
) -> Result<Carrier, Error> {
    let failed = |error: std::io::Error| ContainerError::Place { path: place.said(), os: error.into() };
    let said = File::create(place.said()).map_err(failed)?;
    let mut command = engine.command().map_err(|error| engine.not_started(error))?;
    let output = match output {
        Some(output) => output,
        None => said.try_clone().map_err(failed)?.into(),
    };
    command.args(arguments).stdout(output).stderr(said).stdin(input);
    // Of the terminal's signals and stops it wants none: the job gets them by message.
    let child = command.process_group(0).spawn().map_err(|error| match error.raw_os_error() {
        Some(number) if number == Errno::E2BIG as i32 => {
            let count = arguments.iter().filter(|word| *word == "--mount").count();
            ContainerError::TooMany { count }.into()
        }
        _ => engine.not_started(error),
    })?;
    let ended =
        pidfd_open(Pid::from_raw(child.id() as i32)).map_err(|os| Error::StartStage { os: os.into() })?;
    Ok(Carrier { child, ended })
}

/// Waits until something can be read from `first`, or the engine's program ends; returns whether it was the first. An
/// engine that has made no container in time is killed.
pub(super) fn is_called(
    who: &Identified,
    carrier: &mut Carrier,
    first: BorrowedFd<'_>,
) -> Result<bool, Error> {
    match either(first, carrier.ended.as_fd(), Some(START))? {
        Some(is_first) => Ok(is_first),
        None => {
            let _ = carrier.child.kill();
            let _ = carrier.child.wait();
            let program = who.engine.kind.program().to_owned();
            Err(ContainerError::Late { program, seconds: START.as_secs() }.into())
        }
    }
}

/// Waits until something can be read from the first, or else the second is ready; returns whether it was the first, or
/// nothing when the time is over.
fn either(
    first: BorrowedFd<'_>,
    second: BorrowedFd<'_>,
    limit: Option<Duration>,
) -> Result<Option<bool>, Error> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    let mut events = [PollFd::new(first, PollFlags::POLLIN), PollFd::new(second, PollFlags::POLLIN)];
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map_or(PollTimeout::NONE, |left| left.try_into().unwrap_or(PollTimeout::MAX));
        match poll(&mut events, left) {
            Ok(0) => return Ok(None),
            Ok(_) => {
                let [first, _] = &events;
                // The end of a pipe is no call.
                return Ok(Some(first.revents().is_some_and(|flags| flags.contains(PollFlags::POLLIN))));
            }
            Err(Errno::EINTR) => {}
            Err(os) => return Err(Error::watch("poll", os)),
        }
    }
}

/// A socket that only this container can reach: the directories above it are the operator's alone.
fn listen_at(place: &ContainerDir) -> Result<OwnedFd, Error> {
    let failed = |os: Errno| ContainerError::Place { path: place.socket(), os: os.into() };
    // By the directory's descriptor: the path of a socket is short.
    let directory = open(&place.entry(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(failed)?;
    let path = format!("/proc/self/fd/{}/{}", directory.as_raw_fd(), program::SOCKET);
    let fd =
        socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).map_err(failed)?;
    UnixAddr::new(path.as_str()).and_then(|address| bind(fd.as_raw_fd(), &address)).map_err(failed)?;
    // The container's root is without the right to pass over modes.
    fs::set_permissions(place.socket(), fs::Permissions::from_mode(0o666))
        .map_err(|error| ContainerError::Place { path: place.socket(), os: error.into() })?;
    Backlog::new(1).and_then(|backlog| listen(&fd, backlog)).map_err(failed)?;
    Ok(fd)
}

/// What an overlay works with, beside its changes.
fn make_work(upper: &Path) -> Result<(), Error> {
    let work = upper.parent().unwrap_or(Path::new("/")).join("work");
    match fs::create_dir(&work) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::WriteFile { path: work, os: error.into() })
        }
        _ => Ok(()),
    }
}

/// The operator's file mode mask; reading it without setting it takes Linux 4.7.
fn file_mask() -> u32 {
    const USUAL: u32 = 0o022;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(USUAL)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn an_engine_that_does_nothing_is_waited_for_until_its_time_is_over() {
        let (call, mut caller) = std::io::pipe().unwrap();
        let (end, program) = std::io::pipe().unwrap();
        let wait = |limit| either(call.as_fd(), end.as_fd(), Some(limit)).unwrap();
        assert_eq!(wait(Duration::from_millis(1)), None);
        drop(program);
        assert_eq!(wait(Duration::from_secs(60)), Some(false));
        caller.write_all(b"x").unwrap();
        assert_eq!(wait(Duration::from_secs(60)), Some(true));
    }
}
