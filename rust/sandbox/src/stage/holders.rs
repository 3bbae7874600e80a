//! Which processes of the job hold a file that they opened while it was not protected.
//!
//! Any descriptor counts, whatever it was opened for: one of a directory leads to what is in it, and one of a file can be
//! opened again for writing through /proc, both past the mount that protects the name. They are told by the mount that
//! they were opened on. A descriptor that is on its way through a socket is not found.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::mount::locate;

/// How often a holder is given time to close what it opened in good faith, and how much time.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);
/// More of a process's mappings are not read.
const LARGEST_MAPS: u64 = 16 << 20;

/// The first of the targets, each with the mount on which it was bare, that a process of the job holds and does not let
/// go of. Needs the job's /proc.
pub(super) fn remaining(bare: &[(PathBuf, u64)]) -> Option<PathBuf> {
    let mut held = None;
    for look in 0..LOOKS {
        held = held_by_any(bare);
        held.as_ref()?;
        if look + 1 < LOOKS {
            std::thread::sleep(PAUSE);
        }
    }
    held
}

fn held_by_any(bare: &[(PathBuf, u64)]) -> Option<PathBuf> {
    let numbers = |directory: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let is_number = |name: &[u8]| name.iter().all(u8::is_ascii_digit);
        entries.filter(|entry| is_number(entry.file_name().as_bytes())).map(|entry| entry.path()).collect()
    };
    // Threads may have descriptors and a working directory of their own.
    let tasks = numbers(Path::new("/proc")).into_iter().flat_map(|process| numbers(&process.join("task")));
    for task in tasks {
        let mut links = numbers(&task.join("fd"));
        links.extend(["cwd", "root"].map(|name| task.join(name)));
        let held =
            links.iter().find_map(|link| held_by_link(link, bare)).or_else(|| held_by_map(&task, bare));
        if held.is_some() {
            return held;
        }
    }
    None
}

/// What a link of /proc leads to, if that lies at or below a target and was opened on the mount where it was bare.
fn held_by_link(link: &Path, bare: &[(PathBuf, u64)]) -> Option<PathBuf> {
    let path = fs::read_link(link).ok()?;
    let (target, mount) = bare.iter().find(|(target, _)| path.starts_with(target))?;
    let directory = File::open(link.parent()?).ok()?;
    let name = CString::new(link.file_name()?.as_bytes()).ok()?;
    let located = locate(directory.as_fd(), &name).ok()??;
    (located.mount == *mount).then(|| target.clone())
}

/// A shared mapping writes to its file, and outlives the descriptor. On which mount it was made is not said.
fn held_by_map(task: &Path, bare: &[(PathBuf, u64)]) -> Option<PathBuf> {
    let mut maps = Vec::new();
    File::open(task.join("maps")).ok()?.take(LARGEST_MAPS).read_to_end(&mut maps).ok()?;
    maps.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
        let is_shared = fields.nth(1)?.get(3) == Some(&b's');
        // The path is the sixth field and may hold blanks.
        let start = line.iter().position(|byte| *byte == b'/').filter(|_| is_shared)?;
        let path = Path::new(std::ffi::OsStr::from_bytes(line.get(start..)?));
        bare.iter().find(|(target, _)| path.starts_with(target)).map(|(target, _)| target.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_holds_is_found_until_it_lets_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap().join("file");
        fs::write(&path, "x").unwrap();
        let file = File::open(&path).unwrap();
        let Some(located) = locate(file.as_fd(), c"").unwrap() else {
            crate::skip::report("the kernel does not say on which mount a file is");
            return;
        };
        let bare = [(path.clone(), located.mount)];
        let elsewhere = [(path.clone(), u64::MAX)];
        assert_eq!(held_by_any(&bare), Some(path.clone()));
        assert_eq!(held_by_any(&elsewhere), None);
        assert!(remaining(&[(directory.path().canonicalize().unwrap(), located.mount)]).is_some());
        drop(file);
        assert_eq!(held_by_any(&bare), None);
    }
}
