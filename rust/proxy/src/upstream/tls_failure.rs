//! Why a TLS handshake with a server failed, in words that say what to do.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// The most names of a certificate that an error repeats.
const NAMES: usize = 5;

/// Explains a failed handshake.
pub(super) fn explain(error: &io::Error) -> String {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) {
        Some(error) => explain_tls(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it closed the connection during the handshake".to_owned()
        }
        None => error.to_string(),
    }
}

fn explain_tls(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(problem) => explain_certificate(problem),
        Error::NoCertificatesPresented => "it shows no certificate".to_owned(),
        Error::AlertReceived(alert) => explain_alert(*alert),
        Error::InvalidMessage(_) => "it does not speak TLS on this port".to_owned(),
        Error::PeerIncompatible(_) => {
            "it offers no version or cipher of TLS that is accepted (TLS 1.2 and 1.3 are)".to_owned()
        }
        Error::PeerMisbehaved(_) | Error::InappropriateMessage { .. } => {
            "it does not keep to the protocol".to_owned()
        }
        Error::InappropriateHandshakeMessage { .. } => "it does not keep to the protocol".to_owned(),
        Error::NoApplicationProtocol => "it speaks neither HTTP/2 nor HTTP/1.1".to_owned(),
        Error::General(text) => text.clone(),
        _ => "the handshake failed".to_owned(),
    }
}

fn explain_certificate(problem: &CertificateError) -> String {
    let text = match problem {
        CertificateError::UnknownIssuer => {
            "its certificate is signed by nobody whom this machine trusts; if it is the right server, give the certificate \
             of its authority, or its own, by --upstream-ca"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; is this machine's clock right?"
        }
        CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            return format!("its certificate is for {}, not for this name", named(presented));
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is not for this name (names are read from subjectAltName)"
        }
        CertificateError::Revoked => "its certificate is revoked",
        CertificateError::BadSignature => "the signature of its certificate is wrong",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not made for servers (extendedKeyUsage)"
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::CaUsedAsEndEntity) => {
                "it shows the certificate of an authority (basicConstraints CA:TRUE), which is not trusted as a server's \
                 unless --upstream-ca names exactly this certificate"
            }
            Some(webpki::Error::UnsupportedCertVersion) => "its certificate is not of version 3",
            _ => "its certificate cannot be verified",
        },
        _ => "its certificate cannot be verified",
    };
    text.to_owned()
}

/// The names of a certificate. They are the server's words: no more than a few short ones.
fn named(presented: &[String]) -> String {
    let names: Vec<String> = presented
        .iter()
        .take(NAMES)
        .map(|name| name.chars().filter(|character| !character.is_control()).take(80).collect())
        .collect();
    let more = if presented.len() > NAMES { " and others" } else { "" };
    format!("{}{more}", names.join(", "))
}

fn explain_alert(alert: AlertDescription) -> String {
    let text = match alert {
        AlertDescription::HandshakeFailure => "it accepts none of the offered ciphers",
        AlertDescription::ProtocolVersion => "it accepts neither TLS 1.2 nor 1.3",
        AlertDescription::UnrecognisedName => "it does not know the name",
        AlertDescription::NoApplicationProtocol => "it speaks neither HTTP/2 nor HTTP/1.1",
        AlertDescription::CertificateRequired => "it asks for a client certificate",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "it does not accept the client's certificate, or asks for one"
        }
        AlertDescription::AccessDenied => "it denies access",
        other => return format!("it ended the handshake with alert {}", u8::from(other)),
    };
    text.to_owned()
}
