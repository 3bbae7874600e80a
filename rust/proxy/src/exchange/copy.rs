//! A copy of what a request's body held, for the one case in which it is sent twice: the server refused the credential,
//! and there is another by now.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use http_body::Frame;

/// The most that one body may take up.
const ONE: usize = 1024 * 1024;

/// How much all copies of a job may still take up.
#[derive(Debug)]
pub(crate) struct Room(AtomicUsize);

/// What has gone through so far. Both ends hold it: who sends and who may send again.
#[derive(Clone)]
pub(super) struct Copy(Arc<Mutex<Kept>>);

struct Kept {
    bytes: BytesMut,
    state: State,
    room: Arc<Room>,
}

#[derive(PartialEq, Eq)]
enum State {
    UnderWay,
    Whole,
    /// It was too long, or had trailers.
    GivenUp,
}

impl Default for Room {
    fn default() -> Room {
        Room(AtomicUsize::new(16 * ONE))
    }
}

impl Room {
    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Copy {
    pub(super) fn new(room: Arc<Room>, is_whole: bool) -> Copy {
        let state = if is_whole { State::Whole } else { State::UnderWay };
        Copy(Arc::new(Mutex::new(Kept { bytes: BytesMut::new(), state, room })))
    }

    /// Takes note of one frame.
    pub(super) fn add(&self, frame: Option<&Frame<Bytes>>, is_end: bool) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.state != State::UnderWay {
            return;
        }
        match frame.map(|frame| frame.data_ref()) {
            None => {}
            // Copied: a piece of one byte keeps all alive that was read with it.
            Some(Some(data)) if kept.bytes.len() + data.len() <= ONE && kept.room.take(data.len()) => {
                kept.bytes.extend_from_slice(data);
            }
            Some(_) => {
                kept.empty();
                kept.state = State::GivenUp;
                return;
            }
        }
        if is_end {
            kept.state = State::Whole;
        }
    }

    /// The body, if all of it is there.
    pub(super) fn whole(&self) -> Option<Bytes> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.state == State::Whole).then(|| kept.bytes.clone().freeze())
    }
}

impl Kept {
    fn empty(&mut self) {
        self.room.give_back(std::mem::take(&mut self.bytes).len());
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(bytes: usize) -> Frame<Bytes> {
        Frame::data(Bytes::from(vec![1; bytes]))
    }

    #[test]
    fn a_copy_holds_what_went_through_and_not_the_memory_around_it() {
        let read = Bytes::from(vec![1; ONE]);
        let copy = Copy::new(Arc::default(), false);
        copy.add(Some(&Frame::data(read.slice(..1))), true);
        assert!(read.is_unique());
        assert_eq!(copy.whole().unwrap(), &read[..1]);
    }

    #[test]
    fn a_copy_is_whole_or_nothing_and_gives_its_room_back() {
        let room = Arc::new(Room::default());
        let left = || room.0.load(Ordering::Relaxed);
        let all = left();
        let copy = Copy::new(room.clone(), false);
        copy.add(Some(&data(10)), false);
        assert!(copy.whole().is_none());
        copy.add(Some(&data(5)), true);
        assert_eq!((copy.whole().unwrap().len(), left()), (15, all - 15));
        drop(copy);
        assert_eq!(left(), all);

        let long = Copy::new(room.clone(), false);
        long.add(Some(&data(ONE)), false);
        long.add(Some(&data(1)), true);
        assert!(long.whole().is_none());
        assert_eq!(left(), all);

        let full: Vec<Copy> = (0..17).map(|_| Copy::new(room.clone(), false)).collect();
        full.iter().for_each(|copy| copy.add(Some(&data(ONE)), true));
        assert_eq!((full.iter().filter(|copy| copy.whole().is_some()).count(), left()), (16, 0));

        let trailers = Copy::new(Arc::default(), false);
        trailers.add(Some(&Frame::trailers(http::HeaderMap::new())), true);
        assert!(trailers.whole().is_none());
        assert!(Copy::new(room, true).whole().unwrap().is_empty());
    }
}
