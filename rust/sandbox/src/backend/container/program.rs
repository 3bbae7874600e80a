//! This program as the container's first: the files that it consists of, found in its own memory map, so that a
//! program linked to the host's C library runs there as well as a static one.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::backend::{ContainerError, Error};
use crate::stage::container::{ARGUMENT, RELAY};

/// Where all of it lies in the jail, the launcher's socket beside it. After the start it is the job's to read, and
/// nothing there opens a way: the socket is gone.
pub(super) const DIRECTORY: &str = "/.jail";
/// The socket's name.
pub(super) const SOCKET: &str = "launcher";

/// The program's files on the host and the words that start it in the container.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) files: Vec<(PathBuf, OsString)>,
    pub(super) words: Vec<OsString>,
}

/// Finds them.
pub(super) fn own(is_relayed: bool) -> Result<Program, Error> {
    let failed = |error: std::io::Error| ContainerError::OwnProgram { os: error.into() };
    let program = fs::read_link("/proc/self/exe").map_err(failed)?;
    let map = fs::read_to_string("/proc/self/maps").map_err(failed)?;
    let launcher = if is_relayed { RELAY.into() } else { inside(SOCKET) };
    Ok(of(&program, &map, launcher))
}

fn of(program: &Path, map: &str, launcher: OsString) -> Program {
    let mut libraries: BTreeSet<PathBuf> = map.lines().filter_map(executable_file).collect();
    libraries.remove(program);
    let mut files = vec![(program.to_owned(), OsString::from("jail"))];
    let mut words = Vec::new();
    let loader =
        libraries.iter().filter_map(|path| path.file_name()?.to_str()).find(|name| name.starts_with("ld-"));
    if let Some(loader) = loader {
        words.extend([inside(loader), "--library-path".into(), DIRECTORY.into()]);
    }
    for library in &libraries {
        files.extend(library.file_name().map(|name| (library.clone(), name.to_owned())));
    }
    words.extend([inside("jail"), ARGUMENT.into(), launcher]);
    Program { files, words }
}

fn inside(name: &str) -> OsString {
    format!("{DIRECTORY}/{name}").into()
}

/// The file of a line of /proc/PID/maps (proc(5)), if code runs from it.
fn executable_file(line: &str) -> Option<PathBuf> {
    let mut fields = line.splitn(6, ' ');
    let permissions = fields.nth(1)?;
    let path = fields.nth(3)?.trim_start();
    (permissions.contains('x') && path.starts_with('/')).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DYNAMIC: &str = "\
55d0-55d1 r--p 00000000 fe:00 1    /usr/bin/jail
55d1-55d2 r-xp 00001000 fe:00 1    /usr/bin/jail
7f00-7f01 r-xp 00026000 fe:00 2    /usr/lib/x86_64-linux-gnu/libc.so.6
7f02-7f03 r--p 00000000 fe:00 3    /usr/lib/locale/C.utf8/LC_CTYPE
7f04-7f05 r-xp 00001000 fe:00 4    /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
7ffd-7ffe r-xp 00000000 00:00 0    [vdso]
";

    #[test]
    fn a_dynamic_program_comes_with_its_loader_and_libraries() {
        let program = of(Path::new("/usr/bin/jail"), DYNAMIC, inside(SOCKET));
        let names: Vec<_> = program.files.iter().map(|(_, name)| name.to_str().unwrap()).collect();
        assert_eq!(names, ["jail", "ld-linux-x86-64.so.2", "libc.so.6"]);
        let start = [
            "/.jail/ld-linux-x86-64.so.2",
            "--library-path",
            "/.jail",
            "/.jail/jail",
            "__container",
            "/.jail/launcher",
        ];
        assert_eq!(program.words, start);
    }

    #[test]
    fn a_static_program_comes_alone() {
        let program =
            of(Path::new("/opt/jail"), "55d1-55d2 r-xp 00001000 fe:00 1    /opt/jail\n", inside(SOCKET));
        assert_eq!(program.files.len(), 1);
        assert_eq!(program.words, ["/.jail/jail", "__container", "/.jail/launcher"]);
    }
}
