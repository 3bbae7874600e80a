//! Undoes content codings, in steps of bounded size.
//!
//! Servers are asked for plain answers; this is for those that compress all the same. Nothing is ever held whole: one
//! step makes at most as much output as its caller has room for, so a bomb costs the reader time and nobody memory.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// `gzip` (RFC 1952).
    Gzip,
    /// `deflate`: zlib (RFC 1950).
    Deflate,
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878).
    Zstd,
}

/// Why a body cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The data is not in the coding.
    #[error("the answer's body is not valid {0:?}")]
    Corrupt(Coding),
    /// The data ends too early.
    #[error("the answer's body ends in the middle of its {0:?} data")]
    Truncated(Coding),
    /// More follows the end of the data.
    #[error("the answer's body goes on after the end of its {0:?} data")]
    Trailing(Coding),
}

/// Takes one body's encoded bytes, gives the plain ones.
pub struct Decoder {
    coding: Coding,
    engine: Engine,
    /// Whether there were any bytes: a body without bytes is a body without coding (HEAD, 304).
    started: bool,
    /// Whether the data ended where it may end.
    complete: bool,
    /// Whether the last step filled its output, so that more may wait inside.
    full: bool,
    /// What it holds in memory, once the data has shown it.
    bytes: Option<usize>,
}

enum Engine {
    Flate(Decompress),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(DCtx<'static>),
}

/// The largest window that a zstd body may ask for, as in RFC 9659: 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;
const FLATE_WINDOW_BITS: u8 = 15;
/// What a decoder holds beside its window: tables, and the buffers of one step.
const TABLES: usize = 1024 * 1024;
const FLATE: usize = 128 * 1024;
/// Bytes of a zstd frame's header at most.
const ZSTD_HEADER: usize = 18;

impl Coding {
    /// Reads one token of `content-encoding`.
    pub fn parse(token: &str) -> Option<Coding> {
        match token.to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Coding::Identity),
            "gzip" | "x-gzip" => Some(Coding::Gzip),
            "deflate" => Some(Coding::Deflate),
            "br" => Some(Coding::Brotli),
            "zstd" => Some(Coding::Zstd),
            _ => None,
        }
    }
}

impl Coding {
    /// The most that a decoder holds in memory.
    pub fn most_bytes(self) -> usize {
        match self {
            Coding::Identity => 0,
            Coding::Gzip | Coding::Deflate => FLATE,
            Coding::Brotli => (1 << 24) + TABLES,
            Coding::Zstd => (1 << ZSTD_WINDOW_LOG) + TABLES,
        }
    }
}

impl Decoder {
    /// `None` for [`Coding::Identity`].
    pub fn new(coding: Coding) -> Option<Decoder> {
        let engine = match coding {
            Coding::Identity => return None,
            Coding::Gzip => Engine::Flate(Decompress::new_gzip(FLATE_WINDOW_BITS)),
            Coding::Deflate => Engine::Flate(Decompress::new(true)),
            Coding::Brotli => {
                let alloc = StandardAlloc::default;
                Engine::Brotli(Box::new(BrotliState::new(alloc(), alloc(), alloc())))
            }
            Coding::Zstd => {
                let mut context = DCtx::create();
                // The only parameter there is a limit for; refusing it would leave the library's own, 128 MiB.
                let _ = context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG));
                Engine::Zstd(context)
            }
        };
        Some(Decoder { coding, engine, started: false, complete: false, full: false, bytes: None })
    }

    /// Whether a step without new input can give something.
    pub fn has_more(&self) -> bool {
        self.full
    }

    /// What the decoder holds in memory from here on; `None` until the data has shown it.
    pub fn bytes(&self) -> Option<usize> {
        self.bytes
    }

    /// Consumes input, writes to `output` and says how much. All input is consumed unless the output is full.
    pub fn step(&mut self, input: &mut Bytes, output: &mut [u8]) -> Result<usize, DecodeError> {
        self.full = false;
        let mut written = 0;
        while written < output.len() {
            if self.complete && !input.is_empty() {
                self.next_member(input)?;
            }
            if !self.started && !input.is_empty() {
                self.start(input[0]);
            }
            let (consumed, produced) = self.run(input, &mut output[written..])?;
            input.advance(consumed);
            self.measure(consumed, produced);
            written += produced;
            if consumed == 0 && produced == 0 {
                if input.is_empty() {
                    return Ok(written);
                }
                return Err(DecodeError::Corrupt(self.coding));
            }
        }
        self.full = true;
        Ok(written)
    }

    /// There is no more input.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.complete || !self.started { Ok(()) } else { Err(DecodeError::Truncated(self.coding)) }
    }

    fn start(&mut self, first: u8) {
        self.started = true;
        self.bytes = match self.coding {
            Coding::Identity | Coding::Gzip | Coding::Deflate => Some(FLATE),
            Coding::Brotli => Some((1 << brotli_window_bits(first)) + TABLES),
            Coding::Zstd => None,
        };
        // `deflate` means the zlib format, but some servers send it raw; the first byte tells.
        if self.coding == Coding::Deflate && (first & 0x0f != 8 || first >> 4 > 7) {
            self.engine = Engine::Flate(Decompress::new(false));
        }
    }

    /// Gzip and zstd data may be several in a row; after the others nothing may follow.
    fn next_member(&mut self, input: &Bytes) -> Result<(), DecodeError> {
        match self.coding {
            Coding::Gzip if input[0] == 0x1f => {
                self.engine = Engine::Flate(Decompress::new_gzip(FLATE_WINDOW_BITS));
            }
            Coding::Zstd => {}
            _ => return Err(DecodeError::Trailing(self.coding)),
        }
        self.complete = false;
        Ok(())
    }

    /// The buffers of zstd are allocated when the header of a frame has been read; those of a later frame may be larger.
    fn measure(&mut self, consumed: usize, produced: usize) {
        if let Engine::Zstd(context) = &self.engine
            && (self.bytes.is_some() || produced > 0 || consumed >= ZSTD_HEADER)
        {
            self.bytes = self.bytes.max(Some(context.sizeof() + FLATE));
        }
    }

    /// One call of the engine: (consumed, produced).
    fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize), DecodeError> {
        let corrupt = DecodeError::Corrupt(self.coding);
        if self.complete || (input.is_empty() && !self.started) {
            return Ok((0, 0));
        }
        match &mut self.engine {
            Engine::Flate(engine) => {
                let before = (engine.total_in(), engine.total_out());
                let status = engine.decompress(input, output, FlushDecompress::None).map_err(|_| corrupt)?;
                self.complete = status == Status::StreamEnd;
                let moved = (engine.total_in() - before.0, engine.total_out() - before.1);
                Ok((
                    usize::try_from(moved.0).map_err(|_| corrupt)?,
                    usize::try_from(moved.1).map_err(|_| corrupt)?,
                ))
            }
            Engine::Brotli(state) => {
                let (mut available_in, mut consumed) = (input.len(), 0);
                let (mut available_out, mut produced) = (output.len(), 0);
                let result = BrotliDecompressStream::<StandardAlloc, StandardAlloc, StandardAlloc>(
                    &mut available_in,
                    &mut consumed,
                    input,
                    &mut available_out,
                    &mut produced,
                    output,
                    &mut 0,
                    state,
                );
                match result {
                    BrotliResult::ResultFailure => return Err(corrupt),
                    BrotliResult::ResultSuccess => self.complete = true,
                    BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
                }
                Ok((consumed, produced))
            }
            Engine::Zstd(context) => {
                let (mut source, mut target) = (InBuffer::around(input), OutBuffer::around(output));
                let hint = context.decompress_stream(&mut target, &mut source).map_err(|_| corrupt)?;
                let moved = (source.pos(), target.pos());
                if moved != (0, 0) {
                    self.complete = hint == 0;
                }
                Ok(moved)
            }
        }
    }
}

/// The size of a brotli window by the first byte of the data (RFC 7932, section 9.1).
fn brotli_window_bits(first: u8) -> u32 {
    match (first & 1, first >> 1 & 7, first >> 4 & 7) {
        (0, _, _) => 16,
        (_, 0, 0) => 17,
        (_, 0, bits) => 8 + u32::from(bits),
        (_, bits, _) => 17 + u32::from(bits),
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
