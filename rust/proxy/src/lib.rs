//! The proxy of one job.
//!
//! It serves listening sockets that somebody else bound (inside the job's network namespace), enforces the job's
//! policy, swaps dummy tokens for real ones on the way out and real ones for dummies on the way in. It knows nothing
//! about sandboxes.
#![forbid(unsafe_code)]

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!(
    "the proxy needs one cryptography: build with the feature `aws-lc-rs` (the default) or `ring`"
);

pub mod audit;
pub mod ca;
pub mod config;
pub mod redact;
pub mod swap;

mod authority_bind;
mod denial;
mod dns;
mod exchange;
mod git;
mod ingress;
mod job;
mod keeper;
mod tls;
mod upstream;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use policy::RequestPath;
use tokio::net::{TcpListener, UdpSocket};
use tokio::runtime::{self, Runtime};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use config::{Config, Listeners};
use dns::Names;
use job::Job;
use keeper::Keeper;
use upstream::Upstream;

pub use tls::crypto_provider;
pub use upstream::system_roots;

/// How often connections that nobody uses any more are looked for.
const SWEEP: Duration = Duration::from_secs(15);

/// A proxy at work on a thread of its own. Dropping it stops the proxy without grace.
#[derive(Debug)]
pub struct ProxyHandle {
    stop: oneshot::Sender<Duration>,
    thread: JoinHandle<()>,
}

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The runtime or a listener could not be set up.
    #[error("cannot start the proxy: {0}")]
    Io(#[from] std::io::Error),
    /// A file of `--upstream-ca` is not what it should be.
    #[error(
        "cannot use {path} as upstream certificates: {reason}; it must be a readable PEM file of CA certificates"
    )]
    UpstreamCa {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The credentials contradict each other.
    #[error("cannot use the credentials: {0}")]
    Vault(#[from] swap::VaultError),
    /// The policy crate does not know the root path; a bug of ours.
    #[error("cannot start the proxy: {0}")]
    Path(#[from] policy::PathError),
}

/// Starts serving; returns when every listener is registered.
pub fn serve(listeners: Listeners, config: Config) -> Result<ProxyHandle, ServeError> {
    let policy = Arc::new(config.policy);
    let upstream = Arc::new(Upstream::new(config.upstream, &config.limits, policy.clone())?);
    let keeper = Keeper::new(config.credentials, upstream.clone(), policy.clone())?;
    let (close, closing) = watch::channel(false);
    let job = Arc::new(Job {
        policy,
        mode: config.mode,
        keeper: Arc::new(keeper),
        room: Arc::default(),
        upstream,
        limits: config.limits,
        ca: config.ca,
        audit: config.audit,
        names: Arc::new(Names::default()),
        password: config.password,
        root: RequestPath::parse("/")?,
        pushes: Arc::new(Semaphore::new(job::PUSHES)),
        closing,
    });
    // One thread: a proxy of one job is seldom the bottleneck, and 20 jobs on a machine bring 20 of them.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let places = Arc::new(Semaphore::new(job.limits.connections.min(Semaphore::MAX_PERMITS)));
    register(&runtime, listeners, &job, &places)?;

    let (stop, stopped) = oneshot::channel();
    let thread = thread::Builder::new().name("proxy".into()).spawn(move || {
        runtime.block_on(work(&job, stopped, close, &places));
        // A name look-up that hangs must not hang us.
        runtime.shutdown_background();
    })?;
    Ok(ProxyHandle { stop, thread })
}

impl ProxyHandle {
    /// Stops accepting, gives requests under way this long, closes everything and joins the thread.
    pub fn shutdown(self, grace: Duration) {
        // An error means that the thread is at its end already.
        let _ = self.stop.send(grace);
        if self.thread.join().is_err() {
            tracing::error!("the proxy's thread panicked; please report this");
        }
    }
}

/// Takes over the sockets. Connections that come from here on wait in them until the thread runs.
fn register(
    runtime: &Runtime,
    listeners: Listeners,
    job: &Arc<Job>,
    places: &Arc<Semaphore>,
) -> Result<(), ServeError> {
    let _inside = runtime.enter();
    let listener = |listener: std::net::TcpListener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    for (port, transparent) in listeners.transparent {
        runtime.spawn(ingress::serve_transparent(job.clone(), port, listener(transparent)?, places.clone()));
    }
    if let Some(explicit) = listeners.explicit {
        runtime.spawn(ingress::serve_explicit(job.clone(), listener(explicit)?, places.clone()));
    }
    if let Some(socket) = listeners.dns_udp {
        dns::prepare(&socket)?;
        runtime.spawn(dns::serve_udp(job.clone(), UdpSocket::from_std(socket)?));
    }
    if let Some(dns_tcp) = listeners.dns_tcp {
        runtime.spawn(dns::serve_tcp(job.clone(), listener(dns_tcp)?, places.clone()));
    }
    Ok(())
}

/// Sweeps until it is told to stop, then waits for what is under way.
async fn work(
    job: &Job,
    stopped: oneshot::Receiver<Duration>,
    close: watch::Sender<bool>,
    places: &Semaphore,
) {
    let sweep = async {
        let mut ticks = interval(SWEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            job.upstream.sweep();
        }
    };
    let grace = tokio::select! {
        // The handle was dropped: nobody waits for anything.
        told = stopped => told.unwrap_or_default(),
        () = sweep => Duration::ZERO,
    };
    close.send_replace(true);
    // Every connection holds one place until it is through.
    let all = u32::try_from(job.limits.connections).unwrap_or(u32::MAX);
    if timeout(grace, places.acquire_many(all)).await.is_err() {
        tracing::debug!("requests were under way when the proxy stopped");
    }
    job.keeper.settle().await;
}
