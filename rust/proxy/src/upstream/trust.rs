//! Which servers are believed to be who they say they are.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

use crate::{ServeError, config, tls};

const NO_ROOTS: &str = "this machine has no root certificates; install its ca-certificates";

/// The roots, read when the first TLS connection needs them: a job without one does not pay for the system's bundle.
pub(super) struct Trust {
    extra: Vec<CertificateDer<'static>>,
    clients: OnceCell<Clients>,
}

/// How to speak TLS to the outside.
pub(super) struct Clients {
    pub(super) negotiated: Arc<ClientConfig>,
    pub(super) http1: Arc<ClientConfig>,
}

impl Trust {
    /// Reads the named files at once, so that a wrong name is an error before the job starts.
    pub(super) fn new(config: &config::Trust) -> Result<Trust, ServeError> {
        let config::Trust::System { extra } = config;
        let mut certificates = Vec::new();
        for path in extra {
            certificates.extend(read(path)?);
        }
        Ok(Trust { extra: certificates, clients: OnceCell::new() })
    }

    /// The clients, or why there are none.
    pub(super) async fn clients(&self) -> Result<&Clients, String> {
        let load = || async {
            let extra = self.extra.clone();
            tokio::task::spawn_blocking(move || load(extra)).await.map_err(|error| error.to_string())?
        };
        self.clients.get_or_try_init(load).await
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    let refuse = |reason: String| ServeError::UpstreamCa { path: path.to_owned(), reason };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| refuse(error.to_string()))?;
    if certificates.is_empty() {
        return Err(refuse("it holds no certificate".into()));
    }
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|error| refuse(error.to_string()))?;
    }
    Ok(certificates)
}

/// How many certificate authorities of this system upstream servers may chain to, or what to do about there being none.
pub fn system_roots() -> Result<usize, String> {
    let roots = roots(Vec::new());
    if roots.is_empty() { Err(NO_ROOTS.to_owned()) } else { Ok(roots.len()) }
}

fn load(extra: Vec<CertificateDer<'static>>) -> Result<Clients, String> {
    let roots = Arc::new(roots(extra));
    if roots.is_empty() {
        return Err(format!("{NO_ROOTS}, or give --upstream-ca"));
    }
    let client = |protocols: &[&[u8]]| {
        tls::toward_upstream(roots.clone(), protocols).map(Arc::new).map_err(|error| error.to_string())
    };
    Ok(Clients { negotiated: client(&[tls::HTTP2, tls::HTTP1])?, http1: client(&[tls::HTTP1])? })
}

/// The system's bundle (or what SSL_CERT_FILE and SSL_CERT_DIR name) and more.
fn roots(extra: Vec<CertificateDer<'static>>) -> RootCertStore {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "a part of the system's certificates cannot be read");
    }
    let mut roots = RootCertStore::empty();
    // Bundles in the field hold a certificate or two that no verifier can use.
    roots.add_parsable_certificates(system.certs.into_iter().chain(extra));
    roots
}
