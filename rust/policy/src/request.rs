//! A request of a job, as far as the policy decides about it.

use crate::authority::Authority;
use crate::path::RequestPath;
use crate::scheme::Scheme;

/// What a job asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// How it travels.
    pub scheme: Scheme,
    /// To whom.
    pub authority: &'a Authority,
    /// The HTTP method; `CONNECT` is never asked about, and [`Scheme::Tcp`] has none (empty).
    pub method: &'a str,
    /// The path; `/` for [`Scheme::Tcp`].
    pub path: &'a RequestPath,
    /// The query, without `?`; empty without one. Git rules look at it, no others do.
    pub query: &'a str,
    /// Whether it is a WebSocket upgrade.
    pub websocket: bool,
}
