//! Asks the kernel where a packet to an address would go (rtnetlink(7), RTM_GETROUTE).
//!
//! The addresses of the interfaces are not all that a host answers on: a route of type `local` makes it answer on a whole
//! network, and rules may choose among tables. The kernel's own look-up knows all of them.

use std::io;
use std::net::IpAddr;

#[cfg(target_os = "linux")]
pub(super) fn is_local(address: IpAddr) -> io::Result<bool> {
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

    let kernel =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    send(kernel.as_raw_fd(), &message::question(address), MsgFlags::empty())?;
    let mut answer = [0; 4096];
    // The kernel has answered by the time it has taken the question.
    let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    message::is_local(answer.get(..length).unwrap_or_default())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is not about a route"))
}

/// Elsewhere the interfaces say all there is.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_local(_: IpAddr) -> io::Result<bool> {
    Ok(false)
}

#[cfg(target_os = "linux")]
mod message {
    use std::net::IpAddr;

    const NLMSG_ERROR: u16 = 2;
    const RTM_NEWROUTE: u16 = 24;
    const RTM_GETROUTE: u16 = 26;
    const NLM_F_REQUEST: u16 = 1;
    const RTA_DST: u16 = 1;
    /// RTN_LOCAL, RTN_BROADCAST, RTN_ANYCAST, RTN_MULTICAST: the host takes such packets itself.
    const OWN_TYPES: std::ops::RangeInclusive<u8> = 2..=5;
    /// `struct nlmsghdr`, then the offset of `rtm_type` in `struct rtmsg`.
    const HEADER: usize = 16;
    const TYPE: usize = HEADER + 7;

    pub(super) fn question(address: IpAddr) -> Vec<u8> {
        let (family, bytes) = match address {
            IpAddr::V4(address) => (nix::libc::AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (nix::libc::AF_INET6, address.octets().to_vec()),
        };
        let bits = u8::try_from(bytes.len() * 8).unwrap_or(u8::MAX);
        let mut route = vec![u8::try_from(family).unwrap_or_default(), bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        route.extend(u16::try_from(4 + bytes.len()).unwrap_or_default().to_ne_bytes());
        route.extend(RTA_DST.to_ne_bytes());
        route.extend(bytes);
        let mut message = Vec::new();
        message.extend(u32::try_from(HEADER + route.len()).unwrap_or_default().to_ne_bytes());
        message.extend(RTM_GETROUTE.to_ne_bytes());
        message.extend(NLM_F_REQUEST.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(route);
        message
    }

    /// `None` if it is no answer. An error means that there is no way to the address.
    pub(super) fn is_local(answer: &[u8]) -> Option<bool> {
        let kind = u16::from_ne_bytes([*answer.get(4)?, *answer.get(5)?]);
        match kind {
            RTM_NEWROUTE => Some(OWN_TYPES.contains(answer.get(TYPE)?)),
            NLMSG_ERROR => Some(false),
            _ => None,
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_local_by_any_of_its_addresses() {
        for own in ["127.0.0.1", "127.9.8.7", "::1"] {
            assert!(is_local(own.parse().unwrap()).unwrap(), "{own}");
        }
        assert!(!is_local("192.0.2.1".parse().unwrap()).unwrap());
    }
}
