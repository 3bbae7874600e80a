//! The wall around a pod's containers, in rules of the kernel's packet filter.
//!
//! Routes would not do: a socket bound to an interface, a multicast or broadcast address, and the kernel's own answers
//! (to a spoofed source, on behalf of a socket that is gone) pass routing rules by. Here every packet that leaves by
//! any interface but loopback is one of a connection that the proxy's user opened, or is dropped.

use nix::errno::Errno;
use nix::libc;

use super::netfilter::{
    Batch, Chain, Key, Step, Verdict, compare, decide, load, load_mark, load_status, load_transport, mark,
    mask, redirect, refuse,
};
use crate::backend::Error;
use crate::plan::Listen;

/// Connections to any address end at the listeners of the same port.
const CAPTURE: Chain = Chain {
    name: "capture",
    kind: "nat",
    hook: libc::NF_INET_LOCAL_OUT,
    priority: libc::NF_IP_PRI_NAT_DST,
    policy: Verdict::Accept,
};
/// What is not captured is refused at once; without this rule a client would wait.
const REFUSE: Chain = Chain {
    name: "refuse",
    kind: "filter",
    hook: libc::NF_INET_LOCAL_OUT,
    priority: libc::NF_IP_PRI_FILTER,
    policy: Verdict::Accept,
};
/// The wall itself, where the interface that a packet leaves by is final.
const LEAVE: Chain = Chain {
    name: "leave",
    kind: "filter",
    hook: libc::NF_INET_POST_ROUTING,
    priority: libc::NF_IP_PRI_FILTER,
    policy: Verdict::Drop,
};
/// Nobody outside reaches a listener: neither the proxy's nor one of the job's.
const ENTER: Chain = Chain {
    name: "enter",
    kind: "filter",
    hook: libc::NF_INET_LOCAL_IN,
    priority: libc::NF_IP_PRI_FILTER,
    policy: Verdict::Drop,
};

/// The mark of connections that the proxy opened: their last packets come after the socket is gone, and with it the
/// user that it belonged to.
const OF_THE_PROXY: u32 = 0x6a61_696c;
/// IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h: the connection was redirected.
const REDIRECTED: u32 = 1 << 5;
const DNS: u16 = 53;

/// Walls off this network namespace: only the user `proxy` gets out, and not from the ports that it listens on.
pub fn build(proxy: u32, listen: &Listen) -> Result<(), Error> {
    let loopback = nix::net::if_::if_nametoindex("lo").map_err(failed)?;
    let inside = || is(load(Key::OutputInterface), &loopback.to_ne_bytes());
    let by_proxy = || is(load(Key::SocketUser), &proxy.to_ne_bytes());
    let marked = || is(load_mark(), &OF_THE_PROXY.to_ne_bytes());
    let accept = || vec![decide(Verdict::Accept)];
    let mut batch = Batch::new();
    for chain in [&CAPTURE, &REFUSE, &LEAVE, &ENTER] {
        batch.chain(chain);
    }

    batch.rule(&CAPTURE, &[inside(), accept()].concat());
    batch.rule(&CAPTURE, &[by_proxy(), accept()].concat());
    batch.rule(&CAPTURE, &[protocol(libc::IPPROTO_TCP), vec![redirect()]].concat());
    batch.rule(
        &CAPTURE,
        &[protocol(libc::IPPROTO_UDP), is(load_transport(2, 2), &DNS.to_be_bytes()), vec![redirect()]]
            .concat(),
    );

    batch.rule(&REFUSE, &[inside(), accept()].concat());
    batch.rule(&REFUSE, &[by_proxy(), accept()].concat());
    batch.rule(&REFUSE, &[marked(), accept()].concat());
    let redirected = [load_status(), mask(REDIRECTED), compare(libc::NFT_CMP_NEQ, &[0; 4])];
    batch.rule(&REFUSE, &[redirected.to_vec(), accept()].concat());
    batch.rule(&REFUSE, &[neighbours(), accept()].concat());
    batch.rule(&REFUSE, &[refuse()]);

    batch.rule(&LEAVE, &[inside(), accept()].concat());
    // An answer to somebody who claims to be elsewhere.
    for (number, ports) in [(libc::IPPROTO_TCP, &listen.tcp), (libc::IPPROTO_UDP, &listen.udp)] {
        for port in ports {
            let from = is(load_transport(0, 2), &port.to_be_bytes());
            batch.rule(&LEAVE, &[protocol(number), from, vec![decide(Verdict::Drop)]].concat());
        }
    }
    batch.rule(&LEAVE, &[by_proxy(), mark(OF_THE_PROXY).to_vec(), accept()].concat());
    batch.rule(&LEAVE, &[marked(), accept()].concat());
    batch.rule(&LEAVE, &[neighbours(), accept()].concat());

    batch.rule(&ENTER, &[is(load(Key::InputInterface), &loopback.to_ne_bytes()), accept()].concat());
    batch.rule(&ENTER, &[marked(), accept()].concat());
    batch.rule(&ENTER, &[neighbours(), accept()].concat());
    batch.commit().map_err(failed)
}

fn is(loaded: Step, value: &[u8]) -> Vec<Step> {
    vec![loaded, compare(libc::NFT_CMP_EQ, value)]
}

fn protocol(number: libc::c_int) -> Vec<Step> {
    is(load(Key::Protocol), &[number as u8])
}

/// How IPv6 finds routers and neighbours (what ARP is to IPv4): the kernel's own messages, which no program may send.
fn neighbours() -> Vec<Step> {
    const ROUTER_SOLICITATION: u8 = 133;
    const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    let mut steps = protocol(libc::IPPROTO_ICMPV6);
    steps.push(load_transport(0, 1));
    steps.push(compare(libc::NFT_CMP_GTE, &[ROUTER_SOLICITATION]));
    steps.push(compare(libc::NFT_CMP_LTE, &[NEIGHBOUR_ADVERTISEMENT]));
    steps
}

fn failed(os: Errno) -> Error {
    Error::Wall { os: os.into() }
}
