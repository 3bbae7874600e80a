//! `@system`: what the host's distribution has installed, for hosts whose programs lie in `/usr`.
//!
//! What packages install in `/usr` is public. `/usr/local` is the administrator's, or the operator's own: what is not for
//! everybody to read there is hidden, and so are homes and what jobs can write, wherever they lie.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox::beneath::{Budget, Kind, Limits, Metadata, Visit};
use sandbox::plan::Entry;

use super::choice::Chooser;
use super::{Host, Presence, ResolveError};
use crate::operator::Operator;

/// The name of the set.
pub(crate) const SYSTEM: &str = "@system";

/// The directories of programs, in the order of `PATH`.
const PROGRAMS: [&str; 6] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"];
/// Links into `/usr`, or directories of their own on older hosts.
const BESIDE: [&str; 7] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/libo32"];
/// What packages install in `/usr`; beside these, all `lib…`.
const INSTALLED: [&str; 6] = ["bin", "sbin", "share", "include", "games", "local"];
/// Settings of programs and libraries that hold nothing private, by their names in `/etc`, to which a version or a suffix
/// may be added. Not among them: settings of package managers, of git, of the network, and keys.
const SETTINGS: [&str; 15] = [
    "ImageMagick",
    "alternatives",
    "fonts",
    "groff",
    "inputrc",
    "java",
    "ld.so.cache",
    "ld.so.conf",
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
    for name in names_in(Path::new("/usr")).iter().filter(|name| is_installed(name)) {
        host.tree.insert_system(&Path::new("/usr").join(name))?;
    }
    for path in BESIDE {
        host.tree.insert_system(Path::new(path))?;
    }
    let mut searched = vec![PathBuf::from(LOCAL)];
    for name in names_in(Path::new("/etc")) {
        if SETTINGS.iter().any(|known| is_version_of(&name, known)) {
            let path = Path::new("/etc").join(&name);
            if is_public(&path) {
                host.offer(&path, &Chooser::Operator, super::choice::Role::Data)?;
                searched.push(path);
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
    for directory in searched {
        host.hidden.extend(hidden(&directory, host.operator.uid));
    }
    let personal = personal(host.operator);
    let personal = personal.into_iter().filter(|path| host.tree.is_of_system(path));
    host.hidden.extend(personal.map(|path| over(path, Kind::Directory)).collect::<Vec<_>>());
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

fn is_installed(name: &str) -> bool {
    name.starts_with("lib") || INSTALLED.contains(&name)
}

/// Whether a name in `/etc` is `known` itself, or that with a version or a suffix.
fn is_version_of(name: &str, known: &str) -> bool {
    let is_added =
        |rest: &str| rest.is_empty() || rest.starts_with(|it: char| "-.".contains(it) || it.is_ascii_digit());
    name.strip_prefix(known).is_some_and(is_added)
}

/// The directories that are the operator's own, or that jobs can write, without links. What the jail has of them is mounted
/// over it.
fn personal(operator: &Operator) -> Vec<PathBuf> {
    let own = [operator.home.clone(), operator.state(), operator.cache(), operator.config_home()];
    let all = own.into_iter().chain(operator.writable.iter().cloned());
    all.filter_map(|path| path.canonicalize().ok().filter(|path| path.is_dir())).collect()
}

pub(super) fn over(path: PathBuf, kind: Kind) -> Entry {
    match kind {
        Kind::Directory => Entry::Directory { target: path, writable: true },
        _ => Entry::File { target: path, contents: Vec::new(), mode: 0o444 },
    }
}

/// What lies over the private parts of a directory, `/usr/local` above all.
fn hidden(local: &Path, uid: u32) -> Vec<Entry> {
    // What is reached through a link is not in the jail by this path.
    if local.canonicalize().ok().as_deref() != Some(local) || !local.is_dir() {
        return Vec::new();
    }
    let Ok(tree) = sandbox::beneath::Tree::open(local) else { return Vec::new() };
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
            if uid != 0 && error.kind() == std::io::ErrorKind::PermissionDenied =>
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

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn only_what_packages_install_is_taken() {
        let taken = |name: &&str| is_installed(name);
        let names =
            ["bin", "sbin", "lib", "lib64", "libexec", "share", "local", "home", "src", "obj", "tests"];
        let expected = ["bin", "sbin", "lib", "lib64", "libexec", "share", "local"];
        assert_eq!(names.into_iter().filter(taken).collect::<Vec<_>>(), expected);
        for (name, known, expected) in [
            ("python3.11", "python", true),
            ("java-17-openjdk", "java", true),
            ("magic.mime", "magic", true),
            ("perl", "perl", true),
            ("perlbal", "perl", false),
            ("rubygems-keys", "ruby", false),
        ] {
            assert_eq!(is_version_of(name, known), expected, "{name}");
        }
    }

    #[test]
    fn what_is_not_for_everybody_is_hidden() {
        let place = tempfile::tempdir().unwrap();
        let local = place.path().canonicalize().unwrap().join("local");
        fs::create_dir_all(local.join("etc/private")).unwrap();
        fs::create_dir_all(local.join("bin")).unwrap();
        fs::write(local.join("bin/tool"), "").unwrap();
        fs::write(local.join("etc/token"), "secret").unwrap();
        fs::set_permissions(&local, Permissions::from_mode(0o755)).unwrap();
        for (path, mode) in [
            ("bin", 0o755),
            ("bin/tool", 0o755),
            ("etc", 0o755),
            ("etc/private", 0o700),
            ("etc/token", 0o600),
        ] {
            fs::set_permissions(local.join(path), Permissions::from_mode(mode)).unwrap();
        }
        let found: Vec<_> = hidden(&local, 0).iter().map(|entry| entry.target().to_owned()).collect();
        assert_eq!(found, [local.join("etc/private"), local.join("etc/token")]);
        symlink(&local, place.path().join("link")).unwrap();
        assert!(hidden(&place.path().join("link"), 0).is_empty());
    }

    #[test]
    fn homes_and_what_jobs_can_write_are_personal() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        let (home, project) = (place.join("home"), place.join("project"));
        fs::create_dir_all(home.join(".local/state/nix-jail")).unwrap();
        fs::create_dir_all(home.join(".config")).unwrap();
        fs::create_dir_all(&project).unwrap();
        let operator = Operator {
            environment: std::collections::HashMap::new(),
            directory: place.clone(),
            home: home.clone(),
            uid: 1000,
            writable: vec![project.clone()],
        };
        let expected = [home.clone(), home.join(".local/state/nix-jail"), home.join(".config"), project];
        assert_eq!(personal(&operator), expected);
    }
}
