//! What a connection to a server holds.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::budget::{Budget, Grant};

/// What a connection to a server holds of the job's limits.
pub(crate) struct UpstreamPermit {
    pub(super) _place: OwnedSemaphorePermit,
    pub(super) memory: Grant,
    pub(super) budget: Arc<Budget>,
}

impl UpstreamPermit {
    pub(super) fn budget(&self) -> Arc<Budget> {
        self.budget.clone()
    }

    /// The receive window of a connection that turns out to speak HTTP/2.
    pub(super) fn download_window(&mut self) -> u32 {
        self.budget.download_window(&mut self.memory)
    }
}
