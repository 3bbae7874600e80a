//! Programs that npm installed: the package around the program, and the packages it depends on.

use std::path::Path;

use serde::Deserialize;

use super::choice::{Chooser, Role};
use super::tree::Located;
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

/// More than any package.json holds.
const MAX_MANIFEST: u64 = 4 << 20;

/// Adds the package that holds the program, if one does.
pub(super) fn add(host: &mut Host<'_>, program: &Located) -> Result<(), ResolveError> {
    let Some(package) = holding(host, program)? else { return Ok(()) };
    let mut pending = vec![package];
    while let Some(package) = pending.pop() {
        if !host.packages.insert(package.path.clone()) {
            continue;
        }
        host.directory(&package)?;
        pending.extend(dependencies(host, &package));
    }
    Ok(())
}

/// The nearest directory with a package.json that names a package.
fn holding(host: &mut Host<'_>, program: &Located) -> Result<Option<Located>, ResolveError> {
    let real = &program.path;
    // Programs of the system are not npm's, and above their directories there is nothing to find.
    let Some(directory) = real.parent() else { return Ok(None) };
    if ["/usr/bin", "/usr/local/bin", "/usr/sbin", "/bin"].iter().any(|plain| directory == Path::new(plain)) {
        return Ok(None);
    }
    let mut above: Vec<&Path> = real.ancestors().skip(1).collect();
    // A job that removes its own package.json does not make the directories around the workspace a package.
    if let Some(place) = host.tree.place(real) {
        above.retain(|directory| directory.starts_with(place));
    }
    for directory in above {
        if directory.ends_with("node_modules") || host.tree.check(directory).is_err() {
            break;
        }
        let names_a_package = |manifest: Manifest| manifest.name.is_some();
        if manifest(host, directory, &program.chooser).is_some_and(names_a_package) {
            let found = host.tree.locate(directory, &program.chooser)?;
            // A program that a job has chosen is one file, and not the operator's project around it.
            return Ok(found.filter(|found| host.tree.admit(found, Role::Data).is_ok()));
        }
    }
    Ok(None)
}

fn manifest(host: &mut Host<'_>, directory: &Path, chooser: &Chooser) -> Option<Manifest> {
    let text = host.tree.read(&directory.join("package.json"), chooser, MAX_MANIFEST)?;
    serde_json::from_slice(&text).ok()
}

/// The packages that this one imports, where Node.js would find them: in the nearest node_modules that has them.
fn dependencies(host: &mut Host<'_>, package: &Located) -> Vec<Located> {
    let writer = host.tree.writer(package);
    let manifest = manifest(host, &package.path, &writer).unwrap_or_default();
    let names = manifest.dependencies.keys().chain(manifest.optional_dependencies.keys());
    let mut found = Vec::new();
    for name in names.chain(manifest.peer_dependencies.keys()) {
        if !name.split('/').all(|part| !part.is_empty() && !part.starts_with('.')) {
            continue;
        }
        if !host.may_look_further() {
            break;
        }
        let places = package.path.ancestors().filter(|above| !above.ends_with("node_modules"));
        for place in places.map(|above| above.join("node_modules").join(name)) {
            let admitted = host.tree.locate(&place, &writer).and_then(|located| {
                let located = located.filter(Located::is_directory);
                located.as_ref().map_or(Ok(()), |located| host.tree.admit(located, Role::Data))?;
                Ok(located)
            });
            match admitted {
                Ok(None) => {}
                Ok(Some(located)) => {
                    host.tree.insert_links(&located);
                    found.push(located);
                    break;
                }
                Err(error) => host.leave_out(&error),
            }
        }
    }
    found
}
