//! How to speak to a server.

use http::HeaderValue;

/// How requests are written that an HTTP proxy forwards: with absolute URLs.
#[derive(Clone)]
pub(crate) struct Forward {
    /// What the proxy asks for.
    pub(super) authorization: Option<HeaderValue>,
}

/// How to speak to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    /// TLS; HTTP/2 or HTTP/1.1, as the server likes.
    Negotiated,
    /// TLS and HTTP/1.1, the only way to a WebSocket. The connection is never used again.
    Websocket,
    /// HTTP/1.1 without TLS.
    Http1,
    /// HTTP/1.1 without TLS, for a WebSocket.
    PlainWebsocket,
    /// HTTP/2 without TLS: nothing is negotiated there, so what the job spoke is spoken on.
    Http2,
}

impl Protocol {
    pub(crate) fn tls(self) -> bool {
        matches!(self, Protocol::Negotiated | Protocol::Websocket)
    }

    pub(super) fn is_websocket(self) -> bool {
        matches!(self, Protocol::Websocket | Protocol::PlainWebsocket)
    }
}
