//! The jail's network: loopback, on which every address of the world is local, and the proxy's listeners.
//!
//! Two routes (`local 0.0.0.0/0 dev lo`, `local ::/0 dev lo`) make a listener on `[::]:443` get what is meant for any
//! address on 443; a port without a listener is refused by the kernel. Nothing else exists in this namespace.

use std::io::IoSlice;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6,
    bind as bind_to, connect, listen, recv, sendmsg, setsockopt, socket, sockopt,
};

use crate::backend::{Error, Listeners};
use crate::plan::Listen;
use crate::sys::fds::FDS_PER_MESSAGE;
use crate::wire::{Channel, FromStage};

/// Sets up loopback and hands the listeners out.
pub(crate) fn set_up(plan: &Listen, channel: &Channel) -> Result<(), Error> {
    make_every_address_local()?;
    let mut tcp = plan.tcp.chunks(FDS_PER_MESSAGE / 2);
    let mut udp = plan.udp.chunks(FDS_PER_MESSAGE / 2);
    loop {
        let (tcp, udp) = match (tcp.next(), udp.next()) {
            (None, None) => return Ok(()),
            (tcp, udp) => (tcp.unwrap_or_default(), udp.unwrap_or_default()),
        };
        let mut sockets = Vec::new();
        for &port in tcp {
            sockets.push(bound(SockType::Stream, port).map_err(|os| refused("TCP", port, os))?);
        }
        for &port in udp {
            sockets.push(bound(SockType::Datagram, port).map_err(|os| refused("UDP", port, os))?);
        }
        let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        channel.send(&FromStage::Listeners { tcp: tcp.to_vec(), udp: udp.to_vec() }, &fds)?;
    }
}

/// Binds every socket, and keeps it.
pub(crate) fn bind(plan: &Listen) -> Result<Listeners, Error> {
    let mut listeners = Listeners::default();
    for &port in &plan.tcp {
        let socket = bound(SockType::Stream, port).map_err(|os| refused("TCP", port, os))?;
        listeners.tcp.push((port, socket.into()));
    }
    for &port in &plan.udp {
        let socket = bound(SockType::Datagram, port).map_err(|os| refused("UDP", port, os))?;
        listeners.udp.push((port, socket.into()));
    }
    Ok(listeners)
}

/// A socket bound to every address, IPv6 and IPv4 (or IPv4 alone, where the kernel has no other).
fn bound(kind: SockType, port: u16) -> nix::Result<OwnedFd> {
    match bound_both(kind, port) {
        Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => bound_ipv4(kind, port),
        other => other,
    }
}

fn bound_both(kind: SockType, port: u16) -> nix::Result<OwnedFd> {
    let fd = socket(AddressFamily::Inet6, kind, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
    if kind == SockType::Datagram {
        // An answer must leave from the address that was asked, which is told with each datagram (IPv4 as a mapped
        // address too) and which no interface has.
        setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
        setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
        setsockopt(&fd, sockopt::IpFreebind, &true)?;
    }
    let address = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0);
    bind_to(fd.as_raw_fd(), &SockaddrIn6::from(address))?;
    open_for_connections(fd, kind)
}

fn bound_ipv4(kind: SockType, port: u16) -> nix::Result<OwnedFd> {
    let fd = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if kind == SockType::Datagram {
        setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
    }
    bind_to(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)))?;
    open_for_connections(fd, kind)
}

fn open_for_connections(fd: OwnedFd, kind: SockType) -> nix::Result<OwnedFd> {
    if kind == SockType::Stream {
        listen(&fd, Backlog::new(1024)?)?;
    }
    Ok(fd)
}

/// Loopback up, and every address of the world on it.
pub(crate) fn make_every_address_local() -> Result<(), Error> {
    let netlink =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
            .map_err(|os| failed("open netlink", os))?;
    connect(netlink.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(|os| failed("open netlink", os))?;
    let loopback = loopback_index().map_err(|os| failed("find loopback", os))?;
    request(&netlink, libc::RTM_NEWLINK, 0, &link_up(loopback)).map_err(|os| failed("loopback up", os))?;
    let create = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
    request(&netlink, libc::RTM_NEWROUTE, create, &local_route(libc::AF_INET, loopback))
        .map_err(|os| failed("IPv4 route", os))?;
    // Without IPv6 there is nothing to catch: its addresses are unreachable.
    let _ = request(&netlink, libc::RTM_NEWROUTE, create, &local_route(libc::AF_INET6, loopback));
    Ok(())
}

fn loopback_index() -> nix::Result<u32> {
    nix::net::if_::if_nametoindex("lo")
}

/// `struct ifinfomsg`: family, padding, type, index, flags, mask of the flags to change.
fn link_up(index: u32) -> Vec<u8> {
    let up = libc::IFF_UP as u32;
    let mut body = vec![libc::AF_UNSPEC as u8, 0, 0, 0];
    for word in [index, up, up] {
        body.extend(word.to_ne_bytes());
    }
    body
}

/// `struct rtmsg` for a destination of length 0 in the local table, and the device as its one attribute.
fn local_route(family: libc::c_int, index: u32) -> Vec<u8> {
    let (any_destination, any_source, any_service, no_flags) = (0, 0, 0, [0; 4]);
    let mut body = vec![
        family as u8,
        any_destination,
        any_source,
        any_service,
        libc::RT_TABLE_LOCAL,
        libc::RTPROT_BOOT,
        libc::RT_SCOPE_HOST,
        libc::RTN_LOCAL,
    ];
    body.extend(no_flags);
    body.extend(8u16.to_ne_bytes());
    body.extend(libc::RTA_OIF.to_ne_bytes());
    body.extend(index.to_ne_bytes());
    body
}

/// Sends one netlink message and waits for its acknowledgement.
fn request(netlink: &OwnedFd, kind: u16, flags: u16, body: &[u8]) -> nix::Result<()> {
    const HEADER: usize = 16;
    let mut message = Vec::new();
    message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16 | flags).to_ne_bytes());
    message.extend(1u32.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    message.extend(body);
    sendmsg::<()>(netlink.as_raw_fd(), &[IoSlice::new(&message)], &[], MsgFlags::empty(), None)?;

    let mut answer = [0; 4096];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // The answer is a header and a negative error number, 0 for success.
    match answer.get(..length).and_then(|answer| answer.get(HEADER..HEADER + 4)) {
        Some(&[a, b, c, d]) => match i32::from_ne_bytes([a, b, c, d]) {
            0 => Ok(()),
            number => Err(Errno::from_raw(-number)),
        },
        _ => Err(Errno::EBADMSG),
    }
}

fn failed(step: &str, os: Errno) -> Error {
    Error::Network { step: step.to_owned(), os: os.into() }
}

fn refused(protocol: &str, port: u16, os: Errno) -> Error {
    Error::Listen { protocol: protocol.to_owned(), port, os: os.into() }
}
