//! The keyed hashes of Signature Version 4.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::zeroize::Zeroizing;
use sha2::{Digest, Sha256};

/// Signs for one day, region and service.
pub(crate) struct SigningKey(Zeroizing<[u8; 32]>);

impl SigningKey {
    /// The key of a secret access key for a scope `DATE/REGION/SERVICE/aws4_request`.
    pub(super) fn derive(secret: &str, scope: &str) -> SigningKey {
        let first = Zeroizing::new(format!("AWS4{secret}"));
        let mut key = Zeroizing::new([0; 32]);
        for (position, part) in scope.split('/').enumerate() {
            *key = if position == 0 {
                hmac(first.as_bytes(), part.as_bytes())
            } else {
                hmac(key.as_slice(), part.as_bytes())
            };
        }
        SigningKey(key)
    }

    /// The signature of a string to sign, in hexadecimal digits.
    pub(super) fn sign(&self, text: &str) -> String {
        hex(&hmac(self.0.as_slice(), text.as_bytes()))
    }
}

/// The hash of some bytes, in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Hashes bytes as they come.
#[derive(Default)]
pub(super) struct Hash(Sha256);

impl Hash {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    // A key of any length is taken, so that there is no error to come.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(text);
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
