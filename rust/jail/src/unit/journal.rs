//! What the job does on the network, one line of JSON per event on standard output, which is the journal.

use std::io::Write;

use proxy::audit::{Audit, Event};

/// Takes the proxy's events.
pub(super) struct Journal;

impl Audit for Journal {
    fn record(&self, event: &Event) {
        let written = serde_json::to_vec(event).map_err(std::io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            let mut out = std::io::stdout().lock();
            out.write_all(&line).and_then(|()| out.flush())
        });
        if let Err(error) = written {
            tracing::warn!(%error, "an event could not be written to the journal");
        }
    }
}
