//! The address guard: which addresses a job may never reach through its proxy.
//!
//! A refusal is by class, from the special-purpose registries of IANA (RFC 6890 and its updates), so that a report
//! can say what the address is. Of IPv6 only the global unicast space is let through; forms that carry an IPv4
//! address are refused outright, since who translates them decides where they lead.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Where a jail's resolver has the addresses that it makes up for names: the test network of AMPRNet, the network of radio
/// amateurs. It is assigned for experiments behind closed doors and routed nowhere, so that no server is out of reach for
/// it. Unlike the ranges of IANA's registries it counts as public unicast, also for programs that fetch from public
/// addresses only (to keep off the local network, where they may be attacked from).
///
/// From outside such an address is another jail's, or somebody's private use of the network: none is dialled.
pub const SYNTHETIC: Ipv4Net = v4([44, 128, 0, 0], 16);

/// Why an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressClass {
    /// 0.0.0.0/8, `::`: this host.
    Unspecified,
    /// 127.0.0.0/8, `::1`.
    Loopback,
    /// 10/8, 172.16/12, 192.168/16, fc00::/7, fec0::/10.
    Private,
    /// 169.254/16, fe80::/10.
    LinkLocal,
    /// Where clouds serve a machine's own credentials.
    Metadata,
    /// 100.64/10.
    CarrierNat,
    /// 224/4, ff00::/8.
    Multicast,
    /// 255.255.255.255.
    Broadcast,
    /// 198.18/15.
    Benchmarking,
    /// [`SYNTHETIC`].
    Synthetic,
    /// 192.0.2/24 and its like.
    Documentation,
    /// IPv4 in IPv6: mapped, compatible, NAT64, 6to4, Teredo.
    Ipv4InIpv6,
    /// 100::/64.
    Discard,
    /// 5f00::/16.
    SegmentRouting,
    /// Protocol assignments and space that nobody was given.
    Reserved,
}

/// The class of an address that must not be dialled, or `None` for a public one.
pub fn refused(address: IpAddr) -> Option<AddressClass> {
    match address {
        IpAddr::V4(address) => first_class(V4, |network: &Ipv4Net| network.contains(&address)),
        IpAddr::V6(address) => {
            first_class(V6, |network: &Ipv6Net| network.contains(&address)).or_else(|| {
                // RFC 4291: global unicast is 2000::/3 so far; anything else is not on the Internet.
                (address.segments()[0] & 0xe000 != 0x2000).then_some(AddressClass::Reserved)
            })
        }
    }
}

fn first_class<N>(table: &[(N, AddressClass)], contains: impl Fn(&N) -> bool) -> Option<AddressClass> {
    table.iter().find(|(network, _)| contains(network)).map(|&(_, class)| class)
}

/// Narrow networks first: the first that contains the address names it.
const V4: &[(Ipv4Net, AddressClass)] = &[
    // Metadata services: AWS, GCP, Azure, Oracle, … by one address; ECS tasks; EKS pods; Alibaba; and Azure's wire
    // server, which has a public address but answers only to its own guests.
    (v4([169, 254, 169, 254], 32), AddressClass::Metadata),
    (v4([169, 254, 170, 2], 32), AddressClass::Metadata),
    (v4([169, 254, 170, 23], 32), AddressClass::Metadata),
    (v4([100, 100, 100, 200], 32), AddressClass::Metadata),
    (v4([168, 63, 129, 16], 32), AddressClass::Metadata),
    // RFC 791, RFC 1122: "this network"; Linux takes 0.0.0.0 for loopback.
    (v4([0, 0, 0, 0], 8), AddressClass::Unspecified),
    // RFC 1122.
    (v4([127, 0, 0, 0], 8), AddressClass::Loopback),
    // RFC 1918.
    (v4([10, 0, 0, 0], 8), AddressClass::Private),
    (v4([172, 16, 0, 0], 12), AddressClass::Private),
    (v4([192, 168, 0, 0], 16), AddressClass::Private),
    // RFC 6598.
    (v4([100, 64, 0, 0], 10), AddressClass::CarrierNat),
    // RFC 3927.
    (v4([169, 254, 0, 0], 16), AddressClass::LinkLocal),
    // RFC 6890: IETF protocol assignments (DS-Lite, NAT64 discovery, PCP).
    (v4([192, 0, 0, 0], 24), AddressClass::Reserved),
    // RFC 5737.
    (v4([192, 0, 2, 0], 24), AddressClass::Documentation),
    (v4([198, 51, 100, 0], 24), AddressClass::Documentation),
    (v4([203, 0, 113, 0], 24), AddressClass::Documentation),
    // RFC 7526: the anycast relays of 6to4, given up.
    (v4([192, 88, 99, 0], 24), AddressClass::Reserved),
    // RFC 2544.
    (v4([198, 18, 0, 0], 15), AddressClass::Benchmarking),
    (SYNTHETIC, AddressClass::Synthetic),
    // RFC 5771.
    (v4([224, 0, 0, 0], 4), AddressClass::Multicast),
    // RFC 919.
    (v4([255, 255, 255, 255], 32), AddressClass::Broadcast),
    // RFC 1112, class E.
    (v4([240, 0, 0, 0], 4), AddressClass::Reserved),
];

const V6: &[(Ipv6Net, AddressClass)] = &[
    // Metadata services of AWS, EKS pods and GCP; all in unique local space.
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), AddressClass::Metadata),
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23], 128), AddressClass::Metadata),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), AddressClass::Metadata),
    // RFC 4291.
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), AddressClass::Unspecified),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), AddressClass::Loopback),
    // RFC 4291: mapped, and compatible (given up).
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), AddressClass::Ipv4InIpv6),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), AddressClass::Ipv4InIpv6),
    // RFC 2765: translated.
    (v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), AddressClass::Ipv4InIpv6),
    // RFC 6052 and RFC 8215: NAT64.
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), AddressClass::Ipv4InIpv6),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), AddressClass::Ipv4InIpv6),
    // RFC 3056: 6to4. RFC 4380: Teredo.
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), AddressClass::Ipv4InIpv6),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), AddressClass::Ipv4InIpv6),
    // RFC 5180.
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), AddressClass::Benchmarking),
    // RFC 2928: IETF protocol assignments (ORCHID and others); no service is there.
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), AddressClass::Reserved),
    // RFC 3849, RFC 9637.
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), AddressClass::Documentation),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), AddressClass::Documentation),
    // RFC 6666; the dummy prefix beside it is RFC 9780's.
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), AddressClass::Discard),
    (v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64), AddressClass::Discard),
    // RFC 9602.
    (v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), AddressClass::SegmentRouting),
    // RFC 4193: unique local. RFC 3879: site-local, given up.
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), AddressClass::Private),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), AddressClass::Private),
    // RFC 4291.
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), AddressClass::LinkLocal),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), AddressClass::Multicast),
];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

impl fmt::Display for AddressClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            AddressClass::Unspecified => "an unspecified address",
            AddressClass::Loopback => "a loopback address",
            AddressClass::Private => "a private address",
            AddressClass::LinkLocal => "a link-local address",
            AddressClass::Metadata => "a cloud metadata address",
            AddressClass::CarrierNat => "a carrier-grade NAT address",
            AddressClass::Multicast => "a multicast address",
            AddressClass::Broadcast => "the broadcast address",
            AddressClass::Benchmarking => "a benchmarking address",
            AddressClass::Synthetic => "a synthetic address, as a jail's resolver makes them up",
            AddressClass::Documentation => "a documentation address",
            AddressClass::Ipv4InIpv6 => "an IPv4 address inside IPv6",
            AddressClass::Discard => "a discard-only address",
            AddressClass::SegmentRouting => "a segment-routing address",
            AddressClass::Reserved => "a reserved address",
        })
    }
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
