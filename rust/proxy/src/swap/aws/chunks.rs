//! Bodies whose chunks are signed one by one (`aws-chunked`): each signature covers the one before it.
//!
//! ```text
//! SIZE;chunk-signature=SIGNATURE\r\n DATA \r\n … 0;chunk-signature=SIGNATURE\r\n [TRAILERS x-amz-trailer-signature:…\r\n] \r\n
//! ```
//!
//! A chunk's signature stands before its data, so a chunk is held until all of it is there. Signatures have one length,
//! so the body's length stays.

use bytes::{Buf, Bytes, BytesMut};

use super::signature::{Hash, SigningKey, sha256};

/// Signs the chunks of one body again.
pub(crate) struct Chunks {
    dummy: Chain,
    real: Chain,
    /// The lines between the algorithm and the signature before: date and scope.
    scope: String,
    trailers: bool,
    /// What came and has not gone on.
    held: BytesMut,
    stage: Stage,
}

struct Chain {
    key: SigningKey,
    /// The signature before the next one.
    last: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Chunks,
    Trailers,
    Done,
}

/// Why a body does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error("a body of signed chunks is not in their format")]
    Malformed,
    #[error("a chunk is larger than 1 MiB, or its head longer than 256 bytes")]
    TooLarge,
    #[error("the signature of a chunk is not that of the job's own secret access key")]
    Signature,
    #[error("a body of signed chunks ends before its last chunk")]
    Truncated,
}

/// Clients send 64 KiB or 128 KiB.
const CHUNK: usize = 1024 * 1024;
const HEAD: usize = 256;
const TRAILERS: usize = 4 * 1024;
const MARK: &str = ";chunk-signature=";
const TRAILER_MARK: &str = "x-amz-trailer-signature:";
/// The hash of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

impl Chunks {
    /// `before`: the signatures of the head, by the dummy and by the real key.
    pub(super) fn new(
        keys: (SigningKey, SigningKey),
        before: (String, String),
        date: &str,
        scope: &str,
        trailers: bool,
    ) -> Chunks {
        Chunks {
            dummy: Chain { key: keys.0, last: before.0 },
            real: Chain { key: keys.1, last: before.1 },
            scope: format!("{date}\n{scope}"),
            trailers,
            held: BytesMut::new(),
            stage: Stage::Chunks,
        }
    }

    /// Takes bytes as they come; gives what may go on.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Bytes, ChunkError> {
        self.held.extend_from_slice(bytes);
        let mut out = BytesMut::new();
        loop {
            let goes_on = match self.stage {
                Stage::Chunks => self.chunk(&mut out)?,
                Stage::Trailers => self.trailer_lines(&mut out)?,
                Stage::Done if self.held.is_empty() => false,
                Stage::Done => return Err(ChunkError::Malformed),
            };
            if !goes_on {
                return Ok(out.freeze());
            }
        }
    }

    /// The bytes that were taken and not given: a signature is as long as the one in its place.
    pub(crate) fn pending(&self) -> usize {
        self.held.len()
    }

    /// There is no more.
    pub(crate) fn finish(&self) -> Result<(), ChunkError> {
        if self.stage == Stage::Done { Ok(()) } else { Err(ChunkError::Truncated) }
    }

    /// Signs the next chunk, if all of it is there.
    fn chunk(&mut self, out: &mut BytesMut) -> Result<bool, ChunkError> {
        let Some(end) = self.held.iter().take(HEAD).position(|byte| *byte == b'\n') else {
            return if self.held.len() < HEAD { Ok(false) } else { Err(ChunkError::TooLarge) };
        };
        let line = self.held[..end].strip_suffix(b"\r").ok_or(ChunkError::Malformed)?;
        let line = str::from_utf8(line).map_err(|_| ChunkError::Malformed)?;
        let (size_text, given) = line.split_once(MARK).ok_or(ChunkError::Malformed)?;
        let is_size = !size_text.is_empty()
            && size_text.len() <= 8
            && size_text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size =
            usize::from_str_radix(size_text, 16).ok().filter(|_| is_size).ok_or(ChunkError::Malformed)?;
        if size > CHUNK {
            return Err(ChunkError::TooLarge);
        }
        // Of the last one the line break may be that of the trailers' end.
        let is_last = size == 0;
        let tail = if is_last { 0 } else { 2 };
        let start = end + 1;
        if self.held.len() < start + size + tail {
            return Ok(false);
        }
        let mut hash = Hash::default();
        hash.add(&self.held[start..start + size]);
        let to_sign = format!("{EMPTY}\n{}", hash.finish());
        let (size_text, given) = (size_text.to_owned(), given.to_owned());
        let signature = self.sign("AWS4-HMAC-SHA256-PAYLOAD", &to_sign, &given)?;
        out.extend_from_slice(format!("{size_text}{MARK}{signature}\r\n").as_bytes());
        self.held.advance(start);
        if is_last {
            self.stage = Stage::Trailers;
            return Ok(true);
        }
        if &self.held[size..size + 2] != b"\r\n" {
            return Err(ChunkError::Malformed);
        }
        out.extend_from_slice(&self.held.split_to(size + 2));
        Ok(true)
    }

    /// The end: an empty line, after trailers and their signature if there are any.
    fn trailer_lines(&mut self, out: &mut BytesMut) -> Result<bool, ChunkError> {
        if !self.trailers {
            return self.empty_line(out);
        }
        let text = str::from_utf8(&self.held).map_err(|_| ChunkError::Malformed)?;
        let Some(position) = text.find(TRAILER_MARK) else {
            return if text.len() < TRAILERS { Ok(false) } else { Err(ChunkError::TooLarge) };
        };
        let (lines, rest) = text.split_at(position);
        let Some((line, _)) = rest.split_once("\r\n") else {
            return if text.len() < TRAILERS { Ok(false) } else { Err(ChunkError::TooLarge) };
        };
        let given = line[TRAILER_MARK.len()..].trim().to_owned();
        let consumed = position + line.len() + 2;
        // Each line as `name:value` and a line feed, whatever it ends with on the way.
        let canonical: String = lines
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| format!("{}:{}\n", name.trim().to_ascii_lowercase(), value.trim()))
            .collect();
        let lines = lines.to_owned();
        let signature = self.sign("AWS4-HMAC-SHA256-TRAILER", &sha256(canonical.as_bytes()), &given)?;
        out.extend_from_slice(format!("{lines}{TRAILER_MARK}{signature}\r\n").as_bytes());
        self.held.advance(consumed);
        self.trailers = false;
        Ok(true)
    }

    fn empty_line(&mut self, out: &mut BytesMut) -> Result<bool, ChunkError> {
        match &self.held[..] {
            [b'\r', b'\n'] => {
                out.extend_from_slice(b"\r\n");
                self.held.clear();
                self.stage = Stage::Done;
                Ok(true)
            }
            [] | [b'\r'] => Ok(false),
            _ => Err(ChunkError::Malformed),
        }
    }

    /// Checks the dummy's signature; gives the real one.
    fn sign(&mut self, algorithm: &str, hashes: &str, given: &str) -> Result<String, ChunkError> {
        let scope = &self.scope;
        let text = |chain: &Chain| format!("{algorithm}\n{scope}\n{}\n{hashes}", chain.last);
        let expected = self.dummy.key.sign(&text(&self.dummy));
        if expected != given {
            return Err(ChunkError::Signature);
        }
        let signature = self.real.key.sign(&text(&self.real));
        self.dummy.last = expected;
        self.real.last.clone_from(&signature);
        Ok(signature)
    }
}
