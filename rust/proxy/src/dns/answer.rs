//! One DNS message to another.

use std::net::Ipv4Addr;

use policy::{DnsName, Host};
use simple_dns::rdata::{A, OPT, RData};
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE};

use super::Names;

/// Addresses never change while the job lives; this only keeps caches from growing old with them.
const SECONDS: u32 = 300;
/// What we say we can take in one datagram (the DNS flag day's value).
const DATAGRAM: u16 = 1232;
const HEADER: usize = 12;

/// The answer to a query; `None` for what is none.
pub(super) fn answer(query: &[u8], names: &Names) -> Option<Vec<u8>> {
    // Too short to say whose answer it would be; or an answer, and answering those can go round in circles.
    if query.len() < HEADER || query[2] & 0x80 != 0 {
        return None;
    }
    match Packet::parse(query) {
        Ok(packet) => reply(packet, names).build_bytes_vec_compressed().ok(),
        Err(_) => {
            let mut reply = Packet::new_reply(u16::from_be_bytes([query[0], query[1]]));
            *reply.rcode_mut() = RCODE::FormatError;
            reply.build_bytes_vec().ok()
        }
    }
}

fn reply<'a>(query: Packet<'a>, names: &Names) -> Packet<'a> {
    let mut reply = Packet::new_reply(query.id());
    *reply.opcode_mut() = query.opcode();
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if query.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    if query.opt().is_some() {
        *reply.opt_mut() = Some(OPT { udp_packet_size: DATAGRAM, version: 0, opt_codes: Vec::new() });
    }
    if query.opcode() != OPCODE::StandardQuery {
        *reply.rcode_mut() = RCODE::NotImplemented;
        return reply;
    }
    let Ok([question]) = <[_; 1]>::try_from(query.questions) else {
        *reply.rcode_mut() = RCODE::FormatError;
        return reply;
    };
    let asked = question.qname.clone();
    let (kind, class) = (question.qtype, question.qclass);
    reply.questions.push(question);
    if !matches!(class, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY) {
        *reply.rcode_mut() = RCODE::Refused;
        return reply;
    }
    let Some(name) = canonical(&asked) else {
        *reply.rcode_mut() = RCODE::NameError;
        return reply;
    };
    if kind != QTYPE::TYPE(TYPE::A) {
        // The name exists, and has nothing but an IPv4 address.
        return reply;
    }
    match address(name, names) {
        Some(address) => {
            let data = RData::A(A { address: address.into() });
            reply.answers.push(ResourceRecord::new(asked, CLASS::IN, SECONDS, data));
        }
        None => *reply.rcode_mut() = RCODE::ServerFailure,
    }
    reply
}

fn address(name: DnsName, names: &Names) -> Option<Ipv4Addr> {
    if name.as_str() == "localhost" || name.as_str().ends_with(".localhost") {
        return Some(Ipv4Addr::LOCALHOST);
    }
    names.address_of(name)
}

/// The name as the policy knows it; `None` if it could not be the name of a server.
fn canonical(asked: &Name<'_>) -> Option<DnsName> {
    let mut text = String::new();
    for label in asked.as_bytes() {
        // A dot inside a label would read as two labels.
        let label = str::from_utf8(label).ok().filter(|label| label.is_ascii() && !label.contains('.'))?;
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(label);
    }
    match text.parse().ok()? {
        Host::Name(name) => Some(name),
        Host::Ip(_) => None,
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
