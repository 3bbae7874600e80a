//! Synthetic addresses: one per name, the same for as long as the job lives, so that an address tells the name.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use policy::DnsName;
use policy::address::SYNTHETIC;

/// The first address behind that of the network.
const FIRST: u32 = u32::from_be_bytes(SYNTHETIC.addr().octets()) + 1;
/// A job that looks up more names than this is not looking for servers; forgetting old ones would break the binding
/// of addresses that it still holds.
const MOST: usize = (1 << (32 - SYNTHETIC.prefix_len())) - 2;
/// Bytes of all names, with what the table takes for each.
const MOST_BYTES: usize = 8 * 1024 * 1024;
const ENTRY: usize = 96;

/// Which name has which address.
#[derive(Default)]
pub(crate) struct Names {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    positions: HashMap<Arc<DnsName>, u32>,
    names: Vec<Arc<DnsName>>,
    bytes: usize,
}

impl Names {
    /// The address of a name; `None` if the job has used up its names.
    pub(crate) fn address_of(&self, name: DnsName) -> Option<Ipv4Addr> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let position = match table.positions.get(&name) {
            Some(position) => *position,
            None if table.names.len() >= MOST || table.bytes >= MOST_BYTES => return None,
            None => {
                let position = u32::try_from(table.names.len()).ok()?;
                table.bytes += name.as_str().len() + ENTRY;
                let name = Arc::new(name);
                table.names.push(name.clone());
                table.positions.insert(name, position);
                position
            }
        };
        Some(Ipv4Addr::from(FIRST + position))
    }

    /// The name that was given this address.
    pub(crate) fn name_of(&self, address: IpAddr) -> Option<DnsName> {
        let IpAddr::V4(address) = address.to_canonical() else { return None };
        let position = u32::from(address).checked_sub(FIRST)?;
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.names.get(usize::try_from(position).ok()?).map(|name| DnsName::clone(name))
    }
}

#[cfg(test)]
mod tests {
    use policy::Host;

    use super::*;

    fn name(text: &str) -> DnsName {
        match text.parse().unwrap() {
            Host::Name(name) => name,
            Host::Ip(_) => panic!("{text} is no name"),
        }
    }

    #[test]
    fn a_name_keeps_its_address_and_the_address_tells_it() {
        let names = Names::default();
        let first = names.address_of(name("a.test")).unwrap();
        let second = names.address_of(name("b.test")).unwrap();
        assert_eq!(first, Ipv4Addr::new(44, 128, 0, 1));
        assert_ne!(first, second);
        assert_eq!(names.address_of(name("a.test")), Some(first));
        assert_eq!(names.name_of(second.into()), Some(name("b.test")));
        assert_eq!(names.name_of(second.to_ipv6_mapped().into()), Some(name("b.test")));
        for stranger in ["44.128.0.3", "44.128.0.0", "10.0.0.1", "::1"] {
            assert_eq!(names.name_of(stranger.parse().unwrap()), None, "{stranger}");
        }
    }

    #[test]
    fn the_table_ends() {
        let names = Names::default();
        for number in 0..MOST {
            assert!(names.address_of(name(&format!("n{number}.test"))).is_some());
        }
        assert_eq!(names.address_of(name("one-more.test")), None);
        assert_eq!(
            names.name_of("44.128.255.254".parse().unwrap()),
            Some(name(&format!("n{}.test", MOST - 1)))
        );
        assert!(names.address_of(name("n7.test")).is_some());
    }
}
