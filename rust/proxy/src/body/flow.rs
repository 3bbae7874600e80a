//! Bodies between two connections: how much of one may have been read and not yet written.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use redact::BoxError;

use super::held::hold_with_head;
use super::under_way::Admitted;
use crate::budget::{Budget, Queued};

/// One body on its way. Holds the grant of its request until the last piece is written.
pub(crate) struct Flow {
    budget: Arc<Budget>,
    /// The pieces of all bodies of the job.
    all: Arc<Queued>,
    /// Those of this one.
    own: AtomicUsize,
    is_waiting: AtomicBool,
    waker: Mutex<Option<Waker>>,
    _request: Option<Arc<Admitted>>,
}

/// A piece that a connection still has to write.
struct Piece {
    bytes: Bytes,
    charged: usize,
    flow: Arc<Flow>,
}

impl Flow {
    pub(crate) fn new(budget: &Arc<Budget>, request: Option<Arc<Admitted>>) -> Arc<Flow> {
        let (budget, all) = (budget.clone(), budget.queued().clone());
        let own = AtomicUsize::new(0);
        let (is_waiting, waker) = (AtomicBool::new(false), Mutex::default());
        Arc::new(Flow { budget, all, own, is_waiting, waker, _request: request })
    }

    /// Returns true if nothing more may be read now; the task is woken when a piece has been written.
    pub(crate) fn is_full(&self, context: &Context<'_>) -> bool {
        let has_room = || self.all.has_room(self.own.load(Ordering::SeqCst));
        if has_room() {
            return false;
        }
        *self.waker() = Some(context.waker().clone());
        self.is_waiting.store(true, Ordering::SeqCst);
        // A piece may have been written before that was set.
        !has_room()
    }

    /// The same bytes, counted until the last copy of them is dropped.
    pub(crate) fn count(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        if bytes.is_empty() {
            return bytes;
        }
        let charged = self.all.add(bytes.len());
        self.own.fetch_add(charged, Ordering::SeqCst);
        Bytes::from_owner(Piece { bytes, charged, flow: self.clone() })
    }

    /// Charges trailers until they are written. Returns false if there is no memory for them.
    pub(crate) fn hold_trailers(self: &Arc<Self>, trailers: &mut HeaderMap) -> bool {
        let Some(grant) = self.budget.try_trailers(trailers) else { return false };
        hold_with_head(trailers, (grant, self.clone()));
        true
    }

    /// The same frame, charged until it is written.
    pub(crate) fn charge(flow: Option<&Arc<Self>>, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BoxError> {
        let Some(flow) = flow else { return Ok(frame) };
        let mut frame = frame.map_data(|data| flow.count(data));
        if let Some(trailers) = frame.trailers_mut()
            && !flow.hold_trailers(trailers)
        {
            return Err("the trailers need more memory than the job's proxy has".into());
        }
        Ok(frame)
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let flow = &self.flow;
        flow.all.remove(self.charged);
        flow.own.fetch_sub(self.charged, Ordering::SeqCst);
        if flow.is_waiting.swap(false, Ordering::SeqCst)
            && let Some(waker) = flow.waker().take()
        {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use super::*;
    use crate::budget::Budget;

    #[tokio::test]
    async fn a_body_waits_until_what_was_read_is_written() {
        let budget = Arc::new(Budget::new(0));
        let flow = Flow::new(&budget, None);
        let mut ready = pin!(std::future::poll_fn(|context| match flow.is_full(context) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }));
        let mut pieces = Vec::new();
        while futures_now(ready.as_mut()).await.is_some() {
            pieces.push(flow.count(Bytes::from(vec![7; 16 * 1024])));
        }
        assert!((4..10).contains(&pieces.len()), "{}", pieces.len());
        let written = pieces.pop().unwrap();
        let copy = written.slice(5..6);
        drop(written);
        assert!(futures_now(ready.as_mut()).await.is_none(), "a part of the piece is still there");
        let waiting = tokio::time::timeout(std::time::Duration::from_secs(20), ready);
        let (woken, ()) = tokio::join!(waiting, async { drop(copy) });
        woken.expect("the last part wakes the body");
        drop(pieces);
        assert_eq!(flow.own.load(Ordering::SeqCst), 0);
    }

    /// What a future gives at once.
    async fn futures_now<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
        std::future::poll_fn(|context| match std::pin::Pin::new(&mut future).poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }
}
