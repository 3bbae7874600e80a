//! A layer of an image: a tar archive that depends on nothing but what is in it. Sorted, without owners and times.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox::beneath::{self, Budget, Kind, Limits};
use sandbox::plan::Entry;

use crate::failure::Failure;

/// A file tree as it will be in an image.
#[derive(Debug)]
pub(super) struct Tree {
    /// By absolute path; a directory comes before what is in it.
    nodes: BTreeMap<PathBuf, Node>,
    /// Where files are copied from.
    host: beneath::Tree,
    budget: Budget,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Directory,
    Link(PathBuf),
    Text {
        contents: Vec<u8>,
        executable: bool,
    },
    /// A file of this host.
    Copy {
        source: PathBuf,
        executable: bool,
    },
}

/// The second after the epoch, as in the Nix store: some programs take 0 for no time at all.
const TIME: u64 = 1;
const BLOCK: usize = 512;
/// What fits into the fixed fields; longer ones are in a record before the file's own.
const MAX_NAME: usize = 100;
/// Limits for the files of an image, far above those of any program.
const LIMITS: Limits = Limits { entries: 4_000_000, depth: MAX_DEPTH, time: Duration::from_secs(600) };
const MAX_DEPTH: usize = 256;
/// As the kernel has it.
const MAX_LINKS: usize = 40;

impl Tree {
    /// The entries of a jail's tree, in order; a later one lies on top of an earlier one.
    pub(super) fn of(entries: &[Entry]) -> Result<Tree, Failure> {
        let host = beneath::Tree::open(Path::new("/")).map_err(Failure::no_jail)?;
        let mut tree = Tree { nodes: BTreeMap::new(), host, budget: Budget::new(LIMITS) };
        for entry in entries {
            match entry {
                Entry::Directory { target, .. } => tree.put(target, Node::Directory)?,
                Entry::Symlink { target, to } => tree.put(target, Node::Link(to.clone()))?,
                Entry::File { target, contents, mode } => {
                    let executable = mode & 0o111 != 0;
                    tree.put(target, Node::Text { contents: contents.clone(), executable })?;
                }
                Entry::Bind { source, target, .. } => tree.copy(source, target)?,
                Entry::Overlay { target, .. } => {
                    return Err(Failure::no_jail(format!("{} cannot be in an image", target.display())));
                }
            }
        }
        Ok(tree)
    }

    /// Writes the archive.
    pub(super) fn write(&self, archive: &mut dyn Write) -> Result<(), Failure> {
        for (path, node) in &self.nodes {
            write_node(archive, path, node, &self.host).map_err(|error| {
                Failure::no_jail(format!("cannot put {} into an image: {error}", path.display()))
            })?;
        }
        // The end is two empty blocks.
        archive
            .write_all(&[0; 2 * BLOCK])
            .map_err(|error| Failure::no_jail(format!("cannot write a layer: {error}")))
    }

    /// Copies a file or directory of this host, by its path without links. A job may have written it.
    fn copy(&mut self, source: &Path, target: &Path) -> Result<(), Failure> {
        let unreadable = |error: String| {
            Failure::no_jail(format!("cannot put {} into an image: {error}", source.display()))
        };
        let found = self.host.metadata(source).map_err(|error| unreadable(error.to_string()))?;
        let metadata = found.ok_or_else(|| unreadable("it is not there".to_owned()))?;
        match metadata.kind {
            Kind::Directory => {
                self.put(target, Node::Directory)?;
                if source.components().count() > MAX_DEPTH {
                    return Err(unreadable("its directories are nested too deeply".to_owned()));
                }
                let children = self.host.list(source, &mut self.budget);
                let children = children.map_err(|error| unreadable(error.to_string()))?;
                for (name, _) in children.unwrap_or_default() {
                    self.copy(&source.join(&name), &target.join(&name))?;
                }
                Ok(())
            }
            Kind::Link => {
                let to = self.host.read_link(source).map_err(|error| unreadable(error.to_string()))?;
                self.put(target, Node::Link(to.unwrap_or_default()))
            }
            Kind::File => {
                let executable = metadata.mode & 0o111 != 0;
                self.put(target, Node::Copy { source: source.to_owned(), executable })
            }
            Kind::Special => Err(Failure::no_jail(format!(
                "{} is a socket, a pipe or a device, which no image holds; leave it out of the jail",
                source.display()
            ))),
        }
    }

    fn put(&mut self, target: &Path, node: Node) -> Result<(), Failure> {
        let place = self.real(target)?;
        for parent in place.ancestors().skip(1) {
            self.nodes.entry(parent.to_owned()).or_insert(Node::Directory);
        }
        match (&node, self.nodes.get(&place)) {
            // What is in it already stays.
            (Node::Directory, Some(Node::Directory)) => {}
            _ => drop(self.nodes.insert(place, node)),
        }
        Ok(())
    }

    /// The path with links in the tree followed, but for its last part: an archive is unpacked member by member.
    fn real(&self, target: &Path) -> Result<PathBuf, Failure> {
        let mut path = target.to_owned();
        for _ in 0..MAX_LINKS {
            let mut parents: Vec<&Path> = path.ancestors().skip(1).collect();
            parents.reverse();
            let link = parents.into_iter().find_map(|parent| match self.nodes.get(parent) {
                Some(Node::Link(to)) => Some((parent.to_owned(), to.clone())),
                _ => None,
            });
            let Some((parent, to)) = link else { return Ok(path) };
            let rest = path.strip_prefix(&parent).unwrap_or(Path::new("")).to_owned();
            path = normal(&parent.parent().unwrap_or(Path::new("/")).join(to).join(rest));
        }
        Err(Failure::no_jail(format!("links in the jail lead {} in a circle", target.display())))
    }
}

fn normal(path: &Path) -> PathBuf {
    use std::path::Component;
    path.components().fold(PathBuf::from("/"), |mut normal, part| {
        match part {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => drop(normal.pop()),
            _ => {}
        }
        normal
    })
}

fn write_node(archive: &mut dyn Write, path: &Path, node: &Node, host: &beneath::Tree) -> io::Result<()> {
    let Ok(name) = path.strip_prefix("/") else { return Ok(()) };
    let name = name.as_os_str().as_bytes();
    if name.is_empty() {
        return Ok(());
    }
    let mode = |executable: &bool| if *executable { 0o555 } else { 0o444 };
    match node {
        Node::Directory => header(archive, &[name, b"/"].concat(), b'5', 0o755, 0, b""),
        Node::Link(to) => header(archive, name, b'2', 0o777, 0, to.as_os_str().as_bytes()),
        Node::Text { contents, executable } => {
            header(archive, name, b'0', mode(executable), contents.len() as u64, b"")?;
            contents_of(archive, &mut contents.as_slice(), contents.len() as u64)
        }
        Node::Copy { source, executable } => {
            let found = host.open_file(source).map_err(io::Error::other)?;
            let mut file = found.ok_or(io::ErrorKind::NotFound)?;
            let length = file.metadata()?.len();
            header(archive, name, b'0', mode(executable), length, b"")?;
            contents_of(archive, &mut file, length)
        }
    }
}

fn contents_of(archive: &mut dyn Write, contents: &mut dyn Read, length: u64) -> io::Result<()> {
    let copied = io::copy(&mut contents.take(length), archive)?;
    if copied != length {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read"));
    }
    let rest = (BLOCK as u64 - length % BLOCK as u64) % BLOCK as u64;
    archive.write_all(&[0; BLOCK][..rest as usize])
}

/// A file's record (POSIX ustar), with one before it for what does not fit.
fn header(
    archive: &mut dyn Write,
    name: &[u8],
    kind: u8,
    mode: u32,
    size: u64,
    link: &[u8],
) -> io::Result<()> {
    let mut extended = Vec::new();
    for (key, value) in [("path", name), ("linkpath", link)] {
        if value.len() > MAX_NAME {
            extended.extend(extended_record(key, value));
        }
    }
    if !extended.is_empty() {
        block(archive, b"long-name", b'x', 0o444, extended.len() as u64, b"")?;
        contents_of(archive, &mut extended.as_slice(), extended.len() as u64)?;
    }
    block(archive, &name[..name.len().min(MAX_NAME)], kind, mode, size, &link[..link.len().min(MAX_NAME)])
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn extended_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = 1 + key.len() + 1 + value.len() + 1;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

fn block(
    archive: &mut dyn Write,
    name: &[u8],
    kind: u8,
    mode: u32,
    size: u64,
    link: &[u8],
) -> io::Result<()> {
    // Eleven octal digits.
    if size >= 1 << 33 {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has 8 GiB or more"));
    }
    let mut block = [0; BLOCK];
    let mut field = |offset: usize, bytes: &[u8]| block[offset..offset + bytes.len()].copy_from_slice(bytes);
    field(0, name);
    field(100, format!("{mode:07o}\0").as_bytes());
    field(108, b"0000000\0");
    field(116, b"0000000\0");
    field(124, format!("{size:011o}\0").as_bytes());
    field(136, format!("{TIME:011o}\0").as_bytes());
    field(148, b"        ");
    field(156, &[kind]);
    field(157, link);
    field(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive.write_all(&block)
}

#[cfg(test)]
#[path = "layer/tests.rs"]
mod on_the_host;
