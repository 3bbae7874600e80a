//! What a jail's proxy tells the job's unit, by a file that systemd passes on: nothing secret.

use std::fs;
use std::path::Path;

use sandbox::unit::NetworkId;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::units::HANDOVER;

/// What the job needs of its proxy.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Handover {
    /// The job's id.
    pub(super) id: String,
    /// The dummies by variable.
    pub(super) dummies: Vec<(String, String)>,
    /// What git in the jail is told.
    pub(super) git: Vec<(String, String)>,
    /// The certificate to trust, in PEM form.
    pub(super) certificate: String,
    /// The host's network.
    pub(super) host: NetworkId,
    /// The network that the proxy serves.
    pub(super) jail: NetworkId,
}

impl Handover {
    /// Writes it to the proxy's own directory.
    pub(super) fn write(&self, directory: &Path) -> Result<(), Failure> {
        let path = directory.join(HANDOVER);
        let written =
            serde_json::to_vec(self).map_err(std::io::Error::from).and_then(|json| fs::write(&path, json));
        written.map_err(|error| Failure::no_jail(format!("cannot write {}: {error}", path.display())))
    }

    /// Reads it from the job's credentials.
    pub(super) fn read(directory: &Path) -> Result<Handover, Failure> {
        let path = directory.join(HANDOVER);
        let read =
            fs::read(&path).and_then(|json| serde_json::from_slice(&json).map_err(std::io::Error::from));
        read.map_err(|error| {
            Failure::no_jail(format!(
                "cannot read {}, which the jail's proxy writes: {error}",
                path.display()
            ))
        })
    }
}
