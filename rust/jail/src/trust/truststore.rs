//! A PKCS#12 store of trusted certificates, as the JVM reads it: without password, so without any cryptography.
//!
//! RFC 7292: PFX → AuthenticatedSafe → SafeContents → one CertBag per certificate. All of it is public, and the file is
//! read-only in the jail: a MAC with a well-known password would protect nothing.

use rustls_pki_types::CertificateDer;

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const EXPLICIT_0: u8 = 0xa0;

/// 1.2.840.113549.1.7.1, data.
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// 1.2.840.113549.1.12.10.1.3, certBag.
const CERT_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x03];
/// 1.2.840.113549.1.9.22.1, x509Certificate.
const X509_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
/// 1.2.840.113549.1.9.20, friendlyName: the alias.
const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x14];
/// 2.16.840.1.113894.746875.1.1, Oracle's trustedKeyUsage: without it Java takes no certificate for trusted.
const TRUSTED_KEY_USAGE: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 0x01, 0x01];
/// 2.5.29.37.0, anyExtendedKeyUsage.
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];

/// The store with these certificates.
pub(super) fn encode(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    let bags: Vec<u8> =
        certificates.iter().enumerate().flat_map(|(number, certificate)| bag(number, certificate)).collect();
    let safe = content(&value(SEQUENCE, &bags));
    let authenticated_safe = value(SEQUENCE, &safe);
    let version = value(INTEGER, &[3]);
    value(SEQUENCE, &[version, content(&authenticated_safe)].concat())
}

/// ContentInfo of type data.
fn content(inner: &[u8]) -> Vec<u8> {
    let data = value(EXPLICIT_0, &value(OCTET_STRING, inner));
    value(SEQUENCE, &[value(OBJECT_IDENTIFIER, DATA), data].concat())
}

/// SafeBag with a CertBag.
fn bag(number: usize, certificate: &CertificateDer<'_>) -> Vec<u8> {
    let octets = value(EXPLICIT_0, &value(OCTET_STRING, certificate));
    let cert_bag = value(SEQUENCE, &[value(OBJECT_IDENTIFIER, X509_CERTIFICATE), octets].concat());
    let alias: Vec<u8> = format!("jail-{number}").encode_utf16().flat_map(u16::to_be_bytes).collect();
    let attributes = [
        attribute(FRIENDLY_NAME, &value(BMP_STRING, &alias)),
        attribute(TRUSTED_KEY_USAGE, &value(OBJECT_IDENTIFIER, ANY_USAGE)),
    ];
    let bag =
        [value(OBJECT_IDENTIFIER, CERT_BAG), value(EXPLICIT_0, &cert_bag), value(SET, &attributes.concat())];
    value(SEQUENCE, &bag.concat())
}

fn attribute(identifier: &[u8], inner: &[u8]) -> Vec<u8> {
    value(SEQUENCE, &[value(OBJECT_IDENTIFIER, identifier), value(SET, inner)].concat())
}

/// Tag, length, contents.
fn value(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut encoded = vec![tag];
    match u8::try_from(contents.len()) {
        Ok(length) if length < 0x80 => encoded.push(length),
        _ => {
            let length = contents.len().to_be_bytes();
            let significant = length.iter().position(|byte| *byte != 0).unwrap_or(length.len());
            let length = &length[significant..];
            encoded.push(0x80 | u8::try_from(length.len()).unwrap_or_default());
            encoded.extend_from_slice(length);
        }
    }
    encoded.extend_from_slice(contents);
    encoded
}
