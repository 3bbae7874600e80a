//! Landlock as a second lock: what the mounts forbid is forbidden again, and files outside of the tree (a descriptor
//! that came in somehow) too. Best effort: the mounts and the namespaces do not depend on it.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};

use crate::backend::Error;

/// The newest version whose meaning is known here; older kernels take what they know of it.
const KNOWN: ABI = ABI::V6;

/// Restricts this process: everything may be read and run, and written only beneath these paths.
pub(crate) fn restrict(writable: &[PathBuf]) -> Result<(), Error> {
    let failed = |error: RulesetError| Error::Landlock(error.to_string());
    rules(writable)
        .and_then(|rules| rules.set_compatibility(CompatLevel::BestEffort).restrict_self())
        .map(drop)
        .map_err(failed)
}

fn rules(writable: &[PathBuf]) -> Result<RulesetCreated, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        // Only the job's own processes get its signals, and only they its abstract sockets.
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    rules = allow(rules, Path::new("/"), false)?;
    for path in writable {
        rules = allow(rules, path, true)?;
    }
    Ok(rules)
}

fn allow(rules: RulesetCreated, path: &Path, write: bool) -> Result<RulesetCreated, RulesetError> {
    // A place that a later entry has covered is no place to write.
    let Ok(opened) = PathFd::new(path) else { return Ok(rules) };
    let mut access = if write { AccessFs::from_all(KNOWN) } else { AccessFs::from_read(KNOWN) };
    if !path.is_dir() {
        access &= AccessFs::from_file(KNOWN);
    }
    rules.add_rule(PathBeneath::new(opened, access))
}
