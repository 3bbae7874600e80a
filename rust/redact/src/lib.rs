//! Secrets out, dummies in: what happens to a response between the server and the job.
//!
//! ```text
//! Redactor ─► head      what the head says about the body; the head's own values
//!    ├──────► body      decode ─► splice, frame by frame
//!    └──────► websocket frames ─► splice
//!                       splice = needles (spellings of the secret) + loose (a secret that is not in one piece)
//! ```
//!
//! A server that got a secret can send it back: in a header, an error text, a debug page, a redirect. On its way in,
//! every spelling of the secret (`forms`) becomes the dummy in the same spelling, and a secret that is not in one piece
//! (`loose`: in lines, with some characters escaped) becomes the dummy piece by piece. Nothing is buffered beyond the end
//! of a chunk that could be the beginning of a secret, and what cannot be searched does not go on.
//!
//! Not found: a secret that a server transforms otherwise (reversed, in hex, encrypted, in an archive, one letter per
//! answer), or that it puts across two WebSocket messages.
#![forbid(unsafe_code)]

mod body;
mod decode;
mod forms;
mod head;
mod loose;
mod needles;
mod redactor;
mod respell;
mod splice;
mod stand_in;
#[cfg(test)]
mod test_support;
mod triggers;
mod unescape;
mod websocket;

pub use body::{Body, BoxError, DecoderBytes};
pub use decode::{Coding, DecodeError, Decoder};
pub use forms::percent;
pub use head::plain_answers;
pub use needles::Needles;
pub use redactor::{Redactor, StreamRedactor};
pub use stand_in::MIN_SECRET_BYTES;
