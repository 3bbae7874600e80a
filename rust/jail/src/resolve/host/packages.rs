//! Programs that npm installed: the package around the program, and the packages it depends on.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Host, ResolveError};

/// The part of package.json that says what is needed.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Manifest {
    name: Option<String>,
    dependencies: serde_json::Map<String, serde_json::Value>,
    optional_dependencies: serde_json::Map<String, serde_json::Value>,
    peer_dependencies: serde_json::Map<String, serde_json::Value>,
}

/// Adds the package that holds the file `real`, if one does.
pub(super) fn add(host: &mut Host<'_>, real: &Path) -> Result<(), ResolveError> {
    let Some(package) = holding(host, real) else { return Ok(()) };
    let mut pending = vec![package];
    while let Some(package) = pending.pop() {
        if !host.packages.insert(package.clone()) {
            continue;
        }
        host.directory(&package)?;
        pending.extend(dependencies(host, &package)?);
    }
    Ok(())
}

/// The nearest directory with a package.json that names a package.
fn holding(host: &Host<'_>, real: &Path) -> Option<PathBuf> {
    // Programs of the system are not npm's, and above their directories there is nothing to find.
    let directory = real.parent()?;
    if ["/usr/bin", "/usr/local/bin", "/usr/sbin", "/bin"].iter().any(|plain| directory == Path::new(plain)) {
        return None;
    }
    real.ancestors()
        .skip(1)
        .take_while(|directory| !directory.ends_with("node_modules") && host.tree.check(directory).is_ok())
        .find(|directory| manifest(directory).is_some_and(|manifest| manifest.name.is_some()))
        .map(Path::to_owned)
}

fn manifest(directory: &Path) -> Option<Manifest> {
    serde_json::from_slice(&std::fs::read(directory.join("package.json")).ok()?).ok()
}

/// The packages that this one imports, where Node.js would find them: in the nearest node_modules that has them.
fn dependencies(host: &mut Host<'_>, package: &Path) -> Result<Vec<PathBuf>, ResolveError> {
    let manifest = manifest(package).unwrap_or_default();
    let names = manifest.dependencies.keys().chain(manifest.optional_dependencies.keys());
    let mut found = Vec::new();
    for name in names.chain(manifest.peer_dependencies.keys()) {
        let is_package = name.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
        let places = package.ancestors().filter(|above| !above.ends_with("node_modules"));
        let place = places.map(|above| above.join("node_modules").join(name)).find(|place| place.is_dir());
        if let Some(place) = place.filter(|_| is_package) {
            found.push(host.tree.walk(&place)?);
        }
    }
    Ok(found)
}
