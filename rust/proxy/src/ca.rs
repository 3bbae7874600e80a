//! The certificate authority of one job: made at its start, gone with its proxy; the key never leaves memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use policy::Host;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::tls;

/// Clocks inside and outside may disagree a little, and verifiers insist.
const BACKDATED: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The jail's trust is laid once, at its start: longer than any service goes on without one.
const CA_VALID: Duration = DAY.saturating_mul(10 * 365);
/// Verifiers insist on leaves that do not live long. At half of it a fresh one is made.
const LEAF_VALID: Duration = DAY.saturating_mul(7);
/// Minting costs microseconds: when this many names are held, all are forgotten rather than ranked.
const LEAVES: usize = 512;

/// A certificate authority that only one job trusts.
pub struct JobCa {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    provider: Arc<CryptoProvider>,
    leaf_key: KeyPair,
    template: ServerConfig,
    leaves: Mutex<HashMap<Host, Leaf>>,
}

struct Leaf {
    minted: SystemTime,
    config: Arc<ServerConfig>,
}

/// Why there is no certificate authority.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the job's certificate authority: {0}")]
pub struct CaError(String);

impl JobCa {
    /// Makes a fresh one.
    pub fn generate() -> Result<JobCa, CaError> {
        let provider = tls::crypto_provider();
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = parameters("nix-jail job CA", SystemTime::now(), CA_VALID, &provider)?;
        // Path length 0: what it signs can never sign.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok(JobCa {
            certificate_pem: certificate.pem(),
            issuer: Issuer::new(params, key),
            // One key for every leaf: they all live in this process, and a new one costs as much as the signature.
            leaf_key: KeyPair::generate().map_err(failed)?,
            template: tls::toward_the_job(provider.clone()).map_err(failed)?,
            provider,
            leaves: Mutex::default(),
        })
    }

    /// The certificate (not the key), for the jail's trust bundle.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// How to speak TLS as this host, and whether HTTP/2 is offered.
    pub(crate) fn server_config(&self, host: &Host, http2: bool) -> Result<Arc<ServerConfig>, CaError> {
        let config = self.server_config_at(host, SystemTime::now())?;
        if http2 {
            return Ok(config);
        }
        let mut config = ServerConfig::clone(&config);
        config.alpn_protocols.retain(|protocol| protocol != tls::HTTP2);
        Ok(Arc::new(config))
    }

    fn server_config_at(&self, host: &Host, now: SystemTime) -> Result<Arc<ServerConfig>, CaError> {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        // A leaf of the future is one from before the clock was set back.
        let fresh = |leaf: &&Leaf| now.duration_since(leaf.minted).is_ok_and(|age| age < LEAF_VALID / 2);
        if let Some(leaf) = leaves.get(host).filter(fresh) {
            return Ok(leaf.config.clone());
        }
        let mut config = self.template.clone();
        config.cert_resolver = Arc::new(SingleCertAndKey::from(self.mint(host, now)?));
        let config = Arc::new(config);
        if leaves.len() >= LEAVES {
            leaves.clear();
        }
        leaves.insert(host.clone(), Leaf { minted: now, config: config.clone() });
        Ok(config)
    }

    fn mint(&self, host: &Host, now: SystemTime) -> Result<CertifiedKey, CaError> {
        let mut params = parameters("nix-jail leaf", now, LEAF_VALID, &self.provider)?;
        params.subject_alt_names = vec![match host {
            Host::Name(name) => SanType::DnsName(name.as_str().try_into().map_err(failed)?),
            Host::Ip(address) => SanType::IpAddress(*address),
        }];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf: CertificateDer<'static> =
            params.signed_by(&self.leaf_key, &self.issuer).map_err(failed)?.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        CertifiedKey::from_der(vec![leaf], key, &self.provider).map_err(failed)
    }
}

fn parameters(
    common_name: &str,
    now: SystemTime,
    valid: Duration,
    provider: &CryptoProvider,
) -> Result<CertificateParams, CaError> {
    // The default serial is a hash of the key, which all leaves share; some clients refuse a serial seen twice.
    let mut serial = [0u8; 16];
    provider.secure_random.fill(&mut serial).map_err(|_| CaError("no randomness".into()))?;
    serial[0] &= 0x7f;

    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, common_name);
    let now = rcgen::date_time_ymd(1970, 1, 1) + now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = subject;
    params.not_before = now - BACKDATED;
    params.not_after = now + valid;
    Ok(params)
}

fn failed(error: impl std::fmt::Display) -> CaError {
    CaError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_kept_and_renewed_long_before_it_ends() {
        let ca = JobCa::generate().unwrap();
        let host: Host = "a.example".parse().unwrap();
        let start = SystemTime::now();
        let at = |days: u32| ca.server_config_at(&host, start + DAY * days).unwrap();
        let first = at(0);
        assert!(Arc::ptr_eq(&first, &at(3)));
        let second = at(4);
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &at(7)));
        assert!(!Arc::ptr_eq(&second, &at(0)), "the clock was set back: the leaf would not be valid yet");
    }
}
