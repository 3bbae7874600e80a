//! The certificate authority of one job: made at its start, gone with its proxy; the key never leaves memory.

/// A certificate authority that only one job trusts.
pub struct JobCa {}

/// Why there is no certificate authority.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the job's certificate authority: {0}")]
pub struct CaError(String);

impl JobCa {
    /// Makes a fresh one.
    pub fn generate() -> Result<JobCa, CaError> {
        todo!()
    }

    /// The certificate (not the key), for the jail's trust bundle.
    pub fn certificate_pem(&self) -> &str {
        todo!()
    }
}
