//! The proxy of one job.
//!
//! It serves listening sockets that the sandbox bound inside the job's network namespace, enforces the job's policy,
//! replaces dummy tokens by real ones in requests, and real ones by dummies in responses. It knows nothing about sandboxes.
//!
//! ```text
//! client ─► ingress ──► exchange ────────────────────────────────► upstream ─► server
//!            TLS, h1/h2  │ authority_bind: one name                  │ resolve, address guard,
//!            CONNECT     │ policy: decide (git: read the push)       │ connection pool
//!                        │ keeper, swap: dummy → real token          │
//! client ◄───────────────┴─ redact: real token → dummy ◄─────────────┘
//!                        └─► audit: one event for each request
//! ```
//! - `serving`: the listeners, and a change of the configuration while requests are in progress
//! - `dns`: answers every name with a synthetic address
//! - `rejection`: responses of the proxy itself; every denial has a `policy::Reason`
//! - `body`: bodies on their way, read no faster than the other side takes them
//! - `budget`: the memory that a job can make the proxy hold
//! - `ca`: the job's own certificate authority
#![forbid(unsafe_code)]

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!(
    "the proxy needs one cryptography: build with the feature `aws-lc-rs` (the default) or `ring`"
);

pub mod audit;
pub mod ca;
pub mod config;
mod spelling;
pub mod swap;

mod authority_bind;
mod body;
mod budget;
mod denial;
mod dns;
mod exchange;
mod fields;
mod git;
mod ingress;
mod job;
mod keeper;
mod record;
mod rejection;
mod serve_error;
mod serving;
mod tls;
mod upstream;
mod upstream_proxy;

use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use config::{Config, Listeners, Terms};
use serving::Serving;

pub use serve_error::ServeError;
pub use tls::crypto_provider;
pub use upstream::system_roots;

/// How often connections that nobody uses any more are looked for.
const SWEEP: Duration = Duration::from_secs(15);

/// A proxy at work on a thread of its own. Dropping it stops the proxy without grace.
#[derive(Debug)]
pub struct ProxyHandle {
    orders: mpsc::UnboundedSender<Order>,
    thread: JoinHandle<()>,
}

/// What the proxy's thread can be told.
enum Order {
    /// Other terms from now on; the answer is whether they are.
    Change(Terms, Answer<Result<(), ServeError>>),
    /// Say that you are at work.
    Report(Answer<()>),
    /// Stop, with this much grace.
    Stop(Duration),
}

/// Somebody waits for one answer.
type Answer<T> = std::sync::mpsc::SyncSender<T>;

/// Starts serving; returns when every listener is registered.
pub fn serve(listeners: Listeners, config: Config) -> Result<ProxyHandle, ServeError> {
    // One thread: a proxy of one job is seldom the bottleneck, and 20 jobs on a machine bring 20 of them.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let serving = {
        let _inside = runtime.enter();
        Serving::start(listeners, config)?
    };
    let (orders, given) = mpsc::unbounded_channel();
    let thread = thread::Builder::new().name("proxy".into()).spawn(move || {
        runtime.block_on(work(serving, given));
        // A name look-up that hangs must not hang us.
        runtime.shutdown_background();
    })?;
    Ok(ProxyHandle { orders, thread })
}

impl ProxyHandle {
    /// Goes on under other terms: new connections and requests at once; requests under way end as they began, tunnels
    /// and WebSockets end now. After an error everything is as it was.
    pub fn change(&self, terms: Terms) -> Result<(), ServeError> {
        let stopped = || ServeError::Io(std::io::Error::other("it is not running any more"));
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        self.orders.send(Order::Change(terms, answer)).map_err(|_| stopped())?;
        answered.recv().map_err(|_| stopped())?
    }

    /// Whether the proxy's thread gets to its work within this time.
    pub fn is_at_work(&self, within: Duration) -> bool {
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        self.orders.send(Order::Report(answer)).is_ok() && answered.recv_timeout(within).is_ok()
    }

    /// Stops accepting, gives requests under way this long, closes everything and joins the thread.
    pub fn shutdown(self, grace: Duration) {
        // An error means that the thread is at its end already.
        let _ = self.orders.send(Order::Stop(grace));
        if self.thread.join().is_err() {
            tracing::error!("the proxy's thread panicked; please report this");
        }
    }
}

/// Does what it is told and sweeps, until it is told to stop; then waits for what is under way.
async fn work(mut serving: Serving, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let grace = loop {
        tokio::select! {
            order = orders.recv() => match order {
                // Whoever asked may have stopped waiting; that changes nothing.
                Some(Order::Change(terms, answer)) => drop(answer.send(serving.change(terms))),
                Some(Order::Report(answer)) => drop(answer.send(())),
                Some(Order::Stop(grace)) => break grace,
                // The handle was dropped: nobody waits for anything.
                None => break Duration::ZERO,
            },
            _ = ticks.tick() => serving.sweep(),
        }
    };
    serving.stop(grace).await;
}
