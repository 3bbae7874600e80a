//! Programs of this machine, as a test can use them.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The program's path: the distribution's own first, then one of `PATH` that is no version manager's stand-in.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let distribution = ["/usr/bin", "/bin", "/run/current-system/sw/bin"].map(PathBuf::from);
    let others = std::env::var_os("PATH").unwrap_or_default();
    distribution
        .into_iter()
        .chain(std::env::split_paths(&others))
        .map(|directory| directory.join(name))
        .find(|path| is_program(path) && !is_stand_in(path))
}

/// Why a test that needs these programs cannot run here.
pub(crate) fn missing(names: &[&str]) -> Option<String> {
    let name = names.iter().find(|name| find(name).is_none())?;
    Some(format!("{name} is not on this machine"))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// pyenv, rbenv and their kin put scripts of this kind first on `PATH`.
fn is_stand_in(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head));
    read.is_ok() && head.starts_with(b"#!") && String::from_utf8_lossy(&head).contains("env exec")
}
