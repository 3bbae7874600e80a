//! From the plan's file tree to what an engine is told: a small tree of our own on the host, mounts on top of it, and
//! the few links that only an image can hold.
//!
//! An engine mounts parents first, whatever order it is told, and follows links; so the order of the plan, in which a
//! later entry lies on top of an earlier one, is resolved here, and every target is a path without links.
//!
//! Each path is a mount of its own: measured, one costs 0.2 ms, no more for many than for few (`arguments` has the
//! figures and the bound), which a copy of the files into one prepared tree would need thousands to win back.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};

use crate::backend::{ContainerError, Error};
use crate::plan::{Access, Entry};
use crate::stage::base::{SCRATCH, SHARED_MEMORY_OPTIONS};
use crate::stage::lookup;
use crate::stage::mounted::{self, Mounted, Part, part_at};
use crate::stage::tree::WRITABLE_OPTIONS;
use crate::wire::Bound;

/// What a container's file system is made of.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// Links directly in the root.
    pub(super) root_links: Vec<(PathBuf, PathBuf)>,
    /// What to make in a directory of the host, by its path in the jail, parents first.
    pub(super) own: Vec<(PathBuf, Own)>,
    /// What to mount.
    pub(super) mounts: Vec<Mount>,
    /// What pid 1 makes on the file systems that come with the container.
    pub(super) late: Vec<Entry>,
    /// Where the job may write.
    pub(super) writable: Vec<PathBuf>,
    /// Of these, what is the job's own.
    pub(super) owned: Vec<PathBuf>,
    /// What of the host's file systems may be seen, beside our own tree.
    pub(super) seen: Vec<Part>,
    /// What must be found in the container.
    pub(super) bound: Vec<Bound>,
}

/// Something of the jail's own.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Own {
    Directory { mode: u32 },
    Link(PathBuf),
    File { contents: Vec<u8>, mode: u32 },
}

/// One mount, told to the engine.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mount {
    /// Of the host.
    Bind { source: PathBuf, target: PathBuf, access: Access },
    /// Of what is made in our own tree, by its path in the jail.
    Own { path: PathBuf, target: PathBuf },
    /// A host's directory with its changes elsewhere.
    Overlay { lower: PathBuf, upper: PathBuf, target: PathBuf },
    /// Empty, in memory.
    Scratch { target: PathBuf, mode: u32, options: String },
}

/// What is at one path.
#[derive(Debug)]
enum Piece {
    Bind { source: PathBuf, access: Access, looked_at: LookedAt },
    Overlay { lower: PathBuf, upper: PathBuf },
    Scratch { mode: u32, options: String, owned: bool },
    File { contents: Vec<u8>, mode: u32 },
    Link(PathBuf),
    Directory,
}

/// What a source was when it was looked at.
#[derive(Clone, Copy, Debug)]
struct LookedAt {
    device: u64,
    inode: u64,
    size: Option<u64>,
    modified: i64,
}

/// Engines put files of their own on these, unless told of each.
pub(super) const ENGINES_FILES: [&str; 5] =
    ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/passwd", "/etc/group"];
/// Engines make these, and the places in them.
const ENGINES_DIRECTORIES: [&str; 3] = ["/dev", "/proc", "/sys"];
/// Of what every container has. The message queues are a file system of their own for Landlock, whose path ends there.
const OWN_WRITABLE: [&str; 3] = ["/dev", "/dev/mqueue", "/proc"];
/// For what is the jail's own, in memory.
const OWN_OPTIONS: &str = "size=64m,nr_inodes=64k";
/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// Lays out the entries of a plan.
pub(super) fn of(entries: &[Entry], started_by_root: bool) -> Result<Layout, Error> {
    let mut pieces = Pieces { at: BTreeMap::new(), mounted: mounts()?, started_by_root };
    for (path, options) in SCRATCH.into_iter().chain([("/dev/shm", SHARED_MEMORY_OPTIONS)]) {
        let options = options.to_owned();
        pieces.put(Path::new(path), Piece::Scratch { mode: 0o1777, options, owned: false })?;
    }
    for entry in entries {
        pieces.add(entry)?;
    }
    pieces.lay_out()
}

#[derive(Debug)]
struct Pieces {
    at: BTreeMap<PathBuf, Piece>,
    /// What the host has mounted.
    mounted: Vec<Mounted>,
    started_by_root: bool,
}

impl Pieces {
    fn add(&mut self, entry: &Entry) -> Result<(), Error> {
        match entry {
            Entry::Bind { source, target, access } => {
                let piece = self.look_at(source, *access)?;
                self.put(target, piece)
            }
            Entry::Overlay { lower, upper, target } => {
                self.put(target, Piece::Overlay { lower: lower.clone(), upper: upper.clone() })
            }
            Entry::File { target, contents, mode } => {
                self.put(target, Piece::File { contents: contents.clone(), mode: *mode })
            }
            Entry::Symlink { target, to } => self.put(target, Piece::Link(to.clone())),
            Entry::Directory { target, writable: true } => {
                let options = WRITABLE_OPTIONS.to_owned();
                self.put(target, Piece::Scratch { mode: 0o755, options, owned: true })
            }
            Entry::Directory { target, writable: false } => {
                let path = self.resolve(target)?;
                self.at.entry(path).or_insert(Piece::Directory);
                Ok(())
            }
        }
    }

    /// Puts a piece at a target; what is mounted covers what was below.
    fn put(&mut self, target: &Path, piece: Piece) -> Result<(), Error> {
        let parent = self.resolve(target.parent().unwrap_or(Path::new("/")))?;
        let name = target.file_name().ok_or_else(|| Error::Target { path: target.to_owned() })?;
        let mut path = parent.join(name);
        if piece.is_mount() {
            // On what a link leads to, as the kernel mounts; a link or file of ours would be replaced.
            path = self.resolve(&path)?;
            self.at.retain(|earlier, _| !earlier.starts_with(&path) || *earlier == path);
        }
        self.at.insert(path, piece);
        Ok(())
    }

    /// A path with the plan's own links followed, inside.
    fn resolve(&self, path: &Path) -> Result<PathBuf, Error> {
        let refused = || Error::Target { path: path.to_owned() };
        let mut left: VecDeque<OsString> = VecDeque::new();
        for part in path.components() {
            match part {
                Component::RootDir => {}
                Component::Normal(part) => left.push_back(part.to_owned()),
                _ => return Err(refused()),
            }
        }
        let mut real = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            if part == ".." {
                real.pop();
                continue;
            }
            let next = real.join(&part);
            let Some(Piece::Link(to)) = self.at.get(&next) else {
                real = next;
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(refused());
            }
            if to.is_absolute() {
                real = PathBuf::from("/");
            }
            for part in to.components().rev() {
                match part {
                    Component::Normal(part) => left.push_front(part.to_owned()),
                    Component::ParentDir => left.push_front("..".into()),
                    _ => {}
                }
            }
        }
        Ok(real)
    }

    /// Looks at a source once, as the native backend opens it: no part of its path may be a link. The engine follows
    /// the path again, later; that it has found the same is checked in the container.
    fn look_at(&self, source: &Path, access: Access) -> Result<Piece, Error> {
        let failed = |os: Errno| Error::OpenSource { path: source.to_owned(), os: os.into() };
        let opened = lookup::without_links(source).map_err(|os| match os {
            Errno::ELOOP => Error::SymlinkSource { path: source.to_owned() },
            os => failed(os),
        })?;
        let stat = fstat(&opened).map_err(failed)?;
        let is = |kind: SFlag| stat.st_mode & SFlag::S_IFMT.bits() == kind.bits();
        let directory = is(SFlag::S_IFDIR);
        // Before version 25 Docker makes only the topmost mount read-only.
        if directory
            && access == Access::ReadOnly
            && let Some(below) = self.mounted_below(source).next()
        {
            let below = below.point.clone();
            return Err(ContainerError::MountsBelow { path: source.to_owned(), below }.into());
        }
        // A job with root's id could turn the host's levers in /proc by file mode alone; and root's files are root's.
        if access == Access::ReadWrite && stat.st_uid == 0 && self.started_by_root {
            return Err(ContainerError::RootsFiles { path: source.to_owned() }.into());
        }
        let looked_at = LookedAt {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: (!directory).then_some(stat.st_size as u64),
            modified: stat.st_mtime,
        };
        Ok(Piece::Bind { source: source.to_owned(), access, looked_at })
    }

    fn mounted_below(&self, path: &Path) -> impl Iterator<Item = &Mounted> {
        self.mounted.iter().filter(move |mount| mount.point != path && mount.point.starts_with(path))
    }

    /// What of the host's file systems comes with a source: itself, and what is mounted below.
    fn parts(&self, source: &Path) -> impl Iterator<Item = Part> {
        let part = |mount: &Mounted| Part { device: mount.device.clone(), root: mount.root.clone() };
        part_at(&self.mounted, source).into_iter().chain(self.mounted_below(source).map(part))
    }

    fn lay_out(self) -> Result<Layout, Error> {
        let mut layout = Layout { writable: OWN_WRITABLE.map(PathBuf::from).to_vec(), ..Layout::default() };
        let mut tops: BTreeMap<PathBuf, ()> = BTreeMap::new();
        for (path, piece) in &self.at {
            let above =
                path.ancestors().skip(1).find(|above| self.at.get(*above).is_some_and(Piece::is_mount));
            match above.and_then(|above| Some((above, self.at.get(above)?))) {
                None if ENGINES_DIRECTORIES.iter().any(|engines| path.starts_with(engines)) => {}
                None => layout.on_our_own(path, piece, &mut tops),
                Some((above, Piece::Scratch { .. })) => {
                    debug_assert!(path.starts_with(above));
                    layout.on_scratch(path, piece);
                }
                Some((above, Piece::Bind { source, .. } | Piece::Overlay { lower: source, .. })) => {
                    layout.on_the_hosts(
                        path,
                        piece,
                        &source.join(path.strip_prefix(above).unwrap_or(path)),
                    )?;
                }
                Some(_) => {}
            }
            layout.mount(path, piece);
            if let Piece::Bind { source, .. } = piece {
                layout.seen.extend(self.parts(source));
            }
        }
        layout.mounts.extend(tops.into_keys().map(|top| Mount::Own { path: top.clone(), target: top }));
        Ok(layout)
    }
}

impl Layout {
    /// In the tree that is made for this jail.
    fn on_our_own(&mut self, path: &Path, piece: &Piece, tops: &mut BTreeMap<PathBuf, ()>) {
        let is_top = path.parent() == Some(Path::new("/"));
        match piece {
            Piece::Link(to) if is_top => self.root_links.push((path.to_owned(), to.clone())),
            Piece::Link(to) => self.own.push((path.to_owned(), Own::Link(to.clone()))),
            Piece::File { contents, mode } => {
                self.own.push((path.to_owned(), Own::File { contents: contents.clone(), mode: *mode }));
            }
            Piece::Directory => self.own.push((path.to_owned(), Own::Directory { mode: 0o755 })),
            // The engine makes these in the container's own root.
            _ if is_top => return,
            Piece::Bind { looked_at: LookedAt { size: Some(_), .. }, .. } => {
                self.own.push((path.to_owned(), Own::File { contents: Vec::new(), mode: 0o444 }));
            }
            // Engines give the mount the mode of its place.
            Piece::Scratch { mode, .. } => self.own.push((path.to_owned(), Own::Directory { mode: *mode })),
            _ => self.own.push((path.to_owned(), Own::Directory { mode: 0o755 })),
        }
        if !(is_top && matches!(piece, Piece::Link(_))) {
            let top = path.components().take(2).collect();
            tops.insert(top, ());
        }
    }

    /// On an empty file system of the container, where the engine makes the places of mounts.
    fn on_scratch(&mut self, path: &Path, piece: &Piece) {
        match piece {
            Piece::Link(to) => {
                self.late.push(Entry::Symlink { target: path.to_owned(), to: to.clone() });
            }
            Piece::Directory => {
                self.late.push(Entry::Directory { target: path.to_owned(), writable: false });
            }
            // Where the job may write, the file would be the job's: it is made elsewhere and bound.
            Piece::File { contents, mode } => {
                self.own.push((path.to_owned(), Own::File { contents: contents.clone(), mode: *mode }));
                self.mounts.push(Mount::Own { path: path.to_owned(), target: path.to_owned() });
            }
            _ => {}
        }
    }

    /// In a directory of the host: there nothing is made.
    fn on_the_hosts(&mut self, path: &Path, piece: &Piece, on_host: &Path) -> Result<(), Error> {
        match piece {
            Piece::Link(_) => Err(Error::MakeTarget { path: path.to_owned(), os: Errno::EROFS.into() }),
            _ if !on_host.exists() => Err(ContainerError::NoMountPoint { path: on_host.to_owned() }.into()),
            Piece::File { .. } => {
                self.on_scratch(path, piece);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn mount(&mut self, path: &Path, piece: &Piece) {
        let target = path.to_owned();
        match piece {
            Piece::Bind { source, access, looked_at } => {
                if *access == Access::ReadWrite {
                    self.writable.push(target.clone());
                }
                let LookedAt { device, inode, size, modified } = *looked_at;
                self.bound.push(Bound { target: target.clone(), device, inode, size, modified });
                self.mounts.push(Mount::Bind { source: source.clone(), target, access: *access });
            }
            Piece::Overlay { lower, upper } => {
                self.writable.push(target.clone());
                self.mounts.push(Mount::Overlay { lower: lower.clone(), upper: upper.clone(), target });
            }
            Piece::Scratch { mode, options, owned } => {
                self.writable.push(target.clone());
                self.mounts.push(Mount::Scratch {
                    target: target.clone(),
                    mode: *mode,
                    options: options.clone(),
                });
                self.owned.extend(owned.then_some(target));
            }
            // Else what the engine puts there would lie on top.
            Piece::File { .. } if ENGINES_FILES.iter().any(|file| path == Path::new(file)) => {
                self.mounts.push(Mount::Own { path: target.clone(), target });
            }
            Piece::File { .. } | Piece::Link(_) | Piece::Directory => {}
        }
    }
}

impl Layout {
    /// Makes it one for an engine that can bind nothing that is made for this job: what is the jail's own is made by
    /// pid 1, on file systems in memory that are root's, which the job is not.
    pub(super) fn move_in(&mut self) -> Result<Vec<Entry>, Error> {
        for mount in &mut self.mounts {
            match mount {
                Mount::Own { path, .. } if path.parent() == Some(Path::new("/")) => {
                    let target = path.clone();
                    *mount = Mount::Scratch { target, mode: 0o755, options: OWN_OPTIONS.to_owned() };
                }
                // The engine's own files there say nothing that ours do not.
                Mount::Own { path, .. } if ENGINES_FILES.iter().any(|file| path == Path::new(file)) => {}
                Mount::Own { path, .. } => {
                    let what = format!("{path:?}, a file of the jail's own where the job may write,");
                    let cure = "use an engine of this host".to_owned();
                    return Err(ContainerError::Elsewhere { what, cure }.into());
                }
                Mount::Overlay { lower, .. } => {
                    let what = format!("a layer for changes to {lower:?}");
                    let cure = "use --workspace-mode ro or rw".to_owned();
                    return Err(ContainerError::Elsewhere { what, cure }.into());
                }
                Mount::Bind { .. } | Mount::Scratch { .. } => {}
            }
        }
        self.mounts.retain(|mount| !matches!(mount, Mount::Own { .. }));
        let own = std::mem::take(&mut self.own).into_iter().map(|(target, own)| match own {
            Own::Directory { .. } => Entry::Directory { target, writable: false },
            Own::Link(to) => Entry::Symlink { target, to },
            Own::File { contents, mode } => Entry::File { target, contents, mode },
        });
        Ok(own.collect())
    }
}

impl Piece {
    fn is_mount(&self) -> bool {
        matches!(self, Piece::Bind { .. } | Piece::Overlay { .. } | Piece::Scratch { .. })
    }
}

fn mounts() -> Result<Vec<Mounted>, Error> {
    mounted::all().map_err(|error| Error::Restrict { path: PathBuf::from("/"), os: error.into() })
}

#[cfg(test)]
mod tests;
