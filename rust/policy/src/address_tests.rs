use super::*;

fn class(address: &str) -> Option<AddressClass> {
    refused(address.parse().unwrap())
}

#[test]
fn public_addresses_pass() {
    for address in [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "93.184.216.34",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "203.0.114.0",
        "223.255.255.255",
        "2000::1",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2003::1",
        "2606:4700::1111",
        "2a00::1",
        "3ffe::1",
        "3fff:1000::",
    ] {
        assert_eq!(class(address), None, "{address}");
    }
}

#[test]
fn special_addresses_are_refused_by_class_from_first_to_last() {
    use AddressClass::*;
    for (first, last, expected) in [
        ("0.0.0.0", "0.255.255.255", Unspecified),
        ("10.0.0.0", "10.255.255.255", Private),
        ("100.64.0.0", "100.127.255.255", CarrierNat),
        ("100.100.100.200", "100.100.100.200", Metadata),
        ("127.0.0.0", "127.255.255.255", Loopback),
        ("168.63.129.16", "168.63.129.16", Metadata),
        ("169.254.0.0", "169.254.255.255", LinkLocal),
        ("169.254.169.254", "169.254.169.254", Metadata),
        ("169.254.170.2", "169.254.170.23", Metadata),
        ("172.16.0.0", "172.31.255.255", Private),
        ("192.0.0.0", "192.0.0.255", Reserved),
        ("192.0.2.0", "192.0.2.255", Documentation),
        ("192.88.99.0", "192.88.99.255", Reserved),
        ("192.168.0.0", "192.168.255.255", Private),
        ("198.18.0.0", "198.19.255.255", Benchmarking),
        ("44.128.0.0", "44.128.255.255", Synthetic),
        ("198.51.100.0", "198.51.100.255", Documentation),
        ("203.0.113.0", "203.0.113.255", Documentation),
        ("224.0.0.0", "239.255.255.255", Multicast),
        ("240.0.0.0", "255.255.255.254", Reserved),
        ("255.255.255.255", "255.255.255.255", Broadcast),
        ("::", "::", Unspecified),
        ("::1", "::1", Loopback),
        ("::2", "::ffff:ffff", Ipv4InIpv6),
        ("::ffff:0.0.0.0", "::ffff:255.255.255.255", Ipv4InIpv6),
        ("::ffff:8.8.8.8", "::ffff:127.0.0.1", Ipv4InIpv6),
        ("::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8", Ipv4InIpv6),
        ("64:ff9b::7f00:1", "64:ff9b::ffff:ffff", Ipv4InIpv6),
        ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", Ipv4InIpv6),
        ("100::", "100::ffff:ffff:ffff:ffff", Discard),
        ("100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff", Discard),
        ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", Ipv4InIpv6),
        ("2001:2::", "2001:2:0:ffff::", Benchmarking),
        ("2001:10::", "2001:1ff:ffff::", Reserved),
        ("2001:db8::", "2001:db8:ffff::", Documentation),
        ("2002::", "2002:ffff::", Ipv4InIpv6),
        ("3fff::", "3fff:fff:ffff::", Documentation),
        ("5f00::", "5f00:ffff::", SegmentRouting),
        ("4000::", "5eff:ffff::", Reserved),
        ("8000::", "fbff:ffff::", Reserved),
        ("fc00::", "fdff:ffff::", Private),
        ("fd00:ec2::254", "fd00:ec2::254", Metadata),
        ("fd20:ce::254", "fd20:ce::254", Metadata),
        ("fe00::", "fe7f:ffff::", Reserved),
        ("fe80::", "febf:ffff::", LinkLocal),
        ("fec0::", "feff:ffff::", Private),
        ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Multicast),
    ] {
        assert_eq!((class(first), class(last)), (Some(expected), Some(expected)), "{first} to {last}");
    }
}

#[test]
fn a_class_is_said_in_words() {
    assert_eq!(AddressClass::Metadata.to_string(), "a cloud metadata address");
}
