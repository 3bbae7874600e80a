//! Where in a job's processes a text is, seen from outside, where nothing is hidden.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;

use nix::unistd::{Pid, SysconfVar, sysconf};

/// A part of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// `/proc/PID/environ`.
    Environment,
    /// `/proc/PID/cmdline`.
    CommandLine,
    /// What it may write in its memory.
    Memory,
}

/// Looks for `text` in the environment, the command line and the memory of each process.
pub(crate) fn places(text: &str, processes: &[Pid]) -> BTreeSet<Place> {
    let mut found = BTreeSet::new();
    for process in processes {
        for (place, name) in [(Place::Environment, "environ"), (Place::CommandLine, "cmdline")] {
            let bytes = fs::read(format!("/proc/{process}/{name}")).unwrap_or_default();
            found.extend(holds(&bytes, text).then_some(place));
        }
        found.extend(memory_holds(*process, text).unwrap_or(false).then_some(Place::Memory));
    }
    found
}

fn memory_holds(process: Pid, text: &str) -> std::io::Result<bool> {
    const STEP: u64 = 1 << 20;
    let open = |name: &str| File::open(format!("/proc/{process}/{name}"));
    let (memory, pages) = (open("mem")?, open("pagemap")?);
    // Steps overlap, so that a border hides nothing.
    let mut bytes = vec![0; STEP as usize + text.len()];
    for line in BufReader::new(open("maps")?).lines() {
        let Some((start, end)) = writable(&line?) else { continue };
        let mut position = start;
        while position < end {
            if is_present(&pages, position, STEP) {
                let wanted = bytes.len().min((end - position) as usize);
                let read = memory.read_at(&mut bytes[..wanted], position).unwrap_or(0);
                if holds(&bytes[..read], text) {
                    return Ok(true);
                }
            }
            position += STEP;
        }
    }
    Ok(false)
}

/// The addresses of a line of `maps`, if the process may write there.
fn writable(line: &str) -> Option<(u64, u64)> {
    let (span, rest) = line.split_once(' ')?;
    let (start, end) = span.split_once('-').filter(|_| rest.starts_with("rw"))?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

/// Whether anything was ever written in this span: JavaScript engines reserve many gigabytes that they never touch,
/// and reading those would make them real.
fn is_present(pages: &File, position: u64, length: u64) -> bool {
    let page = sysconf(SysconfVar::PAGE_SIZE).unwrap().unwrap() as u64;
    let mut entries = vec![0; (length / page) as usize * 8];
    let read = pages.read_at(&mut entries, position / page * 8).unwrap_or(0);
    // The two highest bits: in memory, in the swap space.
    entries[..read].chunks_exact(8).any(|entry| entry[7] & 0xc0 != 0)
}

/// Whether the bytes hold the text.
pub(super) fn holds(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}
