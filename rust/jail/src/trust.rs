//! The jail's trust: its own proxy's CA in the places where programs look for certificates.

mod truststore;

use std::path::{Path, PathBuf};

use policy::{Policy, Scheme};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sandbox::plan::Entry;

/// The bundle that the variables name.
pub(crate) const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Where else programs have a bundle's path built in: Nix and NixOS, Fedora, OpenSSL's default file, SUSE.
const BUNDLE_LINKS: &[&str] = &[
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];
/// The JVM's form of it.
const TRUSTSTORE: &str = "/etc/ssl/certs/java/cacerts.p12";
/// Where Debian's and Fedora's Java have it built in: there it works without the variable.
const TRUSTSTORE_LINKS: &[&str] =
    &["/etc/ssl/certs/java/cacerts", "/etc/pki/ca-trust/extracted/java/cacerts"];

/// The host's bundles, of which the first that exists is the system's.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// Why there are no trust files.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// A text that should hold certificates.
    #[error("{what} holds no certificates in PEM form ({error}); name a file with at least one")]
    Pem {
        /// Which.
        what: String,
        /// Why.
        error: rustls_pki_types::pem::Error,
    },
    /// The system's bundle was asked for and there is none.
    #[error(
        "the certificates of real servers are to be checked, and this host has no bundle for that ({looked}); install your system's ca-certificates package"
    )]
    NoSystemRoots {
        /// Where it was looked for.
        looked: String,
    },
    /// It is there and cannot be read.
    #[error("cannot read {path}: {error}; make it readable", path = .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// The bundle files of a jail whose proxy signs with `job_ca` (PEM).
///
/// `opaque`: the policy has `tcp` rules. Their connections end at the real servers, so that the system's roots come
/// beside the job's CA; without such rules nobody else's signature is worth anything inside.
pub(crate) fn files(job_ca: &str, opaque: bool) -> Result<Vec<Entry>, TrustError> {
    let mut certificates = certificates(job_ca, "the job's CA")?;
    let mut bundle = job_ca.trim_end().to_owned() + "\n";
    if opaque {
        let (path, roots) = system_roots(SYSTEM_BUNDLES)?;
        certificates.extend(self::certificates(&roots, &path.display().to_string())?);
        bundle.push_str(&roots);
    }
    let mut entries =
        vec![file(BUNDLE, bundle.into_bytes()), file(TRUSTSTORE, truststore::encode(&certificates))];
    entries.extend(BUNDLE_LINKS.iter().map(|target| link(target, BUNDLE)));
    entries.extend(TRUSTSTORE_LINKS.iter().map(|target| link(target, TRUSTSTORE)));
    Ok(entries)
}

/// The places in which programs look, as links to files of these names in another directory.
#[cfg(target_os = "linux")]
pub(crate) fn links(directory: &Path) -> Vec<Entry> {
    let places = [(BUNDLE, BUNDLE_LINKS), (TRUSTSTORE, TRUSTSTORE_LINKS)];
    let mut entries = Vec::new();
    for (place, others) in places {
        let file = directory.join(Path::new(place).file_name().unwrap_or_default());
        entries.push(Entry::Symlink { target: place.into(), to: file });
        entries.extend(others.iter().map(|target| link(target, place)));
    }
    entries
}

/// Whether a policy has `tcp` rules, behind which programs see the certificates of real servers.
pub(crate) fn sees_real_servers(policy: &Policy) -> bool {
    policy.rules().iter().any(|rule| rule.scheme() == Scheme::Tcp)
}

/// The host's own bundle.
#[cfg(target_os = "linux")]
pub(crate) fn system_bundle() -> Result<String, TrustError> {
    system_roots(SYSTEM_BUNDLES).map(|(_, roots)| roots)
}

/// The certificates of a file.
#[cfg(target_os = "linux")]
pub(crate) fn bundle(path: &Path) -> Result<String, TrustError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| TrustError::Unreadable { path: path.to_owned(), error })?;
    certificates(&text, &path.display().to_string())?;
    Ok(text.trim_end().to_owned() + "\n")
}

/// The first of the host's own bundles that exists.
fn system_roots(candidates: &[&str]) -> Result<(PathBuf, String), TrustError> {
    let path = candidates
        .iter()
        .map(Path::new)
        .find(|path| path.exists())
        .ok_or_else(|| TrustError::NoSystemRoots { looked: candidates.join(", ") })?;
    match std::fs::read_to_string(path) {
        Ok(roots) => Ok((path.to_owned(), roots)),
        Err(error) => Err(TrustError::Unreadable { path: path.to_owned(), error }),
    }
}

/// The variables that make programs use the bundle; `java`: whether a Java runtime is in the jail.
pub(crate) fn variables(java: bool) -> Vec<(&'static str, String)> {
    let mut variables: Vec<_> = BUNDLE_VARIABLES.iter().map(|name| (*name, BUNDLE.to_owned())).collect();
    if java {
        // Only then: the JVM prints a line about it at every start.
        let options =
            format!("-Djavax.net.ssl.trustStore={TRUSTSTORE} -Djavax.net.ssl.trustStoreType=PKCS12");
        variables.push(("JAVA_TOOL_OPTIONS", options));
    }
    variables
}

const BUNDLE_VARIABLES: &[&str] = &[
    "SSL_CERT_FILE",
    "NIX_SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
    "BUNDLE_SSL_CA_CERT",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
];

fn certificates(pem: &str, what: &str) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let error = |error| TrustError::Pem { what: what.to_owned(), error };
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(error)?;
    if found.is_empty() { Err(error(rustls_pki_types::pem::Error::NoItemsFound)) } else { Ok(found) }
}

fn file(target: &str, contents: Vec<u8>) -> Entry {
    Entry::File { target: PathBuf::from(target), contents, mode: 0o444 }
}

fn link(target: &str, to: &str) -> Entry {
    Entry::Symlink { target: PathBuf::from(target), to: PathBuf::from(to) }
}

#[cfg(test)]
mod tests;
