//! DNS over UDP at the far end. A datagram becomes a connection of its own to the same address, as DNS has it over TCP
//! (RFC 7766: the length in front), so that only streams have to cross.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_pktinfo};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The largest datagram; queries are far smaller.
const LARGEST: usize = 4096;
/// More at once are lost, as on a busy network; clients ask again.
const MOST: usize = 256;

/// The queries that wait for an answer.
#[derive(Debug, Default)]
pub(super) struct Queries(Vec<Query>);

#[derive(Debug)]
struct Query {
    /// Our side of what the lane is joined to.
    stream: UnixStream,
    answer: Vec<u8>,
    client: SockaddrStorage,
    asked: Asked,
    socket: Rc<OwnedFd>,
}

/// Which address was asked, and so must answer.
#[derive(Debug)]
enum Asked {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

impl Queries {
    /// What becomes readable when there is more of an answer.
    pub(super) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|query| query.stream.as_fd())
    }

    /// Takes a query from a socket: who is to be asked, and what to join the lane there to.
    pub(super) fn take(&mut self, socket: &Rc<OwnedFd>) -> Option<(IpAddr, OwnedFd)> {
        let mut bytes = [0; LARGEST];
        let mut space = cmsg_space!(in_pktinfo, in6_pktinfo);
        let (length, client, asked) = {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let flags = MsgFlags::MSG_DONTWAIT;
            let message =
                recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
            let asked = message.cmsgs().ok()?.find_map(|control| match control {
                ControlMessageOwned::Ipv4PacketInfo(info) => Some(Asked::V4(info)),
                ControlMessageOwned::Ipv6PacketInfo(info) => Some(Asked::V6(info)),
                _ => None,
            });
            (message.bytes, message.address?, asked?)
        };
        if self.0.len() >= MOST {
            return None;
        }
        let (stream, theirs) = UnixStream::pair().ok()?;
        stream.set_nonblocking(true).ok()?;
        let framed = [&u16::try_from(length).ok()?.to_be_bytes()[..], bytes.get(..length)?].concat();
        (&stream).write_all(&framed).ok()?;
        let address = asked.address();
        self.0.push(Query { stream, answer: Vec::new(), client, asked, socket: socket.clone() });
        Some((address, theirs.into()))
    }

    /// Reads what has come of answers and sends those that are whole; `ready` is of [`Queries::watched`].
    pub(super) fn answer(&mut self, ready: &[bool]) {
        let mut ready = ready.iter();
        // One that was taken after the look is not ready.
        self.0.retain_mut(|query| !ready.next().copied().unwrap_or(false) || query.goes_on());
    }
}

impl Query {
    /// Whether more has to come.
    fn goes_on(&mut self) -> bool {
        let mut bytes = [0; LARGEST];
        match self.stream.read(&mut bytes) {
            Ok(length) if length > 0 => self.answer.extend(bytes.get(..length).unwrap_or_default()),
            Err(error) if error.raw_os_error() == Some(Errno::EAGAIN as i32) => return true,
            _ => return false,
        }
        let Some((&[high, low], rest)) = self.answer.split_first_chunk::<2>() else { return true };
        let Some(answer) = rest.get(..usize::from(u16::from_be_bytes([high, low]))) else { return true };
        let (v4, v6);
        let from = match &self.asked {
            Asked::V4(info) => {
                v4 = in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: info.ipi_addr,
                    ipi_addr: in_addr { s_addr: 0 },
                };
                ControlMessage::Ipv4PacketInfo(&v4)
            }
            Asked::V6(info) => {
                v6 = in6_pktinfo { ipi6_addr: info.ipi6_addr, ipi6_ifindex: 0 };
                ControlMessage::Ipv6PacketInfo(&v6)
            }
        };
        let parts = [IoSlice::new(answer)];
        // A full socket drops the answer, as networks do; the client asks again.
        let _ = sendmsg(
            self.socket.as_raw_fd(),
            &parts,
            &[from],
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
            Some(&self.client),
        );
        false
    }
}

impl Asked {
    fn address(&self) -> IpAddr {
        match self {
            Asked::V4(info) => Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into(),
            Asked::V6(info) => Ipv6Addr::from(info.ipi6_addr.s6_addr).into(),
        }
    }
}
