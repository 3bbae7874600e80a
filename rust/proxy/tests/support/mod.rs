//! The language of these tests: a job's proxy, upstream servers, and clients that behave or do not.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_imports,
    reason = "each test file uses its own part"
)]

pub mod client;
pub mod upstream;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use policy::{Action, Policy, Rule};
use proxy::audit::{Audit, Event, What};
use proxy::ca::JobCa;
use proxy::config::{
    Config, Credential, Limits, Listeners, Mode, NoProxy, Origin, Proxies, Terms, Trust, Upstream,
};
use proxy::swap::CredentialLocation;
use proxy::{ProxyHandle, ServeError, serve};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub use client::*;
pub use upstream::*;

/// Long enough for a slow machine, short enough for a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A job's proxy on loopback.
pub struct Jail {
    handle: Option<ProxyHandle>,
    pub explicit: SocketAddr,
    /// Where connections to 443 and 80 would arrive.
    pub port443: SocketAddr,
    pub port80: SocketAddr,
    /// Where connections to a third port would arrive, if there is one.
    pub extra: Option<SocketAddr>,
    pub dns_udp: SocketAddr,
    pub dns_tcp: SocketAddr,
    pub roots: RootCertStore,
    pub ca_pem: String,
    log: Arc<Log>,
}

/// What a jail is to be.
pub struct JailBuilder {
    rules: Vec<Rule>,
    upstream: Upstream,
    limits: Limits,
    mode: Mode,
    credentials: Vec<Credential>,
    bind_to: &'static str,
    extra_port: Option<u16>,
    password: Option<String>,
}

/// TOKEN, for `a.test`.
pub fn token(dummy: &str, secret: &str) -> Credential {
    Credential {
        name: "TOKEN".into(),
        dummy: dummy.into(),
        secret: secret.to_owned().into(),
        hosts: vec!["a.test".parse().unwrap()],
        rules: None,
        places: vec![CredentialLocation::WellKnown],
        origin: Origin::Fixed,
        allow_foreign: false,
        redact: true,
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<Event>>);

impl Audit for Log {
    fn record(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Jail {
    /// Allows these rules and nothing else.
    pub fn allow(rules: &[&str]) -> JailBuilder {
        JailBuilder {
            rules: rules.iter().map(|rule| Rule::parse(Action::Allow, rule).unwrap()).collect(),
            upstream: Upstream {
                connect_to: Vec::new(),
                trust: Trust::System { extra: Vec::new() },
                proxy: Proxies::default(),
            },
            limits: Limits::default(),
            mode: Mode::Enforce,
            credentials: Vec::new(),
            bind_to: "127.0.0.1:0",
            extra_port: None,
            password: None,
        }
    }

    pub fn events(&self) -> Vec<Event> {
        self.log.0.lock().unwrap().clone()
    }

    /// The requests on record, as `(authority, path, denied, status)`.
    pub fn requests(&self) -> Vec<(String, String, Option<String>, Option<u16>)> {
        self.events()
            .into_iter()
            .filter_map(|event| match event.what {
                What::Request { authority, path, denied, status, .. } => {
                    Some((authority, path, denied, status))
                }
                What::Connection { .. } | What::Truncated => None,
            })
            .collect()
    }

    /// Waits until an event answers the question.
    pub async fn wait_for(&self, question: impl Fn(&What) -> bool) -> What {
        let found = async {
            loop {
                if let Some(event) = self.events().into_iter().find(|event| question(&event.what)) {
                    return event.what;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(what) => what,
            Err(_) => panic!("no such event in {:#?}", self.events()),
        }
    }

    /// Waits until a connection was refused for this reason.
    pub async fn connection_denied(&self, reason: &str) {
        self.wait_for(|what| matches!(what, What::Connection { denied, .. } if denied == reason)).await;
    }

    /// Goes on under these rules alone.
    pub fn change(&self, rules: &[&str]) -> Result<(), ServeError> {
        let rules = rules.iter().map(|rule| Rule::parse(Action::Allow, rule).unwrap()).collect();
        let terms = Terms { policy: Policy::new(rules).unwrap(), credentials: Vec::new() };
        self.handle.as_ref().unwrap().change(terms)
    }

    pub fn is_at_work(&self, within: Duration) -> bool {
        self.handle.as_ref().unwrap().is_at_work(within)
    }

    pub fn shutdown(mut self, grace: Duration) {
        self.handle.take().unwrap().shutdown(grace);
    }
}

impl JailBuilder {
    pub fn deny_first(mut self, rule: &str) -> JailBuilder {
        self.rules.insert(0, Rule::parse(Action::Deny, rule).unwrap());
        self
    }

    /// `--connect-to`, with the certificate to believe.
    pub fn to(mut self, authority: &str, server: &Server) -> JailBuilder {
        self.upstream.connect_to.push((policy::Authority::parse(authority, None).unwrap(), server.address));
        self.trusting(server)
    }

    pub fn trusting(mut self, server: &Server) -> JailBuilder {
        let Trust::System { extra } = &mut self.upstream.trust;
        if let Some(ca) = &server.ca_file {
            extra.push(ca.path().to_owned());
        }
        self
    }

    /// `--upstream-ca`.
    pub fn trusting_file(mut self, path: &std::path::Path) -> JailBuilder {
        let Trust::System { extra } = &mut self.upstream.trust;
        extra.push(path.to_owned());
        self
    }

    /// `--upstream-proxy`, with the list of `NO_PROXY`.
    pub fn upstream_proxy(mut self, address: &str, except: &str) -> JailBuilder {
        self.upstream.proxy = Proxies::all(address.parse().unwrap(), NoProxy::parse(except));
        self
    }

    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> JailBuilder {
        change(&mut self.limits);
        self
    }

    pub fn learn(mut self) -> JailBuilder {
        self.mode = Mode::Learn;
        self
    }

    pub fn credential(mut self, credential: Credential) -> JailBuilder {
        self.credentials.push(credential);
        self
    }

    /// Asks clients of the explicit proxy for it.
    pub fn password(mut self, password: &str) -> JailBuilder {
        self.password = Some(password.to_owned());
        self
    }

    /// Listens on every address, as in a jail, and for a third port.
    pub fn everywhere(mut self, extra_port: u16) -> JailBuilder {
        self.bind_to = "[::]:0";
        self.extra_port = Some(extra_port);
        self
    }

    pub fn start(self) -> Jail {
        let tcp = || TcpListener::bind(self.bind_to).unwrap();
        let (port443, port80, explicit, dns_tcp) = (tcp(), tcp(), tcp(), tcp());
        let dns_udp = UdpSocket::bind(self.bind_to).unwrap();
        let extra = self.extra_port.map(|port| (port, tcp()));
        let ca = JobCa::generate().unwrap();
        let ca_pem = ca.certificate_pem().to_owned();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
        let log = Arc::new(Log::default());
        let mut jail = Jail {
            handle: None,
            explicit: explicit.local_addr().unwrap(),
            port443: port443.local_addr().unwrap(),
            port80: port80.local_addr().unwrap(),
            extra: extra.as_ref().map(|(_, listener)| listener.local_addr().unwrap()),
            dns_udp: dns_udp.local_addr().unwrap(),
            dns_tcp: dns_tcp.local_addr().unwrap(),
            roots,
            ca_pem,
            log: log.clone(),
        };
        let listeners = Listeners {
            transparent: [(443, port443), (80, port80)].into_iter().chain(extra).collect(),
            explicit: Some(explicit),
            dns_udp: Some(dns_udp),
            dns_tcp: Some(dns_tcp),
        };
        let config = Config {
            policy: Policy::new(self.rules).unwrap(),
            mode: self.mode,
            credentials: self.credentials,
            upstream: self.upstream,
            limits: self.limits,
            ca,
            audit: log,
            password: self.password.map(Into::into),
        };
        jail.handle = Some(serve(listeners, config).unwrap());
        jail
    }
}
