//! The error of parsing hosts, ports and authorities. Each message says what to write instead.

/// Why a text is not an authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// There is no host.
    #[error("the host is empty: name one, e.g. `api.example.com`")]
    Empty,
    /// `user@host`.
    #[error("{0:?} has a user part: write the host alone, without `@` and what stands before it")]
    UserInfo(String),
    /// A character that no host has.
    #[error("{text:?} holds {character:?}, which a host cannot hold: write a plain name or address")]
    ForbiddenCharacter {
        /// The host as it came.
        text: String,
        /// The first such character.
        character: char,
    },
    /// `a..b`, `.a`.
    #[error("{0:?} has an empty label: write the name with single dots between its parts")]
    EmptyLabel(String),
    /// More than 63 bytes between two dots.
    #[error("{0:?} has a part longer than 63 bytes, which DNS cannot hold")]
    LabelTooLong(String),
    /// More than 253 bytes.
    #[error("{0:?} is longer than 253 bytes, which DNS cannot hold")]
    NameTooLong(String),
    /// `127.1`, `0x7f.1`, `2130706433`.
    #[error("{0:?} is an address in disguise: write it as four decimal numbers, e.g. `192.0.2.1`")]
    NumericHost(String),
    /// Not a name by UTS 46.
    #[error("{0:?} is not a valid internationalised name: write its `xn--` form")]
    NotIdna(String),
    /// `[::1%lo]`.
    #[error("{0:?} names a zone: write the address without `%` and what stands after it")]
    Zone(String),
    /// Brackets around something else than IPv6, or brackets that do not match.
    #[error("{0:?} is not an IPv6 address: write it like `[2001:db8::1]`, and names without brackets")]
    NotIpv6(String),
    /// IPv6 without brackets where a port could follow.
    #[error("{0:?} is an IPv6 address without brackets: write `[{0}]`, with the port after `]`")]
    Ipv6WithoutBrackets(String),
    /// `host:443:443`.
    #[error("{0:?} has more than one `:`: write `host:port`")]
    ExtraColon(String),
    /// No port, and none is understood.
    #[error("{0:?} has no port: write `host:port`")]
    NoPort(String),
    /// Not a number from 1 to 65535 in plain decimal.
    #[error("{0:?} is not a port: write a number from 1 to 65535")]
    BadPort(String),
}
