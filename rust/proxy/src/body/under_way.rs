//! The requests of one connection, and the memory that their heads hold.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::sync::OwnedSemaphorePermit;

use crate::budget::Grant;

/// What a request holds of the job's limits until the last byte of its answer is written.
pub(crate) struct Admitted {
    _held: Option<(OwnedSemaphorePermit, Grant)>,
}

impl Admitted {
    pub(crate) fn new(place: OwnedSemaphorePermit, memory: Grant) -> Arc<Admitted> {
        Arc::new(Admitted { _held: Some((place, memory)) })
    }

    /// Holds nothing: the connection is charged already.
    pub(crate) fn with_connection() -> Arc<Admitted> {
        Arc::new(Admitted { _held: None })
    }
}

/// What the head of a response holds until it is written.
pub(crate) struct HeldHead {
    _admitted: Arc<Admitted>,
    _grant: Option<Grant>,
}

impl HeldHead {
    pub(crate) fn new(admitted: Arc<Admitted>, grant: Option<Grant>) -> HeldHead {
        HeldHead { _admitted: admitted, _grant: grant }
    }
}

/// The requests of one connection.
#[derive(Clone, Default)]
pub(crate) struct UnderWay(Arc<Counts>);

#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    ended: AtomicUsize,
    is_upgraded: AtomicBool,
    waiting: Mutex<Waiting>,
}

/// What waits in a connection of HTTP/1.
#[derive(Default)]
struct Waiting {
    /// The memory of a head that is not written yet.
    head: Option<HeldHead>,
    /// To be woken when a response has been written.
    waker: Option<Waker>,
}

/// One request under way.
pub(crate) struct Busy(UnderWay);

impl UnderWay {
    pub(crate) fn one_more(&self) -> Busy {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// How many there have been.
    pub(crate) fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Relaxed)
    }

    /// Whether all of them are through.
    pub(crate) fn none(&self) -> bool {
        self.begun() == self.0.ended.load(Ordering::Relaxed)
    }

    /// Whether the connection has left HTTP.
    pub(crate) fn is_upgraded(&self) -> bool {
        self.0.is_upgraded.load(Ordering::Relaxed)
    }

    pub(crate) fn upgrade(&self) {
        self.0.is_upgraded.store(true, Ordering::Relaxed);
    }

    /// Holds the memory of a head until [`UnderWay::written`].
    pub(crate) fn hold(&self, head: Option<HeldHead>) {
        self.waiting().head = head;
    }

    /// All that was begun is written.
    pub(crate) fn written(&self) {
        let mut waiting = self.waiting();
        waiting.head = None;
        let waker = waiting.waker.take();
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes this task when something has been written, or a request has ended.
    pub(crate) fn wait(&self, context: &Context<'_>) {
        self.waiting().waker = Some(context.waker().clone());
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::Relaxed);
        let waker = self.0.waiting().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
