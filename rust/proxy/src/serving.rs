//! A job's proxy under its present terms. Other terms are another [`Job`] on the same sockets.

use std::sync::Arc;
use std::time::Duration;

use policy::RequestPath;
use secrecy::SecretString;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::audit::Audit;
use crate::budget::Budget;
use crate::ca::JobCa;
use crate::config::{self, Config, Limits, Listeners, Mode, Terms};
use crate::dns::{self, Names};
use crate::job::Job;
use crate::keeper::Keeper;
use crate::upstream::Upstream;
use crate::{ServeError, ingress};

/// What goes on serving whatever the terms.
pub(crate) struct Serving {
    listeners: Listeners,
    lasting: Lasting,
    current: Current,
}

/// What stays the same from one set of terms to the next.
struct Lasting {
    mode: Mode,
    upstream: config::Upstream,
    limits: Limits,
    ca: Arc<JobCa>,
    audit: Arc<dyn Audit>,
    names: Arc<Names>,
    password: Option<SecretString>,
    places: Arc<Semaphore>,
    budget: Arc<Budget>,
}

/// The job under one set of terms.
struct Current {
    job: Arc<Job>,
    close: watch::Sender<bool>,
}

impl Serving {
    /// Takes over the sockets. Connections that come from here on wait in them until the runtime runs. Call it inside
    /// the runtime.
    pub(crate) fn start(listeners: Listeners, config: Config) -> Result<Serving, ServeError> {
        let Config { policy, mode, credentials, upstream, limits, ca, audit, password } = config;
        let places = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
        let (ca, names) = (Arc::new(ca), Arc::new(Names::default()));
        let budget = Arc::new(Budget::new(limits.memory));
        let lasting = Lasting { mode, upstream, limits, ca, audit, names, password, places, budget };
        let current = Current::new(Terms { policy, credentials }, &lasting)?;
        current.listen(&listeners, &lasting.places)?;
        Ok(Serving { listeners, lasting, current })
    }

    /// Goes on under other terms, or, with an error, under the ones that were.
    pub(crate) fn change(&mut self, terms: Terms) -> Result<(), ServeError> {
        let ports = terms.policy.extra_ports();
        if let Some(port) = ports.into_iter().find(|port| !self.listeners.serve(*port)) {
            return Err(ServeError::NoListener { port });
        }
        let next = Current::new(terms, &self.lasting)?;
        next.listen(&self.listeners, &self.lasting.places)?;
        let last = std::mem::replace(&mut self.current, next);
        last.close.send_replace(true);
        Ok(())
    }

    /// Forgets what nobody uses any more.
    pub(crate) fn sweep(&self) {
        self.current.job.upstream.sweep();
    }

    /// Accepts nothing more and waits for what is under way, at most this long.
    pub(crate) async fn stop(self, grace: Duration) {
        let Serving { listeners, lasting, current } = self;
        drop(listeners);
        current.close.send_replace(true);
        // Every connection holds one place until it is through.
        let all = u32::try_from(lasting.limits.connections).unwrap_or(u32::MAX);
        if timeout(grace, lasting.places.acquire_many(all)).await.is_err() {
            tracing::debug!("requests were under way when the proxy stopped");
        }
        current.job.keeper.settle().await;
    }
}

impl Current {
    fn new(terms: Terms, lasting: &Lasting) -> Result<Current, ServeError> {
        let policy = Arc::new(terms.policy);
        let upstream =
            Upstream::new(lasting.upstream.clone(), &lasting.limits, policy.clone(), lasting.budget.clone())?;
        let upstream = Arc::new(upstream);
        let keeper = Keeper::new(terms.credentials, upstream.clone(), policy.clone())?;
        let (close, closing) = watch::channel(false);
        let job = Arc::new(Job {
            policy,
            mode: lasting.mode,
            keeper: Arc::new(keeper),
            budget: lasting.budget.clone(),
            upstream,
            limits: lasting.limits.clone(),
            ca: lasting.ca.clone(),
            audit: lasting.audit.clone(),
            names: lasting.names.clone(),
            password: lasting.password.clone(),
            root: RequestPath::parse("/")?,
            requests: Arc::new(Semaphore::new(lasting.limits.requests.min(Semaphore::MAX_PERMITS))),
            closing,
        });
        Ok(Current { job, close })
    }

    /// Serves copies of the sockets: the next terms will need them too.
    fn listen(&self, listeners: &Listeners, places: &Arc<Semaphore>) -> Result<(), ServeError> {
        let job = || self.job.clone();
        let copy = |listener: &std::net::TcpListener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener.try_clone()?)
        };
        for (port, transparent) in &listeners.transparent {
            let listener = copy(transparent)?;
            tokio::spawn(ingress::serve_transparent(job(), *port, listener, places.clone()));
        }
        if let Some(explicit) = &listeners.explicit {
            tokio::spawn(ingress::serve_explicit(job(), copy(explicit)?, places.clone()));
        }
        if let Some(socket) = &listeners.dns_udp {
            dns::prepare(socket)?;
            tokio::spawn(dns::serve_udp(job(), UdpSocket::from_std(socket.try_clone()?)?));
        }
        if let Some(dns_tcp) = &listeners.dns_tcp {
            tokio::spawn(dns::serve_tcp(job(), copy(dns_tcp)?, places.clone()));
        }
        Ok(())
    }
}
