//! What the launcher and its stage say to each other, over one socket that keeps message borders.
//!
//! Messages are small; the plan, which may be large, crosses in a sealed memory file. Both use postcard: compact, no
//! text escapes in which bytes that are not UTF-8 could be lost, and decoded in one pass (1500 binds: ~0.1 ms).

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::backend::{Error, JobIds};
use crate::plan::{Entry, Plan};
use crate::relay::ContainerInfo;
use crate::sys::fds;

/// What the launcher says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToStage {
    /// Start; carries the plan's file and the job's three standard streams.
    Begin {
        /// Who the job is.
        identity: Identity,
    },
    /// The ids of the stage's user namespace are mapped.
    Mapped,
    /// The proxy serves: the command may start.
    Release,
    /// Send the job's process group this signal; SIGCONT continues a frozen job.
    Signal(i32),
    /// Stop every process of the job.
    Freeze,
    /// End the job now.
    Kill,
}

/// What the stage says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromStage {
    /// It is in its user namespace, whose ids are to be mapped.
    Unshared,
    /// The process that is pid 1 inside, as the launcher's pid namespace numbers it; carries a pidfd of it, by which
    /// the launcher ends the jail however busy that process is.
    Init(i32),
    /// Sockets bound inside, as file descriptors in this order.
    Listeners {
        /// Ports.
        tcp: Vec<u16>,
        /// Ports.
        udp: Vec<u16>,
    },
    /// Where a container's pid 1 is: its namespaces as file descriptors in the order of [`NAMESPACES`], and a file with
    /// its mount table.
    Surroundings,
    /// The same from afar: a descriptor of the near end's network namespace, and a file with the mount table.
    ContainerInfo(ContainerInfo),
    /// Every listener has been sent.
    Ready,
    /// The master side of the job's terminal.
    Terminal,
    /// The job has been stopped by this signal.
    Stopped(i32),
    /// Every process of the job is stopped.
    Frozen,
    /// The job's command has ended.
    Exited(Exit),
    /// Every process of the jail is gone.
    Gone,
    /// There is no jail.
    Failed(Error),
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Exit {
    Code(u8),
    Signal(i32),
}

/// Who the job is, inside and outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The job's user id as it sees it.
    pub(crate) inside_uid: u32,
    /// Its group id as it sees it.
    pub(crate) inside_gid: u32,
    /// The unprivileged kernel id that stands for both, if root starts the jail; else the caller's own ids do.
    pub(crate) kernel_id: Option<u32>,
}

/// What a container's pid 1 is told; its tree is the engine's work.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Furnishing {
    /// The command and what belongs to it; of the tree what must be made when the mounts are there.
    pub(crate) plan: Plan,
    /// Where the job may write, for Landlock.
    pub(crate) writable: Vec<PathBuf>,
    /// What of the jail's own tree is made inside, where nothing of this host's can be bound.
    pub(crate) own: Vec<Entry>,
    /// What is to be the job's own.
    pub(crate) owned: Vec<PathBuf>,
    /// What the engine was told to bind, as it was when the launcher looked.
    pub(crate) bound: Vec<Bound>,
    /// The launcher's kernel, if it may be another than the container's.
    pub(crate) kernel: Option<String>,
    /// Who the job is in the user namespace outside of the container's.
    pub(crate) outside: JobIds,
    /// The most processes, where the engine may not be able to count them.
    pub(crate) processes: Option<u64>,
    /// The operator's file mode mask.
    pub(crate) file_mask: u32,
}

/// A file or directory of the host and the place in the jail where it must be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bound {
    #[serde(with = "crate::bytes")]
    pub(crate) target: PathBuf,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Its size, if it is a file; what device and inode are told by between kernels.
    pub(crate) size: Option<u64>,
    /// When its contents were changed, in seconds.
    pub(crate) modified: i64,
}

/// The namespaces that a container must have of its own. Its user namespace may be the host's: the job has no
/// capabilities, and is never root there.
pub(crate) const NAMESPACES: [&str; 5] = ["net", "mnt", "pid", "ipc", "uts"];

/// What became of a message that was not to be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The other end receives it.
    Queued,
    /// The other end has not received what was sent before; the message is not sent.
    Full,
    /// The other end is closed. What it has sent can still be received.
    Gone,
}

/// One end of the conversation.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// Messages hold an error with a path or a list of ports at most.
const MESSAGE_BYTES: usize = 64 * 1024;

impl Channel {
    /// Both ends, close-on-exec.
    pub(crate) fn pair() -> Result<(Channel, OwnedFd), Error> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(|errno| Error::Channel { os: errno.into() })?;
        Ok((Channel(ours), theirs))
    }

    /// The end that was inherited.
    pub(crate) fn inherited(fd: OwnedFd) -> Channel {
        Channel(fd)
    }

    /// Says something.
    pub(crate) fn send<M: Serialize>(&self, message: &M, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let bytes = postcard::to_stdvec(message).map_err(|error| Error::Message(error.to_string()))?;
        fds::send(self.0.as_fd(), &bytes, fds, true).map_err(|errno| Error::Channel { os: errno.into() })
    }

    /// Sends a message without descriptors, unless that would have to wait for the other end.
    pub(crate) fn try_send<M: Serialize>(&self, message: &M) -> Result<Sent, Error> {
        let bytes = postcard::to_stdvec(message).map_err(|error| Error::Message(error.to_string()))?;
        match fds::send(self.0.as_fd(), &bytes, &[], false) {
            Ok(()) => Ok(Sent::Queued),
            Err(Errno::EAGAIN) => Ok(Sent::Full),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(Sent::Gone),
            Err(errno) => Err(Error::Channel { os: errno.into() }),
        }
    }

    /// Waits for the next message; `None` when the other end is gone.
    pub(crate) fn receive<M: DeserializeOwned>(&self) -> Result<Option<(M, Vec<OwnedFd>)>, Error> {
        let mut buffer = vec![0; MESSAGE_BYTES];
        loop {
            match fds::receive(self.0.as_fd(), &mut buffer, true) {
                Ok((0, _)) => return Ok(None),
                Ok((length, fds)) => {
                    let message = postcard::from_bytes(buffer.get(..length).unwrap_or_default());
                    return Ok(Some((message.map_err(|error| Error::Message(error.to_string()))?, fds)));
                }
                // It has ended without reading all that we said. The kernel says so once, before its last words.
                Err(Errno::ECONNRESET) => {}
                Err(errno) => return Err(Error::Channel { os: errno.into() }),
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Puts a plan into a file that cannot be changed any more.
pub(crate) fn seal_plan(plan: &impl Serialize) -> Result<File, Error> {
    seal_bytes(&postcard::to_stdvec(plan).map_err(|error| Error::Message(error.to_string()))?)
}

/// Puts the bytes of a plan into such a file.
pub(crate) fn seal_bytes(bytes: &[u8]) -> Result<File, Error> {
    let write = || -> std::io::Result<File> {
        let mut file =
            File::from(memfd_create(c"nix-jail plan", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
        file.write_all(bytes)?;
        let seals =
            SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(file)
    };
    write().map_err(|error| Error::HandPlan { os: error.into() })
}

/// Reads a plan from such a file.
pub(crate) fn read_plan<P: DeserializeOwned>(file: OwnedFd) -> Result<P, Error> {
    postcard::from_bytes(&read_sealed(file)?).map_err(|error| Error::Message(error.to_string()))
}

/// Reads the bytes of such a file.
pub(crate) fn read_sealed(file: OwnedFd) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut file = File::from(file);
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .map_err(|error| Error::HandPlan { os: error.into() })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    use std::path::PathBuf;

    use super::*;
    use crate::plan::{Access, Entry};

    #[test]
    fn a_plan_arrives_as_it_was_whatever_its_bytes() {
        let odd = OsString::from_vec(b"\xff\xfe/\x80".to_vec());
        let mut plan = Plan {
            command: vec![odd.clone()],
            environment: vec![(OsString::from("NAME"), odd.clone())],
            working_directory: PathBuf::from(odd.clone()),
            ..Plan::default()
        };
        for number in 0..1500 {
            let source = PathBuf::from(odd.clone()).join(number.to_string());
            plan.tree.push(Entry::Bind { source, target: PathBuf::from("/there"), access: Access::ReadOnly });
        }
        plan.tree.push(Entry::File { target: PathBuf::from("/f"), contents: vec![0, 255, 128], mode: 0o600 });
        let arrived: Plan = read_plan(seal_plan(&plan).unwrap().into()).unwrap();
        assert_eq!(format!("{plan:?}"), format!("{arrived:?}"));
    }

    #[test]
    fn a_sealed_plan_cannot_be_changed() {
        let mut file = seal_plan(&Plan::default()).unwrap();
        assert!(file.rewind().and_then(|()| file.write_all(b"x")).is_err());
        assert!(file.set_len(0).is_err());
    }

    #[test]
    fn sending_to_an_end_that_receives_nothing_does_not_wait() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::inherited(theirs);
        let mut queued = 0;
        while ours.try_send(&ToStage::Signal(15)).unwrap() == Sent::Queued {
            queued += 1;
            assert!(queued < 100_000, "the queue has no bound");
        }
        assert_eq!(ours.try_send(&ToStage::Kill).unwrap(), Sent::Full);
        for _ in 0..queued {
            assert!(matches!(theirs.receive().unwrap(), Some((ToStage::Signal(15), _))));
        }
        assert_eq!(ours.try_send(&ToStage::Kill).unwrap(), Sent::Queued);
        drop(theirs);
        assert_eq!(ours.try_send(&ToStage::Kill).unwrap(), Sent::Gone);
    }

    #[test]
    fn the_end_of_the_other_side_is_no_message() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::inherited(theirs);
        theirs.send(&FromStage::Stopped(20), &[]).unwrap();
        drop(theirs);
        assert!(matches!(ours.receive().unwrap(), Some((FromStage::Stopped(20), _))));
        assert!(ours.receive::<FromStage>().unwrap().is_none());
    }

    #[test]
    fn last_words_arrive_though_the_other_side_did_not_listen_to_the_end() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::inherited(theirs);
        // As when two signals follow each other, and the job ends at the first.
        ours.send(&ToStage::Signal(18), &[]).unwrap();
        theirs.send(&FromStage::Exited(Exit::Code(7)), &[]).unwrap();
        theirs.send(&FromStage::Gone, &[]).unwrap();
        drop(theirs);
        assert!(matches!(ours.receive().unwrap(), Some((FromStage::Exited(Exit::Code(7)), _))));
        assert!(matches!(ours.receive().unwrap(), Some((FromStage::Gone, _))));
        assert!(ours.receive::<FromStage>().unwrap().is_none());
    }
}
