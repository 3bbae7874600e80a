//! A connection that is made before the first request for it is known.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::error::UpstreamError;

/// How long a failure is told to a request instead of trying again.
const FRESH: Duration = Duration::from_secs(5);

/// The waiting end.
#[derive(Clone)]
pub(crate) struct Ahead {
    done: watch::Receiver<bool>,
    failure: Arc<Mutex<Option<(Instant, UpstreamError)>>>,
}

/// The end of who dials. Dropping it is an end as well.
pub(super) struct Progress {
    done: watch::Sender<bool>,
    failure: Arc<Mutex<Option<(Instant, UpstreamError)>>>,
}

pub(super) fn start() -> (Progress, Ahead) {
    let (sender, receiver) = watch::channel(false);
    let failure = Arc::new(Mutex::new(None));
    (Progress { done: sender, failure: failure.clone() }, Ahead { done: receiver, failure })
}

impl Progress {
    pub(super) fn succeeded(self) {
        self.done.send_replace(true);
    }

    /// Which addresses a request may reach depends on the request: that failure is not another's.
    pub(super) fn failed(self, error: UpstreamError) {
        if !matches!(error, UpstreamError::PrivateAddress(_) | UpstreamError::DeniedAddress(_)) {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), error));
        }
        self.done.send_replace(true);
    }
}

impl Ahead {
    pub(super) fn is_under_way(&self) -> bool {
        !*self.done.borrow() && self.done.has_changed().is_ok()
    }

    /// Waits for the end. One request is told of a failure; the next dials itself.
    pub(crate) async fn finished(&self) -> Result<(), UpstreamError> {
        // An error means that nobody dials any more.
        let _ = self.done.clone().wait_for(|done| *done).await;
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some((when, error)) if when.elapsed() < FRESH => Err(error),
            _ => Ok(()),
        }
    }
}
