//! The image: an empty root with, at most, the links that lie directly in it (`/bin` to `usr/bin`), which nothing can
//! be mounted on. Named by its content, imported when an engine lacks it, never pulled.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// One image.
#[derive(Debug)]
pub(super) struct Image {
    /// Its name with the engine.
    pub(super) name: String,
    /// Its file system, as a tar archive.
    pub(super) archive: Vec<u8>,
}

/// What is said about it.
pub(super) const LABEL: &str = "LABEL nix-jail.root=1";

const BLOCK: usize = 512;

/// The image with these links in its root.
pub(super) fn with(links: &[(PathBuf, PathBuf)]) -> Image {
    let mut archive = header(Path::new("."), None);
    for (link, to) in links {
        archive.extend(header(link.strip_prefix("/").unwrap_or(link), Some(to)));
    }
    archive.extend([0; 2 * BLOCK]);
    let digest: String = Sha256::digest(&archive).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Image { name: format!("nix-jail-root:{digest}"), archive }
}

/// A ustar header (POSIX.1-1988) of a symbolic link, or of a directory if it leads nowhere. Names in a root are short.
fn header(name: &Path, link: Option<&Path>) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let mut put = |at: usize, most: usize, bytes: &[u8]| {
        for (place, byte) in block.iter_mut().skip(at).take(most).zip(bytes) {
            *place = *byte;
        }
    };
    put(0, 100, name.as_os_str().as_bytes());
    put(100, 8, b"0000755\0");
    put(108, 8, b"0000000\0");
    put(116, 8, b"0000000\0");
    put(124, 12, b"00000000000\0");
    // The same content is the same image: its time is always the epoch.
    put(136, 12, b"00000000000\0");
    put(148, 8, b"        ");
    put(156, 1, if link.is_some() { b"2" } else { b"5" });
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
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn tar_reads_the_archive() {
        let image = with(&[("/bin".into(), "usr/bin".into()), ("/lib64".into(), "usr/lib64".into())]);
        let mut tar =
            Command::new("tar").arg("-tv").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        tar.stdin.take().unwrap().write_all(&image.archive).unwrap();
        let listed = tar.wait_with_output().unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        assert!(
            listed.status.success() && text.contains("bin -> usr/bin") && text.contains("lib64 -> usr/lib64"),
            "{text}"
        );
    }

    #[test]
    fn the_name_is_the_content() {
        let links = [("/bin".into(), "usr/bin".into())];
        assert_eq!(with(&links).name, with(&links).name);
        assert_ne!(with(&links).name, with(&[]).name);
    }
}
