//! The address guard at dial time: a name that is allowed may still resolve to where the job must not go.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use policy::{Policy, Request, address};

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
}

impl Guard<'_> {
    /// Judges one address; `own` are the host's.
    pub(super) fn judge(&self, address: IpAddr, own: &[IpAddr]) -> Verdict {
        let address = address.to_canonical();
        if address::refused(address).is_none() && !own.contains(&address) {
            Verdict::Public
        } else if self.excepts(address) {
            Verdict::Excepted
        } else {
            Verdict::Refused
        }
    }

    /// Whether a rule names this address for this request.
    pub(super) fn excepts(&self, address: IpAddr) -> bool {
        self.policy.permits_address(self.request, address.to_canonical())
    }
}

/// The addresses of the host's own interfaces: services that listen there trust the machine.
pub(super) fn own_addresses() -> std::io::Result<Vec<IpAddr>> {
    Ok(getifaddrs()?
        .filter_map(|interface| interface.address)
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect())
}
