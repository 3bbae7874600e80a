use proptest::prelude::*;
use simple_dns::Question;

use super::*;

fn ask(name: &str, kind: TYPE) -> Vec<u8> {
    let mut packet = Packet::new_query(7);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let question =
        Question::new(Name::new_unchecked(name), QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false);
    packet.questions.push(question);
    packet.build_bytes_vec().unwrap()
}

/// The code and the addresses of an answer.
fn read(answer: &[u8]) -> (RCODE, Vec<Ipv4Addr>) {
    let packet = Packet::parse(answer).unwrap();
    let addresses = packet.answers.iter().map(|record| match &record.rdata {
        RData::A(a) => Ipv4Addr::from(a.address),
        other => panic!("{other:?}"),
    });
    (packet.rcode(), addresses.collect())
}

#[test]
fn every_name_has_one_synthetic_address() {
    let names = Names::default();
    let look_up = |name: &str| read(&answer(&ask(name, TYPE::A), &names).unwrap());
    let (first, second) = (Ipv4Addr::new(44, 128, 0, 1), Ipv4Addr::new(44, 128, 0, 2));
    assert_eq!(look_up("api.test"), (RCODE::NoError, vec![first]));
    assert_eq!(look_up("other.test"), (RCODE::NoError, vec![second]));
    assert_eq!(look_up("API.Test"), (RCODE::NoError, vec![first]));
    assert_eq!(look_up("localhost"), (RCODE::NoError, vec![Ipv4Addr::LOCALHOST]));
    assert_eq!(look_up("a.localhost"), (RCODE::NoError, vec![Ipv4Addr::LOCALHOST]));
}

#[test]
fn the_question_comes_back_as_it_was_asked() {
    let answer = answer(&ask("API.Test", TYPE::A), &Names::default()).unwrap();
    let packet = Packet::parse(&answer).unwrap();
    assert_eq!(packet.id(), 7);
    assert!(
        packet.has_flags(
            PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE
        )
    );
    assert_eq!(packet.questions[0].qname.to_string(), "API.Test");
    assert_eq!(packet.answers[0].name.to_string(), "API.Test");
}

#[test]
fn nothing_but_addresses_of_the_old_kind() {
    let names = Names::default();
    for kind in [TYPE::AAAA, TYPE::HTTPS, TYPE::SVCB, TYPE::MX, TYPE::TXT, TYPE::PTR] {
        let answer = answer(&ask("api.test", kind), &names).unwrap();
        assert_eq!(read(&answer), (RCODE::NoError, vec![]), "{kind:?}");
    }
}

#[test]
fn what_is_no_name_does_not_exist() {
    for name in ["1.2.3.4", "0x7f.1", "2130706433", "a b.test", "a\u{0}b.test", "a@b.test"] {
        let answer = answer(&ask(name, TYPE::A), &Names::default()).unwrap();
        assert_eq!(read(&answer), (RCODE::NameError, vec![]), "{name:?}");
    }
}

#[test]
fn a_dot_inside_a_label_is_not_two_labels() {
    let mut query = ask("axb.test", TYPE::A);
    let dot = query.iter().position(|byte| *byte == b'x').unwrap();
    query[dot] = b'.';
    assert_eq!(read(&answer(&query, &Names::default()).unwrap()), (RCODE::NameError, vec![]));
}

#[test]
fn extensions_are_answered_with_our_own() {
    let plain = ask("api.test", TYPE::A);
    let mut query = Packet::parse(&plain).unwrap();
    *query.opt_mut() = Some(OPT { udp_packet_size: 4096, version: 0, opt_codes: Vec::new() });
    let answer = answer(&query.build_bytes_vec().unwrap(), &Names::default()).unwrap();
    assert_eq!(Packet::parse(&answer).unwrap().opt().unwrap().udp_packet_size, DATAGRAM);
}

#[test]
fn broken_queries_get_an_error_or_nothing() {
    let names = Names::default();
    assert_eq!(answer(b"", &names), None);
    assert_eq!(answer(b"\0\x07\x01\0\0\0\0\0\0\0\0", &names), None, "shorter than a header");
    let reply = answer(&ask("api.test", TYPE::A), &names).unwrap();
    assert_eq!(answer(&reply, &names), None, "an answer is not answered");

    let truncated = &ask("api.test", TYPE::A)[..20];
    assert_eq!(read(&answer(truncated, &names).unwrap()).0, RCODE::FormatError);
    let mut two = ask("api.test", TYPE::A);
    two[5] = 2;
    two.extend_from_slice(&ask("b.test", TYPE::A)[HEADER..]);
    assert_eq!(read(&answer(&two, &names).unwrap()).0, RCODE::FormatError);
    let mut update = ask("api.test", TYPE::A);
    update[2] |= 5 << 3;
    assert_eq!(read(&answer(&update, &names).unwrap()).0, RCODE::NotImplemented);
}

proptest! {
    #[test]
    fn garbage_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Some(answer) = answer(&bytes, &Names::default()) {
            prop_assert_eq!(&answer[..2], &bytes[..2]);
            prop_assert!(answer[2] & 0x80 != 0);
        }
    }

    #[test]
    fn damaged_queries_are_survived(
        at in 0usize..40,
        byte in any::<u8>(),
        name in "[a-z]{1,10}(\\.[a-z]{1,10}){0,3}",
    ) {
        let mut query = ask(&name, TYPE::A);
        let at = at % query.len();
        query[at] = byte;
        if let Some(answer) = answer(&query, &Names::default()) {
            prop_assert!(answer.len() >= HEADER);
        }
    }
}
