//! The one-authority rule: the CONNECT target, the synthetic address, the SNI, the request target and the Host header
//! name the same server, in canonical form, or the request goes nowhere. What is named is what is dialled.

use std::net::SocketAddr;

use http::header::HOST;
use http::request::Parts;
use http::{StatusCode, Version};
use policy::{Authority, Host, Reason, Scheme};

/// Where a connection wanted to go, before it said anything.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    /// To this server: by CONNECT, or by an address that our DNS responder gave for the name.
    Server(Authority),
    /// To this literal address. It is only the way to us; the first name that is spoken counts.
    Address(SocketAddr),
    /// To the explicit proxy: each request says it in its target.
    EachRequest,
}

/// What every request on a connection must agree with.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    /// How the job speaks to the server.
    pub(crate) scheme: Scheme,
    server: Server,
}

#[derive(Clone, Debug)]
enum Server {
    Exactly(Authority),
    AnyAt(SocketAddr),
    EachRequest,
    Contradiction(Authority),
}

/// A request that names no server, or another one.
#[derive(Debug)]
pub(crate) struct Misdirected {
    pub(crate) status: StatusCode,
    pub(crate) reason: Reason,
    pub(crate) hint: &'static str,
    /// The server as far as it is known.
    pub(crate) authority: Option<Authority>,
}

impl Destination {
    /// The server as far as it is known.
    pub(crate) fn authority(&self) -> Option<Authority> {
        match self {
            Destination::Server(authority) => Some(authority.clone()),
            Destination::Address(address) => Some(literal(*address)),
            Destination::EachRequest => None,
        }
    }
}

impl Binding {
    /// Plain HTTP.
    pub(crate) fn plain(destination: &Destination) -> Binding {
        let server = match destination {
            Destination::Server(authority) => Server::Exactly(authority.clone()),
            Destination::Address(address) => Server::AnyAt(*address),
            Destination::EachRequest => Server::EachRequest,
        };
        Binding { scheme: Scheme::Http, server }
    }

    /// TLS with this SNI. `None` if there is no way to tell whom the job wants to speak to.
    pub(crate) fn tls(destination: &Destination, sni: Option<&str>) -> Option<Binding> {
        let named = match sni {
            None => None,
            Some(name) => Some(name.parse::<Host>().ok()?),
        };
        let server = match (destination, named) {
            (Destination::EachRequest, _) => return None,
            (Destination::Server(authority), None) => Server::Exactly(authority.clone()),
            (Destination::Server(authority), Some(host)) if host == authority.host => {
                Server::Exactly(authority.clone())
            }
            (Destination::Server(authority), Some(host)) => {
                Server::Contradiction(Authority { host, port: authority.port })
            }
            (Destination::Address(address), None) => Server::Exactly(literal(*address)),
            (Destination::Address(address), Some(host)) => {
                Server::Exactly(Authority { host, port: address.port() })
            }
        };
        Some(Binding { scheme: Scheme::Https, server })
    }

    /// Returns true if each request names its server in its target, as it is with an explicit proxy.
    pub(crate) fn is_each_request(&self) -> bool {
        matches!(self.server, Server::EachRequest)
    }

    /// The one server of this connection, if it has one already.
    pub(crate) fn server(&self) -> Option<&Authority> {
        match &self.server {
            Server::Exactly(authority) => Some(authority),
            _ => None,
        }
    }

    /// The name that a leaf certificate must carry for the job to read our answers.
    pub(crate) fn spoken_to(&self) -> Option<&Host> {
        match &self.server {
            Server::Exactly(authority) | Server::Contradiction(authority) => Some(&authority.host),
            Server::AnyAt(_) | Server::EachRequest => None,
        }
    }

    /// The server of a request.
    pub(crate) fn target(&self, request: &Parts) -> Result<Authority, Misdirected> {
        let named = self.named(request)?;
        let agreed = match &self.server {
            Server::Exactly(authority) => *authority == named,
            Server::AnyAt(address) => {
                named.port == address.port()
                    && (named.host == literal(*address).host || !is_literal(&named.host))
            }
            Server::EachRequest => true,
            Server::Contradiction(_) => false,
        };
        if agreed { Ok(named) } else { Err(mismatch(request.version, Some(named))) }
    }

    /// The server that a request names, in its target and its Host header alike.
    fn named(&self, request: &Parts) -> Result<Authority, Misdirected> {
        let (scheme, default_port) = match self.scheme {
            Scheme::Https => ("https", 443),
            _ => ("http", 80),
        };
        let parse = |text: &str| {
            // Nearly every request says what was said before, in the same letters.
            if let Server::Exactly(authority) = &self.server
                && let Host::Name(name) = &authority.host
                && (name.as_str(), default_port) == (text, authority.port)
            {
                return Ok(authority.clone());
            }
            Authority::parse(text, Some(default_port)).map_err(|_| Misdirected {
                reason: Reason::InvalidAuthority,
                ..malformed(Reason::InvalidAuthority.hint())
            })
        };

        let in_target = match request.uri.authority() {
            Some(authority) => Some(parse(authority.as_str())?),
            None => None,
        };
        if matches!(self.server, Server::EachRequest)
            && (in_target.is_none() || request.version == Version::HTTP_2)
        {
            return Err(malformed(
                "this is a proxy: send an absolute http:// target, or CONNECT host:port for anything else",
            ));
        }
        if request.uri.scheme_str().is_some_and(|named| named != scheme) {
            return Err(if matches!(self.server, Server::EachRequest) {
                malformed("https through a proxy goes by CONNECT host:port")
            } else {
                mismatch(request.version, in_target)
            });
        }

        let mut hosts = request.headers.get_all(HOST).iter();
        let in_header = match hosts.next() {
            Some(host) => Some(parse(host.to_str().map_err(|_| malformed("the Host header is not text"))?)?),
            // HTTP/2 says it in `:authority`; HTTP/1 requests always carry a Host.
            None if request.version == Version::HTTP_2 => None,
            None => return Err(malformed("the request has no Host header")),
        };
        if hosts.next().is_some() {
            return Err(malformed("the request has more than one Host header"));
        }

        match (in_target, in_header) {
            (Some(target), Some(header)) if target != header => Err(mismatch(request.version, Some(target))),
            (Some(named), _) | (None, Some(named)) => Ok(named),
            (None, None) => Err(malformed("the request names no host")),
        }
    }
}

fn literal(address: SocketAddr) -> Authority {
    Authority { host: Host::Ip(address.ip().to_canonical()), port: address.port() }
}

fn is_literal(host: &Host) -> bool {
    matches!(host, Host::Ip(_))
}

fn malformed(hint: &'static str) -> Misdirected {
    Misdirected { status: StatusCode::BAD_REQUEST, reason: Reason::MalformedRequest, hint, authority: None }
}

fn mismatch(version: Version, authority: Option<Authority>) -> Misdirected {
    Misdirected {
        // 421 makes an HTTP/2 client that coalesced two servers open a connection of its own for the second.
        status: if version == Version::HTTP_2 {
            StatusCode::MISDIRECTED_REQUEST
        } else {
            StatusCode::FORBIDDEN
        },
        reason: Reason::AuthorityMismatch,
        hint: "CONNECT target, TLS server name and Host header must name the same server",
        authority,
    }
}

#[cfg(test)]
#[path = "authority_bind_tests.rs"]
mod tests;
