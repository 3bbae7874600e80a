//! The heads of HTTP/1 requests, looked at before the HTTP library reads them.
//!
//! The library answers a head that it cannot read with a bare 400 or 431. Here such a head is not passed on: the library sees the
//! end of the stream, and when it has written what it owes for earlier requests and closes, the refusal is written with its
//! reason. A target with characters that URLs write as %XX (`"`, `<`, `>`, a backtick, bytes that are no UTF-8) is rewritten so,
//! since the library takes them in no other way.
//!
//! A request is passed on when the response to the one before it is written: the library would answer any number of them into
//! its buffer while nobody reads.
//!
//! Where a body ends is found by the same rules as in the library, on heads that leave no doubt. If the two should differ all the
//! same, nothing is allowed by it: every decision is made on what the library reads.

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, StatusCode, Uri};
use policy::Reason;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::body::UnderWay;
use crate::budget::{Budget, Growing};
use crate::config::Limits;
use crate::denial::{Asked, Denial};
use crate::job::Job;

const READ: usize = 16 * 1024;
/// The longest line that gives the size of a chunk, and the longest trailers.
const MAX_LINE: usize = 16 * 1024;
/// What is read of a client that goes on sending after it was refused: a reset could take the refusal from it.
const DISCARDED: usize = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(1);
/// What is passed on at once where memory is short: the library doubles its buffer whenever a read fills it, beginning at 8 KiB.
const PIECE: usize = 8 * 1024 - 1;

/// A connection whose request heads are checked.
pub(super) struct CheckedHeads<S> {
    io: S,
    /// What was read and not passed on yet.
    unread: BytesMut,
    /// How much of it may be passed on as it is.
    ready: usize,
    /// How far the head in it was searched for its end.
    searched: usize,
    state: State,
    is_ended: bool,
    limits: Limits,
    budget: Arc<Budget>,
    /// The memory of a head that is longer than what the connection's own grant covers.
    memory: Growing,
    /// The requests whose answers the library still has to write.
    under_way: UnderWay,
    /// Whether something was written and not flushed.
    is_unwritten: bool,
    authority: String,
    refusal: Arc<OnceLock<Reason>>,
    closing: Closing,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Body(u64),
    Chunks(Chunks),
    /// Bytes that are not looked at: another protocol, or what the library has to judge.
    Opaque,
    Refused,
}

/// Where in a chunked body it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunks {
    /// In the line that gives the size, of which so many bytes were seen.
    Size {
        size: u64,
        seen: usize,
        in_extension: bool,
    },
    Data(u64),
    /// Behind the data.
    DataEnd,
    /// In the trailers, of which so many bytes were seen; in a line that is empty so far or not.
    Trailers {
        seen: usize,
        is_line_empty: bool,
    },
}

/// How a refused connection ends.
enum Closing {
    No,
    Write(Bytes),
    Shutdown,
    Drain(Pin<Box<Sleep>>, usize),
    Done,
}

impl<S> CheckedHeads<S> {
    /// Wraps a connection to a server, as far as that is known. The second value holds why a request was refused here.
    pub(super) fn new(
        io: S,
        job: &Job,
        under_way: &UnderWay,
        authority: &str,
    ) -> (CheckedHeads<S>, Arc<OnceLock<Reason>>) {
        let refusal = Arc::<OnceLock<Reason>>::default();
        let heads = CheckedHeads {
            io,
            unread: BytesMut::new(),
            ready: 0,
            searched: 0,
            state: State::Head,
            is_ended: false,
            limits: job.limits.clone(),
            budget: job.budget.clone(),
            memory: job.budget.unfinished_head(),
            under_way: under_way.clone(),
            is_unwritten: false,
            authority: authority.to_owned(),
            refusal: refusal.clone(),
            closing: Closing::No,
        };
        (heads, refusal)
    }

    /// The connection, and what was read of it and not passed on.
    pub(super) fn into_parts(self) -> (S, Bytes) {
        (self.io, self.unread.freeze())
    }

    /// Ends the search for what may be passed on: there is something, or more has to be read.
    fn advance(&mut self) {
        while self.ready < self.unread.len() {
            match self.state {
                State::Head if self.under_way.is_upgraded() => self.state = State::Opaque,
                State::Head => {
                    if self.ready > 0 || !self.may_begin() || !self.check_head() {
                        return;
                    }
                }
                State::Body(left) => {
                    let here = (self.unread.len() - self.ready) as u64;
                    let taken = left.min(here);
                    self.ready += usize::try_from(taken).unwrap_or_default();
                    self.state = if taken == left { State::Head } else { State::Body(left - taken) };
                }
                State::Chunks(chunks) => self.follow_chunks(chunks),
                State::Opaque => self.ready = self.unread.len(),
                State::Refused => return,
            }
        }
    }

    /// Returns true if the next request may be passed on.
    fn may_begin(&self) -> bool {
        !self.is_unwritten && self.under_way.none()
    }

    /// Makes space to read into. Returns false if there is no memory for it.
    fn make_space(&mut self) -> bool {
        if self.unread.is_empty() {
            self.unread.reserve(READ);
        } else if self.unread.len() == self.unread.capacity() {
            // The connection's own grant covers the first piece.
            if !self.memory.try_hold(self.unread.len()) {
                return false;
            }
            // Growing by itself it would double.
            let mut larger = BytesMut::with_capacity(self.unread.len() + READ);
            larger.extend_from_slice(&self.unread);
            self.unread = larger;
        }
        true
    }

    /// Gives back what a long head took.
    fn shrink(&mut self) {
        if self.unread.is_empty() && self.memory.is_any() {
            self.unread = BytesMut::new();
            self.memory.release();
        }
    }

    /// Checks the head that begins behind what is ready. Returns false if it is not whole, or refused.
    fn check_head(&mut self) -> bool {
        let start = self.ready;
        // Blank lines before a request mean nothing (RFC 9112, section 2.2).
        let blank = self.unread[start..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.searched = self.searched.max(start + blank);
        let Some(end) = head_end(&self.unread, start + blank, self.searched) else {
            // The end may be cut in the middle.
            self.searched = self.unread.len().saturating_sub(3).max(start + blank);
            if self.unread.len() - start > self.limits.header_bytes {
                self.refuse(TOO_LARGE, None);
            }
            return false;
        };
        self.searched = 0;
        match read_head(&self.unread[start..end], &self.limits) {
            Ok(Head { state, target }) => {
                self.ready = end;
                if let Some((position, length, target)) = target {
                    self.ready = end - length + target.len();
                    let position = start + position;
                    let rest = self.unread.split_off(position + length);
                    self.unread.truncate(position);
                    self.unread.extend_from_slice(target.as_bytes());
                    self.unread.unsplit(rest);
                }
                self.state = state;
                true
            }
            Err((denial, asked)) => {
                self.refuse(denial, asked);
                false
            }
        }
    }

    fn refuse(&mut self, denial: Denial, asked: Option<(String, String)>) {
        self.state = State::Refused;
        let (method, path) = asked.unwrap_or_default();
        // The body is left out for HEAD only; a method that cannot be read is none that knows no bodies.
        let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET);
        let asked = Asked { authority: &self.authority, method: &method, path: &path };
        self.closing = Closing::Write(Bytes::from(denial.http1(&asked)));
        // It is refused once: nothing is read after that.
        let _ = self.refusal.set(denial.reason);
    }

    fn follow_chunks(&mut self, chunks: Chunks) {
        let rest = &self.unread[self.ready..];
        let Some(byte) = rest.first().copied() else { return };
        let (taken, next) = match chunks {
            Chunks::Data(left) => {
                let taken = left.min(rest.len() as u64);
                let next = if taken == left { Chunks::DataEnd } else { Chunks::Data(left - taken) };
                (usize::try_from(taken).unwrap_or_default(), Some(next))
            }
            Chunks::Size { size, seen, in_extension } => {
                let next = match byte {
                    b'\n' if seen > 0 && size == 0 => Some(Chunks::Trailers { seen: 0, is_line_empty: true }),
                    b'\n' if seen > 0 => Some(Chunks::Data(size)),
                    b'\n' => None,
                    _ if seen > MAX_LINE => None,
                    b'\r' => Some(Chunks::Size { size, seen, in_extension: true }),
                    _ if in_extension => Some(Chunks::Size { size, seen: seen + 1, in_extension }),
                    b';' | b' ' | b'\t' => Some(Chunks::Size { size, seen, in_extension: true }),
                    _ => digit(byte).and_then(|digit| {
                        let size = size.checked_mul(16)?.checked_add(digit)?;
                        Some(Chunks::Size { size, seen: seen + 1, in_extension })
                    }),
                };
                (1, next)
            }
            Chunks::DataEnd => {
                let next = match byte {
                    b'\r' => Some(Chunks::DataEnd),
                    b'\n' => Some(Chunks::Size { size: 0, seen: 0, in_extension: false }),
                    _ => None,
                };
                (1, next)
            }
            Chunks::Trailers { seen, is_line_empty } => {
                if byte == b'\n' && is_line_empty {
                    self.ready += 1;
                    self.state = State::Head;
                    return;
                }
                let is_line_empty = byte == b'\n' || (byte == b'\r' && is_line_empty);
                let next = Chunks::Trailers { seen: seen + 1, is_line_empty };
                (1, Some(next).filter(|_| seen <= 4 * MAX_LINE))
            }
        };
        self.ready += taken;
        // What is not a chunked body is the library's to refuse.
        self.state = next.map_or(State::Opaque, State::Chunks);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CheckedHeads<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            self.advance();
            if self.ready > 0 {
                let most = if self.budget.is_roomy() { self.ready } else { PIECE };
                let length = self.ready.min(buffer.remaining()).min(most);
                buffer.put_slice(&self.unread[..length]);
                self.unread.advance(length);
                self.ready -= length;
                self.searched = self.searched.saturating_sub(length);
                self.shrink();
                return Poll::Ready(Ok(()));
            }
            if self.state == State::Refused {
                return Poll::Ready(Ok(()));
            }
            if self.state == State::Head && !self.unread.is_empty() && !self.may_begin() {
                // An end that is read now would be taken for that of a client that has gone.
                self.under_way.wait(context);
                return Poll::Pending;
            }
            if self.is_ended {
                return Poll::Ready(Ok(()));
            }
            if self.state == State::Opaque {
                return Pin::new(&mut self.io).poll_read(context, buffer);
            }
            if !self.make_space() {
                self.refuse(Reason::ProxyMemory.into(), None);
                continue;
            }
            let this = &mut *self;
            let read = pin!(this.io.read_buf(&mut this.unread)).poll(context);
            if read.is_pending() && this.unread.is_empty() {
                // A connection that waits holds nothing.
                this.unread = BytesMut::new();
            }
            if ready!(read)? == 0 {
                this.is_ended = true;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for CheckedHeads<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_unwritten = true;
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_unwritten = true;
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(context))?;
        // The library flushes when it has nothing left to write.
        if std::mem::take(&mut self.is_unwritten) {
            self.under_way.written();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.closing {
                Closing::No => return Pin::new(&mut this.io).poll_shutdown(context),
                Closing::Write(refusal) if refusal.is_empty() => {
                    ready!(Pin::new(&mut this.io).poll_flush(context))?;
                    this.closing = Closing::Shutdown;
                }
                Closing::Write(refusal) => {
                    let written = ready!(Pin::new(&mut this.io).poll_write(context, refusal))?;
                    if written == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    refusal.advance(written);
                }
                Closing::Shutdown => {
                    ready!(Pin::new(&mut this.io).poll_shutdown(context))?;
                    this.closing = Closing::Drain(Box::pin(sleep(PATIENCE)), DISCARDED);
                }
                Closing::Drain(patience, left) => {
                    this.unread.clear();
                    this.unread.reserve(READ);
                    match pin!(this.io.read_buf(&mut this.unread)).poll(context) {
                        Poll::Ready(Ok(length @ 1..)) if length < *left => *left -= length,
                        Poll::Ready(_) => this.closing = Closing::Done,
                        Poll::Pending => {
                            ready!(patience.as_mut().poll(context));
                            this.closing = Closing::Done;
                        }
                    }
                }
                Closing::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// What follows a head, and a target that is written in its place.
struct Head {
    state: State,
    target: Option<(usize, usize, String)>,
}

const TOO_LARGE: Denial = Denial {
    status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    reason: Reason::TooLarge,
    hint: Some("the head of a request may have 64 KiB and 1,000 fields"),
};

fn malformed(hint: &'static str) -> Denial {
    Denial { hint: Some(hint), ..Reason::MalformedRequest.into() }
}

/// Reads a head. An error comes with the method and the path, as far as they are known.
fn read_head(bytes: &[u8], limits: &Limits) -> Result<Head, (Denial, Option<(String, String)>)> {
    if bytes.len() > limits.header_bytes {
        return Err((TOO_LARGE, None));
    }
    let mut fields = vec![httparse::EMPTY_HEADER; limits.header_fields.min(64)];
    let mut request = httparse::Request::new(&mut fields);
    let mut read = request.parse(bytes);
    let mut more;
    if read == Err(httparse::Error::TooManyHeaders) {
        more = vec![httparse::EMPTY_HEADER; limits.header_fields];
        request = httparse::Request::new(&mut more);
        read = request.parse(bytes);
    }
    let path = |path: &str| path.split('?').next().unwrap_or_default().to_owned();
    let asked = Some((request.method.unwrap_or_default().to_owned(), path(request.path.unwrap_or_default())));
    let refuse = |denial| Err((denial, asked.clone()));
    match read {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return refuse(malformed("the head of the request ends too early")),
        Err(error) => return refuse(explain(error)),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return refuse(malformed("the request has no request line"));
    };
    if Method::from_bytes(method.as_bytes()).is_err() {
        return refuse(malformed("the method is not valid"));
    }
    let written = match target.parse::<Uri>() {
        Ok(_) => None,
        Err(_) => match encode(target).filter(|encoded| encoded.parse::<Uri>().is_ok()) {
            Some(encoded) => {
                Some((target.as_ptr() as usize - bytes.as_ptr() as usize, target.len(), encoded))
            }
            None => return refuse(malformed("the target of the request is not a valid path or URL")),
        },
    };
    match state_behind(method, minor, request.headers) {
        Ok(state) => Ok(Head { state, target: written }),
        Err(hint) => refuse(malformed(hint)),
    }
}

/// What follows a head with these fields (RFC 9112, section 6.3).
fn state_behind(method: &str, minor: u8, fields: &[httparse::Header<'_>]) -> Result<State, &'static str> {
    let named = |name: &'static str| fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
    let mut length = None;
    for field in named("content-length") {
        let text = std::str::from_utf8(field.value).unwrap_or_default();
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let value: u64 = text.parse().ok().filter(|_| is_plain).ok_or("Content-Length is not a number")?;
        if length.is_some_and(|length| length != value) {
            return Err("the request has more than one Content-Length");
        }
        length = Some(value);
    }
    let mut codings = named("transfer-encoding");
    if let Some(coding) = codings.next() {
        if minor == 0 {
            return Err("HTTP/1.0 knows no Transfer-Encoding");
        }
        if !coding.value.trim_ascii().eq_ignore_ascii_case(b"chunked") || codings.next().is_some() {
            return Err("the only Transfer-Encoding is chunked");
        }
        return Ok(State::Chunks(Chunks::Size { size: 0, seen: 0, in_extension: false }));
    }
    Ok(match length {
        Some(length @ 1..) if method != "CONNECT" => State::Body(length),
        // After CONNECT or an upgrade what follows waits until it is clear whether it is another protocol.
        _ => State::Head,
    })
}

fn explain(error: httparse::Error) -> Denial {
    match error {
        httparse::Error::TooManyHeaders => TOO_LARGE,
        httparse::Error::HeaderName => {
            malformed("the name of a header field is not valid; no white space may be before the colon")
        }
        httparse::Error::HeaderValue => {
            malformed("the value of a header field has characters that are not allowed")
        }
        httparse::Error::Version => malformed("the version is neither HTTP/1.1 nor HTTP/1.0"),
        _ => malformed("the request line is not valid"),
    }
}

/// Writes as %XX what the library's URLs do not take. `None` if that is nothing.
fn encode(target: &str) -> Option<String> {
    let mut encoded = String::with_capacity(target.len() + 16);
    let mut in_query = false;
    for byte in target.bytes() {
        in_query |= byte == b'?';
        // Quotes are taken in a path, backticks in a query.
        let is_refused = matches!(byte, b'<' | b'>')
            || (byte == b'"' && in_query)
            || (byte == b'`' && !in_query)
            || !byte.is_ascii();
        if is_refused {
            encoded.push_str(&format!("%{byte:02X}"));
        } else {
            encoded.push(char::from(byte));
        }
    }
    (encoded.len() != target.len()).then_some(encoded)
}

/// Returns where a head ends that begins at `start`: behind an empty line. It is searched from `from` on.
fn head_end(bytes: &[u8], start: usize, from: usize) -> Option<usize> {
    let from = from.max(start);
    memchr::memchr_iter(b'\n', bytes.get(from..)?).find_map(|position| {
        let next = from + position + 1;
        match bytes.get(next..)? {
            [b'\n', ..] => Some(next + 1),
            [b'\r', b'\n', ..] => Some(next + 2),
            _ => None,
        }
    })
}

fn digit(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}
