//! The address guard: which addresses a job may never reach through its proxy.

use std::net::IpAddr;

/// Why an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClass {
    /// 127.0.0.0/8, ::1.
    Loopback,
}

/// The class of an address that must not be dialled, or `None` for a public one.
pub fn refused(_address: IpAddr) -> Option<AddressClass> {
    todo!()
}
