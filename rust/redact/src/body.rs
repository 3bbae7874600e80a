//! The body of an answer on its way to the job.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::decode::{Coding, DecodeError, Decoder};
use super::head::{self, Plan, Unreadable};
use super::needles::Needles;
use super::splice::Splicer;
use super::stand_in::StandIn;

/// Why a body ends early.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The body of an answer, without secrets.
///
/// It streams: a frame goes on as soon as it is known to be clean. It ends with an error, and so the answer is
/// visibly cut, where it cannot be checked.
pub struct Body<B> {
    inner: B,
    needles: Arc<Needles>,
    reading: Reading,
    splicer: Splicer,
    keeps_length: bool,
    /// Whether any data came.
    started: bool,
    stage: Stage,
}

enum Reading {
    Plain,
    Encoded(Decoding),
    Unreadable(Unreadable),
}

/// Decoders one after the other, as often as the body was encoded.
struct Decoding(Vec<Step>);

struct Step {
    decoder: Decoder,
    /// What came and is not decoded yet.
    encoded: Bytes,
}

/// What decoders hold in memory.
pub struct DecoderBytes {
    /// How many bytes.
    pub bytes: usize,
    /// Whether all of them have shown how much they need.
    pub is_all: bool,
}

enum Stage {
    Data,
    /// The data has ended; the trailers, if there were any, come after what was held back.
    End(Option<HeaderMap>),
    Done,
}

/// How much a step of decoding makes at most.
const STEP: usize = 32 * 1024;

impl<B> Body<B> {
    pub(super) fn new(needles: Arc<Needles>, plan: Plan, inner: B) -> Body<B> {
        let splicer = Splicer::new(Arc::clone(&needles), plan.stand_in);
        let is_plain = plan.codings.as_ref().is_ok_and(Vec::is_empty);
        let keeps_length = is_plain && plan.stand_in == StandIn::Fitted;
        let reading = match plan.codings {
            Ok(_) if is_plain => Reading::Plain,
            Ok(codings) => Reading::Encoded(Decoding::new(&codings)),
            Err(unreadable) => Reading::Unreadable(unreadable),
        };
        Body { inner, needles, reading, splicer, keeps_length, started: false, stage: Stage::Data }
    }

    /// What the decoders of the body hold in memory, as far as the body has shown it.
    pub fn decoder_bytes(&self) -> DecoderBytes {
        let steps: &[Step] = match &self.reading {
            Reading::Encoded(decoding) => &decoding.0,
            Reading::Plain | Reading::Unreadable(_) => &[],
        };
        DecoderBytes {
            bytes: steps.iter().filter_map(|step| step.decoder.bytes()).sum(),
            is_all: steps.iter().all(|step| step.decoder.bytes().is_some()),
        }
    }

    /// Decodes the next piece of what came; `None` when more must come first.
    fn decode(&mut self) -> Result<Option<Bytes>, BoxError> {
        match &mut self.reading {
            Reading::Encoded(decoding) => Ok(decoding.next()?),
            _ => Ok(None),
        }
    }

    /// Takes data; gives what may go on.
    fn take(&mut self, data: Bytes) -> Result<Bytes, BoxError> {
        self.started |= !data.is_empty();
        match &mut self.reading {
            Reading::Plain => Ok(self.splicer.feed(data)),
            Reading::Encoded(decoding) => {
                decoding.feed(data);
                Ok(Bytes::new())
            }
            Reading::Unreadable(unreadable) if !data.is_empty() => Err(unreadable.clone().into()),
            Reading::Unreadable(_) => Ok(data),
        }
    }

    /// The data has ended: gives what was held back.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<Bytes, BoxError> {
        if let Reading::Encoded(decoding) = &self.reading {
            decoding.finish()?;
        }
        self.stage = Stage::End(trailers.map(|mut trailers| {
            head::clean_trailers(&self.needles, &mut trailers);
            trailers
        }));
        Ok(self.splicer.finish())
    }
}

impl Decoding {
    /// What was encoded last is decoded first.
    fn new(codings: &[Coding]) -> Decoding {
        let decoders = codings.iter().rev().filter_map(|coding| Decoder::new(*coding));
        Decoding(decoders.map(|decoder| Step { decoder, encoded: Bytes::new() }).collect())
    }

    /// Takes what came; all that came before has been decoded.
    fn feed(&mut self, data: Bytes) {
        if let Some(first) = self.0.first_mut() {
            first.encoded = data;
        }
    }

    /// Decodes the next piece of what came; `None` when more must come first.
    fn next(&mut self) -> Result<Option<Bytes>, DecodeError> {
        // The last step that has something to do; what it makes is for the step behind it.
        while let Some(index) = self.0.iter().rposition(Step::has_work) {
            let plain = self.0[index].run()?;
            match self.0.get_mut(index + 1) {
                Some(next) => next.encoded = plain,
                None if !plain.is_empty() => return Ok(Some(plain)),
                None => {}
            }
        }
        Ok(None)
    }

    fn finish(&self) -> Result<(), DecodeError> {
        self.0.iter().try_for_each(|step| step.decoder.finish())
    }
}

impl Step {
    fn has_work(&self) -> bool {
        !self.encoded.is_empty() || self.decoder.has_more()
    }

    fn run(&mut self) -> Result<Bytes, DecodeError> {
        let mut plain = BytesMut::zeroed(STEP);
        let length = self.decoder.step(&mut self.encoded, &mut plain)?;
        plain.truncate(length);
        // Small pieces (events of a stream) must not keep a whole step's memory alive.
        Ok(if length < STEP / 4 { Bytes::copy_from_slice(&plain) } else { plain.freeze() })
    }
}

impl<B> Body<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// The next frame that is not empty.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            let data = match &mut self.stage {
                Stage::Done => return Poll::Ready(None),
                Stage::End(trailers) => {
                    let trailers = trailers.take();
                    self.stage = Stage::Done;
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Stage::Data => match self.decode()? {
                    Some(plain) => self.splicer.feed(plain),
                    None => match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                        None => self.end(None)?,
                        Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                        Some(Ok(frame)) => match frame.into_data() {
                            Ok(data) => self.take(data)?,
                            Err(frame) => match frame.into_trailers() {
                                Ok(trailers) => self.end(Some(trailers))?,
                                Err(_) => Bytes::new(),
                            },
                        },
                    },
                },
            };
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }
}

impl<B> http_body::Body for Body<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = ready!(self.poll_next(context));
        if matches!(next, Some(Err(_))) {
            self.stage = Stage::Done;
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        match self.stage {
            Stage::Done => true,
            Stage::End(ref trailers) => trailers.is_none(),
            Stage::Data => {
                let nothing_held = match self.reading {
                    Reading::Plain => self.splicer.pending() == 0,
                    Reading::Encoded(_) | Reading::Unreadable(_) => !self.started,
                };
                nothing_held && self.inner.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (self.inner.size_hint().exact(), &self.stage) {
            (_, Stage::Done | Stage::End(_)) => SizeHint::with_exact(0),
            (Some(0), Stage::Data) if !self.started => SizeHint::with_exact(0),
            (Some(left), Stage::Data) if self.keeps_length => {
                SizeHint::with_exact(left + self.splicer.pending() as u64)
            }
            _ => SizeHint::default(),
        }
    }
}

// Never what is inside: the needles are the secrets.
impl<B> fmt::Debug for Body<B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Body").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
