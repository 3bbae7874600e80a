//! Stores a renewed login, and goes on trying where that fails: its old tokens are spent.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::Live;
use crate::config::{self, Held};

/// How long after a failure storing is tried again: this long at first, then twice as long each time.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);
/// The longest of these delays.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);
/// How often the end of a job tries it, with the shortest delay in between.
const MAX_FINAL_ATTEMPTS: usize = 5;

/// A login whose tokens the server has replaced, and the right to store the new ones.
pub(super) struct Unstored {
    pub(super) turn: Box<dyn config::Turn>,
    /// The spent tokens, as they are stored.
    pub(super) old: Held,
    pub(super) new: Held,
}

impl Live {
    /// Stores a new login. Where that fails, requests use it from memory while a task goes on trying.
    pub(super) async fn store(self: &Arc<Self>, unstored: Unstored) {
        *self.unstored.lock().await = Some(unstored);
        let Err(why) = self.store_again().await else { return };
        tracing::warn!(
            credential = self.name,
            why,
            "the renewed login cannot be stored yet; it is tried again"
        );
        let live = self.clone();
        tokio::spawn(async move {
            let mut delay = MIN_RETRY_DELAY;
            loop {
                sleep(delay).await;
                if live.store_again().await.is_ok() {
                    tracing::warn!(credential = live.name, "the renewed login is stored now");
                    return;
                }
                delay = (delay * 2).min(MAX_RETRY_DELAY);
            }
        });
    }

    /// Stores the login that is not stored yet, if there is one.
    pub(super) async fn store_again(&self) -> Result<(), String> {
        let mut place = self.unstored.lock().await;
        let Some(mut unstored) = place.take() else { return Ok(()) };
        let attempt = tokio::task::spawn_blocking(move || {
            // `Ok(false)`: the operator has logged in by hand meanwhile, and that login is the newer one.
            let outcome = unstored.turn.replace(&unstored.old, &unstored.new).map(drop);
            (outcome, unstored)
        });
        let (outcome, unstored) = attempt.await.map_err(|error| error.to_string())?;
        if outcome.is_err() {
            *place = Some(unstored);
        }
        outcome
    }

    /// The same at the end of the job, with the connections of the job closed.
    pub(super) async fn store_at_last(&self) {
        for attempt in 1..=MAX_FINAL_ATTEMPTS {
            let Err(why) = self.store_again().await else { return };
            if attempt < MAX_FINAL_ATTEMPTS {
                sleep(MIN_RETRY_DELAY).await;
                continue;
            }
            let cure = self.oauth.as_ref().map(|oauth| oauth.cure.as_str()).unwrap_or_default();
            tracing::warn!(
                credential = self.name,
                why,
                cure,
                "the renewed login is lost: it could not be stored; log in again"
            );
        }
    }
}
