//! DNS over UDP. An answer leaves from the address that was asked, whichever it was, or resolvers drop it.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::answer::answer;
use crate::job::Job;

/// The largest datagram; queries are far smaller.
const LARGEST: usize = 4096;

/// Who was asked.
enum Asked {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

/// Makes the kernel say which address each query was sent to.
pub(crate) fn prepare(socket: &std::net::UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    if socket.local_addr()?.is_ipv6() {
        setsockopt(socket, Ipv6RecvPacketInfo, &true)?;
        // IPv6 sends from an address of an interface only, unless told otherwise; a local route is not enough.
        #[cfg(target_os = "linux")]
        setsockopt(socket, nix::sys::socket::sockopt::IpFreebind, &true)?;
    } else {
        setsockopt(socket, Ipv4PacketInfo, &true)?;
    }
    Ok(())
}

/// Answers until the proxy shuts down.
pub(crate) async fn serve_udp(job: Arc<Job>, socket: UdpSocket) {
    let mut buffer = vec![0; LARGEST];
    loop {
        let received = tokio::select! {
            received = socket.async_io(Interest::READABLE, || receive(&socket, &mut buffer)) => received,
            () = job.closing() => return,
        };
        let (length, client, asked) = match received {
            Ok(received) => received,
            // An error of one datagram (a client that went away) is not an error of the socket.
            Err(error) => {
                tracing::debug!(%error, "a DNS query was lost");
                continue;
            }
        };
        let (Some(client), Some(answer)) = (client, answer(&buffer[..length], &job.names)) else { continue };
        // A full socket drops the answer, as networks do; the client asks again.
        if let Err(error) =
            socket.try_io(Interest::WRITABLE, || send(&socket, &answer, &client, asked.as_ref()))
        {
            tracing::debug!(%error, "a DNS answer was lost");
        }
    }
}

fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<SockaddrStorage>, Option<Asked>)> {
    let mut space = cmsg_space!(in_pktinfo, in6_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
    let asked = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Asked::V4(info)),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(Asked::V6(info)),
        _ => None,
    });
    Ok((message.bytes, message.address, asked))
}

fn send(
    socket: &UdpSocket,
    answer: &[u8],
    client: &SockaddrStorage,
    asked: Option<&Asked>,
) -> io::Result<usize> {
    let (v4, v6);
    let control = match asked {
        None => None,
        Some(Asked::V4(info)) => {
            v4 = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: info.ipi_addr, ipi_addr: in_addr { s_addr: 0 } };
            Some(ControlMessage::Ipv4PacketInfo(&v4))
        }
        Some(Asked::V6(info)) => {
            v6 = in6_pktinfo { ipi6_addr: info.ipi6_addr, ipi6_ifindex: 0 };
            Some(ControlMessage::Ipv6PacketInfo(&v6))
        }
    };
    let parts = [IoSlice::new(answer)];
    Ok(sendmsg(socket.as_raw_fd(), &parts, control.as_slice(), MsgFlags::empty(), Some(client))?)
}
