//! Submodules: repositories in a work tree, whose commits the index of the repository around them names. `git status`
//! starts git in each of them, which obeys the settings that it finds there.
//!
//! An index is a job's to write: whatever it holds, reading it ends, and soon.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::read;

/// More work trees than this are not looked for.
const MOST: usize = 4096;
/// Larger than the indexes of the largest repositories, together.
const LARGEST: usize = 256 << 20;
const LARGEST_POINTER: usize = 64 << 10;

/// The work trees in a workspace that git finds by itself, relative to it: the workspace's own, and below it those of
/// submodules that are there, at any depth.
pub(super) fn work_trees(workspace: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    let mut waiting = VecDeque::from(found.clone());
    let mut left = LARGEST;
    while let Some(tree) = waiting.pop_front() {
        let is_there = |link: &Path| is_work_tree(workspace, &tree.join(link));
        for link in links(&git_directory(&workspace.join(&tree)), &is_there, &mut left) {
            let inner = tree.join(link);
            if found.len() < MOST && !found.contains(&inner) {
                found.push(inner.clone());
                waiting.push_back(inner);
            }
        }
    }
    found
}

/// Symbolic links on the way are not followed; git does not either.
fn is_work_tree(workspace: &Path, relative: &Path) -> bool {
    let mut path = workspace.to_owned();
    let is_directory = relative.components().all(|part| {
        path.push(part);
        matches!(part, Component::Normal(_))
            && path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
    });
    is_directory && path.join(".git").exists()
}

/// Where a work tree's repository is: in it, or where the file in its place points to.
fn git_directory(tree: &Path) -> PathBuf {
    let git = tree.join(".git");
    let Some(pointer) = read(&git, LARGEST_POINTER) else { return git };
    let target = pointer.strip_prefix(b"gitdir: ").unwrap_or_default().trim_ascii_end();
    tree.join(OsStr::from_bytes(target))
}

/// What the index of a repository names as submodules and is there; of an index in two files, both. No more than
/// `left` bytes are read, and taken off it.
fn links(git_directory: &Path, is_there: &dyn Fn(&Path) -> bool, left: &mut usize) -> Vec<PathBuf> {
    let mut links = Vec::new();
    let mut file = Some("index".to_owned());
    while let Some(name) = file {
        let index = read(&git_directory.join(&name), *left).unwrap_or_default();
        *left -= index.len();
        let shared = parse(&index, is_there, &mut links);
        file = shared.map(|shared| format!("sharedindex.{shared}")).filter(|_| name == "index");
    }
    links
}

/// Takes from an index what counts here of the format that gitformat-index(5) describes, as far as it can be read.
/// Returns the name of the file with the other entries, if there is one.
fn parse(index: &[u8], is_there: &dyn Fn(&Path) -> bool, links: &mut Vec<PathBuf>) -> Option<String> {
    const HEADER: usize = 12;
    const LINK: u32 = 0o160_000;
    let (header, mut rest) = index.split_at_checked(HEADER)?;
    let version = number(header.strip_prefix(b"DIRC")?, 0)?;
    let count = number(header, 8)?;
    // SHA-1 or SHA-256: the index does not say which.
    let is_right = |hash: &usize| entry(rest, version, *hash, Vec::new()).is_some();
    let hash = [20, 32].into_iter().find(is_right).unwrap_or(20);
    let mut name = Vec::new();
    for _ in 0..count {
        let (mode, full, length) = entry(rest, version, hash, name)?;
        rest = rest.get(length..)?;
        let path = Path::new(OsStr::from_bytes(&full));
        if mode == LINK && is_there(path) {
            links.push(path.to_owned());
        }
        name = full;
    }
    shared(rest, hash)
}

/// One entry's mode, its full name and how long it is; `before` is the name of the one before it.
fn entry(bytes: &[u8], version: u32, hash: usize, before: Vec<u8>) -> Option<(u32, Vec<u8>, usize)> {
    const MODE: usize = 24;
    const NUMBERS: usize = 40;
    const EXTENDED: u16 = 0x4000;
    /// Of the flags; a longer name has all bits set.
    const LENGTH: u16 = 0x0fff;
    let flags = u16::from_be_bytes(*bytes.get(NUMBERS + hash..)?.first_chunk()?);
    let mut position = NUMBERS + hash + if flags & EXTENDED == 0 { 2 } else { 4 };
    let mut name = Vec::new();
    if version == 4 {
        // Only what differs from the name before is there, and how much of that one's end goes.
        let (cut, length) = offset(bytes.get(position..)?)?;
        position += length;
        name = before;
        name.truncate(name.len().checked_sub(cut)?);
    }
    let tail = bytes.get(position..)?;
    let tail = tail.get(..tail.iter().position(|byte| *byte == 0)?)?;
    name.extend(tail);
    let end = position + tail.len() + 1;
    let agrees = usize::from(flags & LENGTH) == name.len().min(LENGTH.into());
    agrees.then_some((number(bytes, MODE)?, name, if version == 4 { end } else { end.next_multiple_of(8) }))
}

/// The file that the extension `link` names by its hash.
fn shared(mut extensions: &[u8], hash: usize) -> Option<String> {
    loop {
        let length = usize::try_from(number(extensions, 4)?).ok()?;
        let (head, rest) = extensions.split_at_checked(8)?;
        if head.starts_with(b"link") {
            return Some(rest.get(..hash)?.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        extensions = rest.get(length..)?;
    }
}

fn number(bytes: &[u8], position: usize) -> Option<u32> {
    bytes.get(position..)?.first_chunk().map(|four| u32::from_be_bytes(*four))
}

/// A number as packs have it: seven bits a byte, of several bytes each but the last one more than it says.
fn offset(bytes: &[u8]) -> Option<(usize, usize)> {
    const MORE: u8 = 0x80;
    let mut value = 0_usize;
    for (position, byte) in bytes.iter().enumerate() {
        value = value.checked_mul(MORE.into())? + usize::from(byte & !MORE);
        if byte & MORE == 0 {
            return Some((value, position + 1));
        }
        value += 1;
    }
    None
}
