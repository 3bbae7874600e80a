//! `@system`: what the host's distribution has installed, for hosts whose programs lie in `/usr`.
//!
//! What packages install in `/usr` is public. `/usr/local` is the administrator's, or the operator's own: what is not for
//! everybody to read there is hidden.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox::beneath::{Budget, Kind, Limits, Metadata, Visit};
use sandbox::plan::Entry;

use super::choice::Chooser;
use super::{Host, Presence, ResolveError};

/// The name of the set.
pub(crate) const SYSTEM: &str = "@system";

/// The directories of programs, in the order of `PATH`.
const PROGRAMS: [&str; 6] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"];
/// Links into `/usr`, or directories of their own on older hosts.
const BESIDE: [&str; 7] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/libo32"];
/// Settings of programs and libraries that hold nothing private, by the beginning of their names in `/etc`. Not among them:
/// settings of package managers, of git, of the network, and keys.
const SETTINGS: [&str; 14] = [
    "ImageMagick",
    "alternatives",
    "fonts",
    "groff",
    "inputrc",
    "java",
    "ld.so.c",
    "magic",
    "manpath.config",
    "mime.types",
    "perl",
    "python",
    "ruby",
    "terminfo",
];
const LOCAL: &str = "/usr/local";
/// Each is a mount.
const MOST_HIDDEN: usize = 64;
/// More than this is not looked through: `/usr/local` is hidden then.
const LOCAL_LIMITS: Limits = Limits { entries: 200_000, depth: 64, time: Duration::from_secs(3) };

/// Returns true if the host has a distribution in `/usr`. NixOS has not: there is only `/usr/bin/env`.
pub(crate) fn is_there() -> bool {
    cfg!(target_os = "linux") && Path::new("/usr/lib").is_dir() && Path::new("/usr/bin").is_dir()
}

/// Adds everything.
pub(super) fn add(host: &mut Host<'_>) -> Result<(), ResolveError> {
    host.tree.insert_system(Path::new("/usr"))?;
    for path in BESIDE {
        host.tree.insert_system(Path::new(path))?;
    }
    for name in names_in(Path::new("/etc")) {
        if SETTINGS.iter().any(|known| name.starts_with(known)) {
            let path = Path::new("/etc").join(&name);
            if is_public(&path) {
                host.offer(&path, &Chooser::Operator, super::choice::Role::Data)?;
            }
        }
    }
    // In the usual order, also where a program of one of them was found before.
    host.path.retain(|known| PROGRAMS.iter().all(|directory| known != Path::new(directory)));
    for directory in PROGRAMS.map(Path::new).into_iter().filter(|path| path.is_dir()) {
        host.names.extend(names_in(directory).into_iter().map(Into::into));
        // Where /bin is a link to /usr/bin, one of them is enough.
        if !is_link(directory) {
            host.path.push(directory.to_owned());
        }
    }
    host.hidden.extend(hidden(host));
    // For the variables that it needs.
    host.program("java", Presence::Optional)
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_symlink())
}

fn is_public(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    path.metadata().is_ok_and(|found| {
        let needed = if found.is_dir() { 0o005 } else { 0o004 };
        found.mode() & needed == needed
    })
}

/// What lies over the private parts of `/usr/local`.
fn hidden(host: &Host<'_>) -> Vec<Entry> {
    let local = Path::new(LOCAL);
    let Ok(tree) = sandbox::beneath::Tree::open(local) else { return Vec::new() };
    let over = |path: PathBuf, kind: Kind| match kind {
        Kind::Directory => Entry::Directory { target: path, writable: true },
        _ => Entry::File { target: path, contents: Vec::new(), mode: 0o444 },
    };
    let mut entries = Vec::new();
    let mut is_complete = true;
    let walked = tree.walk(Path::new(""), &mut Budget::new(LOCAL_LIMITS), &mut |found| match found {
        Ok(found) if is_for_everybody(&found.metadata) => Visit::Descend,
        Ok(found) => {
            entries.push(over(local.join(&found.path), found.metadata.kind));
            Visit::Skip
        }
        // What the operator cannot look at, the job cannot either.
        Err(sandbox::beneath::BeneathError::System { error, .. })
            if host.operator.uid != 0 && error.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Visit::Skip
        }
        Err(_) => {
            is_complete = false;
            Visit::Stop
        }
    });
    match walked {
        Ok(_) if is_complete && entries.len() <= MOST_HIDDEN => entries,
        _ => vec![over(local.to_owned(), Kind::Directory)],
    }
}

fn is_for_everybody(metadata: &Metadata) -> bool {
    match metadata.kind {
        Kind::Directory => metadata.mode & 0o005 == 0o005,
        Kind::File => metadata.mode & 0o004 != 0,
        Kind::Link => true,
        // A socket, say, behind which somebody listens.
        Kind::Special => false,
    }
}
