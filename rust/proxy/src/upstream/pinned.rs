//! Certificates of `--upstream-ca` that stand for one server: a certificate in such a file is trusted as exactly this end
//! certificate, beside what it signs if it is an authority's (`curl --cacert` does the same).

use std::collections::HashSet;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// Verifies certificates by the roots, and by the pins beside them.
#[derive(Debug)]
pub(super) struct PinningVerifier {
    pins: HashSet<CertificateDer<'static>>,
    /// `None` if there is no root.
    roots: Option<Arc<dyn ServerCertVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It is an authority's.
    Authority,
    /// It is not an authority's.
    EndOnly,
    /// It is not valid now, or cannot be read.
    None,
}

impl PinningVerifier {
    pub(super) fn new(
        pins: Vec<CertificateDer<'static>>,
        roots: Option<Arc<dyn ServerCertVerifier>>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> PinningVerifier {
        PinningVerifier { pins: pins.into_iter().collect(), roots, algorithms }
    }

    fn verify_pinned(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if usage(certificate, &self.algorithms, now) == Use::None {
            return Err(CertificateError::Expired.into());
        }
        let certificate = EndEntityCert::try_from(certificate).map_err(|_| CertificateError::BadEncoding)?;
        match certificate.verify_is_valid_for_subject_name(name) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(_) => Err(CertificateError::NotValidForName.into()),
        }
    }
}

impl ServerCertVerifier for PinningVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.pins.contains(end_entity) {
            return self.verify_pinned(end_entity, server_name, now);
        }
        match &self.roots {
            Some(roots) => {
                roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Returns what a certificate may be used for at this time.
///
/// It is verified against itself: time and purpose are judged before its issuer is looked for.
pub(super) fn usage(
    certificate: &CertificateDer<'_>,
    algorithms: &WebPkiSupportedAlgorithms,
    now: UnixTime,
) -> Use {
    let Ok(anchor) = anchor_from_trusted_cert(certificate) else { return Use::None };
    // Certificates of version 1 know no extensions: such a root is an authority's, and no end certificate of today is.
    let end = match EndEntityCert::try_from(certificate) {
        Ok(end) => end,
        Err(webpki::Error::UnsupportedCertVersion) => return Use::Authority,
        Err(_) => return Use::None,
    };
    match end.verify_for_usage(algorithms.all, &[anchor], &[], now, KeyUsage::server_auth(), None, None) {
        Err(webpki::Error::CaUsedAsEndEntity) => Use::Authority,
        Err(
            webpki::Error::CertExpired { .. }
            | webpki::Error::CertNotValidYet { .. }
            | webpki::Error::InvalidCertValidity
            | webpki::Error::RequiredEkuNotFoundContext(_)
            | webpki::Error::BadDer,
        ) => Use::None,
        // Who has signed it does not matter: it is this certificate that is trusted.
        Ok(_) | Err(_) => Use::EndOnly,
    }
}
