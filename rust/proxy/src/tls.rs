//! Which TLS is spoken, on either side.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
#[cfg(feature = "aws-lc-rs")]
use rustls::crypto::aws_lc_rs as cryptography;
#[cfg(not(feature = "aws-lc-rs"))]
use rustls::crypto::ring as cryptography;
use rustls::server::ResolvesServerCertUsingSni;
use rustls::{CipherSuite, ClientConfig, ServerConfig};

/// HTTP/2 and HTTP/1.1, by preference.
pub(crate) const HTTP2: &[u8] = b"h2";
pub(crate) const HTTP1: &[u8] = b"http/1.1";

/// The cryptography of this process; always named, never a process-wide default that another crate may have set.
pub fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(cryptography::default_provider())
}

/// The server side, whose bytes never leave the machine: what is cheapest goes first. The certificate is filled in
/// per host.
pub(crate) fn toward_the_job(provider: Arc<CryptoProvider>) -> Result<ServerConfig, rustls::Error> {
    let mut provider = CryptoProvider::clone(&provider);
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    let provider = Arc::new(provider);
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
    config.alpn_protocols = vec![HTTP2.into(), HTTP1.into()];
    config.ignore_client_order = true;
    config.ticketer = cryptography::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// The client side. The verifier decides whom to trust: the roots, and single certificates that the operator names.
pub(crate) fn toward_upstream(
    verifier: Arc<dyn ServerCertVerifier>,
    protocols: &[&[u8]],
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}
