//! Messages of nf_tables (linux/netfilter/nf_tables.h), as far as the wall needs them.

use std::io::IoSlice;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, sendmsg, socket,
};

/// A change of the rules: all of it is done, or nothing.
#[derive(Default)]
pub(super) struct Batch {
    messages: Vec<u8>,
    count: u32,
}

/// Where a chain hangs, and what becomes of a packet that none of its rules decides.
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) hook: libc::c_int,
    pub(super) priority: i32,
    pub(super) policy: Verdict,
}

/// What becomes of a packet.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    Drop = 0,
    Accept = 1,
}

/// What a packet is asked about; the answer lies in the one register in use.
#[derive(Clone, Copy)]
pub(super) enum Key {
    InputInterface = 4,
    OutputInterface = 5,
    /// The user who opened the socket that it comes from; a packet without such a socket matches no rule that asks.
    SocketUser = 10,
    Protocol = 16,
}

/// One step of a rule; a rule is at its end at the first comparison that does not hold.
pub(super) type Step = Vec<u8>;

const TABLE: &str = "nix-jail";
const REGISTER: u32 = 1;
const INET: u8 = 1;
const UNSPECIFIED: u8 = 0;

impl Batch {
    /// A table of ours, empty: the one of a container that was here before is replaced.
    pub(super) fn new() -> Batch {
        let mut batch = Batch::default();
        let nftables = libc::NFNL_SUBSYS_NFTABLES as u16;
        batch.push(libc::NFNL_MSG_BATCH_BEGIN as u16, 0, UNSPECIFIED, nftables, &[]);
        let table = text(number_of::TABLE_NAME, TABLE);
        for kind in [libc::NFT_MSG_NEWTABLE, libc::NFT_MSG_DELTABLE, libc::NFT_MSG_NEWTABLE] {
            batch.change(kind, &table);
        }
        batch
    }

    pub(super) fn chain(&mut self, chain: &Chain) {
        let hook = [
            number(number_of::HOOK_HOOKNUM, chain.hook as u32),
            number(number_of::HOOK_PRIORITY, chain.priority as u32),
        ];
        self.change(
            libc::NFT_MSG_NEWCHAIN,
            &[
                text(number_of::CHAIN_TABLE, TABLE),
                text(number_of::CHAIN_NAME, chain.name),
                nested(number_of::CHAIN_HOOK, &hook),
                number(number_of::CHAIN_POLICY, chain.policy as u32),
                text(number_of::CHAIN_TYPE, chain.kind),
            ]
            .concat(),
        );
    }

    pub(super) fn rule(&mut self, chain: &Chain, steps: &[Step]) {
        self.change(
            libc::NFT_MSG_NEWRULE,
            &[
                text(number_of::RULE_TABLE, TABLE),
                text(number_of::RULE_CHAIN, chain.name),
                nested(number_of::RULE_EXPRESSIONS, steps),
            ]
            .concat(),
        );
    }

    /// Makes the change.
    pub(super) fn commit(mut self) -> nix::Result<()> {
        let acknowledged = self.count - 1;
        let nftables = libc::NFNL_SUBSYS_NFTABLES as u16;
        self.push(libc::NFNL_MSG_BATCH_END as u16, 0, UNSPECIFIED, nftables, &[]);
        let netlink = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        connect(netlink.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        sendmsg::<()>(netlink.as_raw_fd(), &[IoSlice::new(&self.messages)], &[], MsgFlags::empty(), None)?;
        let mut answered = 0;
        let mut answers = vec![0; 16 * 1024];
        while answered < acknowledged {
            let length = recv(netlink.as_raw_fd(), &mut answers, MsgFlags::empty())?;
            answered += acknowledgements(&answers[..length])?;
        }
        Ok(())
    }

    fn change(&mut self, kind: libc::c_int, attributes: &[u8]) {
        let kind = ((libc::NFNL_SUBSYS_NFTABLES as u16) << 8) | kind as u16;
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_APPEND;
        self.push(kind, flags as u16, INET, 0, attributes);
    }

    /// `struct nlmsghdr` and `struct nfgenmsg` (family, version, resource), and the attributes.
    fn push(&mut self, kind: u16, flags: u16, family: u8, resource: u16, attributes: &[u8]) {
        let length = 16 + 4 + attributes.len();
        self.messages.extend((length as u32).to_ne_bytes());
        self.messages.extend(kind.to_ne_bytes());
        self.messages.extend((libc::NLM_F_REQUEST as u16 | flags).to_ne_bytes());
        self.messages.extend(self.count.to_ne_bytes());
        self.messages.extend(0u32.to_ne_bytes());
        self.messages.extend([family, 0]);
        self.messages.extend(resource.to_be_bytes());
        self.messages.extend(attributes);
        self.count += 1;
    }
}

/// The acknowledgements in a datagram; the first that is an error is one.
fn acknowledgements(mut answers: &[u8]) -> nix::Result<u32> {
    let mut count = 0;
    while let Some((length, rest)) = answers.split_first_chunk::<4>() {
        // The rest of the header, then the negative error number.
        let number = rest.get(12..16).and_then(|bytes| bytes.try_into().ok()).ok_or(Errno::EBADMSG)?;
        match i32::from_ne_bytes(number) {
            0 => count += 1,
            number => return Err(Errno::from_raw(number.saturating_neg())),
        }
        let length = (u32::from_ne_bytes(*length) as usize).next_multiple_of(4).max(20);
        answers = answers.get(length..).unwrap_or_default();
    }
    Ok(count)
}

/// Loads what the packet is asked about.
pub(super) fn load(key: Key) -> Step {
    let attributes = [number(number_of::META_DREG, REGISTER), number(number_of::META_KEY, key as u32)];
    step("meta", &attributes)
}

/// Loads bytes of the transport's header.
pub(super) fn load_transport(offset: u32, length: u32) -> Step {
    step(
        "payload",
        &[
            number(number_of::PAYLOAD_DREG, REGISTER),
            number(number_of::PAYLOAD_BASE, libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32),
            number(number_of::PAYLOAD_OFFSET, offset),
            number(number_of::PAYLOAD_LEN, length),
        ],
    )
}

/// Loads the mark of the packet's connection.
pub(super) fn load_mark() -> Step {
    step("ct", &[number(number_of::CT_DREG, REGISTER), number(number_of::CT_KEY, libc::NFT_CT_MARK as u32)])
}

/// Loads the flags of the packet's connection.
pub(super) fn load_status() -> Step {
    step("ct", &[number(number_of::CT_DREG, REGISTER), number(number_of::CT_KEY, libc::NFT_CT_STATUS as u32)])
}

/// Keeps these bits of what was loaded.
pub(super) fn mask(bits: u32) -> Step {
    step(
        "bitwise",
        &[
            number(number_of::BITWISE_SREG, REGISTER),
            number(number_of::BITWISE_DREG, REGISTER),
            number(number_of::BITWISE_LEN, 4),
            nested(number_of::BITWISE_MASK, &[attribute(number_of::DATA_VALUE, &bits.to_ne_bytes())]),
            nested(number_of::BITWISE_XOR, &[attribute(number_of::DATA_VALUE, &[0; 4])]),
        ],
    )
}

/// Compares what was loaded; `value` in the order of its bytes there.
pub(super) fn compare(operator: libc::c_int, value: &[u8]) -> Step {
    step(
        "cmp",
        &[
            number(number_of::CMP_SREG, REGISTER),
            number(number_of::CMP_OP, operator as u32),
            nested(number_of::CMP_DATA, &[attribute(number_of::DATA_VALUE, value)]),
        ],
    )
}

/// Marks the packet's connection.
pub(super) fn mark(mark: u32) -> [Step; 2] {
    let value = [attribute(number_of::DATA_VALUE, &mark.to_ne_bytes())];
    [
        step(
            "immediate",
            &[number(number_of::IMMEDIATE_DREG, REGISTER), nested(number_of::IMMEDIATE_DATA, &value)],
        ),
        step(
            "ct",
            &[number(number_of::CT_SREG, REGISTER), number(number_of::CT_KEY, libc::NFT_CT_MARK as u32)],
        ),
    ]
}

/// Ends the chain for the packet.
pub(super) fn decide(verdict: Verdict) -> Step {
    let code = [number(number_of::VERDICT_CODE, verdict as u32)];
    let data = [nested(number_of::DATA_VERDICT, &code)];
    step(
        "immediate",
        &[
            number(number_of::IMMEDIATE_DREG, libc::NFT_REG_VERDICT as u32),
            nested(number_of::IMMEDIATE_DATA, &data),
        ],
    )
}

/// Sends the packet's connection to this machine, same port.
pub(super) fn redirect() -> Step {
    step("redir", &[])
}

/// Tells the sender that nobody listens there.
pub(super) fn refuse() -> Step {
    const OF_EITHER_FAMILY: u32 = 2;
    const PORT_UNREACHABLE: u8 = 1;
    step(
        "reject",
        &[
            number(number_of::REJECT_TYPE, OF_EITHER_FAMILY),
            attribute(number_of::REJECT_ICMP_CODE, &[PORT_UNREACHABLE]),
        ],
    )
}

fn step(name: &str, attributes: &[Vec<u8>]) -> Step {
    let parts = [text(number_of::EXPR_NAME, name), nested(number_of::EXPR_DATA, attributes)];
    nested(number_of::LIST_ELEM, &parts)
}

fn nested(kind: libc::c_int, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | libc::NLA_F_NESTED, &parts.concat())
}

fn text(kind: libc::c_int, text: &str) -> Vec<u8> {
    attribute(kind, &[text.as_bytes(), b"\0"].concat())
}

fn number(kind: libc::c_int, number: u32) -> Vec<u8> {
    attribute(kind, &number.to_be_bytes())
}

/// Length, kind, value, and zeros up to the next multiple of four.
fn attribute(kind: libc::c_int, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut bytes = Vec::with_capacity(length.next_multiple_of(4));
    bytes.extend((length as u16).to_ne_bytes());
    bytes.extend((kind as u16).to_ne_bytes());
    bytes.extend(value);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

/// The numbers of attributes, `NFTA_…` in the kernel's header.
mod number_of {
    pub(super) const TABLE_NAME: i32 = 1;
    pub(super) const HOOK_HOOKNUM: i32 = 1;
    pub(super) const HOOK_PRIORITY: i32 = 2;
    pub(super) const CHAIN_TABLE: i32 = 1;
    pub(super) const CHAIN_NAME: i32 = 3;
    pub(super) const CHAIN_HOOK: i32 = 4;
    pub(super) const CHAIN_POLICY: i32 = 5;
    pub(super) const CHAIN_TYPE: i32 = 7;
    pub(super) const RULE_TABLE: i32 = 1;
    pub(super) const RULE_CHAIN: i32 = 2;
    pub(super) const RULE_EXPRESSIONS: i32 = 4;
    pub(super) const LIST_ELEM: i32 = 1;
    pub(super) const EXPR_NAME: i32 = 1;
    pub(super) const EXPR_DATA: i32 = 2;
    pub(super) const META_DREG: i32 = 1;
    pub(super) const META_KEY: i32 = 2;
    pub(super) const PAYLOAD_DREG: i32 = 1;
    pub(super) const PAYLOAD_BASE: i32 = 2;
    pub(super) const PAYLOAD_OFFSET: i32 = 3;
    pub(super) const PAYLOAD_LEN: i32 = 4;
    pub(super) const CT_DREG: i32 = 1;
    pub(super) const CT_KEY: i32 = 2;
    pub(super) const CT_SREG: i32 = 4;
    pub(super) const BITWISE_SREG: i32 = 1;
    pub(super) const BITWISE_DREG: i32 = 2;
    pub(super) const BITWISE_LEN: i32 = 3;
    pub(super) const BITWISE_MASK: i32 = 4;
    pub(super) const BITWISE_XOR: i32 = 5;
    pub(super) const CMP_SREG: i32 = 1;
    pub(super) const CMP_OP: i32 = 2;
    pub(super) const CMP_DATA: i32 = 3;
    pub(super) const IMMEDIATE_DREG: i32 = 1;
    pub(super) const IMMEDIATE_DATA: i32 = 2;
    pub(super) const DATA_VALUE: i32 = 1;
    pub(super) const DATA_VERDICT: i32 = 2;
    pub(super) const VERDICT_CODE: i32 = 1;
    pub(super) const REJECT_TYPE: i32 = 1;
    pub(super) const REJECT_ICMP_CODE: i32 = 2;
}
