//! What a declared jail's proxy enforces, at its start and again at each reload.

use policy::Policy;
use proxy::config::{Credential, Terms};

use super::{nobody, specification};
use crate::credentials;
use crate::failure::Failure;
use crate::secrets::dummy::Dummies;
use crate::spec::JailSpec;
use crate::units;

/// The jail as it is declared, the secrets read.
pub(super) fn first(name: &str) -> Result<(JailSpec, Terms), Failure> {
    let spec = units::loaded(&specification(name)?);
    let policy = Policy::new(spec.rules.clone()).map_err(Failure::usage)?;
    let found = credentials::read(&spec, &policy, false, &nobody("/".into()))?;
    let policy = policy.without_credentials(|name| !found.iter().any(|found| found.name() == name));
    let credentials = credentials::prepare(found, &policy, false, Dummies::OfJob, &nobody("/".into()))?;
    Ok((spec, Terms { policy, credentials }))
}

/// The jail as it is declared now, with the dummies that its job has, and the secrets as they were.
pub(super) fn again(name: &str, known: &[Credential]) -> Result<Terms, Failure> {
    let spec = units::loaded(&specification(name)?);
    let policy = Policy::new(spec.rules.clone()).map_err(Failure::usage)?;
    let policy = policy.without_credentials(|name| !known.iter().any(|known| known.name == name));
    let fresh = spec.credentials.iter().find(|declared| {
        !declared.optional
            && declared.group.is_none()
            && known.iter().all(|known| known.name != declared.variable)
    });
    if let Some(fresh) = fresh {
        return Err(Failure::usage(format!(
            "credential {} is new, and its dummy is not in the jail yet; restart the jail instead",
            fresh.variable
        )));
    }
    let mut credentials = Vec::new();
    for known in known {
        let Some(declared) = spec.credentials.iter().find(|declared| declared.variable == known.name) else {
            return Err(Failure::usage(format!(
                "credential {} is gone, and its dummy is still in the jail; restart the jail instead",
                known.name
            )));
        };
        credentials.push(credentials::placed(known, declared, &policy)?);
    }
    Ok(Terms { policy, credentials })
}
