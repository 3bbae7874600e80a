//! What a job may do, as a profile for Apple's sandbox: a pure function of the plan and what the host says.
//!
//! `(deny default)` first; after that the last rule that matches decides. No rule has a wildcard but those of
//! `system`, and none names anything of the user's beside what the plan gives.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::layout::{Grant, Layout};
use super::{sbpl, system};
use crate::backend::Error;
use crate::plan::Access;

/// How the job meets the world outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// The proxy's port on loopback, the one thing that the job may connect to.
    pub port: u16,
    /// The job's own pseudo-terminal, if it has one: the only difference between a job with and one without.
    pub terminal: Option<PathBuf>,
}

/// What a job does with files that it may write. Not in it: links, clones, access lists, set-user-id, mounts. A hard
/// link would be a second path to a protected file.
const WRITE: &str = "file-write-create file-write-data file-write-flags file-write-mode file-write-owner \
                     file-write-times file-write-unlink file-write-xattr";
/// What it does with files that it may read: to read and to run them.
const USE: &str = "file-read* file-map-executable process-exec*";

/// The profile.
pub fn of(layout: &Layout, ends: &Ends) -> Result<String, Error> {
    let mut text = String::from("(version 1)\n(deny default)\n");
    processes(&mut text);
    system(&mut text);
    ways(&mut text, layout)?;
    files(&mut text, &layout.grants)?;
    protections(&mut text, layout)?;
    shells(&mut text, layout)?;
    terminal(&mut text, ends)?;
    network(&mut text, ends.port);
    Ok(text)
}

/// The job's processes among themselves.
fn processes(text: &mut String) {
    text.push_str(
        "\n; The job's own processes, and nobody else's.\n\
         (allow process-fork)\n\
         (allow signal (target same-sandbox))\n\
         (allow process-info* (target same-sandbox))\n\
         (allow ipc-posix-sem)\n",
    );
}

fn system(text: &mut String) {
    text.push_str("\n; What every program of this system needs.\n");
    for (service, why) in system::SERVICES {
        let _ = writeln!(text, "(allow mach-lookup (global-name {})) ; {why}", sbpl::string(service));
    }
    for name in system::KERNEL_VALUES {
        let _ = writeln!(text, "(allow sysctl-read (sysctl-name {}))", sbpl::string(name));
    }
    for prefix in system::KERNEL_VALUE_PREFIXES {
        let _ = writeln!(text, "(allow sysctl-read (sysctl-name-prefix {}))", sbpl::string(prefix));
    }
    for (path, why) in system::LIBRARIES {
        let _ =
            writeln!(text, "(allow file-read* file-map-executable (subpath {})) ; {why}", sbpl::string(path));
    }
    for (path, why) in system::DATA {
        let _ = writeln!(text, "(allow file-read* (subpath {})) ; {why}", sbpl::string(path));
    }
    for (path, why) in system::FILES {
        let _ = writeln!(text, "(allow file-read* (literal {})) ; {why}", sbpl::string(path));
    }
    for device in system::DEVICES {
        let _ = writeln!(
            text,
            "(allow file-read* file-write-data file-ioctl (literal {}))",
            sbpl::string(device)
        );
    }
    text.push_str("(allow file-read* file-write-data (subpath \"/dev/fd\"))\n");
}

/// The names above what is granted: a program may learn that they exist, not what lies beside them.
fn ways(text: &mut String, layout: &Layout) -> Result<(), Error> {
    let mut ways: BTreeSet<&Path> = system::WAYS.iter().map(Path::new).collect();
    let ends = layout.grants.iter().map(|grant| &grant.path).chain(&layout.links);
    for path in ends {
        ways.extend(path.ancestors().skip(1));
    }
    text.push_str("\n; That these exist; not what is in them.\n");
    for way in ways {
        let _ = writeln!(text, "(allow file-read-metadata (literal {}))", sbpl::path(way)?);
    }
    for link in &layout.links {
        let _ = writeln!(text, "(allow file-read* (literal {}))", sbpl::path(link)?);
    }
    Ok(())
}

/// What the plan gives, in its order.
fn files(text: &mut String, grants: &[Grant]) -> Result<(), Error> {
    text.push_str("\n; The jail's files.\n");
    for (position, Grant { path, access }) in grants.iter().enumerate() {
        let lies_in_writable = is_writable_around(&grants[..position], path);
        let path = sbpl::path(path)?;
        match access {
            Access::ReadOnly => {
                let _ = writeln!(text, "(allow {USE} (subpath {path}))");
                if lies_in_writable {
                    let _ = writeln!(text, "(deny file-write* (subpath {path}))");
                }
            }
            Access::ReadWrite => {
                let _ = writeln!(text, "(allow {USE} {WRITE} (subpath {path}))");
            }
        }
    }
    Ok(())
}

/// What is read-only inside of something writable, present or not, under any spelling of its name, and the directories
/// above it, which could be moved away with it in them, or made with it in them elsewhere and moved here.
fn protections(text: &mut String, layout: &Layout) -> Result<(), Error> {
    text.push_str("\n; Files that run later on the host.\n");
    let mut pinned = BTreeSet::new();
    for (position, path) in protected(layout) {
        let Some((root, relative)) = writable_around(&layout.grants[..position], path) else { continue };
        for pattern in sbpl::any_case(root, relative)? {
            let _ = writeln!(text, "(deny file-write* (regex {pattern}))");
        }
        for above in relative.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            let [itself, _inside] = sbpl::any_case(root, above)?;
            pinned.insert(itself);
        }
    }
    for pattern in pinned {
        let _ = writeln!(text, "(deny file-write-create file-write-unlink (regex {pattern}))");
    }
    Ok(())
}

/// Each with the number of grants that come before it.
fn protected(layout: &Layout) -> impl Iterator<Item = (usize, &Path)> {
    let read_only = layout
        .grants
        .iter()
        .enumerate()
        .filter(|(_, grant)| grant.access == Access::ReadOnly)
        .map(|(position, grant)| (position, grant.path.as_path()));
    read_only.chain(layout.absent.iter().map(|path| (layout.grants.len(), path.as_path())))
}

/// Whether a path is, or lies in, something that was given to be written.
fn is_writable_around(grants: &[Grant], path: &Path) -> bool {
    grants.iter().any(|grant| grant.access == Access::ReadWrite && path.starts_with(&grant.path))
}

/// The outermost writable directory around a path, and the path from there.
fn writable_around<'a>(grants: &'a [Grant], path: &'a Path) -> Option<(&'a Path, &'a Path)> {
    let around = grants
        .iter()
        .filter(|grant| grant.access == Access::ReadWrite && grant.path != path)
        .filter_map(|grant| Some((grant.path.as_path(), path.strip_prefix(&grant.path).ok()?)));
    around.min_by_key(|(root, _)| root.as_os_str().len())
}

fn shells(text: &mut String, layout: &Layout) -> Result<(), Error> {
    let shell = if layout.shell { system::SHELL } else { &[] };
    let env = if layout.env { system::ENV } else { &[] };
    for program in shell.iter().chain(env) {
        let program = sbpl::path(Path::new(program))?;
        let _ = writeln!(text, "(allow {USE} (literal {program})) ; named by scripts");
    }
    Ok(())
}

/// The job's own terminal, and those that it makes: the kernel marks them with an extension, so that the user's other
/// terminals stay closed.
fn terminal(text: &mut String, ends: &Ends) -> Result<(), Error> {
    text.push_str(
        "\n; Terminals.\n\
         (allow pseudo-tty)\n\
         (allow file-read* file-write-data file-ioctl (literal \"/dev/ptmx\"))\n\
         (allow file-read* file-write-data file-ioctl\n  \
           (require-all (regex \"^/dev/ttys[0-9]+$\") (extension \"com.apple.sandbox.pty\")))\n",
    );
    if let Some(terminal) = &ends.terminal {
        let terminal = sbpl::path(terminal)?;
        let _ = writeln!(text, "(allow file-read* file-write-data file-ioctl (literal {terminal}))");
    }
    Ok(())
}

/// The job's proxy, and nothing else anywhere.
fn network(text: &mut String, port: u16) {
    text.push_str("\n; The job's proxy.\n");
    let _ = writeln!(text, "(allow network-outbound (remote ip \"localhost:{port}\"))");
}
