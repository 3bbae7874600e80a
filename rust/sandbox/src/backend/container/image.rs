//! The image: an empty root with, at most, the links that lie directly in it (`/bin` to `usr/bin`), which nothing can
//! be mounted on, and this program, where the engine could not bind it. Named by its content, imported when an engine
//! lacks it, never pulled.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::program::DIRECTORY;

/// One image.
#[derive(Debug)]
pub(super) struct Image<'a> {
    /// Its name with the engine.
    pub(super) name: String,
    /// Its directories and links.
    head: Vec<u8>,
    /// Its program.
    files: &'a [(PathBuf, OsString)],
}

/// What is said about it.
pub(super) const LABEL: &str = "LABEL nix-jail.root=1";

const BLOCK: usize = 512;

/// The image with these links in its root, and these files in the program's directory.
pub(super) fn with<'a>(
    links: &[(PathBuf, PathBuf)],
    files: &'a [(PathBuf, OsString)],
) -> io::Result<Image<'a>> {
    let mut head = header(Path::new("."), &What::Directory);
    for (link, to) in links {
        head.extend(header(link.strip_prefix("/").unwrap_or(link), &What::Link(to)));
    }
    let mut digest = Sha256::new_with_prefix(&head);
    // The program is told by what changes with it: to read it all for each job would cost more than the rest.
    for (file, name) in files {
        let found = fs::metadata(file)?;
        digest.update(name.as_bytes());
        for number in [found.dev(), found.ino(), found.len(), found.mtime() as u64, found.mtime_nsec() as u64]
        {
            digest.update(number.to_le_bytes());
        }
    }
    let digest: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(Image { name: format!("nix-jail-root:{digest}"), head, files })
}

impl Image<'_> {
    /// Writes its file system as a tar archive; the program is not held in memory for it.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.head)?;
        let directory = Path::new(DIRECTORY.trim_start_matches('/'));
        if !self.files.is_empty() {
            out.write_all(&header(directory, &What::Directory))?;
        }
        for (path, name) in self.files {
            let mut file = fs::File::open(path)?;
            let size = file.metadata()?.len();
            out.write_all(&header(&directory.join(name), &What::File(size)))?;
            let copied = io::copy(&mut file, out)?;
            let rest = copied.next_multiple_of(BLOCK as u64) - copied;
            out.write_all(&vec![0; rest as usize])?;
        }
        out.write_all(&[0; 2 * BLOCK])
    }
}

/// What a header is about.
enum What<'a> {
    Directory,
    Link(&'a Path),
    File(u64),
}

/// A ustar header (POSIX.1-1988). Names in a root are short.
fn header(name: &Path, what: &What<'_>) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let mut put = |at: usize, most: usize, bytes: &[u8]| {
        for (place, byte) in block.iter_mut().skip(at).take(most).zip(bytes) {
            *place = *byte;
        }
    };
    let (kind, size, link) = match what {
        What::Directory => (b"5", 0, None),
        What::Link(to) => (b"2", 0, Some(to)),
        What::File(size) => (b"0", *size, None),
    };
    put(0, 100, name.as_os_str().as_bytes());
    put(100, 8, b"0000755\0");
    put(108, 8, b"0000000\0");
    put(116, 8, b"0000000\0");
    put(124, 12, format!("{size:011o}\0").as_bytes());
    // The same content is the same image: its time is always the epoch.
    put(136, 12, b"00000000000\0");
    put(148, 8, b"        ");
    put(156, 1, kind);
    put(157, 100, link.map_or(&[][..], |link| link.as_os_str().as_bytes()));
    put(257, 8, b"ustar\x0000");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    for (place, byte) in block.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").bytes()) {
        *place = byte;
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the `tar` of this machine.
    mod on_the_host {
        use std::process::{Command, Stdio};

        use super::*;

        #[test]
        fn tar_reads_the_archive() {
            let links = [("/bin".into(), "usr/bin".into()), ("/lib64".into(), "usr/lib64".into())];
            let files = [("/proc/self/exe".into(), OsString::from("jail"))];
            let image = with(&links, &files).unwrap();
            let mut tar =
                Command::new("tar").arg("-tv").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            image.write(&mut tar.stdin.take().unwrap()).unwrap();
            let listed = tar.wait_with_output().unwrap();
            let text = String::from_utf8(listed.stdout).unwrap();
            let size = fs::metadata("/proc/self/exe").unwrap().len().to_string();
            for part in ["bin -> usr/bin", "lib64 -> usr/lib64", ".jail/jail", &size] {
                assert!(listed.status.success() && text.contains(part), "{text}");
            }
        }
    }

    #[test]
    fn the_name_is_the_content() {
        let links = [("/bin".into(), "usr/bin".into())];
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        fs::write(&program, "1").unwrap();
        let files = [(program.clone(), OsString::from("jail"))];
        let name =
            |links: &[(PathBuf, PathBuf)], files: &[(PathBuf, OsString)]| with(links, files).unwrap().name;
        let first = name(&links, &files);
        assert_eq!(first, name(&links, &files));
        fs::write(&program, "12").unwrap();
        let others = [name(&links, &files), name(&[], &files), name(&links, &[])];
        assert!(!others.contains(&first));
    }
}
