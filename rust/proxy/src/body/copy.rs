//! A copy of what a request's body held, for the one case in which it is sent twice: the server refused the credential,
//! and there is another by now.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use http_body::Frame;

use crate::budget::{Growing, Share};

/// The most that one body may take up.
const ONE: usize = 1024 * 1024;

/// What has gone through so far. Both ends hold it: who sends and who may send again.
#[derive(Clone)]
pub(crate) struct Copy(Arc<Mutex<Kept>>);

struct Kept {
    bytes: BytesMut,
    state: State,
    memory: Growing,
}

#[derive(PartialEq, Eq)]
enum State {
    UnderWay,
    Whole,
    /// It was too long, had trailers, or there was no memory for it.
    GivenUp,
}

impl Copy {
    pub(crate) fn new(memory: Share, is_whole: bool) -> Copy {
        let state = if is_whole { State::Whole } else { State::UnderWay };
        Copy(Arc::new(Mutex::new(Kept { bytes: BytesMut::new(), state, memory: Growing::new(memory) })))
    }

    /// Takes note of one frame.
    pub(crate) fn add(&self, frame: Option<&Frame<Bytes>>, is_end: bool) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.state != State::UnderWay {
            return;
        }
        match frame.map(|frame| frame.data_ref()) {
            None => {}
            // Copied: a piece of one byte keeps all alive that was read with it.
            Some(Some(data)) if kept.has_memory_for(data.len()) => {
                kept.bytes.extend_from_slice(data);
            }
            Some(_) => {
                kept.bytes = BytesMut::new();
                kept.memory.release();
                kept.state = State::GivenUp;
                return;
            }
        }
        if is_end {
            kept.state = State::Whole;
        }
    }

    /// The body, if all of it is there.
    pub(crate) fn whole(&self) -> Option<Bytes> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.state == State::Whole).then(|| kept.bytes.clone().freeze())
    }
}

impl Kept {
    fn has_memory_for(&mut self, more: usize) -> bool {
        let bytes = self.bytes.len() + more;
        bytes <= ONE && self.memory.try_hold(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(bytes: usize) -> Frame<Bytes> {
        Frame::data(Bytes::from(vec![1; bytes]))
    }

    fn memory() -> Share {
        Share::new(16 * ONE)
    }

    #[test]
    fn a_copy_holds_what_went_through_and_not_the_memory_around_it() {
        let read = Bytes::from(vec![1; ONE]);
        let copy = Copy::new(memory(), false);
        copy.add(Some(&Frame::data(read.slice(..1))), true);
        assert!(read.is_unique());
        assert_eq!(copy.whole().unwrap(), &read[..1]);
    }

    #[test]
    fn a_copy_is_whole_or_nothing_and_returns_its_memory() {
        let memory = memory();
        let reserved = || memory.bytes() - memory.free();
        let copy = Copy::new(memory.clone(), false);
        copy.add(Some(&data(10)), false);
        assert!(copy.whole().is_none());
        copy.add(Some(&data(5)), true);
        assert_eq!((copy.whole().unwrap().len(), reserved()), (15, 16 * 1024));
        drop(copy);
        assert_eq!(reserved(), 0);

        let long = Copy::new(memory.clone(), false);
        long.add(Some(&data(ONE)), false);
        long.add(Some(&data(1)), true);
        assert!(long.whole().is_none());
        assert_eq!(reserved(), 0);

        let full: Vec<Copy> = (0..17).map(|_| Copy::new(memory.clone(), false)).collect();
        full.iter().for_each(|copy| copy.add(Some(&data(ONE)), true));
        assert_eq!(full.iter().filter(|copy| copy.whole().is_some()).count(), 16);
        assert_eq!(reserved(), memory.bytes());

        let trailers = Copy::new(memory.clone(), false);
        trailers.add(Some(&Frame::trailers(http::HeaderMap::new())), true);
        assert!(trailers.whole().is_none());
        assert!(Copy::new(memory, true).whole().unwrap().is_empty());
    }
}
