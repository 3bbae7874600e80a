//! Which servers are believed to be who they say they are.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::libc;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

use super::pinned::{PinningVerifier, Use, usage};
use crate::{ServeError, config, tls};

const NO_ROOTS: &str = "this machine has no root certificates; install its ca-certificates";

/// The longest file of certificates that is read: a system's bundle has a quarter of a megabyte.
const MAX_FILE: u64 = 8 * 1024 * 1024;
/// The most files of one directory.
const MAX_FILES: usize = 1000;

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
    /// Reads the named files and directories at once, so that a wrong name is an error before the job starts.
    pub(super) fn new(config: &config::Trust) -> Result<Trust, ServeError> {
        let config::Trust::System { extra } = config;
        let mut certificates = Vec::new();
        for path in extra {
            let refuse = |reason: String| ServeError::UpstreamCa { path: path.clone(), reason };
            certificates.extend(read(path).map_err(refuse)?);
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

/// Reads the certificates of a file, or of the files of a directory.
fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    let files = if metadata.is_dir() { files_of(path)? } else { vec![path.to_owned()] };
    let mut certificates = Vec::new();
    for file in files {
        let in_file = |reason: String| match metadata.is_dir() {
            true => format!("{}: {reason}", file.display()),
            false => reason,
        };
        certificates.extend(read_file(&file).map_err(in_file)?);
    }
    // What is neither an authority's nor valid for a server now is of no use; one that is not valid yet may be later, but
    // says nothing about whether it may sign others.
    let algorithms = tls::crypto_provider().signature_verification_algorithms;
    let is_usable =
        |certificate: &CertificateDer<'_>| usage(certificate, &algorithms, UnixTime::now()) != Use::None;
    if certificates.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    if !certificates.iter().any(is_usable) {
        return Err("none of its certificates is valid now".to_owned());
    }
    Ok(certificates)
}

/// The files of a directory, in the order of their names; directories in it are left out.
fn files_of(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        // Directories of OpenSSL are full of links.
        if fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(format!("it holds more than {MAX_FILES} files"));
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| error.to_string())?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err("it is neither a file nor a directory".to_owned());
    }
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("it has more than {} MiB", MAX_FILE / 1024 / 1024));
    }
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|_| "it is not well-formed PEM".to_owned())?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|_| "one of its certificates cannot be read".to_owned())?;
    }
    Ok(certificates)
}

/// How many certificate authorities of this system upstream servers may chain to, or what to do about there being none.
pub fn system_roots() -> Result<usize, String> {
    let roots = system();
    if roots.is_empty() { Err(NO_ROOTS.to_owned()) } else { Ok(roots.len()) }
}

fn load(extra: Vec<CertificateDer<'static>>) -> Result<Clients, String> {
    let provider = tls::crypto_provider();
    let algorithms = provider.signature_verification_algorithms;
    let is_authority = |certificate: &&CertificateDer<'_>| {
        usage(certificate, &algorithms, UnixTime::now()) == Use::Authority
    };
    let mut roots = system();
    roots.add_parsable_certificates(extra.iter().filter(is_authority).cloned());
    if roots.is_empty() && extra.is_empty() {
        return Err(format!("{NO_ROOTS}, or give --upstream-ca"));
    }
    let roots: Option<Arc<dyn ServerCertVerifier>> = if roots.is_empty() {
        None
    } else {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Some(verifier.map_err(|error| error.to_string())?)
    };
    let verifier = match roots {
        Some(roots) if extra.is_empty() => roots,
        roots => Arc::new(PinningVerifier::new(extra, roots, algorithms)),
    };
    let client = |protocols: &[&[u8]]| {
        tls::toward_upstream(verifier.clone(), protocols).map(Arc::new).map_err(|error| error.to_string())
    };
    Ok(Clients { negotiated: client(&[tls::HTTP2, tls::HTTP1])?, http1: client(&[tls::HTTP1])? })
}

/// The system's bundle (or what SSL_CERT_FILE and SSL_CERT_DIR name).
fn system() -> RootCertStore {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "a part of the system's certificates cannot be read");
    }
    let mut roots = RootCertStore::empty();
    // Bundles in the field hold a certificate or two that no verifier can use.
    roots.add_parsable_certificates(system.certs);
    roots
}
