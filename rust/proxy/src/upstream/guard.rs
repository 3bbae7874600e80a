//! The address guard at dial time: a name that is allowed may still resolve to where the job must not go.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use policy::{Policy, Request, address};

use super::route;

/// Judges addresses for one request.
pub(crate) struct Guard<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) request: &'a Request<'a>,
}

/// What the guard says about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Anybody may go there.
    Public,
    /// A rule names this address.
    Excepted,
    /// Never.
    Refused,
    /// A rule denies this address.
    Denied,
}

impl Guard<'_> {
    /// Judges one address.
    pub(super) fn judge(&self, address: IpAddr, own: &OwnAddresses) -> Verdict {
        let address = address.to_canonical();
        if self.denies(address) {
            Verdict::Denied
        } else if address::refused(address).is_none() && !own.contains(address) {
            Verdict::Public
        } else if self.excepts(address) {
            Verdict::Excepted
        } else {
            Verdict::Refused
        }
    }

    /// Whether a rule denies this address for this request.
    pub(super) fn denies(&self, address: IpAddr) -> bool {
        self.policy.denies_address(self.request, address.to_canonical())
    }

    /// Whether a rule names this address for this request.
    pub(super) fn excepts(&self, address: IpAddr) -> bool {
        self.policy.permits_address(self.request, address.to_canonical())
    }
}

/// The host's own addresses: services that listen there trust the machine. These are the addresses of its interfaces and
/// whatever else it delivers to itself (local routes, broadcast, anycast), asked for each address anew.
pub(super) struct OwnAddresses {
    interfaces: Vec<IpAddr>,
}

impl OwnAddresses {
    /// Reads the addresses of the interfaces.
    pub(super) fn read() -> std::io::Result<OwnAddresses> {
        let interfaces = getifaddrs()?
            .filter_map(|interface| interface.address)
            .filter_map(|address| {
                let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
            })
            .collect();
        Ok(OwnAddresses { interfaces })
    }

    /// Returns true if the host delivers packets for this address to itself; if the kernel does not say, too.
    fn contains(&self, address: IpAddr) -> bool {
        self.interfaces.contains(&address) || route::is_local(address).unwrap_or(true)
    }
}
